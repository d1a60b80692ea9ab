//go:build bench && linux

package harness_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/selftest"
)

// forkedPair is the newest pair that pytest-forked works with.
const forkedPair = "pytest==9.1.1 pytest-forked==1.7.5"

// rounds is how often each measurement is taken; sides take turns, so that changes in the machine's load affect both.
const rounds = 9

// compare measures sides in turn and prints their medians with the range of their middle half, and how the first relates to
// the others. It returns the medians.
func compare(t *testing.T, unit string, goal string, n int, names []string, sides ...func() float64) []float64 {
	t.Helper()
	values := make([][]float64, len(sides))
	for range n {
		for i, side := range sides {
			values[i] = append(values[i], side())
		}
	}
	var medians []float64
	for i := range values {
		slices.Sort(values[i])
		medians = append(medians, values[i][n/2])
		t.Logf("%-60s %9.3f %s (%.3f to %.3f)", names[i], values[i][n/2], unit, values[i][n/4], values[i][n-1-n/4])
	}
	for i := range medians[1:] {
		t.Logf("against %-52s ratio %.2f, difference %+.3f %s; goal: %s", names[i+1], medians[0]/medians[i+1],
			medians[0]-medians[i+1], unit, goal)
	}
	return medians
}

func seconds(f func()) float64 {
	start := time.Now()
	f()
	return time.Since(start).Seconds()
}

// anycrate compiles testdata/anycrate's test binary and returns what runs it on a crate.
func anycrate(t *testing.T, crate, requirements string) func() {
	t.Helper()
	binary := compiled(t, anycratePackage)
	return func() {
		c := command(binary, "testdata/anycrate", "-test.v")
		c.Env = append(os.Environ(), "SELFTEST_CRATE="+crate, "SELFTEST_REQUIREMENTS="+requirements)
		output, err := c.CombinedOutput()
		require.NoError(t, err, string(output))
	}
}

// up returns a container that stays up, with a crate's build and sources in place as in a group.
func (h host) up(t *testing.T, suite harness.Suite) (*engine.Container, project.Tree) {
	t.Helper()
	tree, built := selftest.Prepared(t, suite)
	c, err := h.Start(t.Context(), engine.Spec{Image: built, Purpose: "test", User: layout.User, Confined: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Remove(context.WithoutCancel(t.Context()))) })
	require.NoError(t, c.UploadTar(t.Context(), "/", tree.Pack))
	inside(t, c, "test ! -d "+layout.Built+"/tree || cp -r "+layout.Built+"/tree/. "+layout.Sources)
	return c, tree
}

// inside runs a script in a container as docker exec would, and returns what it prints.
func inside(t *testing.T, c *engine.Container, script string, env ...string) string {
	t.Helper()
	for key, value := range extension.Environment(nil) {
		env = append(env, key+"="+value)
	}
	var output bytes.Buffer
	err := image.Run(t.Context(), c, engine.Command{Argv: []string{"bash", "-ec", script}, Env: env}, nil, &output)
	require.NoError(t, err, output.String())
	return output.String()
}

// TestBench measures what the README and issues promise: `make bench`. Only ratios within one run mean anything.
func TestBench(t *testing.T) {
	h := thisHost(t)
	t.Run("warm", h.benchWarm)
	t.Run("parts", h.benchParts)
	t.Run("native", h.benchNative)
	t.Run("fork runner", h.benchForkRunner)
	t.Run("edits", h.benchEdits)
	t.Run("groups", h.benchGroups)
	t.Run("fresh", h.benchFresh)
}

func (h host) benchWarm(t *testing.T) {
	crate := h.Fetch(t, selftest.Rpds)
	ours := anycrate(t, crate, forkedPair)
	ours()
	c, tree := h.up(t, harness.Suite{Crate: crate, Requirements: strings.Fields(forkedPair)})
	compare(t, "s", "at most 0.7 s more", rounds,
		[]string{"compiled test binary on rpds_py, nothing changed",
			"pytest --forked exec'ed in a container that is up"},
		func() float64 { return seconds(ours) },
		func() float64 {
			return seconds(func() { inside(t, c, "cd "+layout.Sources+"/"+tree.Crate+" && pytest --forked -q") })
		})
}

// benchParts measures what a run on rpds_py does besides pytest, piece by piece.
func (h host) benchParts(t *testing.T) {
	crate := h.Fetch(t, selftest.Rpds)
	anycrate(t, crate, forkedPair)()
	tree, built := selftest.Prepared(t, harness.Suite{Crate: crate, Requirements: strings.Fields(forkedPair)})
	var c *engine.Container
	pieces := []struct {
		name string
		run  func()
	}{
		{"hash the sources", func() {
			p, err := project.Read(crate)
			require.NoError(t, err)
			_, err = p.Collect(project.Selection{}, os.Open)
			require.NoError(t, err)
		}},
		{"find the engine", func() {
			e, err := engine.Connect(t.Context())
			require.NoError(t, err)
			require.NoError(t, e.Close())
		}},
		{"create and start", func() {
			var err error
			c, err = h.Start(t.Context(), engine.Spec{Image: built, Purpose: "test", User: layout.User, Confined: true})
			require.NoError(t, err)
		}},
		{"upload", func() { require.NoError(t, c.UploadTar(t.Context(), "/", tree.Pack)) }},
		{"exec", func() { inside(t, c, "true") }},
		{"start and end of the agent",
			func() { inside(t, c, ": | "+layout.Tools+"/python -I "+layout.Agent+"/agent.py") }},
		{"start of pytest and collection",
			func() { inside(t, c, "cd "+layout.Sources+"/"+tree.Crate+" && pytest -q --collect-only") }},
		{"the same again, rewritten tests kept",
			func() { inside(t, c, "cd "+layout.Sources+"/"+tree.Crate+" && pytest -q --collect-only") }},
		{"removal", func() { require.NoError(t, c.Remove(t.Context())) }},
	}
	values := make([][]float64, len(pieces))
	for range rounds {
		for i, piece := range pieces {
			values[i] = append(values[i], seconds(piece.run))
		}
	}
	for i, piece := range pieces {
		slices.Sort(values[i])
		t.Logf("%-60s %9.3f s (%.3f to %.3f)", piece.name, values[i][rounds/2], values[i][rounds/4],
			values[i][rounds-1-rounds/4])
	}
}

// benchNative compares with the manual workaround, on this host, in its own virtual environment.
func (h host) benchNative(t *testing.T) {
	if _, err := exec.LookPath("cargo"); err != nil {
		t.Skip("no cargo on this host")
	}
	crate := h.Fetch(t, selftest.Rpds)
	ours := anycrate(t, crate, forkedPair)
	ours()
	folder := t.TempDir()
	byHand := func(script string) {
		c := exec.Command("bash", "-ec", script)
		c.Dir = filepath.Join(folder, "crate")
		c.Env = append(os.Environ(), "VIRTUAL_ENV="+folder+"/venv", "PATH="+folder+"/venv/bin:"+os.Getenv("PATH"))
		output, err := c.CombinedOutput()
		require.NoError(t, err, string(output))
	}
	require.NoError(t, os.CopyFS(filepath.Join(folder, "crate"), os.DirFS(crate)))
	byHand("python3 -m venv " + folder + "/venv && pip install -q maturin " + forkedPair)
	workaround := func() { byHand("maturin develop --release && pytest --forked -q tests") }
	workaround()
	compare(t, "s", "ratio at most 0.7", rounds,
		[]string{"compiled test binary on rpds_py, nothing changed",
			"natively: maturin develop --release && pytest --forked"},
		func() float64 { return seconds(ours) }, func() float64 { return seconds(workaround) })
}

// quiet is our runner without events, to show what they cost: the plugin alone, with its order from a pipe.
const quiet = `import sys
sys.path.insert(0, "` + layout.Agent + `")
import launch
launch.disguise()
launch.preload()
from pyo3test_plugin.events import Events
Events.send_all = lambda self, *events: None
Events._write = lambda self, line: None
import pytest
sys.exit(pytest.main())
`

// bare is the least that running each test in its own child can cost: fork, pytest's protocol, exit. Nothing is
// reported, and no verdict is kept.
const bare = `import gc, os, sys
import pytest
from _pytest.runner import runtestprotocol

WORKERS = int(sys.argv.pop(1))

class Loop:
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        gc.collect()
        gc.freeze()
        running = 0
        for item in session.items:
            if running == WORKERS:
                os.wait()
                running -= 1
            if os.fork() == 0:
                runtestprotocol(item, log=False, nextitem=None)
                os._exit(0)
            running += 1
        for _ in range(running):
            os.wait()
        return True

sys.exit(pytest.main(["-p", "no:forked", "-q"], plugins=[Loop()]))
`

// benchForkRunner measures the runner against pytest-forked in one running container, and what events cost.
func (h host) benchForkRunner(t *testing.T) {
	const tests = 1000
	crate := selftest.WriteCrate(t, map[string]string{
		"pyproject.toml": selftest.Tiny["pyproject.toml"] + `
[tool.pyo3test]
requirements = ["pytest==9.1.1", "pytest-forked==1.7.5"]
`,
		"tests/test_tiny.py": fmt.Sprintf(`import pytest, tiny

@pytest.mark.parametrize('n', range(%d))
def test_n(n):
    assert tiny.answer() == 42
`, tests),
	})
	r := harnesstest.Record(t, harness.Suite{Crate: crate, Workers: 2})
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
	c, tree := h.up(t, harness.Suite{Crate: crate})
	where := layout.Sources + "/" + tree.Crate
	withAgent := func(workers int) func() {
		return func() {
			session, err := agent.Open(t.Context(), c)
			require.NoError(t, err)
			defer session.Close()
			require.NoError(t, session.Send(protocol.Start{
				Python: layout.Venv + "/bin/python", Dir: where,
				Env: extension.Environment(map[string]string{"HOME": "/tmp"}), Isolation: "forked", Workers: workers,
				Args: []string{"-q"}, Out: "/tmp/out", Imports: []protocol.Module{}, Outputs: []string{}, Compiled: []string{},
			}))
			order, finished := []int{}, 0
			for event := range session.Events() {
				switch event := event.(type) {
				case protocol.Item:
					order = append(order, event.Index)
				case protocol.Collected:
					require.NoError(t, session.Send(protocol.Run{Order: order}))
				case protocol.TestFinish:
					finished++
				case protocol.Error:
					require.Fail(t, event.Message)
				}
			}
			require.NoError(t, session.Err())
			require.Equal(t, tests, finished)
		}
	}
	forked := func() { inside(t, c, "cd "+where+" && pytest --forked -q --junitxml=/tmp/j.xml") }
	least := func(workers int) {
		inside(t, c, fmt.Sprintf("cd %s && cat >/tmp/bare.py <<'END'\n%sEND\npython /tmp/bare.py %d", where, bare,
			workers))
	}
	for workers, goal := range map[int]string{1: "ratio at most 0.7", 2: "ratio at most 0.4"} {
		compare(t, "s", goal, rounds,
			[]string{fmt.Sprintf("1,000 trivial tests, our runner, events on, %d workers", workers), "pytest-forked",
				"the least: fork, pytest's protocol, exit"},
			func() float64 { return seconds(withAgent(workers)) }, func() float64 { return seconds(forked) },
			func() float64 { return seconds(func() { least(workers) }) })
	}

	var order []string
	for i := range tests {
		order = append(order, strconv.Itoa(i))
	}
	withoutEvents := func() {
		script := "cd " + where + ` && mkdir -p /tmp/out && cat >/tmp/quiet.py <<'END'
` + quiet + `END
		exec 100>/dev/null 101< <(echo '{"run": [` + strings.Join(order, ",") + `]}'; exec sleep 600)
		export PYO3TEST_PLUGIN='{"events": 100, "control": 101, "isolation": "forked", "workers": 1, "out": "/tmp/out", "stacks": "", "stacks_signal": 0, "modules": []}'
		python /tmp/quiet.py -p no:forked -p pyo3test_plugin.hooks -q --junitxml=/tmp/out/junit.xml
		kill %1 $! 2>/dev/null || true`
		inside(t, c, script)
	}
	cpu := func(f func()) func() float64 {
		usage := func() float64 {
			text := strings.Fields(inside(t, c,
				"cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null || sed -n 's/usage_usec "+
					"\\(.*\\)/\\1000/p' /sys/fs/cgroup/cpu.stat"))
			number, err := strconv.ParseFloat(text[0], 64)
			require.NoError(t, err)
			return number / 1e6
		}
		return func() float64 {
			before := usage()
			f()
			return (usage() - before) / tests
		}
	}
	compare(t, "ms CPU a test", "difference at most 0.3", rounds,
		[]string{"our runner, events on, with the agent", "our runner alone"}, cpu(withAgent(1)), cpu(withoutEvents))
}

// benchEdits measures the time from one-line edits to their verdict, against the same by hand in a running container.
func (h host) benchEdits(t *testing.T) {
	crate := filepath.Join(filepath.Dir(selftest.WriteCrate(t, nil)), "modern")
	for _, part := range []string{"Cargo.toml", "Cargo.lock", "pyproject.toml", "src", "tests"} {
		require.NoError(t, exec.Command("mkdir", "-p", crate).Run())
		require.NoError(t, exec.Command("cp", "-r", filepath.Join(modernPackage, part), crate).Run())
	}
	ours := anycrate(t, crate, forkedPair)
	ours()
	p, err := project.Read(crate)
	require.NoError(t, err)
	tree, err := p.Collect(project.Selection{}, os.Open)
	require.NoError(t, err)
	c, err := image.StartBuilder(t.Context(), h.Engine, h.Network,
		engine.Spec{Image: h.Tools.Name, Purpose: "test", User: layout.User})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Remove(t.Context())) }()
	require.NoError(t, c.UploadTar(t.Context(), "/", tree.Pack))
	byHand := func(script string) { inside(t, c, "cd /src && "+script, h.Network.Env()...) }
	byHand("uv pip install -q --python /opt/venv/bin/python " + forkedPair)
	const develop = "maturin develop --uv --release && pytest --forked -q"
	byHand(develop)
	n := 0
	next := func() string { n++; return fmt.Sprint("\n// ", n, "\n") }
	appendHost := func(file, text string) {
		f, err := os.OpenFile(filepath.Join(crate, file), os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = io.WriteString(f, text)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	rust := func(i string) string { return "\npub fn edited_" + i + "() -> u32 {\n    " + i + "\n}\n" }
	compare(t, "s", "ratio at most 1.1", rounds,
		[]string{"one line of Python edited, to verdict", "by hand in a container that is up"},
		func() float64 {
			next()
			return seconds(func() { appendHost("tests/test_functions.py", fmt.Sprintf("\nEDIT = %d\n", n)); ours() })
		},
		func() float64 {
			return seconds(func() {
				byHand(fmt.Sprintf("echo 'EDIT = %d' >> "+
					"tests/test_functions.py && pytest --forked -q",
					n))
			})
		})
	compare(t, "s", "ratio at most 1.1", 5,
		[]string{"one line of Rust edited, to verdict", "by hand in a container that is up"},
		func() float64 {
			next()
			return seconds(func() { appendHost("src/functions.rs", rust(fmt.Sprint(n))); ours() })
		},
		func() float64 {
			return seconds(func() {
				byHand("cat >> src/functions.rs <<'END'\n" + rust(fmt.Sprint(n)) + "END\n" +
					develop)
			})
		})
}

// benchGroups compares four containers with one for the same tests.
func (h host) benchGroups(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(modernPackage, "tests/test_*.py"))
	require.NoError(t, err)
	busy := map[string]string{}
	for i := range 4 { // four seconds of work
		busy[fmt.Sprintf("tests/test_%d.py", i)] = `import time, pytest

@pytest.mark.parametrize('n', range(20))
def test_busy(n):
` +
			"    end = time.process_time() + 0.05\n    while time.process_time() < end: pass\n"
	}
	t.Run("little to do", func(t *testing.T) { benchGroupsOf(t, modernPackage, files) })
	crate := selftest.WriteCrate(t, busy)
	t.Run("four seconds of work", func(t *testing.T) { benchGroupsOf(t, crate, slices.Sorted(maps.Keys(busy))) })
}

func benchGroupsOf(t *testing.T, crate string, files []string) {
	groups := make([]harness.Group, 4)
	for i, file := range files {
		g := &groups[i%4]
		g.Name = fmt.Sprint("g", i%4)
		g.Tests = append(g.Tests, "tests/"+filepath.Base(file))
	}
	run := func(groups []harness.Group) func() float64 {
		return func() float64 {
			var r *harnesstest.Recorder
			took := seconds(func() { r = harnesstest.Record(t, harness.Suite{Crate: crate, Groups: groups}) })
			require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
			require.Contains(t, r.Text(), "unchanged: ")
			return took
		}
	}
	one := []harness.Group{{Name: "all"}}
	harnesstest.Record(t, harness.Suite{Crate: crate, Groups: one})
	compare(t, "s", "no slower", rounds, []string{"four groups", "one group"}, run(groups), run(one))
}

// benchFresh measures a first run with an empty engine and empty caches, against the same steps by hand.
func (h host) benchFresh(t *testing.T) {
	crate := h.Fetch(t, selftest.Rpds)
	empty := func(measured func(t *testing.T, p *privateEngine)) func() float64 {
		return func() (took float64) {
			t.Run("", func(t *testing.T) {
				p := startPrivateEngine(t)
				t.Setenv("XDG_CACHE_HOME", t.TempDir())
				t.Setenv("DOCKER_HOST", p.host())
				t.Setenv("SELFTEST_REQUIREMENTS", forkedPair)
				took = seconds(func() { measured(t, p) })
			})
			return took
		}
	}
	compare(t, "s", "ratio at most 1.15", 3,
		[]string{"nothing there, to the first verdicts of rpds_py",
			"by hand: pack the base, install, build, pytest --forked"},
		empty(func(t *testing.T, p *privateEngine) {
			output, ok := p.run(t, crate, "", nil)
			require.True(t, ok, output)
		}),
		empty(func(t *testing.T, p *privateEngine) {
			packed := exec.Command("bash", "../images/debian-base.sh")
			base, err := packed.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, packed.Start())
			e, err := engine.Connect(t.Context())
			require.NoError(t, err)
			defer e.Close()
			require.NoError(t, e.Import(t.Context(), "by-hand", base, nil))
			require.NoError(t, packed.Wait())
			c, err := image.StartBuilder(t.Context(), e, h.Network,
				engine.Spec{Image: "by-hand", Purpose: "test", User: "0:0"})
			require.NoError(t, err)
			defer func() { require.NoError(t, c.Remove(t.Context())) }()
			of, err := project.Read(crate)
			require.NoError(t, err)
			tree, err := of.Collect(project.Selection{}, os.Open)
			require.NoError(t, err)
			require.NoError(t, c.UploadTar(t.Context(), "/", tree.Pack))
			inside(t, c, "python3 -m venv /opt/venv && /opt/venv/bin/pip install -q maturin "+forkedPair+
				" && cd /src && "+
				"export PATH=/opt/venv/bin:$PATH && maturin develop -q --release && pytest --forked -q tests",
				h.Network.Env()...)
		}))
}
