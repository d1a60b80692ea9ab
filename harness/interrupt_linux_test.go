package harness_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/selftest"
)

// interrupted runs the tests of a crate in a separate process and calls meanwhile once the output contains words. It
// returns all output when the process has ended. It requires a red JUnit file from a process that failed.
func interrupted(t *testing.T, crate string, c *exec.Cmd, words string, meanwhile func()) string {
	t.Helper()
	seen, junit := &waiting{words: words, then: meanwhile}, greenJUnit(t)
	c.Env = append(os.Environ(), "SELFTEST_CRATE="+crate, "PYO3TEST_ARTIFACTS="+t.TempDir(), "PYO3TEST_JUNIT="+junit)
	c.Stdout, c.Stderr = seen, seen
	c.WaitDelay = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
	require.NoError(t, c.Start())
	_ = c.Wait()
	require.True(t, seen.then == nil, "never said %q:\n%s", words, &seen.text)
	if !c.ProcessState.Success() {
		requireRedJUnit(t, junit)
	}
	return seen.text.String()
}

const slow = `import pathlib, time

def test_first():
    pass

def test_slow():
    pathlib.Path('` + begun + `').touch()
    time.sleep(%s)

def test_last():
    pass
`

// begun is a file that the slow test writes: a test is reported as running before its setup, which can be slow on a
// loaded machine.
const begun = "/tmp/begun"

// waitForTest waits until the slow test itself runs, in any of our containers.
func waitForTest(t *testing.T) {
	t.Helper()
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	require.NoError(t, err)
	defer cli.Close()
	require.Eventually(t, func() bool {
		found, err := cli.ContainerList(t.Context(),
			container.ListOptions{Filters: filters.NewArgs(filters.Arg("label", engine.Label))})
		return err == nil && slices.ContainsFunc(found, func(c container.Summary) bool {
			_, err := cli.ContainerStatPath(t.Context(), c.ID, begun)
			return err == nil
		})
	}, time.Minute, 50*time.Millisecond)
}

// TestInterrupted checks that a signal, or the end of the process that started the tests, ends a run cleanly: the
// running test is named with its stack, at once and in its verdict, and nothing is left.
func TestInterrupted(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": strings.Replace(slow, "%s", "1000", 1)})
	binary := compiled(t, anycratePackage)
	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	defer e.Close()
	const running = "=== RUN   TestPython/tiny/tests/test_tiny.py/test_slow"
	inOrder := func(output, why string) {
		t.Helper()
		for _, want := range []string{
			"TestPython/tiny/tests/test_tiny.py/test_slow, running for ", ": " + why,
			"test_slow  " + crate + "/tests/test_tiny.py:8",
			"it was running when its group was ended", "1 test not run: " + why, "3 of 3 tests: 1 passed, 2 not run",
			"--- FAIL: TestPython",
		} {
			require.Contains(t, output, want)
		}
	}
	for _, number := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(number.String(), func(t *testing.T) {
			c := command(binary, "testdata/anycrate", "-test.v")
			output := interrupted(t, crate, c, running, func() {
				waitForTest(t)
				_ = c.Process.Signal(number)
			})
			inOrder(output, "interrupted by a signal: "+number.String())
			require.Zero(t, containersOf(t, t.Context(), e, c.Process.Pid))
		})
	}
	t.Run("killed", func(t *testing.T) {
		c := command(binary, "testdata/anycrate", "-test.v")
		interrupted(t, crate, c, running, func() { _ = c.Process.Kill() })
		require.Zero(t, containersOf(t, t.Context(), e, c.Process.Pid))
	})
	t.Run("parent gone", func(t *testing.T) {
		c := command("sh", "testdata/anycrate", "-c", `"$0" -test.v & echo "pid: $! ;"; sleep 1000 >/dev/null 2>&1`,
			binary)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		output := interrupted(t, crate, c, running, func() {
			waitForTest(t)
			_ = c.Process.Kill()
		})
		inOrder(output, "the process that started the tests is gone")
		_, after, _ := strings.Cut(output, "pid: ")
		number, _, _ := strings.Cut(after, " ;")
		pid, err := strconv.Atoi(number)
		require.NoError(t, err)
		require.Zero(t, containersOf(t, t.Context(), e, pid))
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	})
}

// TestDeadlinesStandStill checks that no deadline advances while a container is paused, or the test process stopped.
func TestDeadlinesStandStill(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{
		"tests/test_tiny.py": strings.Replace(slow, "%s", "3", 1), "pyproject.toml": selftest.Tiny["pyproject.toml"] + `
[tool.pyo3test]
test-timeout = "9s"
`,
	})
	binary := compiled(t, anycratePackage)
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	require.NoError(t, err)
	defer cli.Close()
	pause := func(c *exec.Cmd) (id string) {
		label := filters.NewArgs(filters.Arg("label", "pyo3test.pid="+strconv.Itoa(c.Process.Pid)))
		found, err := cli.ContainerList(t.Context(), container.ListOptions{Filters: label})
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.NoError(t, cli.ContainerPause(t.Context(), found[0].ID))
		return found[0].ID
	}
	const running = "=== RUN   TestPython/tiny/tests/test_tiny.py/test_slow"
	t.Run("paused and interrupted", func(t *testing.T) { // the end does not wait
		e, err := engine.Connect(t.Context())
		require.NoError(t, err)
		defer e.Close()
		c := command(binary, "testdata/anycrate", "-test.v")
		output := interrupted(t, crate, c, running, func() {
			pause(c)
			require.NoError(t, c.Process.Signal(syscall.SIGINT))
		})
		require.Contains(t, output, "interrupted by a signal: interrupt")
		require.Contains(t, output, "--- FAIL: TestPython")
		require.Zero(t, containersOf(t, t.Context(), e, c.Process.Pid))
	})
	const rest = 12 * time.Second // longer than the budget; the test plus three seconds until this is noticed is not
	for name, meanwhile := range map[string]func(*exec.Cmd){
		"paused": func(c *exec.Cmd) {
			id := pause(c)
			time.Sleep(rest)
			require.NoError(t, cli.ContainerUnpause(t.Context(), id))
		},
		"stopped": func(c *exec.Cmd) {
			require.NoError(t, c.Process.Signal(syscall.SIGSTOP))
			time.Sleep(rest)
			require.NoError(t, c.Process.Signal(syscall.SIGCONT))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := command(binary, "testdata/anycrate", "-test.v")
			output := interrupted(t, crate, c, running, func() { meanwhile(c) })
			require.Contains(t, output, "3 of 3 tests: 3 passed")
		})
	}
}

// TestStacksOnRequest checks that SIGQUIT shows where the running test is, and stops nothing.
func TestStacksOnRequest(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": strings.Replace(slow, "%s", "5", 1)})
	c := command(compiled(t, anycratePackage), "testdata/anycrate", "-test.v")
	output := interrupted(t, crate, c, "=== RUN   TestPython/tiny/tests/test_tiny.py/test_slow", func() {
		waitForTest(t)
		_ = c.Process.Signal(syscall.SIGQUIT)
	})
	for _, want := range []string{
		"TestPython/tiny/tests/test_tiny.py/test_slow, running for ", ": asked for",
		"test_slow  " + crate + "/tests/test_tiny.py:8",
		"3 of 3 tests: 3 passed", "--- PASS: TestPython",
	} {
		require.Contains(t, output, want)
	}
}
