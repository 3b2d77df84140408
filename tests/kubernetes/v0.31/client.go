package testserver

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// RunEtcd starts a server, with NewTestConfig's settings if there are none, and returns a client of it.
func RunEtcd(t testing.TB, cfg *embed.Config) *clientv3.Client {
	t.Helper()
	if cfg == nil {
		cfg = NewTestConfig(t)
	}
	server := serve(t, cfg)
	client, err := clientv3.New(clientConfig(t, cfg))
	if err != nil {
		t.Fatal(err)
	}
	awaitAnswer(t, server, client)
	return client
}

func progressInterval(cfg *embed.Config) time.Duration {
	return cfg.ExperimentalWatchProgressNotifyInterval
}
