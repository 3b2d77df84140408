package integration

import (
	"cmp"
	"context"
	"maps"
	"math/rand"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/testutil"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/tests/v3/framework/config"
	"google.golang.org/grpc"
	"k8s-dqlite/tests/etcd-cases/cluster"
)

// defaultProgressInterval is etcd's.
const defaultProgressInterval = 10 * time.Minute

// ClusterConfig is what tests ask for. What is not read here has no effect: how often etcd writes its database, and over
// which kind of sockets its clients come, which is always TCP here.
type ClusterConfig struct {
	Size               int
	PeerTLS, ClientTLS *transport.TLSInfo
	AuthToken          string

	QuotaBackendBytes          int64
	BackendBatchInterval       time.Duration
	MaxTxnOps, MaxRequestBytes uint
	SnapshotCount              uint64
	SnapshotCatchUpEntries     uint64

	GRPCKeepAliveMinTime        time.Duration
	GRPCKeepAliveInterval       time.Duration
	GRPCKeepAliveTimeout        time.Duration
	GRPCAdditionalServerOptions []grpc.ServerOption

	ClientMaxCallSendMsgSize, ClientMaxCallRecvMsgSize int

	UseIP, UseBridge, UseTCP bool

	EnableLeaseCheckpoint   bool
	LeaseCheckpointInterval time.Duration
	LeaseCheckpointPersist  bool

	WatchProgressNotifyInterval time.Duration
	MaxLearners                 int
	DisableStrictReconfigCheck  bool
	CorruptCheckTime            time.Duration
	Metrics                     string
}

func (c *ClusterConfig) settings(t testutil.TB) cluster.Settings {
	t.Helper()
	switch {
	case len(c.GRPCAdditionalServerOptions) > 0:
		skipForInsides(t, "options of its gRPC server")
	case c.LeaseCheckpointInterval > 0:
		skipForInsides(t, "how often it writes what is left of leases, which is no flag")
	}
	s := cluster.Settings{
		ClusterConfig: config.ClusterConfig{
			ClusterSize: c.Size, QuotaBackendBytes: c.QuotaBackendBytes, AuthToken: c.AuthToken,
			SnapshotCount: c.SnapshotCount, StrictReconfigCheck: !c.DisableStrictReconfigCheck,
		},
		Certificates: c.ClientTLS, PeerCertificates: c.PeerTLS,
		MaxTxnOps: c.MaxTxnOps, MaxRequestBytes: c.MaxRequestBytes, MaxLearners: c.MaxLearners,
		ProgressNotifyInterval: c.WatchProgressNotifyInterval, CorruptCheckTime: c.CorruptCheckTime,
		KeepAliveMinTime: c.GRPCKeepAliveMinTime, CheapPasswords: true,
	}
	// Tests change it for the etcd in their own process. What is read has up to a tenth more.
	if interval := v3rpc.GetProgressReportInterval().Truncate(time.Second); s.ProgressNotifyInterval == 0 &&
		interval < defaultProgressInterval {
		s.ProgressNotifyInterval = interval
	}
	if c.UseIP {
		s.Host = "127.0.0.1"
	}
	if c.PeerTLS != nil {
		s.PeerTLS = config.ManualTLS
	}
	if c.ClientTLS != nil {
		s.ClientTLS = config.ManualTLS
	}
	return s
}

// Cluster is a number of processes.
type Cluster struct {
	Cfg     *ClusterConfig
	Members []*Member

	made int
	mu   sync.Mutex
}

// NewCluster starts a cluster, and returns when each member answers and votes.
func NewCluster(t testutil.TB, c *ClusterConfig) *Cluster {
	t.Helper()
	clus := &Cluster{Cfg: c}
	for range c.Size {
		clus.Members = append(clus.Members, clus.MustNewMember(t))
	}
	clus.have(clus.Members)
	for _, m := range clus.Members {
		if err := m.begin(false); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := cluster.WaitUntilWell(ctx, nodesOf(clus.Members)); err != nil {
		t.Fatal(err)
	}
	for _, m := range clus.Members {
		if err := m.learnID(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return clus
}

// have makes these the members.
func (c *Cluster) have(members []*Member) {
	c.Members = members
	for _, m := range members {
		m.peers = nodesOf(members)
	}
}

func nodesOf(members []*Member) (nodes []*cluster.Node) {
	for _, m := range members {
		nodes = append(nodes, m.node)
	}
	return nodes
}

// MustNewMember makes a member that is not in the cluster.
func (c *Cluster) MustNewMember(t testutil.TB) *Member {
	t.Helper()
	m := newMember(t, c.Cfg, c.made)
	c.made++
	return m
}

// AddMember makes the cluster larger by one that votes, if k8s-dqlite lets it: its nodes join by themselves.
func (c *Cluster) AddMember(t testutil.TB) types.URLs {
	t.Helper()
	m := c.MustNewMember(t)
	if cluster.IsEtcd() {
		running := slices.IndexFunc(c.Members, func(m *Member) bool { return m.node.IsRunning() })
		if err := c.AddMemberByURL(t, c.Members[max(0, running)].Client, m.PeerURLs[0].String()); err != nil {
			t.Fatal(err)
		}
	}
	c.grow(t, m)
	return m.PeerURLs
}

// AddMemberByURL adds one that does not run.
func (c *Cluster) AddMemberByURL(t testutil.TB, client *clientv3.Client, peerURL string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), RequestTimeout)
	defer cancel()
	if _, err := client.MemberAdd(ctx, []string{peerURL}); err != nil {
		return err
	}
	c.WaitMembersMatch(t, append(c.ProtoMembers(), &pb.Member{PeerURLs: []string{peerURL}}))
	return nil
}

// AddAndLaunchLearnerMember makes the cluster larger by one that does not vote.
func (c *Cluster) AddAndLaunchLearnerMember(t testutil.TB) {
	t.Helper()
	m := c.MustNewMember(t)
	m.IsLearner = true
	if cluster.IsEtcd() {
		if _, err := c.Client(0).MemberAddAsLearner(context.Background(), m.PeerURLs.StringSlice()); err != nil {
			t.Fatal(err)
		}
	} else if c.Cfg.Size < 3 {
		t.Skip("the second and third node of a k8s-dqlite vote")
	}
	c.grow(t, m)
}

// grow launches a member that the others know, or let in.
func (c *Cluster) grow(t testutil.TB, m *Member) {
	t.Helper()
	c.have(append(c.Members, m))
	if err := m.Launch(); err != nil {
		t.Fatal(err)
	}
	c.WaitMembersMatch(t, c.ProtoMembers())
}

// InitializeMemberWithResponse puts a member that the others know into the cluster. The test launches it.
func (c *Cluster) InitializeMemberWithResponse(_ testutil.TB, m *Member, response *clientv3.MemberAddResponse) {
	m.IsLearner = response.Member.IsLearner
	c.have(append(c.Members, m))
}

// GetLearnerMembers asks the first member for those that do not vote.
func (c *Cluster) GetLearnerMembers() (learners []*pb.Member, err error) {
	list, err := c.Client(0).MemberList(context.Background())
	if err != nil {
		return nil, err
	}
	for _, m := range list.Members {
		if m.IsLearner {
			learners = append(learners, m)
		}
	}
	return learners, nil
}

// RemoveMember removes a member, and waits until its process has ended.
func (c *Cluster) RemoveMember(t testutil.TB, client *clientv3.Client, id uint64) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), RequestTimeout)
	defer cancel()
	if _, err := client.MemberRemove(ctx, id); err != nil {
		return err
	}
	var stay []*Member
	for _, m := range c.Members {
		if uint64(m.ID()) != id {
			stay = append(stay, m)
			continue
		}
		m.Client.Close()
		select {
		case <-m.StopNotify():
			m.Terminate(t)
		case <-ctx.Done():
			t.Fatalf("%s was removed, and does not end", m.Name)
		}
	}
	c.have(stay)
	c.WaitMembersMatch(t, c.ProtoMembers())
	return nil
}

// ProtoMembers are the members as MemberList has them, without ids.
func (c *Cluster) ProtoMembers() (list []*pb.Member) {
	for _, m := range c.Members {
		list = append(list, &pb.Member{
			Name: m.Name, PeerURLs: m.PeerURLs.StringSlice(), ClientURLs: m.ClientURLs.StringSlice(), IsLearner: m.IsLearner,
		})
	}
	return list
}

// WaitMembersMatch waits until all that run list these members. They are told apart by the ports on which the others find
// them: a k8s-dqlite's name is its address.
func (c *Cluster) WaitMembersMatch(t testutil.TB, expected []*pb.Member) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), RequestTimeout)
	defer cancel()
	for _, m := range c.Members {
		matches := func() bool {
			// A learner of etcd does not tell.
			if !m.node.IsRunning() || m.IsLearner && cluster.IsEtcd() {
				return true
			}
			list, err := ToGRPC(m.Client).Cluster.MemberList(ctx, &pb.MemberListRequest{})
			return err == nil && maps.Equal(peerPorts(list.Members), peerPorts(expected))
		}
		if !until(ctx, matches) {
			t.Fatalf("%s does not list %v", m.Name, expected)
		}
	}
}

func peerPorts(members []*pb.Member) map[string]bool {
	ports := map[string]bool{}
	for _, m := range members {
		for _, peer := range m.PeerURLs {
			if address, err := url.Parse(peer); err == nil {
				ports[cmp.Or(address.Port(), address.Host)] = true
			}
		}
	}
	return ports
}

// WaitLeader waits until all that run name a leader, which is one of them, and returns its index.
func (c *Cluster) WaitLeader(t testing.TB) int {
	t.Helper()
	return c.WaitMembersForLeader(t, c.Members)
}

// WaitMembersForLeader is WaitLeader for some of the members.
func (c *Cluster) WaitMembersForLeader(t testing.TB, members []*Member) (leader int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if !until(ctx, func() bool { leader = cluster.Leader(ctx, nodesOf(members)); return leader >= 0 }) {
		t.Fatal("no leader")
	}
	return leader
}

// WaitNoLeader waits until no member knows a leader.
func (c *Cluster) WaitNoLeader() { c.WaitMembersNoLeader(c.Members) }

// WaitMembersNoLeader is WaitNoLeader for some of the members.
func (c *Cluster) WaitMembersNoLeader(members []*Member) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	until(ctx, func() bool {
		return !slices.ContainsFunc(members, func(m *Member) bool { return m.Server.Lead() != 0 })
	})
}

// Terminate ends all.
func (c *Cluster) Terminate(testutil.TB) {
	for _, m := range c.Members {
		for _, client := range []*clientv3.Client{m.Client, m.ServerClient} {
			if client != nil {
				client.Close()
			}
		}
		m.closeBridge()
	}
	cluster.EndAll(nodesOf(c.Members))
}

// TakeClient leaves a member's client to the test.
func (c *Cluster) TakeClient(index int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Members[index].Client = nil
}

func (c *Cluster) Client(index int) *clientv3.Client { return c.Members[index].Client }

// RandClient is a client of any one member.
func (c *Cluster) RandClient() *clientv3.Client { return c.Client(rand.Intn(len(c.Members))) }

// NewClientV3 makes a client of one member.
func (c *Cluster) NewClientV3(index int) (*clientv3.Client, error) {
	return NewClientV3(c.Members[index])
}

// Endpoints are where clients find the members.
func (c *Cluster) Endpoints() (endpoints []string) {
	for _, m := range c.Members {
		endpoints = append(endpoints, m.GRPCURL)
	}
	return endpoints
}

// ClusterClient makes a client of all members, which the test's end closes.
func (c *Cluster) ClusterClient(t testing.TB, options ...config.ClientOption) (*clientv3.Client, error) {
	t.Helper()
	all := clientv3.Config{
		Endpoints: c.Endpoints(), DialTimeout: dialTimeout,
		MaxCallSendMsgSize: c.Cfg.ClientMaxCallSendMsgSize, MaxCallRecvMsgSize: c.Cfg.ClientMaxCallRecvMsgSize,
	}
	if c.Cfg.ClientTLS != nil {
		tls, err := c.Cfg.ClientTLS.ClientConfig()
		if err != nil {
			return nil, err
		}
		all.TLS = tls
	}
	for _, option := range options {
		option(&all)
	}
	client, err := clientv3.New(all)
	if err == nil {
		t.Cleanup(func() { client.Close() })
	}
	return client, err
}
