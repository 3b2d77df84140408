package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"k8s-dqlite/tests/process"
)

// Exit codes after which a supervisor starts the server again: dqlite failed, no space, dqlite did not end, and an abort.
var restartable = []int{7, 8, 9, 134}

// loopback is nodes that are processes on 127.0.0.1.
type loopback struct {
	mutex sync.Mutex
	nodes []*node
	// How often the supervisor started one again.
	restarts int
}

type node struct {
	dir       string
	log       string
	port      int
	peerPort  int
	arguments []string
	// Addresses of the other nodes.
	peers  []string
	pair   string
	isOurs bool

	// None once it has been ended.
	process *process.Process
}

func startLoopback(dir string, count int, p programs) (*loopback, error) {
	l := &loopback{}
	ports := make([]int, 2*count)
	for i := range ports {
		var err error
		if ports[i], err = process.FreePort(); err != nil {
			return nil, err
		}
	}
	for i := range count {
		home := filepath.Join(dir, fmt.Sprintf("node-%d", i))
		n := &node{
			dir: filepath.Join(home, "data"), log: filepath.Join(dir, fmt.Sprintf("node-%d.log", i)),
			port: ports[i], peerPort: ports[count+i], pair: p.pair, isOurs: !p.isEtcd,
		}
		for j := range count {
			if j != i {
				n.peers = append(n.peers, process.Loopback(ports[count+j]))
			}
		}
		url := fmt.Sprintf("127.0.0.1:%d", n.port)
		if p.isEtcd {
			peer := fmt.Sprintf("http://127.0.0.1:%d", n.peerPort)
			n.arguments = []string{
				p.server, "--data-dir", n.dir, "--listen-client-urls", "http://" + url, "--advertise-client-urls", "http://" + url,
				"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
				"--watch-progress-notify-interval", "100ms", "--log-level", "warn",
			}
		} else {
			n.arguments = []string{
				p.server, "--storage-dir", n.dir, "--listen", "tcp://" + url, "--watch-progress-notify-interval", "100ms",
			}
		}
		l.nodes = append(l.nodes, n)
		// The first begins the cluster, the others join it.
		if err := n.prepare(i > 0); err != nil {
			return nil, err
		}
	}
	for i := range l.nodes {
		if err := l.start(i); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// prepare makes an empty directory for a first start.
func (n *node) prepare(joins bool) error {
	if err := os.RemoveAll(n.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(n.dir, 0o700); err != nil || !n.isOurs {
		return err
	}
	var joined []string
	if joins {
		joined = n.peers
	}
	return process.LayOut(n.dir, n.pair, process.Loopback(n.peerPort), joined)
}

func (l *loopback) endpoints() (endpoints []string) {
	for _, n := range l.nodes {
		endpoints = append(endpoints, fmt.Sprintf("http://127.0.0.1:%d", n.port))
	}
	return endpoints
}

func (l *loopback) start(node int) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.nodes[node].start()
}

func (n *node) start() error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(n.arguments[0], n.arguments[1:]...)
	command.Stdout, command.Stderr = log, log
	n.process, err = process.Start(command)
	return err
}

func (l *loopback) signal(node int, signal syscall.Signal) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if n := l.nodes[node]; n.process != nil {
		return n.process.Signal(signal)
	}
	return nil
}

func (l *loopback) pause(node int) error { return l.signal(node, syscall.SIGSTOP) }
func (l *loopback) wake(node int) error  { return l.signal(node, syscall.SIGCONT) }
func (l *loopback) kill(node int) error  { return l.end(node, syscall.SIGKILL, false) }

func (l *loopback) stop(node int) error { return l.end(node, syscall.SIGTERM, true) }

// end sends a signal, waits, and forgets the process, so that the supervisor leaves the node alone.
func (l *loopback) end(node int, signal syscall.Signal, cleanly bool) error {
	l.mutex.Lock()
	n := l.nodes[node]
	ending := n.process
	n.process = nil
	l.mutex.Unlock()
	if ending == nil {
		return nil
	}
	if err := ending.End(signal, recoveryTakesAtMost); err != nil {
		return fmt.Errorf("node %d: %w", node, err)
	}
	if code := ending.ExitCode(); cleanly && code != 0 && !l.isExpected(n, code) {
		return fmt.Errorf("node %d ended with code %d when it was asked to stop", node, code)
	}
	return nil
}

func (l *loopback) isExpected(n *node, code int) bool {
	if !n.isOurs {
		// It ends by the signal that asks it to.
		return code == 128+int(syscall.SIGTERM)
	}
	if code != 134 {
		return slices.Contains(restartable, code)
	}
	log, err := os.ReadFile(n.log)
	return err == nil && isAssertion(string(log))
}

func (l *loopback) restartEnded() error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for i, n := range l.nodes {
		if n.process == nil || !n.process.HasEnded() {
			continue
		}
		if code := n.process.ExitCode(); !l.isExpected(n, code) {
			n.process = nil
			return fmt.Errorf("node %d ended by itself with code %d, see %s", i, code, n.log)
		}
		l.restarts++
		sayWhyEnded(i, n.log)
		if err := n.start(); err != nil {
			return err
		}
	}
	return nil
}

func (l *loopback) wipe(node int) error {
	if err := l.kill(node); err != nil {
		return err
	}
	return l.nodes[node].prepare(true)
}

func (l *loopback) logs() (paths []string) {
	for _, n := range l.nodes {
		paths = append(paths, n.log)
	}
	return paths
}

func (l *loopback) shellArguments() []string {
	n := l.nodes[0]
	if !n.isOurs {
		return nil
	}
	return []string{
		"-s", "file://" + filepath.Join(n.dir, "cluster.yaml"),
		"-c", filepath.Join(n.dir, "cluster.crt"), "-k", filepath.Join(n.dir, "cluster.key"),
	}
}

func (l *loopback) close() {
	for i := range l.nodes {
		l.kill(i)
	}
}
