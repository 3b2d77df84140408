// Package integration stands in the place of etcd's tests/framework/integration, whose exported names it has as far as etcd's
// tests use them. There, a cluster is etcd servers inside of the test's process; here, its members are processes (package
// cluster). What reaches into a server skips its test.
package integration

import (
	"os"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/testutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap/zaptest"
)

const aloneAfterStart = "a member that answers clients after a start without a majority, which no process does"

// needsInsides are tests that reach into etcd by fields, or by what only a server inside of the test does, with what they need.
var needsInsides = map[string]string{
	"TestMaintenanceSnapshotFromServerClient":                     "a client inside of the server",
	"TestMaintenanceSnapshotErrorInflight":                        "etcd's database file",
	"TestMaintenanceSnapshotWithVersionErrorInflight":             "etcd's database file",
	"TestV3CorruptAlarm":                                          "etcd's database file",
	"TestV3CorruptAlarmWithLeaseCorrupted":                        "etcd's database file",
	"TestMoveLeader":                                              "the handover of a stop, without the stop",
	"TestTransferLeadershipWithLearner":                           "the handover of a stop, without the stop",
	"TestV3LeaseCheckpoint":                                       "how often it writes what is left of leases, and elections within 0.3 s",
	"TestV3LeaseFailover":                                         "a leader that is cut off from the others, and answers clients",
	"TestDetectKvOrderViolation":                                  aloneAfterStart,
	"TestDetectTxnOrderViolation":                                 aloneAfterStart,
	"TestUnresolvableOrderViolation":                              aloneAfterStart,
	"TestBalancerUnderServerStopInflightSerializableGetOnRestart": aloneAfterStart,
}

// expectsLossAtOnce are tests that give a leader without a majority less than half a second to know it. In etcd's own package it
// takes 0.1 s.
var expectsLossAtOnce = map[string]bool{
	"TestKVPutWithRequireLeader":               true,
	"TestV3LeaseKeepAliveForwardingCatchError": true,
}

// topOf is the name of the test that a part belongs to.
func topOf(t testutil.TB) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}

type testOptions struct {
	ignoresLeaks bool
	failpoint    bool
}

// TestOption changes BeforeTest.
type TestOption func(*testOptions)

// WithoutGoLeakDetection lets a test leave goroutines.
func WithoutGoLeakDetection() TestOption { return func(o *testOptions) { o.ignoresLeaks = true } }

// WithoutSkipInShort has no effect: no test is skipped for being long.
func WithoutSkipInShort() TestOption { return func(*testOptions) {} }

// WithFailpoint skips the test.
func WithFailpoint(string, string) TestOption { return func(o *testOptions) { o.failpoint = true } }

// SkipIfNoGoFail skips the test: programs that were built for use have no failpoints.
func SkipIfNoGoFail(t testutil.TB) {
	t.Helper()
	skipForInsides(t, "failpoints in the server")
}

func skipForInsides(t testutil.TB, what string) {
	t.Helper()
	t.Skip("needs etcd's insides: " + what)
}

// skipForPartition is for links between processes on one machine, which cannot be cut one by one.
func skipForPartition(t testutil.TB) {
	t.Helper()
	t.Skip("cuts links between members, which scripts/robustness does")
}

// BeforeTest lets a test run in a directory of its own, and fails it if it leaves goroutines.
func BeforeTest(t testutil.TB, options ...TestOption) {
	t.Helper()
	var chosen testOptions
	for _, option := range options {
		option(&chosen)
	}
	test := topOf(t)
	if what := needsInsides[test]; what != "" {
		skipForInsides(t, what)
	}
	if strings.Contains(test, "Partition") {
		skipForPartition(t)
	}
	if chosen.failpoint {
		SkipIfNoGoFail(t)
	}
	if !chosen.ignoresLeaks {
		testutil.RegisterLeakDetection(t)
	}
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chdir(before) })
	if err := os.Chdir(t.TempDir()); err != nil {
		t.Fatal(err)
	}
}

// NewClient makes a client that logs to the test.
func NewClient(t testutil.TB, c clientv3.Config) (*clientv3.Client, error) {
	if c.Logger == nil {
		c.Logger = zaptest.NewLogger(t).Named("client")
	}
	return clientv3.New(c)
}
