package cluster

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/tests/v3/framework/config"
	"go.etcd.io/etcd/tests/v3/framework/e2e"
)

// Settings are what a test asks of its cluster. What is zero is the server's default.
type Settings struct {
	config.ClusterConfig
	// Clients reach the members over unix sockets.
	onUnixSocket bool
	environment  map[string]string

	// The others are of tests/integration alone.

	// Host is how clients name a member: localhost, unless certificates are for an address.
	Host string
	// Certificates and PeerCertificates are for ManualTLS, in the place of those in etcd's fixtures. k8s-dqlite has
	// certificates of its own between nodes.
	Certificates, PeerCertificates *transport.TLSInfo
	MaxTxnOps, MaxRequestBytes     uint
	ProgressNotifyInterval         time.Duration
	CorruptCheckTime               time.Duration
	MaxLearners                    int
	// KeepAliveMinTime is how often clients may ping. k8s-dqlite does not count pings.
	KeepAliveMinTime time.Duration
	// ForceNewCluster makes the members' first the only one.
	ForceNewCluster bool
	// CheapPasswords makes hashing them as fast as it may be.
	CheapPasswords bool
}

func settingsOf(c config.ClusterConfig) Settings {
	s := Settings{ClusterConfig: c}
	if extra, ok := c.ClusterContext.(*e2e.ClusterContext); ok && extra != nil {
		s.onUnixSocket = extra.UseUnix
		s.environment = extra.EnvVars
	}
	return s
}

// Fixture returns the path of one of etcd's certificates.
func Fixture(name string) string { return filepath.Join(os.Getenv("CASES_FIXTURES"), name) }

// ServerCertificates are those that etcd's own frameworks give to servers, and to clients.
func ServerCertificates() transport.TLSInfo {
	return transport.TLSInfo{
		CertFile: Fixture("server.crt"), KeyFile: Fixture("server.key.insecure"), TrustedCAFile: Fixture("ca.crt"),
		ClientCertAuth: true,
	}
}

func certificatesOr(own *transport.TLSInfo) transport.TLSInfo {
	if own != nil {
		return *own
	}
	return ServerCertificates()
}

// clientConfig is for etcdctl.
func (s Settings) clientConfig() e2e.ClientConfig {
	if s.ClientTLS == config.NoTLS {
		return e2e.ClientConfig{ConnectionType: e2e.ClientNonTLS}
	}
	return e2e.ClientConfig{ConnectionType: e2e.ClientTLS, AutoTLS: s.ClientTLS == config.AutoTLS}
}

// clientTLS is for this package's own questions.
func (s Settings) clientTLS() (*tls.Config, error) {
	switch s.ClientTLS {
	case config.NoTLS:
		return nil, nil
	case config.AutoTLS:
		// A certificate that the server made for itself: etcdctl does not verify it, either.
		return &tls.Config{InsecureSkipVerify: true}, nil
	default:
		return certificatesOr(s.Certificates).ClientConfig()
	}
}
