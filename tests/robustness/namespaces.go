package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// namespaces is nodes of scripts/cluster: each in a network namespace, with a small disk of its own.
type namespaces struct {
	script string
	dir    string
	binary string
	urls   []string

	mutex    sync.Mutex
	down     map[int]bool
	restarts int
}

// canHaveNamespaces tells whether scripts/cluster works here.
func canHaveNamespaces() bool {
	if os.Geteuid() != 0 {
		return false
	}
	name := fmt.Sprintf("kd-try-%d", os.Getpid())
	if exec.Command("ip", "netns", "add", name).Run() != nil {
		return false
	}
	return exec.Command("ip", "netns", "del", name).Run() == nil
}

func startNamespaces(dir string, count int, p programs) (*namespaces, error) {
	n := &namespaces{
		script: filepath.Join(p.root, "scripts", "cluster"), dir: filepath.Join(dir, "cluster"), binary: p.server, down: map[int]bool{},
	}
	if _, err := n.run("up", count); err != nil {
		n.close()
		return nil, err
	}
	urls, err := n.run("urls")
	if err != nil {
		n.close()
		return nil, err
	}
	n.urls = strings.Fields(urls)
	return n, nil
}

func (n *namespaces) run(verb string, numbers ...int) (string, error) {
	arguments := []string{"--dir", n.dir, "--binary", n.binary, verb}
	for _, number := range numbers {
		arguments = append(arguments, strconv.Itoa(number))
	}
	command := exec.Command(n.script, arguments...)
	var errors strings.Builder
	command.Stderr = &errors
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("scripts/cluster %s %v: %w: %s", verb, numbers, err, errors.String())
	}
	return string(output), nil
}

// on runs a verb for nodes, which the script counts from 1.
func (n *namespaces) on(verb string, nodes ...int) error {
	numbers := make([]int, len(nodes))
	for i, node := range nodes {
		numbers[i] = node + 1
	}
	_, err := n.run(verb, numbers...)
	return err
}

// setDown says whether a node is meant to be down, and does what makes it so without the supervisor in between.
func (n *namespaces) setDown(node int, down bool, verb string) error {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.down[node] = down
	// One that has ended by itself cannot be killed; that is as good.
	if down && verb != "wipe" && n.hasEnded(node) {
		return nil
	}
	return n.on(verb, node)
}

func (n *namespaces) endpoints() []string          { return n.urls }
func (n *namespaces) kill(node int) error          { return n.setDown(node, true, "kill") }
func (n *namespaces) stop(node int) error          { return n.setDown(node, true, "stop") }
func (n *namespaces) start(node int) error         { return n.setDown(node, false, "start") }
func (n *namespaces) wipe(node int) error          { return n.setDown(node, true, "wipe") }
func (n *namespaces) pause(node int) error         { return n.ifRunning("pause", node) }
func (n *namespaces) wake(node int) error          { return n.ifRunning("wake", node) }
func (n *namespaces) cut(a, b int) error           { return n.on("cut", a, b) }
func (n *namespaces) cutOneWay(from, to int) error { return n.on("cut-one-way", from, to) }
func (n *namespaces) fill(node int) error          { return n.on("fill", node) }
func (n *namespaces) heal() error                  { return n.on("heal") }
func (n *namespaces) home(node int) string         { return filepath.Join(n.dir, strconv.Itoa(node+1)) }
func (n *namespaces) log(node int) string          { return filepath.Join(n.home(node), "log") }

func (n *namespaces) ifRunning(verb string, node int) error {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.hasEnded(node) {
		return nil
	}
	return n.on(verb, node)
}

// hasEnded tells whether the process of a node is gone.
func (n *namespaces) hasEnded(node int) bool {
	pid, err := os.ReadFile(filepath.Join(n.home(node), "pid"))
	if err != nil {
		return true
	}
	_, err = os.Readlink(filepath.Join("/proc", strings.TrimSpace(string(pid)), "exe"))
	return err != nil
}

// restartEnded does not learn the exit code here; what the log says is looked at in the end.
func (n *namespaces) restartEnded() error {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for node := range n.urls {
		if n.down[node] || !n.hasEnded(node) {
			continue
		}
		n.restarts++
		sayWhyEnded(node, n.log(node))
		if err := n.on("start", node); err != nil {
			return err
		}
	}
	return nil
}

func (n *namespaces) logs() (paths []string) {
	for node := range n.urls {
		paths = append(paths, n.log(node))
	}
	return paths
}

func (n *namespaces) shellArguments() []string {
	data := filepath.Join(n.home(0), "data")
	return []string{
		"-s", "file://" + filepath.Join(data, "cluster.yaml"),
		"-c", filepath.Join(data, "cluster.crt"), "-k", filepath.Join(data, "cluster.key"),
	}
}

func (n *namespaces) close() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for node := range n.urls {
		n.down[node] = true
	}
	n.run("down")
}
