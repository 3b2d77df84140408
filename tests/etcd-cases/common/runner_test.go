package common

import (
	"time"

	"go.etcd.io/etcd/tests/v3/framework/config"
	"go.etcd.io/etcd/tests/v3/framework/e2e"
	"k8s-dqlite/tests/etcd-cases/cluster"
)

// What etcd's tests take from the file that is chosen by a build tag there; here this is the only one.

func init() {
	testRunner = cluster.Runner{}
	clusterTestCases = func() []testCase {
		return []testCase{
			{"NoTLS", config.ClusterConfig{ClusterSize: 1}},
			{"PeerTLS and ClientTLS", config.ClusterConfig{
				ClusterSize: 3, PeerTLS: config.ManualTLS, ClientTLS: config.ManualTLS,
			}},
			{"PeerAutoTLS and ClientAutoTLS", config.ClusterConfig{
				ClusterSize: 3, PeerTLS: config.AutoTLS, ClientTLS: config.AutoTLS,
			}},
		}
	}
}

// Clients are etcd's own: etcdctl, as etcd's end-to-end tests call it.

func WithAuth(user, password string) config.ClientOption        { return e2e.WithAuth(user, password) }
func WithAuthToken(token string) config.ClientOption            { return e2e.WithAuthToken(token) }
func WithEndpoints(endpoints []string) config.ClientOption      { return e2e.WithEndpoints(endpoints) }
func WithDialTimeout(timeout time.Duration) config.ClientOption { return e2e.WithDialTimeout(timeout) }
func WithHTTP2Debug() config.ClusterOption                      { return e2e.WithHTTP2Debug() }
func WithUnixClient() config.ClusterOption                      { return e2e.WithUnixClient() }
func WithTCPClient() config.ClusterOption                       { return e2e.WithTCPClient() }
