package harness_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/repro"
	"pyo3test/harness/internal/selftest"
)

// planted is a credential that is wherever a run could pick one up.
const planted = "hunter2-of-a-bundle"

// suitesOwn is one that only the Suite has, and fromFile one that only a file has that is left out.
const (
	suitesOwn = "suite-5-own-secret"
	fromFile  = "file-7-own-secret"
)

// failing has a test that hangs, one that crashes, and one that is killed for its memory.
const failing = `import ctypes, os, threading
import tiny

def test_first():
    pass

def test_hangs():
    print("` + planted + `")
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def test_crashes():
    ctypes.string_at(0)

def test_eats():
    kept = []
    while True:
        kept.append(bytearray(10_000_000))
        kept[-1][::4096] = kept[-1][::4096]

def test_fails():
    assert tiny.answer() == 43
`

// again is the line that names a bundle.
var again = regexp.MustCompile(`\nto run it again with the same build: pyo3test repro (\S+\.pyo3test)\n$`)

// bundles runs a suite that is red, and returns the bundles that its tests name, by their node ids.
func bundles(t *testing.T, suite harness.Suite) map[string]string {
	t.Helper()
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	group, text := recordRed(t, suite)
	require.NotContains(t, text, "could not be written")
	found := map[string]string{}
	for _, test := range group.Subs() {
		if named := again.FindStringSubmatch(test.Text()); named != nil {
			found[test.Attrs()["pytest.nodeid"]] = named[1]
		}
		require.NotEqual(t, harnesstest.Passed, group.Outcome())
	}
	return found
}

func open(t *testing.T, file string) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Open(file)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// repeat prepares a bundle and runs its test.
func repeat(t *testing.T, e *engine.Engine, file string, o repro.Options) (repro.Result, []string) {
	t.Helper()
	most := repro.Limits{Memory: harness.DefaultMemory, Processes: harness.DefaultProcesses, Time: time.Hour}
	p, err := repro.Prepare(context.Background(), e, open(t, file), most, func(report.Event) {})
	require.NoError(t, err)
	result, err := p.Run(context.Background(), o)
	require.NoError(t, err)
	return result, p.Differences
}

// TestBundles: a test that hangs, crashes or is killed for its memory leaves a file that makes it do so again in the same
// place: here, and where its image is not, with the network for nothing but packages. A test that fails leaves none.
func TestBundles(t *testing.T) {
	t.Setenv("A_TOKEN", planted)
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": failing, ".env": "A_TOKEN=" + fromFile + "\n",
		"notes.txt": "the token is " + planted + "\n"})
	defer selftest.Edit(t, crate, map[string]string{".env": "", "notes.txt": ""})
	before := selftest.Snapshot(t, crate)
	suite := harness.Suite{Crate: crate, Memory: 256 << 20, Env: map[string]string{"A_PASSWORD": suitesOwn, "PLAIN": "value"}}
	files := bundles(t, suite)
	require.Len(t, files, 3)
	second := bundles(t, suite)
	require.Equal(t, before, selftest.Snapshot(t, crate))

	ctx := context.Background()
	e, err := engine.Connect(ctx)
	require.NoError(t, err)
	defer e.Close()
	for name, outcome := range map[string]string{"test_hangs": "hung", "test_crashes": "crashed", "test_eats": "killed for memory"} {
		nodeID := "tests/test_tiny.py::" + name
		b := open(t, files[nodeID])
		require.Equal(t, outcome, b.Test.Outcome)
		require.Equal(t, map[string]string{"PLAIN": "value"}, b.Run.Env)
		require.Subset(t, b.Withheld, []string{".env", "A_PASSWORD", "notes.txt"})
		require.Equal(t, "tests/test_tiny.py::test_first", b.Test.Before[0])
		for _, entry := range b.Entries {
			text, err := b.Read(entry.Name)
			require.NoError(t, err)
			for _, secret := range []string{planted, suitesOwn, fromFile} {
				require.NotContains(t, string(text), secret, entry.Name)
			}
		}
		// Another run has the same bundle, but for what it saw.
		other := open(t, second[nodeID])
		require.Equal(t, inputs(b), inputs(other))
		require.Equal(t, b.Test, other.Test)
		require.Equal(t, b.Build, other.Build)

		result, differences := repeat(t, e, files[nodeID], repro.Options{Runs: 2})
		seen := outcome != "killed for memory" // of which nothing is left to see
		require.Equal(t, []repro.Place{{Signature: b.Test.Signature, What: b.Test.What(), Same: seen, Runs: 2}}, result.Places)
		require.Equal(t, 2, result.Failed)
		require.Len(t, differences, 1, "what was withheld")
	}

	hangs := files["tests/test_tiny.py::test_hangs"]
	gone, ok, err := e.Image(ctx, open(t, hangs).Build.Image)
	require.NoError(t, err)
	require.True(t, ok)
	require.Empty(t, gone.Labels[engine.Label+".pid"], "a user's container of the image would be taken for one of this run")
	images, err := e.Images(ctx, map[string]string{engine.Label + ".crate": gone.Labels[engine.Label+".crate"]})
	require.NoError(t, err)
	for _, found := range images {
		require.NoError(t, e.RemoveImage(ctx, found.ID))
	}
	result, differences := repeat(t, e, hangs, repro.Options{Runs: 3, Jobs: 2})
	require.Len(t, differences, 1)
	require.Equal(t, 3, result.Failed)
	require.True(t, result.Places[0].Same)
}

// inputs are the entries of a bundle that do not tell of the run itself.
func inputs(b *bundle.Bundle) (entries []bundle.Entry) {
	for _, entry := range b.Entries {
		if strings.HasPrefix(entry.Name, bundle.Sources) || strings.HasPrefix(entry.Name, bundle.Built) {
			entries = append(entries, entry)
		}
	}
	return entries
}

// TestWhichBundles: the Suite says which tests leave one.
func TestWhichBundles(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": failing,
		"tests/test_two.py": "def test_fails():\n    assert 0\n"})
	defer selftest.Edit(t, crate, map[string]string{"tests/test_two.py": ""})
	tests := []string{"tests/test_tiny.py::test_fails", "tests/test_tiny.py::test_crashes", "tests/test_two.py::test_fails"}
	files := bundles(t, harness.Suite{Crate: crate, Tests: tests, Bundles: harness.BundleAll})
	require.Len(t, files, 3)
	require.NotEqual(t, files[tests[0]], files[tests[2]], "two tests of one name")
	e, err := engine.Connect(context.Background())
	require.NoError(t, err)
	defer e.Close()
	result, _ := repeat(t, e, files[tests[0]], repro.Options{UntilFailure: true})
	require.Equal(t, 1, result.Runs)
	require.Equal(t, "again, in the same place: failed, tests/test_tiny.py:23", result.Text())
	require.Empty(t, bundles(t, harness.Suite{Crate: crate, Tests: tests, Bundles: harness.BundleNone}))
	folder := os.Getenv("PYO3TEST_ARTIFACTS")
	left, err := filepath.Glob(filepath.Join(folder, "*", "*", "*.pyo3test"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestBundleOfOneProcess: a test that hangs because of another in its process runs again after that one.
func TestBundleOfOneProcess(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import threading

seen = []

def test_first():
    seen.append(1)

def test_second():
    pass

def test_hangs():
    lock = threading.Lock()
    lock.acquire()
    if seen:
        lock.acquire()

def test_last():
    pass
`})
	file := bundles(t, harness.Suite{Crate: crate, Isolation: harness.InProcess})["tests/test_tiny.py::test_hangs"]
	require.Equal(t, []string{"tests/test_tiny.py::test_first", "tests/test_tiny.py::test_second"}, open(t, file).Test.Before)
	e, err := engine.Connect(context.Background())
	require.NoError(t, err)
	defer e.Close()
	result, differences := repeat(t, e, file, repro.Options{Runs: 2})
	require.Empty(t, differences)
	require.Equal(t, 2, result.Failed, result.Text())
	require.True(t, result.Places[0].Same)
}

// lockedTwice hangs as long as the crate answers 42.
const lockedTwice = `import threading, tiny

def test_answer():
    lock = threading.Lock()
    lock.acquire()
    if tiny.answer() == 42:
        lock.acquire()
`

// TestCompare: a bundle's test hangs with its own crate, and not with the one that is fixed. It stays as a regression test
// of the crate: red until then, and green from then on.
func TestCompare(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": lockedTwice})
	file := bundles(t, harness.Suite{Crate: crate})["tests/test_tiny.py::test_answer"]
	output, err := regression(t, crate, file)
	require.Error(t, err)
	require.Contains(t, output, "tests/test_tiny.py::test_answer of test_answer.pyo3test: again, in the same place: hung")
	require.Contains(t, output, "deadlock proved after")

	selftest.Edit(t, crate, map[string]string{"src/lib.rs": strings.Replace(selftest.Tiny["src/lib.rs"], "42", "43", 1)})
	output, err = regression(t, crate, file)
	require.NoError(t, err, output)
	require.Contains(t, output, "test_answer.pyo3test: it passed")

	ctx := context.Background()
	e, err := engine.Connect(ctx)
	require.NoError(t, err)
	defer e.Close()
	b := open(t, file)
	own, err := repro.Prepare(ctx, e, b, repro.Limits{Memory: harness.DefaultMemory, Processes: harness.DefaultProcesses, Time: time.Hour},
		func(report.Event) {})
	require.NoError(t, err)
	fixed, err := harness.Rebuild(ctx, e, b, crate, func(report.Event) {})
	require.NoError(t, err)
	results, err := repro.Run(ctx, repro.Options{Runs: 4, Jobs: 2}, own, fixed)
	require.NoError(t, err)
	compared := repro.Compare(results[0], results[1])
	require.True(t, compared.Better(), compared.Sentence())
	require.Equal(t, "p = 0.0286: the test hung less often with the other crate, which is unlikely to be chance", compared.Sentence())
}

// regressionVariable names the bundle for TestRegression, which is a part of TestCompare.
const regressionVariable = "PYO3TEST_REGRESSION"

// regression runs TestRegression in a crate's folder.
func regression(t *testing.T, crate, file string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(self, "-test.run", "^TestRegression$", "-test.v")
	c.Dir, c.Env = crate, append(os.Environ(), regressionVariable+"="+file)
	output, err := c.CombinedOutput()
	return string(output), err
}

// TestRegression is how a user keeps a bundle as a test.
func TestRegression(t *testing.T) {
	file := os.Getenv(regressionVariable)
	if file == "" {
		t.Skip("a part of TestCompare, which runs it")
	}
	harness.Repro(t, file)
}
