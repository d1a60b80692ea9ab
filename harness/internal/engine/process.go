package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// callTimeout bounds one call of the engine, and one write to a process, which take milliseconds: a hanging engine must
// not block its users.
const callTimeout = time.Minute

// Command is a program to run in a container.
type Command struct {
	Argv []string
	User string   // "" is the container's user
	Env  []string // KEY=VALUE, added to the image's
	Dir  string
	// Terminal gives the program a terminal; then all its output is on Stdout.
	Terminal bool
}

// Process is a running command. Stdout and Stderr must be read until they end.
type Process struct {
	Stdin          io.WriteCloser
	Stdout, Stderr io.ReadCloser

	container *Container
	stream    types.HijackedResponse
	id        string
	ended     chan struct{}
	err       error
}

// Exec starts a command in the container. When ctx ends, this side of the streams is closed; the command itself can
// only be ended from inside the container, or with it.
func (c *Container) Exec(ctx context.Context, command Command) (*Process, error) {
	begin, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	created, err := c.engine.cli.ContainerExecCreate(begin, c.ID, container.ExecOptions{
		Cmd: command.Argv, User: command.User, Env: command.Env, WorkingDir: command.Dir,
		AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: command.Terminal,
	})
	if err != nil {
		return nil, fmt.Errorf("exec create: %w", err)
	}
	stream, err := c.engine.cli.ContainerExecAttach(begin, created.ID,
		container.ExecAttachOptions{Tty: command.Terminal})
	if err != nil {
		return nil, fmt.Errorf("exec attach: %w", err)
	}
	stdout, toStdout := io.Pipe()
	stderr, toStderr := io.Pipe()
	p := &Process{Stdin: stdin{&stream}, Stdout: stdout, Stderr: stderr, container: c, stream: stream, id: created.ID,
		ended: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { stream.Close() })
	go func() {
		defer close(p.ended)
		var err error
		if command.Terminal {
			_, err = io.Copy(toStdout, stream.Reader)
		} else {
			_, err = stdcopy.StdCopy(toStdout, toStderr, stream.Reader)
		}
		if stop(); ctx.Err() != nil {
			err = ctx.Err()
		}
		p.err = err
		stream.Close()
		toStdout.CloseWithError(err)
		toStderr.CloseWithError(err)
	}()
	return p, nil
}

// Wait waits for the end of the streams and returns the exit status. A lost stream or a vanished container is an error,
// not a status.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.ended:
	case <-ctx.Done():
		return -1, ctx.Err()
	}
	if p.err != nil {
		return -1, fmt.Errorf("exec stream: %w", p.err)
	}
	// The engine records the exit a moment after the streams end.
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		inspect, err := p.container.engine.cli.ContainerExecInspect(ctx, p.id)
		switch {
		case err != nil:
			return -1, fmt.Errorf("exec inspect: %w", err)
		case !inspect.Running && inspect.Pid == 0 && inspect.ExitCode == 0:
			return -1, errors.New("exec: never started")
		case !inspect.Running:
			return inspect.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return -1, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// lastWords bounds what is kept of a command's stderr, in bytes.
const lastWords = 64 << 10

// Read runs a command and passes its stdout to read. Any status but 0 is an error, with what the command said on stderr.
func (c *Container) Read(ctx context.Context, command Command, read func(stdout io.Reader) error) error {
	p, err := c.Exec(ctx, command)
	if err != nil {
		return err
	}
	defer p.Close()
	said := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(p.Stderr, lastWords)) // what there is of it
		said <- strings.TrimSpace(string(text))
		_, _ = io.Copy(io.Discard, p.Stderr)
	}()
	if err := read(p.Stdout); err != nil {
		return err
	}
	status, err := p.Wait(ctx)
	if err == nil && status != 0 {
		err = fmt.Errorf("status %d: %s", status, <-said)
	}
	return err
}

// Close closes the streams.
func (p *Process) Close() { p.stream.Close() }

type stdin struct{ stream *types.HijackedResponse }

func (s stdin) Write(data []byte) (int, error) {
	if err := s.stream.Conn.SetWriteDeadline(time.Now().Add(callTimeout)); err != nil {
		return 0, err
	}
	return s.stream.Conn.Write(data)
}

func (s stdin) Close() error { return s.stream.CloseWrite() }
