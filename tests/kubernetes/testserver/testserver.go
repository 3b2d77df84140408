// Package testserver takes the place of k8s.io/apiserver/pkg/storage/etcd3/testserver in Kubernetes' tests.
//
// The original serves them from an etcd inside the test process; this one starts a program for each test server, and
// judges how it behaved when the test is over: see process.go. What differs between Kubernetes' minors (the type of the client
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
	"net"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
)

const (
	// As long as the original waits for its etcd.
	startTimeout = 60 * time.Second
	// Between two looks at a server that starts.
	startPollInterval = 5 * time.Millisecond
	dialTimeout       = 10 * time.Second

	// Below the range that Linux hands to outgoing connections, which would take a free port at any moment.
	firstPort = 20_000
	portCount = 12_000
)

var portsTaken atomic.Uint32

// freePort returns a port that nobody listens on, and no port twice until all have been returned.
func freePort(t testing.TB) int {
	for range portCount {
		// Test processes that run at the same time begin at different places.
		step := portsTaken.Add(1) + uint32(os.Getpid())
		port := firstPort + int(step%portCount)
		listener, err := net.Listen("tcp", loopback(port))
		if err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatalf("no free port between %d and %d", firstPort, firstPort+portCount)
	return 0
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

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
func serve(t testing.TB, cfg *embed.Config) *process {
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
func awaitAnswer(t testing.TB, server *process, client *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := client.Get(ctx, "no such key"); err != nil {
		server.fatal(fmt.Sprintf("the server does not answer: %v", err))
	}
}
