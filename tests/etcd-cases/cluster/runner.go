// Package cluster runs etcd's tests/common on processes of k8s-dqlite, or of etcd.
//
// It implements the interfaces of etcd's test framework (framework/interfaces): a Runner makes Clusters of one or three
// members, whose client is etcdctl. The environment says what to start; scripts/etcd-cases sets it:
//
//	CASES_SERVER       k8s-dqlite (default) or etcd
//	K8S_DQLITE_BIN     the server
//	K8S_DQLITE_CERTS   a directory with cluster.crt and cluster.key, as scripts/certs makes them
//	ETCD_BIN           the etcd
//
// The flag -bin-dir names the directory of etcdctl.
package cluster

import (
	"context"
	"os"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/testutil"
	"go.etcd.io/etcd/tests/v3/framework/config"
	"go.etcd.io/etcd/tests/v3/framework/e2e"
	"go.etcd.io/etcd/tests/v3/framework/interfaces"
)

// Runner is etcd's interfaces.TestRunner.
type Runner struct{}

// TestMain runs a package's tests, and fails when goroutines are left.
func (Runner) TestMain(m *testing.M) {
	e2e.InitFlags()
	code := m.Run()
	if code == 0 && testutil.CheckLeakedGoroutine() {
		code = 1
	}
	os.Exit(code)
}

func (Runner) BeforeTest(t testing.TB) { e2e.BeforeTest(t) }

// NewCluster starts a cluster, and returns when each member answers and votes. It skips the test if the server does not
// have what the test asks for.
func (Runner) NewCluster(ctx context.Context, t testing.TB, options ...config.ClusterOption) interfaces.Cluster {
	t.Helper()
	s := settingsOf(config.NewClusterConfig(options...))
	kind := kindOfServer(t)
	if reason := kind.lacks(s); reason != "" {
		t.Skip(reason)
	}
	c := &cluster{t: t, settings: s, kind: kind}
	for i := range s.ClusterSize {
		c.nodes = append(c.nodes, newNode(t, s, i))
	}
	for _, n := range c.nodes {
		if err := kind.prepare(n, c.nodes, s); err != nil {
			t.Fatal(err)
		}
		n.command = kind.command(n, c.nodes, s)
	}
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			c.Close()
			t.Fatal(err)
		}
	}
	if err := c.waitUntilWell(ctx); err != nil {
		c.showLogs()
		c.Close()
		t.Fatal(err)
	}
	return c
}

func required(t testing.TB, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set: start these tests with scripts/etcd-cases", variable)
	}
	return value
}
