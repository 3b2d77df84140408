package integration

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/testutil"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"k8s-dqlite/tests/etcd-cases/cluster"
)

// Server has those methods of etcd's own that a process can answer. The others skip the test.
type Server struct {
	t      testutil.TB
	member *Member
	node   *cluster.Node
	id     types.ID
	ended  <-chan struct{}
}

// MemberID is what the member's answers said when it started.
func (s *Server) MemberID() types.ID { return s.id }

// StopNotify is closed when the process has ended.
func (s *Server) StopNotify() <-chan struct{} { return s.ended }

// ReadyNotify is closed: a member is ready when it has been launched.
func (s *Server) ReadyNotify() <-chan struct{} {
	ready := make(chan struct{})
	close(ready)
	return ready
}

// Lead returns the leader that the member names, or 0.
func (s *Server) Lead() uint64 {
	if !s.node.IsRunning() {
		return 0
	}
	status, err := s.node.Status(context.Background())
	if err != nil {
		return 0
	}
	return status.Leader
}

// Leader is the same as Lead.
func (s *Server) Leader() types.ID { return types.ID(s.Lead()) }

// AppliedIndex is what the member says of itself.
func (s *Server) AppliedIndex() uint64 {
	status, err := s.node.Status(context.Background())
	if err != nil {
		return 0
	}
	return status.RaftAppliedIndex
}

// Alarm asks the member as a client does.
func (s *Server) Alarm(ctx context.Context, request *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	return ToGRPC(s.member.Client).Maintenance.Alarm(ctx, request)
}

// TryTransferLeadershipOnShutdown skips the test.
func (s *Server) TryTransferLeadershipOnShutdown() error {
	skipForInsides(s.t, "the handover of a stop, without the stop")
	return nil
}

// FirstCommitInTermNotify skips the test.
func (s *Server) FirstCommitInTermNotify() <-chan struct{} {
	skipForInsides(s.t, "a notification of the first commit in a term")
	return nil
}

// Backend skips the test.
func (s *Server) Backend() backend.Backend {
	skipForInsides(s.t, "its database")
	return nil
}

// CheckLeaderTransition waits until a member names another leader than the old one.
func CheckLeaderTransition(m *Member, old uint64) (leader uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	until(ctx, func() bool {
		leader = m.Server.Lead()
		return leader != 0 && leader != old
	})
	return leader
}
