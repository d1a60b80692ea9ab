package harness_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/prereq"
	"pyo3test/harness/internal/selftest"
)

const modernPackage = "../pytests/modern"

// modern compiles the test binary of pytests/modern, as go test does.
func modern(t *testing.T) (binary, folder string) {
	t.Helper()
	folder, err := filepath.Abs(modernPackage)
	require.NoError(t, err)
	return compiled(t, modernPackage), folder
}

// anycratePackage runs the crate that SELFTEST_CRATE names.
const anycratePackage = "./testdata/anycrate"

// compiled returns the test binary of a package, as go test compiles it.
func compiled(t *testing.T, name string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "any.test")
	output, err := exec.Command("go", "test", "-c", "-o", binary, name).CombinedOutput()
	require.NoError(t, err, string(output))
	return binary
}

func command(binary, folder string, args ...string) *exec.Cmd {
	c := exec.Command(binary, args...)
	c.Dir = folder
	return c
}

// events returns what go test -json reports of each test: its last action and its attributes.
func events(t *testing.T, args ...string) (actions map[string]string, attrs map[string]map[string]string) {
	t.Helper()
	output, _ := exec.Command("go", append([]string{"test", "-json", "-count=1"}, args...)...).Output()
	actions, attrs = map[string]string{}, map[string]map[string]string{}
	for decoder := json.NewDecoder(bytes.NewReader(output)); decoder.More(); {
		var event struct{ Action, Test, Key, Value string }
		require.NoError(t, decoder.Decode(&event))
		switch {
		case event.Test == "":
		case event.Action == "attr":
			if attrs[event.Test] == nil {
				attrs[event.Test] = map[string]string{}
			}
			attrs[event.Test][event.Key] = event.Value
		case event.Action == "pass", event.Action == "fail", event.Action == "skip":
			actions[event.Test] = event.Action
		}
	}
	return actions, attrs
}

// TestRunPatterns checks that -run and -skip choose single pytest tests, as go test's users expect.
func TestRunPatterns(t *testing.T) {
	prereq.Engine(t)
	all, attrs := events(t, modernPackage)
	require.Greater(t, len(all), 70)
	const one = "TestPython/pyo3test-modern/tests/test_threads.py/test_parallel_sum[7]"
	require.Equal(t, "pass", all[one])
	require.Equal(t, "tests/test_threads.py::test_parallel_sum[7]", attrs[one]["pytest.nodeid"])
	require.Equal(t, "passed", attrs[one]["pytest.outcome"])
	require.Regexp(t, `^0\.\d{6}$`, attrs[one]["pytest.seconds"])

	pattern := "^" + strings.Join(strings.Split(regexp.QuoteMeta(one), "/"), "$/^") + "$"
	chosen, _ := events(t, "-run", pattern, modernPackage)
	require.Equal(t, map[string]string{"TestPython": "pass", "TestPython/pyo3test-modern": "pass", one: "pass"}, chosen)

	// This is how gotestsum reruns one subtest.
	again, _ := events(t, "-run", "^TestPython$/^"+regexp.QuoteMeta(strings.TrimPrefix(one, "TestPython/"))+"$",
		modernPackage)
	require.Equal(t, chosen, again)

	left, _ := events(t, "-run", "TestPython/pyo3test-modern/tests/test_threads.py", "-skip", "////parallel",
		modernPackage)
	require.NotContains(t, left, one)
	require.Contains(t, left, "TestPython/pyo3test-modern/tests/test_threads.py/test_started_at_is_made_once")

	none, _ := events(t, "-run", "TestPython/pyo3test-modern/no-such", modernPackage)
	require.Equal(t, map[string]string{"TestPython": "pass", "TestPython/pyo3test-modern": "pass"}, none)
}

// TestRunPatternInABrokenFile checks that a test that can no longer be collected is not green because nothing runs.
func TestRunPatternInABrokenFile(t *testing.T) {
	t.Setenv("SELFTEST_CRATE", selftest.WriteCrate(t, map[string]string{"tests/test_bad.py": `import no_such_module

def test_1():
    pass
`}))
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	asked, _ := events(t, "-run", "^TestPython$/^tiny$/^tests$/^test_bad.py$/^test_1$", "./testdata/anycrate")
	require.Equal(t, map[string]string{"TestPython": "fail", "TestPython/tiny": "fail"}, asked)
	other, _ := events(t, "-run", "^TestPython$/^tiny$/^tests$/^test_tiny.py$", "./testdata/anycrate")
	require.Equal(t, map[string]string{"TestPython": "pass", "TestPython/tiny": "pass",
		"TestPython/tiny/tests/test_tiny.py/test_answer": "pass"}, other)
	all, _ := events(t, "./testdata/anycrate")
	require.Equal(t, "fail", all["TestPython/tiny/tests/test_bad.py/(collection)"])
}

// TestFlags checks that -failfast, -shuffle and -count do what go test's users expect.
func TestFlags(t *testing.T) {
	t.Setenv("SELFTEST_CRATE", selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import pytest

@pytest.mark.parametrize('n', range(20))
def test_n(n):
    assert n != 2
`}))
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	fast, _ := events(t, "-failfast", "./testdata/anycrate")
	require.Equal(t, "fail", fast["TestPython/tiny/tests/test_tiny.py/test_n[2]"])
	require.Less(t, len(fast), 10, "the session ends with the first failure")

	order := func(seed string) string {
		output, _ := exec.Command("go", "test", "-count=1", "-v", "-shuffle="+seed, "./testdata/anycrate").Output()
		return strings.Join(regexp.MustCompile(`=== RUN +\S+test_n\[\d+\]`).FindAllString(string(output), -1), "\n")
	}
	first := order("7")
	require.Equal(t, 20, strings.Count(first, "\n")+1)
	require.Equal(t, first, order("7"))
	require.NotEqual(t, first, order("8"))
	require.NotEqual(t, first, order("off"))
}

// TestCached checks that go test's own cache answers if nothing has changed.
func TestCached(t *testing.T) {
	prereq.Engine(t)
	run := func() string {
		output, err := exec.Command("go", "test", "../pytests/legacy").CombinedOutput()
		require.NoError(t, err, string(output))
		return string(output)
	}
	run()
	require.Contains(t, run(), "(cached)")
	source := "../pytests/legacy/tests/python/test_gil.py"
	info, err := os.Stat(source)
	require.NoError(t, err)
	defer func() { require.NoError(t, os.Chtimes(source, info.ModTime(), info.ModTime())) }()
	touched := time.Now().Add(-time.Minute)
	require.NoError(t, os.Chtimes(source, touched, touched))
	require.NotContains(t, run(), "(cached)", "an input was touched")
}

// TestCachedOutsideTheModule checks that a crate outside the module, of which go test alone sees nothing, is tested
// again after a file is edited, added or removed, between runs or during one.
func TestCachedOutsideTheModule(t *testing.T) {
	const waits = `import time, tiny

def test_answer():
    time.sleep(float('0'))
    assert tiny.answer() == 42
`
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": waits})
	age := func() { // what is younger than two seconds is never cached
		old := time.Now().Add(-time.Minute)
		require.NoError(t, filepath.WalkDir(crate, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Chtimes(path, old, old))
		}))
	}
	// run runs go test, and calls while once its test has begun.
	run := func(while func()) string {
		c, text := exec.Command("go", "test", "-v", "./testdata/anycrate"), ""
		c.Env = append(os.Environ(), "SELFTEST_CRATE="+crate)
		output, err := c.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		for lines := bufio.NewScanner(output); lines.Scan(); text += lines.Text() + "\n" {
			if strings.HasSuffix(lines.Text(), "RUN   TestPython/tiny/tests/test_tiny.py/test_answer") && while != nil {
				while()
			}
		}
		require.NoError(t, c.Wait(), text)
		return text
	}
	age()
	require.NotContains(t, run(nil), "(cached)")
	require.Contains(t, run(nil), "(cached)")
	for _, change := range []struct {
		name  string
		files map[string]string
	}{ // in this order: each is a change
		{"an edit", map[string]string{"tests/test_tiny.py": waits + "\n"}},
		{"a new test", map[string]string{"tests/test_new.py": "def test_new():\n    pass\n"}},
		{"a test that goes", map[string]string{"tests/test_new.py": ""}},
		{"a configuration that comes", map[string]string{"../pytest.ini": "[pytest]\n"}},
		{"a list of packages", map[string]string{"requirements-test.txt": "attrs\n"}},
		{"that list goes", map[string]string{"requirements-test.txt": ""}},
		{"the configuration goes", map[string]string{"../pytest.ini": ""}},
		{"a lock file above the crate", map[string]string{"../uv.lock": "version = 1\n"}},
	} {
		selftest.Edit(t, crate, change.files)
		require.NotContains(t, run(nil), "(cached)", change.name)
	}
	age()
	run(nil)
	require.Contains(t, run(nil), "(cached)")

	selftest.Edit(t, crate, map[string]string{"tests/test_tiny.py": strings.Replace(waits, "'0'", "'5'", 1)})
	age()
	text := run(func() {
		selftest.Edit(t, crate, map[string]string{"tests/test_tiny.py": strings.Replace(waits, "'0'", "'2'", 1)})
		age()
	})
	require.Contains(t, text, "the sources changed while the tests ran")
	require.NotContains(t, run(nil), "(cached)", "an edit while the tests ran")
}

// TestKilledAtRandom checks that kill -9 of the test process at any moment leaves no running container, and that one
// that was only created is gone with the next run.
func TestKilledAtRandom(t *testing.T) {
	prereq.Engine(t)
	binary, folder := modern(t)
	output, err := command(binary, folder).CombinedOutput()
	require.NoError(t, err, string(output)) // builds
	ctx := t.Context()
	e, err := engine.Connect(ctx)
	require.NoError(t, err)
	defer e.Close()
	started := time.Now()
	require.NoError(t, command(binary, folder).Run())
	whole := time.Since(started)
	for range 20 {
		c := command(binary, folder)
		require.NoError(t, c.Start())
		at := time.Duration(rand.Int64N(int64(whole)))
		time.Sleep(at)
		_ = c.Process.Kill()
		_ = c.Wait()
		require.Eventually(t, func() bool { return containersOf(t, ctx, e, c.Process.Pid) == 0 }, 20*time.Second,
			50*time.Millisecond, "killed after %v", at)
	}
}

// containersOf counts the containers that a process that is gone has left, after the sweep with which each run begins.
func containersOf(t *testing.T, ctx context.Context, e *engine.Engine, pid int) int {
	_, err := e.Sweep(ctx)
	require.NoError(t, err)
	n, err := e.Containers(ctx, pid)
	require.NoError(t, err)
	return n
}
