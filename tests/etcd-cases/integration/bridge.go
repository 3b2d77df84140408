package integration

import (
	"net"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/testutil"
)

// Bridge stands between a member and its clients.
type Bridge interface {
	Close()
	// DropConnections ends those that there are.
	DropConnections()
	// PauseConnections lets new ones wait.
	PauseConnections()
	UnpauseConnections()
	// Blackhole takes what comes, and passes nothing on.
	Blackhole()
	// Unblackhole ends what was lost in it, and passes on again.
	Unblackhole()
}

type bridge struct {
	address  string
	listener net.Listener
	closed   chan struct{}
	tasks    sync.WaitGroup

	mu    sync.Mutex
	pairs map[*pair]struct{}
	// Closed when new connections need not wait.
	open chan struct{}
	// Whether what is read goes nowhere.
	blackhole bool
}

// A pair is a client's connection, and the one to the member for it.
type pair struct{ client, member net.Conn }

func (p *pair) close() {
	p.client.Close()
	p.member.Close()
}

// newBridge listens, and connects each client with the address.
func newBridge(t testutil.TB, listen, address string) *bridge {
	t.Helper()
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	b := &bridge{
		address: address, listener: listener, closed: make(chan struct{}),
		pairs: map[*pair]struct{}{}, open: make(chan struct{}),
	}
	close(b.open)
	b.tasks.Go(b.run)
	return b
}

func (b *bridge) run() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		open := b.open
		b.mu.Unlock()
		select {
		case <-open:
		case <-b.closed:
			client.Close()
			return
		}
		member, err := net.Dial("tcp", b.address)
		if err != nil {
			// The member does not run: a client sees what it would see without the bridge, as nearly as may be.
			client.Close()
			continue
		}
		b.join(&pair{client, member})
	}
}

func (b *bridge) join(p *pair) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.closed:
		p.close()
		return
	default:
	}
	b.pairs[p] = struct{}{}
	var ways sync.WaitGroup
	for _, way := range [][2]net.Conn{{p.client, p.member}, {p.member, p.client}} {
		ways.Go(func() { b.pass(way[0], way[1], p) })
	}
	b.tasks.Go(func() {
		ways.Wait()
		b.mu.Lock()
		delete(b.pairs, p)
		b.mu.Unlock()
	})
}

// pass copies one way until an end is closed, which closes both.
func (b *bridge) pass(from, to net.Conn, p *pair) {
	defer p.close()
	buffer := make([]byte, 32<<10)
	for {
		// As in etcd's, what is waited for when the blackhole begins still passes.
		isLost := b.loses()
		count, err := from.Read(buffer)
		if count > 0 && !isLost {
			if _, err := to.Write(buffer[:count]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (b *bridge) loses() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.blackhole
}

func (b *bridge) Close() {
	b.mu.Lock()
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
	b.mu.Unlock()
	b.listener.Close()
	b.DropConnections()
	b.tasks.Wait()
}

func (b *bridge) DropConnections() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p := range b.pairs {
		p.close()
	}
}

func (b *bridge) PauseConnections() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = make(chan struct{})
}

func (b *bridge) UnpauseConnections() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.open:
	default:
		close(b.open)
	}
}

func (b *bridge) Blackhole() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blackhole = true
}

func (b *bridge) Unblackhole() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blackhole = false
	for p := range b.pairs {
		p.close()
	}
}
