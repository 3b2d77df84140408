package testserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s-dqlite/tests/process"
)

const (
	// What a stop may take. A server with nothing left to do takes a few milliseconds.
	stopTimeout = 10 * time.Second
	// What a failed test prints of the log.
	shownLines = 100
	// scripts/kubernetes looks for it.
	faultOfServer = "fault of the server: "
	// The message with which the server's log says that a stop begins.
	stopBegins = "stopping, because of "
)

// A server is a process that runs. A test fails if k8s-dqlite ends by itself, stops with another exit code than 0, logs an
// ERROR at any time or a WARN after its stop began; with either program, if the stop takes longer than stopTimeout.
type server struct {
	*process.Process
	t   testing.TB
	log *logBuffer
}

// logBuffer keeps what a process writes while others look at it.
type logBuffer struct {
	mutex   sync.Mutex
	content bytes.Buffer
}

func (b *logBuffer) Write(part []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.content.Write(part)
}

func (b *logBuffer) lines() []string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return strings.FieldsFunc(b.content.String(), func(r rune) bool { return r == '\n' })
}

func start(t testing.TB, command *exec.Cmd) *server {
	t.Helper()
	log := new(logBuffer)
	command.Stdout, command.Stderr = log, log
	// Its output is not waited for once it has ended, even if a child of it holds on to it.
	command.WaitDelay = time.Second
	started, err := process.Start(command)
	if err != nil {
		t.Fatal(err)
	}
	return &server{Process: started, t: t, log: log}
}

// await returns when something listens on the address.
func (s *server) await(address string) {
	s.t.Helper()
	deadline := time.After(startTimeout)
	for {
		if connection, err := net.Dial("tcp", address); err == nil {
			connection.Close()
			return
		}
		select {
		case <-s.Ended:
			s.fatal(fmt.Sprintf("the server ended at its start: %v", s.Command.ProcessState))
		case <-deadline:
			s.fatal("the server took too long to start")
		case <-time.After(startPollInterval):
		}
	}
}

// stop ends the server as an operator would, and says what was wrong with its life.
func (s *server) stop() {
	s.t.Helper()
	if s.HasEnded() {
		s.complain(fmt.Sprintf("the server ended during the test: %v", s.Command.ProcessState))
		return
	}
	if err := s.End(syscall.SIGTERM, stopTimeout); err != nil {
		s.complain(fmt.Sprintf("the server did not stop: %v", err))
		return
	}
	// It ends itself by the signal, and warns of clients that are still there.
	if program() == "etcd" {
		return
	}
	if !s.Command.ProcessState.Success() {
		s.complain(fmt.Sprintf("the server did not stop cleanly: %v", s.Command.ProcessState))
	}
	if faults := faultsIn(s.log.lines()); len(faults) > 0 {
		s.complain("the server's log has what it must not have:\n" + strings.Join(faults, "\n"))
	}
}

// faultsIn returns the lines of a log that fail a test.
func faultsIn(lines []string) []string {
	var faults []string
	stopping := false
	for _, line := range lines {
		var entry struct{ Level, Message string }
		if json.Unmarshal([]byte(line), &entry) != nil {
			// Such as what a panic prints.
			faults = append(faults, line)
			continue
		}
		stopping = stopping || strings.HasPrefix(entry.Message, stopBegins)
		if entry.Level == "ERROR" || entry.Level == "WARN" && stopping {
			faults = append(faults, line)
		}
	}
	if !stopping {
		faults = append(faults, fmt.Sprintf("(no line that begins with %q)", stopBegins))
	}
	return faults
}

// complain fails the test and lets it go on.
func (s *server) complain(what string) {
	s.t.Helper()
	s.t.Errorf("%s%s\n%s", faultOfServer, what, s.endOfLog())
}

func (s *server) fatal(what string) {
	s.t.Helper()
	s.t.Fatalf("%s%s\n%s", faultOfServer, what, s.endOfLog())
}

func (s *server) endOfLog() string {
	lines := s.log.lines()
	return "the end of the server's log:\n" + strings.Join(lines[max(0, len(lines)-shownLines):], "\n")
}
