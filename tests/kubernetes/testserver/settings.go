package testserver

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s-dqlite/tests/process"
)

// Settings of a test that commandOf hands on, beside ClientTLSInfo.
var handedOn = map[string]bool{
	"Dir":                         true,
	"InitialCluster":              true,
	"UnsafeNoFsync":               true,
	"QuotaBackendBytes":           true,
	"MaxTxnOps":                   true,
	"MaxRequestBytes":             true,
	"WatchProgressNotifyInterval": true,
	"ExperimentalWatchProgressNotifyInterval": true,
}

// requireKnownSettings fails a test that sets something that the server would not hear of.
func requireKnownSettings(t testing.TB, cfg *embed.Config) {
	t.Helper()
	set, unset := reflect.ValueOf(*cfg), reflect.ValueOf(*embed.NewConfig())
	for i := range set.NumField() {
		field := set.Type().Field(i)
		if !field.IsExported() || handedOn[field.Name] {
			continue
		}
		switch field.Type.Kind() {
		// Others are the addresses and the logger, which every test has of its own.
		case reflect.Bool, reflect.String, reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64:
			if set.Field(i).Interface() != unset.Field(i).Interface() {
				t.Fatalf("tests/kubernetes/testserver does not hand on embed.Config.%s = %v", field.Name, set.Field(i))
			}
		}
	}
}

// commandOf returns how the program is started with a test's settings.
func commandOf(t testing.TB, cfg *embed.Config) *exec.Cmd {
	t.Helper()
	switch program() {
	case "etcd":
		return exec.Command(required(t, "ETCD_BIN"), append(etcdFlags(t, cfg), commonFlags(cfg)...)...)
	case "k8s-dqlite":
		layOut(t, cfg.Dir)
		return exec.Command(required(t, "K8S_DQLITE_BIN"), append(flags(cfg), commonFlags(cfg)...)...)
	default:
		t.Fatalf("TESTSERVER_PROGRAM is %q: say k8s-dqlite or etcd", program())
		return nil
	}
}

func program() string { return cmp.Or(os.Getenv("TESTSERVER_PROGRAM"), "k8s-dqlite") }

func required(t testing.TB, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set: start these tests with scripts/kubernetes", variable)
	}
	return value
}

// layOut puts what a first start needs into an empty directory.
func layOut(t testing.TB, dir string) {
	t.Helper()
	address := process.Loopback(freePort(t))
	if err := process.LayOut(dir, required(t, "K8S_DQLITE_CERTS"), address, nil); err != nil {
		t.Fatal(err)
	}
}

func flags(cfg *embed.Config) []string {
	return []string{
		"--storage-dir=" + cfg.Dir,
		"--listen=" + listenAddress(cfg),
		"--log-format=json",
		// How fast a busy machine is, is no concern of these tests.
		"--warning-apply-duration=0",
	}
}

func listenAddress(cfg *embed.Config) string {
	address := cfg.ListenClientUrls[0]
	if address.Scheme == "http" {
		address.Scheme = "tcp"
	}
	return address.String()
}

func etcdFlags(t testing.TB, cfg *embed.Config) []string {
	client, peer := cfg.ListenClientUrls[0].String(), cfg.ListenPeerUrls[0].String()
	return []string{
		"--name=" + cfg.Name,
		"--data-dir=" + cfg.Dir,
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=" + cfg.InitialCluster,
		fmt.Sprintf("--unsafe-no-fsync=%t", cfg.UnsafeNoFsync && !isBenchmark(t)),
		"--log-level=warn",
	}
}

// isBenchmark says whether the server is measured: then an etcd syncs its writes, as ours always does.
func isBenchmark(t testing.TB) bool {
	_, is := t.(*testing.B)
	return is
}

// commonFlags are those with one name and one meaning in both programs.
func commonFlags(cfg *embed.Config) []string {
	flags := []string{
		fmt.Sprintf("--quota-backend-bytes=%d", cfg.QuotaBackendBytes),
		fmt.Sprintf("--max-txn-ops=%d", cfg.MaxTxnOps),
		fmt.Sprintf("--max-request-bytes=%d", cfg.MaxRequestBytes),
	}
	if interval := progressInterval(cfg); interval != 0 {
		flags = append(flags, "--watch-progress-notify-interval="+interval.String())
	}
	tls := cfg.ClientTLSInfo
	for flag, file := range map[string]string{
		"--cert-file=":       tls.CertFile,
		"--key-file=":        tls.KeyFile,
		"--trusted-ca-file=": tls.TrustedCAFile,
	} {
		if file != "" {
			flags = append(flags, flag+file)
		}
	}
	if tls.ClientCertAuth {
		flags = append(flags, "--client-cert-auth")
	}
	return flags
}
