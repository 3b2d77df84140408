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

// process is a server that runs. A test fails if k8s-dqlite ends by itself, stops with another exit code than 0, logs an
// ERROR at any time or a WARN after its stop began; with either program, if the stop takes longer than stopTimeout.
type process struct {
	t       testing.TB
	command *exec.Cmd
	log     *logBuffer
	// Closed when the process has ended and all of its output is in log.
	ended chan struct{}
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

func start(t testing.TB, command *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, command: command, log: new(logBuffer), ended: make(chan struct{})}
	command.Stdout, command.Stderr = p.log, p.log
	// Its output is not waited for once it has ended, even if a child of it holds on to it.
	command.WaitDelay = time.Second
	// A test process that a deadline or a panic ends leaves no server behind.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		command.Wait()
		close(p.ended)
	}()
	return p
}

// await returns when something listens on the address.
func (p *process) await(address string) {
	p.t.Helper()
	deadline := time.After(startTimeout)
	for {
		if connection, err := net.Dial("tcp", address); err == nil {
			connection.Close()
			return
		}
		select {
		case <-p.ended:
			p.fatal(fmt.Sprintf("the server ended at its start: %v", p.command.ProcessState))
		case <-deadline:
			p.fatal("the server took too long to start")
		case <-time.After(startPollInterval):
		}
	}
}

// stop ends the server as an operator would, and says what was wrong with its life.
func (p *process) stop() {
	p.t.Helper()
	select {
	case <-p.ended:
		p.complain(fmt.Sprintf("the server ended during the test: %v", p.command.ProcessState))
		return
	default:
	}
	p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.command.Process.Kill()
		<-p.ended
		p.complain(fmt.Sprintf("the server did not stop within %v", stopTimeout))
		return
	}
	// It ends itself by the signal, and warns of clients that are still there.
	if program() == "etcd" {
		return
	}
	if !p.command.ProcessState.Success() {
		p.complain(fmt.Sprintf("the server did not stop cleanly: %v", p.command.ProcessState))
	}
	if faults := faultsIn(p.log.lines()); len(faults) > 0 {
		p.complain("the server's log has what it must not have:\n" + strings.Join(faults, "\n"))
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
func (p *process) complain(what string) {
	p.t.Helper()
	p.t.Errorf("%s%s\n%s", faultOfServer, what, p.endOfLog())
}

func (p *process) fatal(what string) {
	p.t.Helper()
	p.t.Fatalf("%s%s\n%s", faultOfServer, what, p.endOfLog())
}

func (p *process) endOfLog() string {
	lines := p.log.lines()
	return "the end of the server's log:\n" + strings.Join(lines[max(0, len(lines)-shownLines):], "\n")
}
