// Package testserver takes the place of k8s.io/apiserver/pkg/storage/etcd3/testserver in Kubernetes' tests.
//
// The original serves them from an etcd inside the test process; this one starts a program for each test server, and
// judges how it behaved when the test is over: see server.go. What differs between Kubernetes' minors (the type of the client
// that RunEtcd returns) is in client.go of their folders.
//
// The environment says what to start; scripts/kubernetes sets it:
//
//	TESTSERVER_PROGRAM   k8s-dqlite (default) or etcd
//	K8S_DQLITE_BIN       the server
//	K8S_DQLITE_CERTS     a directory with cluster.crt and cluster.key, as scripts/certs makes them
//	ETCD_BIN             the etcd
package testserver

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"k8s-dqlite/tests/process"
)

const (
	// As long as the original waits for its etcd.
	startTimeout = 60 * time.Second
	// Between two looks at a server that starts.
	startPollInterval = 5 * time.Millisecond
	dialTimeout       = 10 * time.Second
)

func freePort(t testing.TB) int {
	t.Helper()
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// NewTestConfig returns settings for a server of one node with a fresh directory and free ports, which tests change as
// they need. RunEtcd fails a test that changes what it does not hand on to the server.
func NewTestConfig(t testing.TB) *embed.Config {
	cfg := embed.NewConfig()
	cfg.UnsafeNoFsync = true
	clients := []url.URL{{Scheme: "http", Host: "localhost:" + strconv.Itoa(freePort(t))}}
	peers := []url.URL{{Scheme: "http", Host: "localhost:" + strconv.Itoa(freePort(t))}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = clients, clients
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peers, peers
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.Dir = t.TempDir()
	if err := os.Chmod(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// RunEtcd starts a server, with NewTestConfig's settings if there are none, and returns a client of it.
func RunEtcd(t testing.TB, cfg *embed.Config) *Client {
	t.Helper()
	if cfg == nil {
		cfg = NewTestConfig(t)
	}
	server := serve(t, cfg)
	client, err := clientv3.New(clientConfig(t, cfg))
	if err != nil {
		t.Fatal(err)
	}
	// Before it is wrapped, since a test counts its calls from then on.
	awaitAnswer(t, server, client)
	return wrap(client)
}

// serve starts a server that is stopped, and judged, when the test ends.
func serve(t testing.TB, cfg *embed.Config) *server {
	t.Helper()
	requireKnownSettings(t, cfg)
	server := start(t, commandOf(t, cfg))
	t.Cleanup(server.stop)
	server.await(cfg.ListenClientUrls[0].Host)
	return server
}

// clientConfig is for a client as the original makes it.
func clientConfig(t testing.TB, cfg *embed.Config) clientv3.Config {
	t.Helper()
	tls, err := cfg.ClientTLSInfo.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	return clientv3.Config{
		TLS:         tls,
		Endpoints:   []string{cfg.AdvertiseClientUrls[0].String()},
		DialTimeout: dialTimeout,
		Logger:      zaptest.NewLogger(t, zaptest.Level(zapcore.ErrorLevel)).Named("etcd-client"),
	}
}

// awaitAnswer returns when the server has answered a read.
func awaitAnswer(t testing.TB, server *server, client *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := client.Get(ctx, "no such key"); err != nil {
		server.fatal(fmt.Sprintf("the server does not answer: %v", err))
	}
}
