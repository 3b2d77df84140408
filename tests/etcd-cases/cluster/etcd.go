package cluster

import (
	"crypto/tls"
	"fmt"
	"strings"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/tests/v3/framework/config"
)

type etcd struct{ binary string }

func (etcd) lacks(Settings) string { return "" }

func (etcd) prepare(*Node, []*Node) error { return nil }

func (e etcd) command(n *Node, all []*Node) []string {
	s := n.Settings
	var members []string
	for _, member := range all {
		members = append(members, member.name+"="+member.PeerURL())
	}
	state := "new"
	if n.joins {
		state = "existing"
	}
	arguments := []string{
		e.binary,
		"--name=" + n.name,
		"--data-dir=" + n.Dir,
		"--listen-client-urls=" + n.URL,
		"--advertise-client-urls=" + n.URL,
		"--listen-peer-urls=" + n.PeerURL(),
		"--initial-advertise-peer-urls=" + n.PeerURL(),
		"--initial-cluster=" + strings.Join(members, ","),
		"--initial-cluster-state=" + state,
		fmt.Sprintf("--strict-reconfig-check=%t", s.StrictReconfigCheck),
	}
	add := func(wanted bool, flag string, value any) {
		if wanted {
			arguments = append(arguments, fmt.Sprintf("--%s=%v", flag, value))
		}
	}
	add(s.QuotaBackendBytes > 0, "quota-backend-bytes", s.QuotaBackendBytes)
	add(s.SnapshotCount > 0, "snapshot-count", s.SnapshotCount)
	add(s.AuthToken != "", "auth-token", s.AuthToken)
	add(s.MaxLearners > 0, "max-learners", s.MaxLearners)
	add(s.KeepAliveMinTime > 0, "grpc-keepalive-min-time", s.KeepAliveMinTime)
	add(s.CorruptCheckTime > 0, "corrupt-check-time", s.CorruptCheckTime)
	add(s.ForceNewCluster, "force-new-cluster", true)
	arguments = append(arguments, sharedFlags(s)...)
	arguments = append(arguments, tlsFlags("--", s.ClientTLS, certificatesOr(s.Certificates))...)
	if s.ClientTLS == config.ManualTLS {
		arguments = append(arguments, tlsVersionFlags(certificatesOr(s.Certificates))...)
		arguments = append(arguments, cipherSuites(certificatesOr(s.Certificates))...)
	}
	return append(arguments, tlsFlags("--peer-", s.PeerTLS, certificatesOr(s.PeerCertificates))...)
}

func tlsFlags(prefix string, kind config.TLSConfig, certificates transport.TLSInfo) (flags []string) {
	switch kind {
	case config.ManualTLS:
		flags = []string{
			prefix + "cert-file=" + certificates.CertFile, prefix + "key-file=" + certificates.KeyFile,
			prefix + "trusted-ca-file=" + certificates.TrustedCAFile,
		}
		if certificates.ClientCertFile != "" {
			flags = append(flags,
				prefix+"client-cert-file="+certificates.ClientCertFile, prefix+"client-key-file="+certificates.ClientKeyFile)
		}
	case config.AutoTLS:
		flags = []string{prefix + "auto-tls"}
	}
	return flags
}

func cipherSuites(certificates transport.TLSInfo) []string {
	var names []string
	for _, suite := range certificates.CipherSuites {
		names = append(names, tls.CipherSuiteName(suite))
	}
	if names == nil {
		return nil
	}
	return []string{"--cipher-suites=" + strings.Join(names, ",")}
}

func (etcd) voters(members int) int { return members }

// How an etcd ends is not judged here. When it is asked to, it takes some seconds to hand over to members that end as well.
func (etcd) faults(string, []int) []string { return nil }

func (etcd) endedBy() syscall.Signal { return syscall.SIGKILL }

func (etcd) logsAuthority() bool { return true }
