package testserver

import (
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
)

// Client is what RunEtcd returns. A minor whose tests want another one has a file of this name.
type Client = kubernetes.Client

func wrap(base *clientv3.Client) *Client {
	client := &kubernetes.Client{Client: base}
	record(client)
	return client
}

func progressInterval(cfg *embed.Config) time.Duration { return cfg.WatchProgressNotifyInterval }
