package testserver

import (
	"testing"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// RunEtcd starts a server, with NewTestConfig's settings if there are none, and returns a client of it.
func RunEtcd(t testing.TB, cfg *embed.Config) *kubernetes.Client {
	t.Helper()
	if cfg == nil {
		cfg = NewTestConfig(t)
	}
	server := serve(t, cfg)
	client, err := kubernetes.New(clientConfig(t, cfg))
	if err != nil {
		t.Fatal(err)
	}
	awaitAnswer(t, server, client.Client)
	// Tests ask them what was read.
	client.KV = storagetesting.NewKVRecorder(client.KV)
	client.Kubernetes = storagetesting.NewKubernetesRecorder(client.Kubernetes)
	return client
}

func progressInterval(cfg *embed.Config) time.Duration { return cfg.WatchProgressNotifyInterval }
