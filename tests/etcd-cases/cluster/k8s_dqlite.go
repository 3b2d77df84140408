package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.etcd.io/etcd/tests/v3/framework/config"
)

type k8sDqlite struct{ binary, certs string }

const (
	// Entries of the log between two snapshots of it: tuning.yaml takes no fewer.
	leastSnapshotThreshold, leastSnapshotTrailing = 384, 512
	// A leader that is silent for 0.75 to 1.5 s is lost with it; an etcd's, for 1 to 2 s.
	networkLatency = "50ms"
	defaultVoters  = 3
)

func (k8sDqlite) lacks(s Settings) string {
	switch {
	case s.onUnixSocket && s.ClientTLS != config.NoTLS:
		return "k8s-dqlite has no TLS on a unix socket"
	case s.Certificates != nil && len(s.Certificates.CipherSuites) > 0:
		return "k8s-dqlite has no choice of cipher suites"
	case s.CorruptCheckTime > 0:
		return "k8s-dqlite does not look for corruption"
	}
	return ""
}

func (k k8sDqlite) prepare(n *Node, all []*Node) error {
	init := fmt.Sprintf("Address: %s\n", loopback(n.peerPort))
	// The first begins the cluster, the others join it.
	if n.joins || n != all[0] {
		init += "Cluster:\n"
		for _, other := range all {
			init += fmt.Sprintf("- %s\n", loopback(other.peerPort))
		}
	}
	tuning := fmt.Sprintf("network-latency: %s\n", networkLatency)
	if n.Settings.SnapshotCount != 0 {
		threshold := max(n.Settings.SnapshotCount, leastSnapshotThreshold)
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
		if err := os.WriteFile(filepath.Join(n.Dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (k k8sDqlite) command(n *Node, _ []*Node) []string {
	s := n.Settings
	arguments := []string{
		k.binary,
		"--storage-dir=" + n.Dir,
		"--listen=" + k.listenAddress(n),
		fmt.Sprintf("--enable-tls=%t", s.PeerTLS != config.NoTLS),
		// How fast a busy machine is, is no concern of these tests.
		"--warning-apply-duration=0",
	}
	if voters := k.voters(s.ClusterSize); voters > defaultVoters {
		arguments = append(arguments, fmt.Sprintf("--voters=%d", voters))
	}
	if s.QuotaBackendBytes > 0 {
		arguments = append(arguments, fmt.Sprintf("--quota-backend-bytes=%d", s.QuotaBackendBytes))
	}
	if s.AuthToken != "" {
		arguments = append(arguments, "--auth-token="+s.AuthToken)
	}
	certificates := certificatesOr(s.Certificates)
	if s.ClientTLS != config.NoTLS {
		arguments = append(arguments, "--cert-file="+certificates.CertFile, "--key-file="+certificates.KeyFile)
	}
	// It makes no certificates. With AutoTLS this is like one: the clients do not verify it, and show none.
	if s.ClientTLS == config.ManualTLS {
		arguments = append(arguments, "--trusted-ca-file="+certificates.TrustedCAFile)
		arguments = append(arguments, tlsVersionFlags(certificates)...)
	}
	return append(arguments, sharedFlags(s)...)
}

func (k8sDqlite) listenAddress(n *Node) string {
	if n.Settings.onUnixSocket {
		return "unix://" + n.socket
	}
	if n.Settings.ClientTLS != config.NoTLS {
		return "https://" + n.address()
	}
	return "tcp://" + n.address()
}

// voters returns an odd number. Of two nodes one votes, and the other has a copy.
func (k8sDqlite) voters(members int) int { return (members - 1) | 1 }

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
