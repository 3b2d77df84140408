package cluster

import (
	"crypto/tls"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/tests/v3/framework/config"
	"go.etcd.io/etcd/tests/v3/framework/e2e"
)

// settings are what a test asks of its cluster.
type settings struct {
	config.ClusterConfig
	// Clients reach the members over unix sockets.
	onUnixSocket bool
	environment  map[string]string
}

func settingsOf(c config.ClusterConfig) settings {
	s := settings{ClusterConfig: c}
	if extra, ok := c.ClusterContext.(*e2e.ClusterContext); ok && extra != nil {
		s.onUnixSocket = extra.UseUnix
		s.environment = extra.EnvVars
	}
	return s
}

// clientConfig is for etcdctl.
func (s settings) clientConfig() e2e.ClientConfig {
	if s.ClientTLS == config.NoTLS {
		return e2e.ClientConfig{ConnectionType: e2e.ClientNonTLS}
	}
	return e2e.ClientConfig{ConnectionType: e2e.ClientTLS, AutoTLS: s.ClientTLS == config.AutoTLS}
}

// clientTLS is for this package's own questions.
func (s settings) clientTLS() (*tls.Config, error) {
	switch s.ClientTLS {
	case config.NoTLS:
		return nil, nil
	case config.AutoTLS:
		// A certificate that the server made for itself: etcdctl does not verify it, either.
		return &tls.Config{InsecureSkipVerify: true}, nil
	default:
		pair := transport.TLSInfo{CertFile: e2e.CertPath, KeyFile: e2e.PrivateKeyPath, TrustedCAFile: e2e.CaPath}
		return pair.ClientConfig()
	}
}
