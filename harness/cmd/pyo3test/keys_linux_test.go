package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/pkg/term/termios"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestQuestion: Ctrl-C at a question ends the command, and nothing is written.
func TestQuestion(t *testing.T) {
	crate := modern(t, nil)
	settings := filepath.Join(crate, "pyproject.toml")
	before, err := os.ReadFile(settings)
	require.NoError(t, err)
	c := exec.Command(built(t), "init", "--config", crate)
	terminal, err := pty.Start(c)
	require.NoError(t, err)
	defer terminal.Close()
	var seen bytes.Buffer
	for buffer := make([]byte, 4096); !strings.Contains(seen.String(), "write 1 file? [y/N] "); {
		n, err := terminal.Read(buffer)
		require.NoError(t, err, seen.String())
		seen.Write(buffer[:n])
	}
	_, err = io.WriteString(terminal, "\x03")
	require.NoError(t, err)
	rest, _ := io.ReadAll(terminal) // the end of a terminal is an error
	_ = c.Wait()
	require.Equal(t, exitSignal+int(unix.SIGINT), c.ProcessState.ExitCode())
	require.Contains(t, string(rest), "nothing was written")
	after, err := os.ReadFile(settings)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
}

// TestKeys: t in a terminal shows where the running test stands, and the terminal is given back as it was.
func TestKeys(t *testing.T) {
	crate := modern(t, map[string]string{"tests/test_slow.py": "import os, time\n\ndef test_slow():\n    while not os.path.exists('/tmp/enough'):\n        time.sleep(0.1)\n        if time.monotonic() - begun > 8:\n            return\n\nbegun = time.monotonic()\n"})
	terminal, tty, err := pty.Open()
	require.NoError(t, err)
	defer terminal.Close()
	require.NoError(t, pty.Setsize(tty, &pty.Winsize{Rows: 40, Cols: 200}))
	var before, after unix.Termios
	require.NoError(t, termios.Tcgetattr(tty.Fd(), &before))
	require.NotZero(t, before.Lflag&unix.ECHO)

	c := exec.Command(built(t), "run", crate+"/tests/test_slow.py")
	c.Env = append(os.Environ(), "TERM=xterm")
	c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
	c.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, c.Start())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Wait()
		_ = tty.Close()
	}()
	var seen bytes.Buffer
	for buffer, typed := make([]byte, 4096), false; ; {
		n, err := terminal.Read(buffer)
		seen.Write(buffer[:n])
		if !typed && strings.Contains(seen.String(), "1 running, 0 red; t: stacks") {
			typed = true
			require.NoError(t, termios.Tcgetattr(tty.Fd(), &after))
			require.Zero(t, after.Lflag&unix.ECHO)
			_, err = io.WriteString(terminal, "xt")
		}
		if strings.Contains(seen.String(), "1 passed") {
			break
		}
		require.NoError(t, err, seen.String())
	}
	require.NoError(t, <-ended, seen.String())
	require.NoError(t, termios.Tcgetattr(terminal.Fd(), &after))
	require.Equal(t, before, after)
	require.Regexp(t, `(?s)test_slow, running for [\d.]+m?s: asked for\r\n.*test_slow  `+crate+`/tests/test_slow.py:5\r\n.*1 of 1 tests: 1 passed`, seen.String())
}
