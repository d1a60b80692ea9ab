//go:build soak && linux

package harness_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/selftest"
)

var soakRuns = flag.Int("soak.runs", 50, "how often each kind of end is provoked")

// soakMark is on the command line of the processes that the tests leave running.
const soakMark = "left-by-the-soak"

// soaked has everything that makes an end difficult: hangs that are proved and hangs that are not, daemons, and tests
// still to run.
var soaked = map[string]string{
	"pyproject.toml": selftest.Tiny["pyproject.toml"] + `
[tool.pyo3test]
test-timeout = "2s"
workers = 2
`,
	"tests/test_tiny.py": `import subprocess, sys, threading, time, pytest

@pytest.mark.parametrize("n", range(20))
def test_some(n):
    time.sleep(0.02)

def test_sleeps():
    time.sleep(1000)

def test_deadlocked():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def test_leaves():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", "` + soakMark + `"], start_new_session=True)

def test_last():
    pass
`,
}

const soakedSummary = "24 of 24 tests: 22 passed, 2 hung, 1 of them leaky"

// TestSoak ends runs at random moments in every possible way, and checks that they leave nothing once the next run has
// begun.
func TestSoak(t *testing.T) {
	p := startPrivateEngine(t)
	p.load(t, thisHost(t))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("DOCKER_HOST", p.host())
	crate := selftest.WriteCrate(t, soaked)
	whole := func() {
		output, ok := p.run(t, crate, "", nil)
		require.False(t, ok)
		require.Contains(t, output, soakedSummary, output)
	}
	whole() // builds
	began := time.Now()
	whole()
	span := time.Since(began) * 11 / 10
	tree := listing(t, crate)
	objects := p.objects(t)
	var table []string
	for _, kind := range []struct {
		name string
		end  func(c *exec.Cmd)
	}{
		{"kill -9", func(c *exec.Cmd) { _ = c.Process.Kill() }},
		{"SIGINT", func(c *exec.Cmd) { _ = c.Process.Signal(os.Interrupt) }},
		{"SIGTERM", func(c *exec.Cmd) { _ = c.Process.Signal(syscall.SIGTERM) }},
		{"-timeout", nil},
		{"engine killed and started", func(*exec.Cmd) { p.kill(t); p.start(t) }},
	} {
		left, longest := 0, time.Duration(0)
		for i := range *soakRuns {
			at := time.Duration(rand.Int64N(int64(span)))
			words, took := p.soak(t, crate, at, kind.end)
			longest = max(longest, took)
			words = append(words, missing(tree, listing(t, crate))...)
			words = append(words, missing(objects, p.objects(t))...)
			if len(words) > 0 {
				left++
				t.Errorf("%s after %v: %s", kind.name, at, strings.Join(words, "; "))
			}
			if i%10 == 9 {
				whole()
			}
		}
		table = append(table, fmt.Sprintf("%-26s %4d runs  %d with something left  longest time to end %v", kind.name,
			*soakRuns, left, longest.Round(10*time.Millisecond)))
	}
	t.Log("\n" + strings.Join(table, "\n"))
}

// TestSoakMaking ends runs at random moments while the base image, the tools, the test environment and the extension are
// made, and runs again. What the dead run left is then gone, in the temporary folder too, and the tests pass.
func TestSoakMaking(t *testing.T) {
	p := startPrivateEngine(t)
	crate := selftest.WriteCrate(t, nil)
	temporary := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("TMPDIR", temporary)
	whole := func() {
		output, ok := p.run(t, crate, "", nil)
		require.True(t, ok, output)
		require.Empty(t, listing(t, temporary))
		require.Empty(t, p.containers(t))
		require.Empty(t, mounts(t, temporary))
		require.Empty(t, p.untagged(t))
	}
	began := time.Now()
	whole()
	span := time.Since(began)
	for range max(1, *soakRuns/10) {
		for name, end := range map[string]func(*exec.Cmd){
			"kill -9": func(c *exec.Cmd) { _ = c.Process.Kill() },
			"SIGTERM": func(c *exec.Cmd) { _ = c.Process.Signal(syscall.SIGTERM) },
			"engine":  func(*exec.Cmd) { p.kill(t); p.start(t) },
		} {
			p.empty(t)
			at := time.Duration(rand.Int64N(int64(span)))
			t.Logf("%s after %v of %v", name, at.Round(time.Second), span.Round(time.Second))
			c := exec.CommandContext(t.Context(), p.binary, "-test.v")
			c.Dir = "testdata/anycrate"
			c.Env = append(os.Environ(), "DOCKER_HOST="+p.host(), "SELFTEST_CRATE="+crate,
				"PYO3TEST_ARTIFACTS="+t.TempDir())
			require.NoError(t, c.Start())
			time.Sleep(at)
			end(c)
			if err := c.Wait(); !errors.As(err, new(*exec.ExitError)) {
				require.NoError(t, err)
			}
			whole()
		}
	}
}

// empty removes all images and volumes of the engine.
func (p *privateEngine) empty(t *testing.T) {
	images, err := p.cli.ImageList(t.Context(), image.ListOptions{})
	require.NoError(t, err)
	for _, each := range images {
		_, err := p.cli.ImageRemove(t.Context(), each.ID, image.RemoveOptions{Force: true, PruneChildren: true})
		if !cerrdefs.IsNotFound(err) { // it was removed with another
			require.NoError(t, err)
		}
	}
	volumes, err := p.cli.VolumeList(t.Context(), volume.ListOptions{})
	require.NoError(t, err)
	for _, each := range volumes.Volumes {
		require.NoError(t, p.cli.VolumeRemove(t.Context(), each.Name, true))
	}
}

// untagged returns the images without a name, which are left when their making is cut off.
func (p *privateEngine) untagged(t *testing.T) (found []string) {
	images, err := p.cli.ImageList(t.Context(),
		image.ListOptions{Filters: filters.NewArgs(filters.Arg("dangling", "true"))})
	require.NoError(t, err)
	for _, each := range images {
		found = append(found, each.ID)
	}
	return found
}

// mounts returns the mount points below a folder.
func mounts(t *testing.T, folder string) (found []string) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], folder+"/") {
			found = append(found, fields[4])
		}
	}
	return found
}

// soak runs the tests and ends them after a while. It returns what is left when the next run has begun, and how long
// the process took to end.
func (p *privateEngine) soak(t *testing.T, crate string, at time.Duration, end func(*exec.Cmd)) (left []string,
	took time.Duration) {
	folder := t.TempDir()
	args := []string{"-test.v"}
	if end == nil {
		args = append(args, "-test.timeout="+max(at, time.Millisecond).String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, p.binary, args...)
	c.Dir = "testdata/anycrate"
	c.Env = append(os.Environ(), "SELFTEST_CRATE="+crate, "PYO3TEST_ARTIFACTS="+t.TempDir(), "TMPDIR="+folder)
	require.NoError(t, c.Start())
	time.Sleep(at)
	since := time.Now()
	if end != nil {
		end(c)
	}
	if err := c.Wait(); !errors.As(err, new(*exec.ExitError)) {
		require.NoError(t, err)
	}
	took = time.Since(since)
	if ctx.Err() != nil {
		left = append(left, "the test process did not end")
	}

	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	defer e.Close()
	_, err = e.Sweep(t.Context()) // each run begins with it
	require.NoError(t, err)
	gone := func() bool { return len(p.containers(t)) == 0 && len(marked(t)) == 0 }
	for limit := time.Now().Add(30 * time.Second); !gone() && time.Now().Before(limit); {
		time.Sleep(50 * time.Millisecond)
	}
	for _, id := range p.containers(t) {
		left = append(left, "container "+id)
	}
	left = append(left, marked(t)...)
	return append(left, listing(t, folder)...), took
}

// marked returns the processes that the tests have left.
func marked(t *testing.T) (found []string) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), soakMark) {
			found = append(found, "process "+filepath.Base(filepath.Dir(file)))
		}
	}
	return found
}

// objects returns the engine's images and volumes.
func (p *privateEngine) objects(t *testing.T) (found []string) {
	images, err := p.cli.ImageList(t.Context(), image.ListOptions{All: true})
	require.NoError(t, err)
	for _, each := range images {
		found = append(found, "image "+each.ID)
	}
	volumes, err := p.cli.VolumeList(t.Context(), volume.ListOptions{})
	require.NoError(t, err)
	for _, each := range volumes.Volumes {
		found = append(found, "volume "+each.Name)
	}
	return found
}

// listing returns every file below a folder with its size and time.
func listing(t *testing.T, folder string) (found []string) {
	assert.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			found = append(found, fmt.Sprint("file ", path, " ", info.Size(), " ", info.ModTime()))
		}
		return err
	}))
	return found
}

// missing returns what exists now and did not before.
func missing(before, now []string) []string {
	return slices.DeleteFunc(now, func(each string) bool { return slices.Contains(before, each) })
}
