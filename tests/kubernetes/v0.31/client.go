package testserver

import (
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// Client is what RunEtcd returns.
type Client = clientv3.Client

func wrap(client *clientv3.Client) *Client { return client }

func progressInterval(cfg *embed.Config) time.Duration {
	return cfg.ExperimentalWatchProgressNotifyInterval
}
