package integration

import (
	"cmp"
	"context"
	"math/rand"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/testutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
)

const (
	// ThroughProxy tells that clients do not speak with a proxy of etcd.
	ThroughProxy = false

	// RequestWaitTimeout is for a request, or for the loss of a leader to be seen.
	RequestWaitTimeout = 5 * time.Second
	// RequestTimeout is for a request that may meet an election.
	RequestTimeout = 20 * time.Second
	dialTimeout    = 5 * time.Second
	pollInterval   = 20 * time.Millisecond
)

// GRPCAPI has the services, without what a clientv3 does for its callers.
type GRPCAPI struct {
	Cluster     pb.ClusterClient
	KV          pb.KVClient
	Lease       pb.LeaseClient
	Watch       pb.WatchClient
	Maintenance pb.MaintenanceClient
	Auth        pb.AuthClient
	Lock        v3lockpb.LockClient
	Election    v3electionpb.ElectionClient
}

// ToGRPC uses a client's connection.
func ToGRPC(c *clientv3.Client) GRPCAPI {
	connection := c.ActiveConnection()
	return GRPCAPI{
		Cluster:     pb.NewClusterClient(connection),
		KV:          pb.NewKVClient(connection),
		Lease:       pb.NewLeaseClient(connection),
		Watch:       pb.NewWatchClient(connection),
		Maintenance: pb.NewMaintenanceClient(connection),
		Auth:        pb.NewAuthClient(connection),
		Lock:        v3lockpb.NewLockClient(connection),
		Election:    v3electionpb.NewElectionClient(connection),
	}
}

// NewClientV3 makes a client of one member.
func NewClientV3(m *Member) (*clientv3.Client, error) {
	c := clientv3.Config{
		Endpoints:          []string{m.GRPCURL},
		DialTimeout:        dialTimeout,
		DialOptions:        m.DialOptions,
		MaxCallSendMsgSize: m.ClientMaxCallSendMsgSize,
		MaxCallRecvMsgSize: m.ClientMaxCallRecvMsgSize,
		Logger:             m.Logger.Named("client"),
	}
	if m.ClientTLSInfo != nil {
		tls, err := m.ClientTLSInfo.ClientConfig()
		if err != nil {
			return nil, err
		}
		c.TLS = tls
	}
	return clientv3.New(c)
}

// WaitClientV3 waits for an answer.
func WaitClientV3(t testutil.TB, kv clientv3.KV) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), RequestTimeout)
	defer cancel()
	var last error
	until(ctx, func() bool {
		_, err := kv.Get(ctx, "/")
		last = cmp.Or(ctx.Err(), err)
		return err == nil
	})
	if last != nil {
		t.Fatalf("no answer: %v", last)
	}
}

// until tries until it is true, or the context ends.
func until(ctx context.Context, try func() bool) bool {
	for !try() {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pollInterval):
		}
	}
	return true
}

// MakeSingleNodeClients returns a maker of clients of the first member, which it appends.
func MakeSingleNodeClients(t testutil.TB, c *Cluster, clients *[]*clientv3.Client) func() *clientv3.Client {
	return makeClients(t, c, clients, func() int { return 0 })
}

// MakeMultiNodeClients returns a maker of clients of random members, which it appends.
func MakeMultiNodeClients(t testutil.TB, c *Cluster, clients *[]*clientv3.Client) func() *clientv3.Client {
	return makeClients(t, c, clients, func() int { return rand.Intn(len(c.Members)) })
}

func makeClients(t testutil.TB, c *Cluster, clients *[]*clientv3.Client, choose func() int) func() *clientv3.Client {
	var mu sync.Mutex
	*clients = nil
	return func() *clientv3.Client {
		client, err := NewClientV3(c.Members[choose()])
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		*clients = append(*clients, client)
		return client
	}
}

// CloseClients closes what the makers made.
func CloseClients(t testutil.TB, clients []*clientv3.Client) {
	for _, client := range clients {
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
