// Package cluster runs etcd's tests on processes of k8s-dqlite, or of etcd.
//
// For tests/common it implements the interfaces of etcd's test framework (framework/interfaces): a Runner makes Clusters of
// one or three members, whose client is etcdctl. The package integration makes its clusters of the same Nodes. The environment says what to start; scripts/etcd-cases sets it:
//
//	CASES_SERVER       k8s-dqlite (default) or etcd
//	K8S_DQLITE_BIN     the server
//	K8S_DQLITE_CERTS   a directory with cluster.crt and cluster.key, as scripts/certs makes them
//	ETCD_BIN           the etcd
//	CASES_FIXTURES     the directory with etcd's certificates
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
	c := &cluster{t: t, settings: s}
	for i := range s.ClusterSize {
		c.nodes = append(c.nodes, NewNode(t, s, i))
	}
	for _, n := range c.nodes {
		if err := n.Prepare(c.nodes, false); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.nodes {
		if err := n.Begin(); err != nil {
			c.Close()
			t.Fatal(err)
		}
	}
	if err := WaitUntilWell(ctx, c.nodes); err != nil {
		c.showLogs()
		c.Close()
		t.Fatal(err)
	}
	return c
}
