package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/testutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/tests/v3/framework/config"
	"go.etcd.io/etcd/tests/v3/framework/e2e"
	"go.etcd.io/etcd/tests/v3/framework/interfaces"
	"go.uber.org/zap"
)

const (
	// A stop hands over the leadership, and waits for connections.
	stopTimeout = 20 * time.Second
	// Most are over after half of it.
	handoverTimeout = 2 * time.Second
	askTimeout      = 2 * time.Second
	// Between two looks at something that is waited for.
	pollInterval = 20 * time.Millisecond

	// Below the range that Linux hands to outgoing connections, which would take a free port at any moment.
	firstPort = 20_000
	portCount = 12_000
	// Between the first ports of two processes that follow each other: more than one test takes.
	portsApart = 617
)

// Node is one member, which is etcd's interfaces.Member.
type Node struct {
	// Settings may change while it does not run.
	Settings Settings
	// URL is where clients find it.
	URL string
	// Dir has its data.
	Dir string

	kind     serverKind
	name     string
	log      string
	socket   string
	port     int
	peerPort int

	// Those that are there at its first start, itself among them, and whether it joins them while they run.
	peers []*Node
	joins bool

	process *exec.Cmd
	ended   chan struct{}
	paused  bool
	// Exit codes of processes that have been stopped.
	codes []int
	// Size of the log when a test asked where the members are.
	logMark int64
}

// NewNode chooses where it will be. It skips the test if the server does not have what the test asks for.
func NewNode(t testutil.TB, s Settings, index int) *Node {
	t.Helper()
	kind := kindOfServer(t)
	if reason := kind.lacks(s); reason != "" {
		t.Skip(reason)
	}
	home := t.TempDir()
	n := &Node{
		Settings: s, kind: kind, name: fmt.Sprintf("member-%d", index),
		Dir: filepath.Join(home, "data"), log: filepath.Join(home, "log"),
		port: FreePort(t), peerPort: FreePort(t),
	}
	if err := os.Mkdir(n.Dir, 0o700); err != nil {
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
	n.URL = scheme + "://" + n.address()
	return n
}

// Prepare is for its first start: it begins a cluster with the others, or joins them.
func (n *Node) Prepare(peers []*Node, joins bool) error {
	n.peers, n.joins = peers, joins
	return n.kind.prepare(n, peers)
}

// PeerURL is where the other members find it.
func (n *Node) PeerURL() string {
	if n.Settings.PeerTLS != config.NoTLS {
		return "https://" + localhost(n.peerPort)
	}
	return "http://" + localhost(n.peerPort)
}

// Address is where it listens for clients.
func (n *Node) Address() string { return loopback(n.port) }

func (n *Node) address() string {
	return net.JoinHostPort(cmp.Or(n.Settings.Host, "localhost"), strconv.Itoa(n.port))
}

func localhost(port int) string { return "localhost:" + strconv.Itoa(port) }
func loopback(port int) string  { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

var portsTaken atomic.Uint32

// FreePort returns a port that nobody listens on, and no port twice until all have been returned.
func FreePort(t testutil.TB) int {
	t.Helper()
	for range portCount {
		// Test processes that run at the same time, or soon after each other, begin at different places.
		step := portsTaken.Add(1) + portsApart*uint32(os.Getpid())
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

// Begin returns when the process has begun.
func (n *Node) Begin() error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := n.kind.command(n, n.peers)
	process := exec.Command(command[0], command[1:]...)
	process.Env = environmentOf(n.Settings)
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
	n.process, n.ended, n.paused = process, ended, false
	return nil
}

// IsRunning tells whether it answers, as far as this package knows.
func (n *Node) IsRunning() bool {
	if n.process == nil || n.paused {
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
func (n *Node) stop(by syscall.Signal) {
	if n.process == nil {
		return
	}
	n.Resume()
	n.process.Process.Signal(by)
	if !n.endsWithin(stopTimeout) {
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

func (n *Node) endsWithin(limit time.Duration) bool {
	select {
	case <-n.ended:
		return true
	case <-time.After(limit):
		return false
	}
}

// Start is for a test that has stopped the member.
func (n *Node) Start(ctx context.Context) error {
	if err := n.Begin(); err != nil {
		return err
	}
	return n.waitUntilAnswers(ctx)
}

func (n *Node) Stop() { n.stop(syscall.SIGTERM) }

// End is a stop at the end of a test. One that still tries to hand over to others, which end as well, is asked a second time,
// and then how it ends is not judged.
func (n *Node) End() {
	if n.process == nil {
		return
	}
	n.Resume()
	n.process.Process.Signal(n.kind.endedBy())
	cutShort := !n.endsWithin(handoverTimeout)
	n.stop(n.kind.endedBy())
	if cutShort {
		n.codes = n.codes[:len(n.codes)-1]
	}
}

// Ended is closed when its process has ended.
func (n *Node) Ended() <-chan struct{} { return n.ended }

// Pause stops its process where it is, until Resume.
func (n *Node) Pause() { n.pause(true) }

func (n *Node) Resume() { n.pause(false) }

func (n *Node) pause(paused bool) {
	if n.process == nil || n.paused == paused {
		return
	}
	n.paused = paused
	if paused {
		n.process.Process.Signal(syscall.SIGSTOP)
	} else {
		n.process.Process.Signal(syscall.SIGCONT)
	}
}

// Faults returns what was wrong with it, so far as it has ended.
func (n *Node) Faults() (faults []string) {
	log, err := os.ReadFile(n.log)
	if err != nil {
		// It was never started.
		return nil
	}
	for _, fault := range n.kind.faults(string(log), n.codes) {
		faults = append(faults, faultOfServer+n.name+" "+fault)
	}
	return faults
}

// EndOfLog returns what a failed test prints of its log.
func (n *Node) EndOfLog() string {
	log, _ := os.ReadFile(n.log)
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return fmt.Sprintf("the end of the log of %s:\n%s", n.name, strings.Join(lines[max(0, len(lines)-shownLines):], "\n"))
}

func (n *Node) Client() interfaces.Client {
	client, err := e2e.NewEtcdctl(n.Settings.clientConfig(), []string{n.URL})
	if err != nil {
		panic(err)
	}
	return client
}

// Status asks this member.
func (n *Node) Status(ctx context.Context) (answer *clientv3.StatusResponse, err error) {
	err = n.ask(ctx, func(ctx context.Context, client *clientv3.Client) (err error) {
		answer, err = client.Status(ctx, n.URL)
		return err
	})
	return answer, err
}

// ask calls with a client of this member alone.
func (n *Node) ask(ctx context.Context, call func(context.Context, *clientv3.Client) error) error {
	tls, err := n.Settings.clientTLS()
	if err != nil {
		return err
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{n.URL}, TLS: tls, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return call(ctx, client)
}

// waitUntil asks until there is no error any more, the process has ended, or the time is over.
func (n *Node) waitUntil(ctx context.Context, what string, call func(context.Context, *clientv3.Client) error) error {
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
func (n *Node) waitUntilAnswers(ctx context.Context) error {
	return n.waitUntil(ctx, "no answer", func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.Get(ctx, "answers")
		if errors.Is(err, rpctypes.ErrUserEmpty) {
			return nil
		}
		return err
	})
}
