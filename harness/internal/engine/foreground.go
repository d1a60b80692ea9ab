package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/moby/term"
)

// Foreground runs a command in the container with this process's terminal, or with its standard streams if it has no
// terminal, and returns the exit status. go test gives a test binary no stdin, but Foreground still finds the terminal
// that go test was started from.
func (c *Container) Foreground(ctx context.Context, command Command) (status int, err error) {
	s, err := openStreams()
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, s.release()) }()
	command.Terminal = s.terminal
	p, err := c.Exec(ctx, command)
	if err != nil {
		return -1, err
	}
	defer p.Close()
	go func() { // ends with this process if nothing more is typed
		_, _ = io.Copy(p.Stdin, s.in)
		_ = p.Stdin.Close()
	}()
	if !s.terminal {
		go func() { _, _ = io.Copy(os.Stderr, p.Stderr) }()
	}
	resized, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.terminal {
		go p.followSize(resized, s.out.Fd())
	}
	if _, err := io.Copy(s.out, p.Stdout); err != nil {
		return -1, fmt.Errorf("exec stream: %w", err)
	}
	return p.Wait(ctx)
}

// streams holds the files that a user types to and reads from.
type streams struct {
	in, out  *os.File
	terminal bool
	release  func() error
}

func openStreams() (streams, error) {
	keep := func() error { return nil }
	in, out := os.Stdin, os.Stdout
	switch info, err := in.Stat(); {
	case term.IsTerminal(in.Fd()) && term.IsTerminal(out.Fd()):
	case err == nil && info.Mode()&os.ModeCharDevice == 0: // a pipe or a file
		return streams{in, out, false, keep}, nil
	default:
		tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if err != nil {
			return streams{in, out, false, keep}, nil
		}
		in, out, keep = tty, tty, tty.Close
	}
	// What the user types, including Ctrl-C, goes to the command's own terminal.
	before, err := term.SetRawTerminal(in.Fd())
	if err != nil {
		return streams{}, errors.Join(fmt.Errorf("terminal: %w", err), keep())
	}
	return streams{in, out, true,
		func() error { return errors.Join(term.RestoreTerminal(in.Fd(), before), keep()) }}, nil
}

// followSize keeps the command's terminal the size of the user's. It polls, because not every system signals a change.
func (p *Process) followSize(ctx context.Context, fd uintptr) {
	var last term.Winsize
	for {
		if size, err := term.GetWinsize(fd); err == nil && *size != last && size.Height > 0 {
			last = *size
			_ = p.container.engine.cli.ContainerExecResize(ctx, p.id,
				container.ResizeOptions{Height: uint(size.Height), Width: uint(size.Width)})
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second / 2):
		}
	}
}
