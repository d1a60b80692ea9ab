package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/prereq"
)

// TestShell: --shell opens a shell in the container of a failed test, with what the test left there. It keeps no other
// run waiting.
func TestShell(t *testing.T) {
	prereq.Engine(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // with slots of its own
	t.Setenv("GOMAXPROCS", "1")             // of which there is one
	crate := modern(t, map[string]string{"tests/test_red.py": `def test_red():
    open('/tmp/left', 'w').write('behind')
    assert 0
`})
	c := exec.Command(built(t), "run", "--shell", crate+"/tests/test_red.py")
	c.Env = append(os.Environ(), "PYO3TEST_ARTIFACTS="+t.TempDir(), "TERM=xterm")
	terminal, err := pty.StartWithSize(c, &pty.Winsize{Rows: 40, Cols: 200})
	require.NoError(t, err)
	defer terminal.Close()
	var seen bytes.Buffer
	for buffer, typed := make([]byte, 4096), false; ; {
		n, err := terminal.Read(buffer)
		seen.Write(buffer[:n])
		if !typed && strings.Contains(seen.String(), "pyo3test-modern:") { // its prompt
			typed = true
			other := exec.Command(built(t), "run", crate+"/tests/test_functions.py", "--", "-k", "add_names")
			output, failed := other.CombinedOutput()
			require.NoError(t, failed, string(output))
			require.NotContains(t, string(output), "waiting for")
			_, err = io.WriteString(terminal,
				"echo left $(cat /tmp/left), $(pytest --version 2>&1 | cut -c 1-8) in $PWD\nexit\n")
		}
		if err != nil {
			break
		}
	}
	_ = c.Wait()
	require.Equal(t, exitFailed, c.ProcessState.ExitCode(), seen.String())
	require.Contains(t, seen.String(), "left behind, pytest 9 in /src\r\n")
	require.Contains(t, seen.String(), "\x1b[31;1m        FAIL\x1b[0m ")

	code, _, errs := call(t, "run", "--shell", crate)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "--shell: standard output is not a terminal")
}

// TestWaitForASlot: a run that waits for others says so, says for whom, and says it again when it is asked.
func TestWaitForASlot(t *testing.T) {
	prereq.Engine(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("GOMAXPROCS", "1")
	crate := modern(t, nil)
	release, err := cache.Slot(t.Context(), 1, "a long run", func(sentence string) { t.Fatal(sentence) })
	require.NoError(t, err)
	c := exec.Command(built(t), "run", crate+"/tests/test_functions.py")
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	seen, said := "", 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		seen += line + "\n"
		if !strings.Contains(line, "waiting for one of 1 slot, held by pid "+strconv.Itoa(os.Getpid())+" (a long run, ") {
			continue
		}
		if said++; said == 1 {
			require.NoError(t, c.Process.Signal(unix.SIGQUIT))
		} else {
			release()
		}
	}
	require.NoError(t, c.Wait(), seen)
	require.Equal(t, 2, said, seen)
}

// TestKeep: the container's final state is kept as an image, and no container of it keeps running.
func TestKeep(t *testing.T) {
	prereq.Engine(t)
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	crate := modern(t, map[string]string{"tests/test_leaves.py": "def test_leaves():\n    " +
		"open('/tmp/left', 'w').write('behind')\n"})
	code, out, errs := call(t, "run", "--keep", crate+"/tests/test_leaves.py")
	require.Equal(t, exitPassed, code, out+errs)
	_, words, found := strings.Cut(out, "docker run ")
	require.True(t, found, out)
	words, _, _ = strings.Cut(words, "\n")
	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	defer e.Close()
	fields := strings.Fields(words)
	name := fields[len(fields)-1]
	defer func() { require.NoError(t, e.RemoveImage(t.Context(), name)) }()
	if docker, err := exec.LookPath("docker"); err == nil {
		args := strings.Fields(strings.Replace(words, " -it ", " ", 1))
		output, err := exec.Command(docker,
			append(append([]string{"run"}, args...), "-c",
				"cat /tmp/left && python -c 'import modern' && pwd")...).CombinedOutput()
		require.NoError(t, err, string(output))
		require.Equal(t, "behind/src\n", string(output))
	}
	running, err := e.Containers(t.Context(), os.Getpid())
	require.NoError(t, err)
	require.Zero(t, running)
}

// TestDump: dump shows the stacks and the cause of another process's test without disturbing it.
func TestDump(t *testing.T) {
	prereq.Engine(t)
	crate := modern(t, map[string]string{"tests/test_waits.py": `import os, time

def wait_for_the_file():
    while not os.path.exists("/tmp/go_on"):
        time.sleep(0.1)

def test_waits():
    wait_for_the_file()
`})
	c := exec.Command(built(t), "run", "--isolation", "subprocess", crate+"/tests/test_waits.py")
	c.Env = append(os.Environ(), "PYO3TEST_ARTIFACTS="+t.TempDir())
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	require.NoError(t, c.Start())
	defer func() { _ = c.Process.Kill() }()
	seen := ""
	require.Eventually(t, func() bool {
		code, words, _ := call(t, "dump")
		require.Equal(t, exitPassed, code, words)
		seen = words
		return strings.Contains(words, "test_waits  "+crate+"/tests/test_waits.py:8")
	}, 5*time.Minute, time.Second/2, "no test was seen in time") // a build may come first
	require.Contains(t, seen, "pyo3test/pyo3test-modern  container ")
	require.Regexp(t, `(?m)^process \d+, tests/test_waits.py::test_waits$`, seen)
	require.Contains(t, seen, "wait_for_the_file  "+crate+"/tests/test_waits.py:5")

	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	defer e.Close()
	objects, err := e.Objects(t.Context())
	require.NoError(t, err)
	for _, o := range objects {
		if o.Kind == "container" && o.Labels["pyo3test.root"] == crate {
			var said bytes.Buffer
			require.NoError(t, image.Run(t.Context(), e.Container(o),
				engine.Command{Argv: []string{"touch", "/tmp/go_on"}}, nil, &said), said.String())
		}
	}
	require.NoError(t, c.Wait(), out.String())
	require.Contains(t, out.String(), "1 of 1 tests: 1 passed")
}
