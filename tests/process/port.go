package process

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
)

const (
	// Below the range that Linux hands to outgoing connections, which would take a free port at any moment.
	firstPort = 20_000
	portCount = 12_000
)

var portsTaken atomic.Uint32

// FreePort returns a port that nobody listens on, and no port twice until all have been returned.
func FreePort() (int, error) {
	for range portCount {
		// Test processes that run at the same time, or soon after each other, begin at different places.
		step := portsTaken.Add(1) + 7*uint32(os.Getpid())
		port := firstPort + int(step%portCount)
		listener, err := net.Listen("tcp", Loopback(port))
		if err == nil {
			listener.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, firstPort+portCount)
}

// Loopback returns the address of a port of this machine.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
