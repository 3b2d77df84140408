package cluster

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"os"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/testutil"
	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// A serverKind knows how one program is started.
type serverKind interface {
	// lacks returns why a cluster cannot be as a test wants it, or nothing.
	lacks(s Settings) string
	// prepare puts what a first start needs into a node's empty directory.
	prepare(n *Node, all []*Node) error
	command(n *Node, all []*Node) []string
	// voters returns how many of so many members vote.
	voters(members int) int
	// faults returns what is wrong with a log, and with the exit codes of processes that were asked to end.
	faults(log string, codes []int) []string
	// endedBy is the signal that ends the members when a test is over.
	endedBy() syscall.Signal
	// logsAuthority tells whether the log has the header :authority of each request.
	logsAuthority() bool
}

func kindOfServer(t testutil.TB) serverKind {
	t.Helper()
	if IsEtcd() {
		return etcd{binary: required(t, "ETCD_BIN")}
	}
	return k8sDqlite{binary: required(t, "K8S_DQLITE_BIN"), certs: required(t, "K8S_DQLITE_CERTS")}
}

// IsEtcd tells whether the members are etcds.
func IsEtcd() bool {
	switch name := cmp.Or(os.Getenv("CASES_SERVER"), "k8s-dqlite"); name {
	case "k8s-dqlite":
		return false
	case "etcd":
		return true
	default:
		panic("CASES_SERVER is " + name + ": say k8s-dqlite or etcd")
	}
}

func required(t testutil.TB, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set: start these tests with scripts/etcd-cases", variable)
	}
	return value
}

// sharedFlags are those that both programs have.
func sharedFlags(s Settings) (flags []string) {
	add := func(wanted bool, flag string, value any) {
		if wanted {
			flags = append(flags, fmt.Sprintf("--%s=%v", flag, value))
		}
	}
	add(s.MaxTxnOps > 0, "max-txn-ops", s.MaxTxnOps)
	add(s.MaxRequestBytes > 0, "max-request-bytes", s.MaxRequestBytes)
	add(s.ProgressNotifyInterval > 0, "watch-progress-notify-interval", s.ProgressNotifyInterval)
	add(s.CheapPasswords, "bcrypt-cost", 4)
	return flags
}

// tlsVersionFlags are those that both programs have, too.
func tlsVersionFlags(certificates transport.TLSInfo) (flags []string) {
	names := map[uint16]string{tls.VersionTLS12: "TLS1.2", tls.VersionTLS13: "TLS1.3"}
	if name := names[certificates.MinVersion]; name != "" {
		flags = append(flags, "--tls-min-version="+name)
	}
	if name := names[certificates.MaxVersion]; name != "" {
		flags = append(flags, "--tls-max-version="+name)
	}
	return flags
}

// environmentOf adds a test's variables to those of this process.
func environmentOf(s Settings) []string {
	all := os.Environ()
	for name, value := range s.environment {
		all = append(all, name+"="+value)
	}
	return all
}
