package integration

import (
	"fmt"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"k8s-dqlite/tests/etcd-cases/cluster"
)

// What tests name, all of it etcd's own.
var (
	TestTLSInfo                  = cluster.ServerCertificates()
	TestTLSInfoIP                = certificates(".", "server-ip")
	TestTLSInfoExpired           = certificates("expired", "server")
	TestTLSInfoExpiredIP         = certificates("expired", "server-ip")
	TestTLSInfoWithSpecificUsage = func() transport.TLSInfo {
		info := certificates(".", "server-serverusage")
		info.ClientCertFile = cluster.Fixture("client-clientusage.crt")
		info.ClientKeyFile = cluster.Fixture("client-clientusage.key.insecure")
		return info
	}()

	DefaultTokenJWT = fmt.Sprintf("jwt,pub-key=%s,priv-key=%s,sign-method=RS256,ttl=2s",
		cluster.Fixture("server.crt"), cluster.Fixture("server.key.insecure"))
)

func certificates(dir, name string) transport.TLSInfo {
	return transport.TLSInfo{
		CertFile:       cluster.Fixture(filepath.Join(dir, name+".crt")),
		KeyFile:        cluster.Fixture(filepath.Join(dir, name+".key.insecure")),
		TrustedCAFile:  cluster.Fixture(filepath.Join(dir, "ca.crt")),
		ClientCertAuth: true,
	}
}
