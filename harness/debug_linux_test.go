package harness_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/selftest"
)

const debugged = `import os, sys, pytest

@pytest.mark.timeout(1)
def test_stops():
    answer = 6 * 7
    breakpoint()
    assert answer == 42
    sys.stdout.write(f"a terminal: {os.isatty(0)}\n")

def test_other():
    pass
`

// TestDebug checks that one test runs in the foreground, with a usable debugger and without deadlines.
func TestDebug(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{
		"tests/test_tiny.py": debugged,
		"pyproject.toml": selftest.Tiny["pyproject.toml"] + `
[tool.pyo3test]
test-timeout = "1s"
[tool.pytest.ini_options]
addopts = "--forked --strict-markers"
`,
	})
	binary := compiled(t, anycratePackage)
	begin := func(args ...string) *exec.Cmd {
		c := command(binary, "testdata/anycrate", append([]string{"-test.v", "-test.timeout=10m"}, args...)...)
		c.Env = append(os.Environ(), "SELFTEST_CRATE="+crate, "PYO3TEST_DEBUG=1",
			"SELFTEST_REQUIREMENTS=pytest pytest-timeout", "PYO3TEST_ARTIFACTS="+t.TempDir())
		c.WaitDelay = time.Minute
		return c
	}
	const one = "-test.run=^TestPython$/^tiny$/^tests$/^test_tiny.py$/^test_stops$"
	// answer types a line each time the debugger asks, after three budgets have passed.
	answer := func(typed []string, out io.Reader, in io.Writer) string {
		var seen bytes.Buffer
		for buffer := make([]byte, 4096); ; {
			n, err := out.Read(buffer)
			seen.Write(buffer[:n])
			for len(typed) > 0 && strings.Contains(seen.String(), "(Pdb) ") {
				time.Sleep(3 * time.Second)
				_, err := io.WriteString(in, typed[0])
				require.NoError(t, err)
				typed = typed[1:]
			}
			if err != nil {
				return seen.String()
			}
		}
	}
	t.Run("pipe", func(t *testing.T) {
		c := begin(one)
		in, err := c.StdinPipe()
		require.NoError(t, err)
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		output := answer([]string{"p 'the answer', answer\nc\n"}, out, in)
		require.NoError(t, c.Wait(), output)
		for _, want := range []string{"go test ends this in ", "add -timeout 0", "('the answer', 42)",
			"a terminal: False", "1 passed", "--- PASS: TestPython/tiny/tests/test_tiny.py/test_stops"} {
			require.Contains(t, output, want)
		}
		require.NotContains(t, output, "test_other")
	})
	t.Run("terminal", func(t *testing.T) {
		for name, typed := range map[string][]string{"goes on": {"c\r"}, "is left": {"q\r"},
			"is interrupted": {"import time; time.sleep(1000)\r", "\x03", "q\r"}} {
			c := begin(one)
			terminal, err := pty.StartWithSize(c, &pty.Winsize{Rows: 40, Cols: 123})
			require.NoError(t, err, name)
			output := answer(typed, terminal, terminal)
			_ = terminal.Close()
			if err := c.Wait(); name == "goes on" {
				require.NoError(t, err, output)
				require.Contains(t, output, "a terminal: True")
				require.Contains(t, output, strings.Repeat("=", 40), "it is wide")
			} else {
				require.Error(t, err, output)
				require.Contains(t, output, "pytest ended with status 2")
			}
		}
	})
	t.Run("more than one", func(t *testing.T) {
		output, err := begin().CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(output), "to debug, choose exactly one test with -run: it picks 2 of 2 here")
	})
}
