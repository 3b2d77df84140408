package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/testutil"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	serverconfig "go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/tests/v3/framework/config"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"k8s-dqlite/tests/etcd-cases/cluster"
)

const (
	// How long a start, or the wait for a majority, may take on a busy machine.
	startTimeout = time.Minute
	// A member without the others opens its port, and answers nothing.
	openTimeout = 10 * time.Second
	// Two elections, which do not come to pass.
	lossTimeout   = 3 * time.Second
	metricTimeout = 5 * time.Second
)

// ElectionTicks is etcd's default time for a leader to be silent, in units of config.TickDuration.
var ElectionTicks = 100

// Member is one process.
type Member struct {
	// What tests change of it counts from the next launch on: QuotaBackendBytes, MaxRequestBytes, SnapshotCount,
	// CorruptCheckTime and ForceNewCluster.
	serverconfig.ServerConfig
	// ClientTLSInfo is for clients that are made from now on.
	ClientTLSInfo *transport.TLSInfo
	DialOptions   []grpc.DialOption

	Server *Server
	// GRPCURL is where clients find it: the bridge, if there is one.
	GRPCURL string
	// Client is of this member alone. ServerClient is for tests to keep another.
	Client, ServerClient *clientv3.Client

	ClientMaxCallSendMsgSize, ClientMaxCallRecvMsgSize int
	IsLearner, KeepDataDirTerminate                    bool

	t    testutil.TB
	node *cluster.Node
	// All members, itself among them.
	peers         []*cluster.Node
	hasBeenBegun  bool
	bridge        *bridge
	bridgeAddress string
}

// MemberConfig describes a member that is in no cluster.
type MemberConfig struct {
	Name      string
	UseBridge bool
}

// MustNewMember makes a member that is the only one.
func MustNewMember(t testutil.TB, c MemberConfig) *Member {
	t.Helper()
	m := newMember(t, &ClusterConfig{Size: 1, UseBridge: c.UseBridge}, 0)
	m.Name = c.Name
	m.peers = []*cluster.Node{m.node}
	return m
}

func newMember(t testutil.TB, c *ClusterConfig, index int) *Member {
	t.Helper()
	m := &Member{
		t: t, node: cluster.NewNode(t, c.settings(t), index), ClientTLSInfo: c.ClientTLS,
		ClientMaxCallSendMsgSize: c.ClientMaxCallSendMsgSize, ClientMaxCallRecvMsgSize: c.ClientMaxCallRecvMsgSize,
	}
	m.Name = fmt.Sprintf("m%d", index)
	m.DataDir = m.node.Dir
	m.Logger = zaptest.NewLogger(t).Named(m.Name)
	m.ClientURLs = types.MustNewURLs([]string{m.node.URL})
	m.PeerURLs = types.MustNewURLs([]string{m.node.PeerURL()})
	m.ElectionTicks = ElectionTicks
	m.TickMs = uint(config.TickDuration / time.Millisecond)
	m.QuotaBackendBytes = c.QuotaBackendBytes
	m.MaxRequestBytes = c.MaxRequestBytes
	m.SnapshotCount = c.SnapshotCount
	m.CorruptCheckTime = c.CorruptCheckTime
	m.GRPCURL = m.node.URL
	if c.UseBridge {
		m.bridgeAddress = fmt.Sprintf("127.0.0.1:%d", cluster.FreePort(t))
		_, port, _ := net.SplitHostPort(m.bridgeAddress)
		m.GRPCURL = fmt.Sprintf("%s://%s", m.ClientURLs[0].Scheme, net.JoinHostPort(m.ClientURLs[0].Hostname(), port))
	}
	t.Cleanup(func() { m.finish() })
	return m
}

// finish ends what a test has left, and fails it for what was wrong with the process.
func (m *Member) finish() {
	m.Close()
	for _, fault := range m.node.Faults() {
		m.t.Errorf("%s", fault)
	}
	if m.t.Failed() {
		m.t.Logf("%s", m.node.EndOfLog())
	}
}

// begin starts the process, and what its clients need.
func (m *Member) begin(joins bool) error {
	s := &m.node.Settings
	s.QuotaBackendBytes, s.MaxRequestBytes, s.SnapshotCount = m.QuotaBackendBytes, m.MaxRequestBytes, m.SnapshotCount
	s.CorruptCheckTime, s.ForceNewCluster = m.CorruptCheckTime, m.ForceNewCluster
	if m.ForceNewCluster && !cluster.IsEtcd() {
		m.t.Skip("k8s-dqlite begins a new cluster by a command of its own: recover")
	}
	if !m.hasBeenBegun {
		if err := m.node.Prepare(m.peers, joins); err != nil {
			return err
		}
		m.hasBeenBegun = true
	}
	if err := m.node.Begin(); err != nil {
		return err
	}
	id := types.ID(0)
	if m.Server != nil {
		id = m.Server.id
	}
	m.Server = &Server{t: m.t, member: m, node: m.node, id: id, ended: m.node.Ended()}
	if m.bridgeAddress != "" && m.bridge == nil {
		m.bridge = newBridge(m.t, m.bridgeAddress, m.node.Address())
	}
	if m.Client != nil {
		return nil
	}
	var err error
	m.Client, err = NewClientV3(m)
	return err
}

// learnID asks the member which it is.
func (m *Member) learnID(ctx context.Context) error {
	status, err := m.node.Status(ctx)
	if err == nil {
		m.Server.id = types.ID(status.Header.MemberId)
	}
	return err
}

// Launch starts a member that joins a cluster, or that is the only one, and returns when it answers.
func (m *Member) Launch() error {
	if m.peers == nil {
		m.t.Skip("needs etcd's insides: a second server with the settings of another")
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := m.begin(len(m.peers) > 1); err != nil {
		return err
	}
	return m.waitUntilItServes(ctx)
}

// waitUntilItServes waits for what a learner answers, too.
func (m *Member) waitUntilItServes(ctx context.Context) error {
	var last error
	if !until(ctx, func() bool { last = m.learnID(ctx); return last == nil || !m.node.IsRunning() }) || last != nil {
		return fmt.Errorf("%s does not answer: %v\n%s", m.Name, last, m.node.EndOfLog())
	}
	return nil
}

// Restart starts it once more, and waits until its port is open. Nothing more can be waited for while it has no majority.
func (m *Member) Restart(t testutil.TB) error {
	t.Helper()
	if err := m.begin(false); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	until(ctx, func() bool {
		connection, err := net.Dial("tcp", m.node.Address())
		if err == nil {
			connection.Close()
		}
		return err == nil || !m.node.IsRunning()
	})
	return nil
}

// Stop ends the process, which keeps its data. Its clients stay.
func (m *Member) Stop(testutil.TB) {
	m.closeBridge()
	m.node.Stop()
	if expectsLossAtOnce[topOf(m.t)] {
		ctx, cancel := context.WithTimeout(context.Background(), lossTimeout)
		defer cancel()
		cluster.WaitUntilLeaderIsLost(ctx, m.peers)
	}
}

// Terminate is a Stop for good.
func (m *Member) Terminate(t testutil.TB) { m.Stop(t) }

// Close ends the process as a test's end does.
func (m *Member) Close() {
	m.closeBridge()
	m.node.End()
}

func (m *Member) closeBridge() {
	if m.bridge != nil {
		m.bridge.Close()
		m.bridge = nil
	}
}

// Bridge is what stands between the member and its clients.
func (m *Member) Bridge() Bridge {
	if m.bridge == nil {
		panic("the cluster was made without bridges")
	}
	return m.bridge
}

// Pause stops the process where it is. In etcd only its links to the others are cut.
func (m *Member) Pause() { m.node.Pause() }

// Resume lets it go on.
func (m *Member) Resume() { m.node.Resume() }

// InjectPartition skips the test.
func (m *Member) InjectPartition(t testutil.TB, _ ...*Member) {
	t.Helper()
	skipForPartition(t)
}

// RecoverPartition is for the end of what InjectPartition does not begin.
func (m *Member) RecoverPartition(testutil.TB, ...*Member) {}

// Clone makes a member that cannot be launched.
func (m *Member) Clone(t testutil.TB) *Member {
	return &Member{ServerConfig: m.ServerConfig, t: t, node: m.node}
}

func (m *Member) ID() types.ID                 { return m.Server.MemberID() }
func (m *Member) URL() string                  { return m.ClientURLs[0].String() }
func (m *Member) StopNotify() <-chan struct{}  { return m.Server.StopNotify() }
func (m *Member) ReadyNotify() <-chan struct{} { return m.Server.ReadyNotify() }
func (m *Member) ElectionTimeout() time.Duration {
	return time.Duration(ElectionTicks) * config.TickDuration
}

// WaitOK waits until it knows a leader.
func (m *Member) WaitOK(t testutil.TB) {
	t.Helper()
	m.WaitStarted(t)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if !until(ctx, func() bool { return m.Server.Lead() != 0 }) {
		t.Fatalf("%s knows no leader", m.Name)
	}
}

// WaitStarted waits until it answers from what it has.
func (m *Member) WaitStarted(t testutil.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	answers := func() bool {
		ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
		defer cancel()
		_, err := m.Client.Get(ctx, "/", clientv3.WithSerializable())
		return err == nil
	}
	if !until(ctx, answers) {
		t.Fatalf("%s does not answer", m.Name)
	}
}

// Metric returns the value in the first line of /metrics that begins with a name, and has all labels.
func (m *Member) Metric(name string, labels ...string) (string, error) {
	client := http.Client{Timeout: metricTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(m.URL() + "/metrics")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(page)) {
		matches := strings.HasPrefix(line, name)
		for _, label := range labels {
			matches = matches && strings.Contains(line, label)
		}
		if fields := strings.Fields(line); matches && len(fields) > 1 {
			return fields[1], nil
		}
	}
	return "", nil
}
