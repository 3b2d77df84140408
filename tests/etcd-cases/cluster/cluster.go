package cluster

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/tests/v3/framework/config"
	"go.etcd.io/etcd/tests/v3/framework/e2e"
	"go.etcd.io/etcd/tests/v3/framework/interfaces"
)

const (
	leaderTimeout = 30 * time.Second
	// What a failed test prints of each log.
	shownLines = 40
	// scripts/etcd-cases looks for it.
	faultOfServer = "fault of the server: "
	// What Go's HTTP/2, in an etcd, logs of each request with GODEBUG=http2debug=2.
	authorityLine = `http2: decoded hpack field header field ":authority" = `
)

// cluster is etcd's interfaces.Cluster.
type cluster struct {
	t        testing.TB
	settings Settings
	nodes    []*Node
}

func (c *cluster) Members() (members []interfaces.Member) {
	for _, n := range c.nodes {
		members = append(members, n)
	}
	return members
}

func (c *cluster) Endpoints() (endpoints []string) {
	for _, n := range c.nodes {
		endpoints = append(endpoints, n.URL)
	}
	return endpoints
}

func (c *cluster) Client(options ...config.ClientOption) (interfaces.Client, error) {
	return e2e.NewEtcdctl(c.settings.clientConfig(), c.Endpoints(), options...)
}

// WaitUntilWell waits until each member answers, and knows of all that can that they vote.
func WaitUntilWell(ctx context.Context, nodes []*Node) error {
	expected := nodes[0].kind.voters(len(nodes))
	for _, n := range nodes {
		if err := n.waitUntilAnswers(ctx); err != nil {
			return err
		}
		err := n.waitUntil(ctx, "not all vote", func(ctx context.Context, client *clientv3.Client) error {
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
			if voters != expected || len(list.Members) != len(nodes) {
				return fmt.Errorf("%d of %d vote, of %d members", voters, expected, len(list.Members))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// WaitLeader waits until all that run name the same leader, which is one of them, and returns its index.
func (c *cluster) WaitLeader(t testing.TB) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), leaderTimeout)
	defer cancel()
	for {
		if leader := Leader(ctx, c.nodes); leader >= 0 {
			return leader
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no leader within %v", leaderTimeout)
		case <-time.After(pollInterval):
		}
	}
}

// Leader returns the index of the node that all that run name, if it is one of them, or -1.
func Leader(ctx context.Context, nodes []*Node) int {
	leader, named := -1, uint64(0)
	for i, n := range nodes {
		if !n.IsRunning() {
			continue
		}
		answer, err := n.Status(ctx)
		if err != nil || answer.Leader == 0 || named != 0 && answer.Leader != named {
			return -1
		}
		named = answer.Leader
		if answer.Header.MemberId == named {
			leader = i
		}
	}
	return leader
}

// Close ends all members at once, and fails the test for what was wrong with them.
func (c *cluster) Close() error {
	EndAll(c.nodes)
	for _, n := range c.nodes {
		for _, fault := range n.Faults() {
			c.t.Error(fault)
		}
	}
	if c.t.Failed() {
		c.showLogs()
	}
	return nil
}

// WaitUntilLeaderIsLost waits, after a stop, until those that run know that they have no leader, if they are no majority.
func WaitUntilLeaderIsLost(ctx context.Context, nodes []*Node) {
	var running []*Node
	for _, n := range nodes {
		if n.IsRunning() {
			running = append(running, n)
		}
	}
	if len(running) > nodes[0].kind.voters(len(nodes))/2 {
		return
	}
	for _, n := range running {
		n.waitUntil(ctx, "it knows a leader", func(ctx context.Context, client *clientv3.Client) error {
			status, err := client.Status(ctx, n.URL)
			if err == nil && status.Leader != 0 {
				err = fmt.Errorf("%x leads", status.Leader)
			}
			return err
		})
	}
}

// EndAll ends nodes at once.
func EndAll(nodes []*Node) {
	var group sync.WaitGroup
	for _, n := range nodes {
		group.Go(n.End)
	}
	group.Wait()
}

func (c *cluster) showLogs() {
	for _, n := range c.nodes {
		c.t.Log(n.EndOfLog())
	}
}

// TemplateEndpoints returns a test's form of the members' addresses.
func (c *cluster) TemplateEndpoints(t testing.TB, pattern string) (endpoints []string) {
	t.Helper()
	for _, n := range c.nodes {
		if file, err := os.Stat(n.log); err == nil {
			n.logMark = file.Size()
		}
		endpoints = append(endpoints, strings.ReplaceAll(pattern, "${MEMBER_PORT}", fmt.Sprint(n.port)))
	}
	return endpoints
}

// AssertAuthority checks which host the clients' requests named since TemplateEndpoints, on each member.
func (c *cluster) AssertAuthority(t testing.TB, pattern string) {
	t.Helper()
	if !kindOfServer(t).logsAuthority() {
		t.Skip("the requests went well; k8s-dqlite does not log their :authority, which the client sets")
	}
	for _, n := range c.nodes {
		expected := fmt.Sprintf("%q", strings.ReplaceAll(pattern, "${MEMBER_PORT}", fmt.Sprint(n.port)))
		found := ""
		for found == "" && t.Context().Err() == nil {
			log, err := os.ReadFile(n.log)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(log[n.logMark:])) {
				if _, value, ok := strings.Cut(strings.TrimSpace(line), authorityLine); ok {
					found = value
					break
				}
			}
			time.Sleep(pollInterval)
		}
		assert.Equal(t, expected, found)
	}
}
