// Package process starts servers for tests in Go: a process that ends with the test, a port that is free, and the files of a
// node's first start. Modules beside this one use it by a replace directive.
package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A Process is a program that was started. It ends with the one that started it, however that ends.
type Process struct {
	Command *exec.Cmd
	// Closed when it has ended, and its output is written.
	Ended <-chan struct{}
}

// Start returns when the process has begun.
func Start(command *exec.Cmd) (*Process, error) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		command.Wait()
		close(ended)
	}()
	return &Process{Command: command, Ended: ended}, nil
}

// HasEnded tells whether the process has ended.
func (p *Process) HasEnded() bool {
	select {
	case <-p.Ended:
		return true
	default:
		return false
	}
}

// Signal sends a signal, unless the process has ended.
func (p *Process) Signal(signal syscall.Signal) error {
	if err := p.Command.Process.Signal(signal); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// End sends a signal, and returns when the process has ended. One that takes longer than the limit is killed, and an error.
func (p *Process) End(signal syscall.Signal, limit time.Duration) error {
	if err := p.Signal(signal); err != nil {
		return err
	}
	select {
	case <-p.Ended:
		return nil
	case <-time.After(limit):
		p.Signal(syscall.SIGKILL)
		select {
		case <-p.Ended:
		case <-time.After(limit):
		}
		return fmt.Errorf("it did not end within %v after %v", limit, signal)
	}
}

// ExitCode returns a shell's code of a process that has ended: 128 and the signal, if one ended it.
func (p *Process) ExitCode() int {
	if status := p.Command.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.Command.ProcessState.ExitCode()
}
