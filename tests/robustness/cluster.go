package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// A node that was stopped, lost or cut off is well again within this, on a machine that does much else.
	recoveryTakesAtMost = 90 * time.Second
	askingTakesAtMost   = 2 * time.Second
	betweenLooks        = 50 * time.Millisecond
	nodesOfTrio         = 3
)

// A cluster is one or three nodes, and what can go wrong with them. Nodes are numbered from 0.
type cluster interface {
	endpoints() []string
	kill(node int) error
	// stop asks the node to end, and waits until it has.
	stop(node int) error
	start(node int) error
	pause(node int) error
	wake(node int) error
	// wipe kills the node, and empties its disk; with the next start it joins the others.
	wipe(node int) error
	// restartEnded starts nodes again that have ended by themselves, as a supervisor would.
	restartEnded() error
	logs() []string
	// shellArguments are those of the dqlite shell for this cluster; none if that cannot look into it.
	shellArguments() []string
	close()
}

// A network is a cluster whose links and disks can fail.
type network interface {
	cluster
	cut(a, b int) error
	cutOneWay(from, to int) error
	fill(node int) error
	heal() error
}

// waitUntil calls until there is no error any more.
func waitUntil(limit time.Duration, what string, try func(ctx context.Context) error) error {
	deadline := time.Now().Add(limit)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), askingTakesAtMost)
		err := try(ctx)
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v: %w", what, limit, err)
		}
		time.Sleep(betweenLooks)
	}
}

// waitUntilWell waits until each node answers a linearizable read.
func waitUntilWell(c cluster) error {
	for _, endpoint := range c.endpoints() {
		err := askUntil(endpoint, "an answer", func(ctx context.Context, client *clientv3.Client) error {
			_, err := client.Get(ctx, "well")
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// waitUntilAllVote waits until each node says that all of them are voters: then one may be lost for good.
func waitUntilAllVote(c cluster) error {
	for _, endpoint := range c.endpoints() {
		err := askUntil(endpoint, "voters", func(ctx context.Context, client *clientv3.Client) error {
			list, err := client.MemberList(ctx)
			if err != nil {
				return err
			}
			voters := 0
			for _, member := range list.Members {
				if !member.IsLearner {
					voters++
				}
			}
			if voters != len(c.endpoints()) {
				return fmt.Errorf("%d of %d nodes vote", voters, len(c.endpoints()))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func askUntil(endpoint, what string, ask func(context.Context, *clientv3.Client) error) error {
	client, err := newClient(endpoint)
	if err != nil {
		return err
	}
	defer client.Close()
	return waitUntil(recoveryTakesAtMost, endpoint+": "+what, func(ctx context.Context) error {
		return ask(ctx, client)
	})
}

// leader returns the node that says that it leads, or -1.
func leader(c cluster) int {
	for node, endpoint := range c.endpoints() {
		client, err := newClient(endpoint)
		if err != nil {
			return -1
		}
		ctx, cancel := context.WithTimeout(context.Background(), askingTakesAtMost)
		status, err := client.Status(ctx, endpoint)
		cancel()
		client.Close()
		if err == nil && status.Leader == status.Header.MemberId {
			return node
		}
	}
	return -1
}

// checkHashes compares the hash of all data between the nodes.
func checkHashes(c cluster, revision int64) error {
	type hash struct {
		hash      uint32
		compacted int64
	}
	var first hash
	for node, endpoint := range c.endpoints() {
		var this hash
		err := askUntil(endpoint, "the hash", func(ctx context.Context, client *clientv3.Client) error {
			answer, err := client.HashKV(ctx, endpoint, revision)
			if err == nil {
				this = hash{answer.Hash, answer.CompactRevision}
			}
			return err
		})
		if err != nil {
			return err
		}
		if node == 0 {
			first = this
		} else if this != first {
			return fmt.Errorf("the hash at revision %d is %+v on node 0, and %+v on node %d", revision, first, this, node)
		}
	}
	return nil
}

// isAssertion tells whether a log ends with an assertion of libdqlite, which ends the process with the log on its disk whole.
// Overlapping faults reach some of version 1.18.7, and a supervisor starts the node again.
func isAssertion(log string) bool {
	last := lastLine(log)
	return strings.Contains(last, "src/") && strings.Contains(last, ".c:") && strings.Contains(last, "Assertion `")
}

func lastLine(log string) string {
	log = strings.TrimSpace(log)
	return log[strings.LastIndex(log, "\n")+1:]
}

func sayWhyEnded(node int, log string) {
	text, err := os.ReadFile(log)
	if err != nil {
		text = []byte(err.Error())
	}
	say("  node %d ended by itself: %s", node, lastLine(string(text)))
}

// checkLogs finds what no server should have said.
func checkLogs(logs []string) (findings []string) {
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			findings = append(findings, err.Error())
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "panicked at") || strings.Contains(line, "is damaged") {
				findings = append(findings, filepath.Base(path)+": "+strings.TrimSpace(line))
			}
		}
	}
	return findings
}
