package cluster

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/etcd/tests/v3/framework/config"
	"go.etcd.io/etcd/tests/v3/framework/e2e"
)

// A serverKind knows how one program is started.
type serverKind interface {
	// lacks returns why a cluster cannot be as a test wants it, or nothing.
	lacks(s settings) string
	// prepare puts what a first start needs into a node's empty directory.
	prepare(n *node, all []*node, s settings) error
	command(n *node, all []*node, s settings) []string
	// faults returns what is wrong with a log, and with the exit codes of processes that were asked to end.
	faults(log string, codes []int) []string
	// endedBy is the signal that ends the members when a test is over.
	endedBy() syscall.Signal
	// logsAuthority tells whether the log has the header :authority of each request.
	logsAuthority() bool
}

func kindOfServer(t testing.TB) serverKind {
	t.Helper()
	switch name := cmp.Or(os.Getenv("CASES_SERVER"), "k8s-dqlite"); name {
	case "k8s-dqlite":
		return k8sDqlite{binary: required(t, "K8S_DQLITE_BIN"), certs: required(t, "K8S_DQLITE_CERTS")}
	case "etcd":
		return etcd{binary: required(t, "ETCD_BIN")}
	default:
		t.Fatalf("CASES_SERVER is %q: say k8s-dqlite or etcd", name)
		return nil
	}
}

type k8sDqlite struct{ binary, certs string }

const (
	// Entries of the log between two snapshots of it: tuning.yaml takes no fewer.
	leastSnapshotThreshold, leastSnapshotTrailing = 384, 512
	// A leader that is silent for 0.75 to 1.5 s is lost with it; an etcd's, for 1 to 2 s.
	networkLatency = "50ms"
)

func (k8sDqlite) lacks(s settings) string {
	if strings.HasPrefix(s.AuthToken, "jwt,") && !strings.Contains(s.AuthToken, "priv-key=") {
		return "k8s-dqlite takes no JSON web tokens, which the test signs itself"
	}
	if s.onUnixSocket && s.ClientTLS != config.NoTLS {
		return "k8s-dqlite has no TLS on a unix socket"
	}
	return ""
}

func (k k8sDqlite) prepare(n *node, all []*node, s settings) error {
	init := fmt.Sprintf("Address: %s\n", loopback(n.peerPort))
	// The first begins the cluster, the others join it.
	if n != all[0] {
		init += "Cluster:\n"
		for _, other := range all {
			init += fmt.Sprintf("- %s\n", loopback(other.peerPort))
		}
	}
	tuning := fmt.Sprintf("network-latency: %s\n", networkLatency)
	if s.SnapshotCount != 0 {
		threshold := max(s.SnapshotCount, leastSnapshotThreshold)
		tuning += fmt.Sprintf("snapshot:\n  threshold: %d\n  trailing: %d\n",
			threshold, max(threshold, leastSnapshotTrailing))
	}
	files := map[string][]byte{"init.yaml": []byte(init), "tuning.yaml": []byte(tuning)}
	for _, name := range []string{"cluster.crt", "cluster.key"} {
		content, err := os.ReadFile(filepath.Join(k.certs, name))
		if err != nil {
			return err
		}
		files[name] = content
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(n.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (k k8sDqlite) command(n *node, _ []*node, s settings) []string {
	arguments := []string{
		k.binary,
		"--storage-dir=" + n.dir,
		"--listen=" + k.listenAddress(n, s),
		fmt.Sprintf("--enable-tls=%t", s.PeerTLS != config.NoTLS),
		// How fast a busy machine is, is no concern of these tests.
		"--warning-apply-duration=0",
	}
	if s.QuotaBackendBytes > 0 {
		arguments = append(arguments, fmt.Sprintf("--quota-backend-bytes=%d", s.QuotaBackendBytes))
	}
	// Where etcd would make JSON web tokens, it makes its own, which are good for as long.
	if _, lifetime, ok := strings.Cut(s.AuthToken, "ttl="); ok {
		arguments = append(arguments, "--auth-token-ttl="+strings.TrimSuffix(lifetime, "s"))
	}
	switch s.ClientTLS {
	case config.ManualTLS:
		arguments = append(arguments,
			"--cert-file="+e2e.CertPath, "--key-file="+e2e.PrivateKeyPath, "--trusted-ca-file="+e2e.CaPath)
	case config.AutoTLS:
		// It makes no certificates. This is like one: the clients do not verify it, and show none.
		arguments = append(arguments, "--cert-file="+e2e.CertPath, "--key-file="+e2e.PrivateKeyPath)
	}
	return arguments
}

func (k8sDqlite) listenAddress(n *node, s settings) string {
	if s.onUnixSocket {
		return "unix://" + n.socket
	}
	if s.ClientTLS != config.NoTLS {
		return "https://" + n.address()
	}
	return "tcp://" + n.address()
}

func (k8sDqlite) faults(log string, codes []int) (faults []string) {
	// Such a node says so as an error, and ends with a code of its own.
	if strings.Contains(log, "this node was removed from the cluster") {
		return nil
	}
	for _, code := range codes {
		if code != 0 {
			faults = append(faults, fmt.Sprintf("stopped with exit code %d", code))
		}
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, " ERROR ") || strings.Contains(line, "panicked at") {
			faults = append(faults, "logged: "+strings.TrimSpace(line))
		}
	}
	return faults
}

func (k8sDqlite) endedBy() syscall.Signal { return syscall.SIGTERM }

func (k8sDqlite) logsAuthority() bool { return false }

type etcd struct{ binary string }

func (etcd) lacks(settings) string { return "" }

func (etcd) prepare(*node, []*node, settings) error { return nil }

func (e etcd) command(n *node, all []*node, s settings) []string {
	peerScheme := "http://"
	if s.PeerTLS != config.NoTLS {
		peerScheme = "https://"
	}
	var members []string
	for _, member := range all {
		members = append(members, fmt.Sprintf("%s=%s%s", member.name, peerScheme, localhost(member.peerPort)))
	}
	arguments := []string{
		e.binary,
		"--name=" + n.name,
		"--data-dir=" + n.dir,
		"--listen-client-urls=" + n.url,
		"--advertise-client-urls=" + n.url,
		"--listen-peer-urls=" + peerScheme + localhost(n.peerPort),
		"--initial-advertise-peer-urls=" + peerScheme + localhost(n.peerPort),
		"--initial-cluster=" + strings.Join(members, ","),
		fmt.Sprintf("--strict-reconfig-check=%t", s.StrictReconfigCheck),
	}
	if s.QuotaBackendBytes > 0 {
		arguments = append(arguments, fmt.Sprintf("--quota-backend-bytes=%d", s.QuotaBackendBytes))
	}
	if s.SnapshotCount > 0 {
		arguments = append(arguments, fmt.Sprintf("--snapshot-count=%d", s.SnapshotCount))
	}
	if s.AuthToken != "" {
		arguments = append(arguments, "--auth-token="+s.AuthToken)
	}
	arguments = append(arguments, tlsFlags("--", s.ClientTLS)...)
	return append(arguments, tlsFlags("--peer-", s.PeerTLS)...)
}

func tlsFlags(prefix string, kind config.TLSConfig) []string {
	switch kind {
	case config.ManualTLS:
		return []string{
			prefix + "cert-file=" + e2e.CertPath, prefix + "key-file=" + e2e.PrivateKeyPath, prefix + "trusted-ca-file=" + e2e.CaPath,
		}
	case config.AutoTLS:
		return []string{prefix + "auto-tls"}
	default:
		return nil
	}
}

// How an etcd ends is not judged here. When it is asked to, it takes some seconds to hand over to members that end as well.
func (etcd) faults(string, []int) []string { return nil }

func (etcd) endedBy() syscall.Signal { return syscall.SIGKILL }

func (etcd) logsAuthority() bool { return true }

// environmentOf adds a test's variables to those of this process.
func environmentOf(s settings) []string {
	all := os.Environ()
	for name, value := range s.environment {
		all = append(all, name+"="+value)
	}
	return all
}

func commandOf(n *node) *exec.Cmd {
	command := exec.Command(n.command[0], n.command[1:]...)
	command.Env = n.environment
	return command
}
