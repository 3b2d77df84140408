package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/tests/v3/framework/config"
	"go.etcd.io/etcd/tests/v3/framework/e2e"
	"go.etcd.io/etcd/tests/v3/framework/interfaces"
	"go.uber.org/zap"
)

const (
	// A stop hands over the leadership, and waits for connections.
	stopTimeout = 20 * time.Second
	askTimeout  = 2 * time.Second
	// Between two looks at something that is waited for.
	pollInterval = 20 * time.Millisecond

	// Below the range that Linux hands to outgoing connections, which would take a free port at any moment.
	firstPort = 20_000
	portCount = 12_000
)

// node is one member, which is etcd's interfaces.Member.
type node struct {
	settings settings
	name     string
	dir      string
	log      string
	// Where clients find it.
	url      string
	socket   string
	port     int
	peerPort int

	command     []string
	environment []string
	process     *exec.Cmd
	ended       chan struct{}
	// Exit codes of processes that have been stopped.
	codes []int
	// Size of the log when a test asked where the members are.
	logMark int64
}

func newNode(t testing.TB, s settings, index int) *node {
	t.Helper()
	home := t.TempDir()
	n := &node{
		settings: s, name: fmt.Sprintf("member-%d", index),
		dir: filepath.Join(home, "data"), log: filepath.Join(home, "log"),
		port: freePort(t), peerPort: freePort(t), environment: environmentOf(s),
	}
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	scheme := "http"
	if s.onUnixSocket {
		scheme = "unix"
		here, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		// Clients take what stands in the place of the host for a file in their directory.
		n.socket = filepath.Join(here, n.address())
	}
	if s.ClientTLS != config.NoTLS {
		scheme += "s"
	}
	n.url = scheme + "://" + n.address()
	return n
}

func (n *node) address() string { return localhost(n.port) }

func localhost(port int) string { return "localhost:" + strconv.Itoa(port) }
func loopback(port int) string  { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

var portsTaken atomic.Uint32

// freePort returns a port that nobody listens on, and no port twice until all have been returned.
func freePort(t testing.TB) int {
	t.Helper()
	for range portCount {
		// Test processes that run at the same time, or soon after each other, begin at different places.
		step := portsTaken.Add(1) + 7*uint32(os.Getpid())
		port := firstPort + int(step%portCount)
		listener, err := net.Listen("tcp", loopback(port))
		if err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatalf("no free port between %d and %d", firstPort, firstPort+portCount)
	return 0
}

// start returns when the process has begun.
func (n *node) start() error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	process := commandOf(n)
	process.Stdout, process.Stderr = log, log
	// It ends with this program, however that ends.
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		process.Wait()
		close(ended)
	}()
	n.process, n.ended = process, ended
	return nil
}

func (n *node) isRunning() bool {
	if n.process == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// stop sends the signal, waits until the process has ended, and notes how it did.
func (n *node) stop(by syscall.Signal) {
	if n.process == nil {
		return
	}
	n.process.Process.Signal(by)
	select {
	case <-n.ended:
	case <-time.After(stopTimeout):
		n.process.Process.Kill()
		<-n.ended
	}
	code := n.process.ProcessState.ExitCode()
	if status := n.process.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		code = 128 + int(status.Signal())
	}
	n.codes = append(n.codes, code)
	n.process = nil
}

// Start is for a test that has stopped the member.
func (n *node) Start(ctx context.Context) error {
	if err := n.start(); err != nil {
		return err
	}
	return n.waitUntilAnswers(ctx)
}

func (n *node) Stop() { n.stop(syscall.SIGTERM) }

func (n *node) Client() interfaces.Client {
	client, err := e2e.NewEtcdctl(n.settings.clientConfig(), []string{n.url})
	if err != nil {
		panic(err)
	}
	return client
}

// ask calls with a client of this member alone.
func (n *node) ask(ctx context.Context, call func(context.Context, *clientv3.Client) error) error {
	tls, err := n.settings.clientTLS()
	if err != nil {
		return err
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{n.url}, TLS: tls, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return call(ctx, client)
}

// waitUntil asks until there is no error any more, the process has ended, or the time is over.
func (n *node) waitUntil(ctx context.Context, what string, call func(context.Context, *clientv3.Client) error) error {
	for {
		err := n.ask(ctx, call)
		if err == nil {
			return nil
		}
		select {
		case <-n.ended:
			return fmt.Errorf("%s ended at its start: %v", n.name, n.process.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%s: %s: %w (%v)", n.name, what, ctx.Err(), err)
		case <-time.After(pollInterval):
		}
	}
}

// waitUntilAnswers waits for a linearizable read; a refusal for want of a user is an answer.
func (n *node) waitUntilAnswers(ctx context.Context) error {
	return n.waitUntil(ctx, "no answer", func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.Get(ctx, "answers")
		if errors.Is(err, rpctypes.ErrUserEmpty) {
			return nil
		}
		return err
	})
}
