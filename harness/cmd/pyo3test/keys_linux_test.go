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

	"pyo3test/harness/internal/prereq"
)

// TestQuestion: Ctrl-C at a question ends the command without writing anything.
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
	rest, _ := io.ReadAll(terminal) // a terminal ends with an error
	_ = c.Wait()
	require.Equal(t, exitSignal+int(unix.SIGINT), c.ProcessState.ExitCode())
	require.Contains(t, string(rest), "nothing was written")
	after, err := os.ReadFile(settings)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
}

// TestKeys: t in a terminal shows the running test's stacks without stopping it, Ctrl-C works as usual, and the
// terminal's settings are restored.
func TestKeys(t *testing.T) {
	prereq.Engine(t)
	crate := modern(t, map[string]string{"tests/test_slow.py": `import time

def test_slow():
    time.sleep(1000)
`})
	terminal, tty, err := pty.Open()
	require.NoError(t, err)
	defer terminal.Close()
	require.NoError(t, pty.Setsize(tty, &pty.Winsize{Rows: 40, Cols: 200}))
	var before, after unix.Termios
	require.NoError(t, termios.Tcgetattr(tty.Fd(), &before))
	require.NotZero(t, before.Lflag&unix.ECHO)

	c := exec.Command(built(t), "run", crate+"/tests/test_slow.py")
	c.Env = append(os.Environ(), "TERM=xterm", "PYO3TEST_ARTIFACTS="+t.TempDir())
	c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
	c.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, c.Start())
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
		_ = tty.Close()
	}()
	seen := ""
	until := func(words string) {
		t.Helper()
		for buffer := make([]byte, 4096); !strings.Contains(seen, words); {
			n, err := terminal.Read(buffer)
			seen += string(buffer[:n])
			require.NoError(t, err, seen)
		}
	}
	until("1 running, 0 red; t: stacks")
	require.NoError(t, termios.Tcgetattr(terminal.Fd(), &after))
	require.Zero(t, after.Lflag&unix.ECHO)
	_, err = io.WriteString(terminal, "xt")
	require.NoError(t, err)
	until("test_slow  " + crate + "/tests/test_slow.py:4\r\n")
	require.Regexp(t, `test_slow, running for [\d.]+m?s: asked for\r\n`, seen)
	seen = ""
	until("1 running, 0 red; t: stacks")
	_, err = io.WriteString(terminal, "\x03")
	require.NoError(t, err)
	until("1 not run")
	<-ended
	require.Equal(t, exitSignal+int(unix.SIGINT), c.ProcessState.ExitCode())
	require.NoError(t, termios.Tcgetattr(terminal.Fd(), &after))
	require.Equal(t, before, after)
}
