package harness_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// TestBuildsCostWhatChanged edits a crate between runs. No edit and an edit of Python cost no build, an edit of Rust an
// incremental one, and the tree is never written to.
func TestBuildsCostWhatChanged(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{
		"pyproject.toml": selftest.Tiny["pyproject.toml"] + `
[tool.maturin]
module-name = "tiny._tiny"
python-source = "python"
`,
		"src/lib.rs": strings.Replace(selftest.Tiny["src/lib.rs"], "mod tiny",
			"#[pyo3(name = \"_tiny\")]\nmod tiny", 1),
		"python/tiny/__init__.py": `from ._tiny import answer

PART = 1
`,
		"python/tiny/gone.py": "",
		"tests/test_tiny.py": `import tiny

def test_answer():
    assert (tiny.answer(), tiny.PART) == (42, 1)
`,
	})
	run := func(outcome harnesstest.Outcome) *harnesstest.Recorder {
		t.Helper()
		before := selftest.Snapshot(t, crate)
		r := harnesstest.Record(t, harness.Suite{Crate: crate})
		require.Equal(t, outcome, r.Outcome(), r.Text())
		require.Equal(t, before, selftest.Snapshot(t, crate), "the tree was written to")
		return r
	}
	run(harnesstest.Passed)

	require.Contains(t, run(harnesstest.Passed).Text(), "unchanged: tiny._tiny", "no edit")

	selftest.Edit(t, crate, map[string]string{"python/tiny/__init__.py": `from ._tiny import answer

PART = 2
`})
	require.Contains(t, run(harnesstest.Failed).Text(), "unchanged: tiny._tiny", "an edit of Python")

	selftest.Edit(t, crate, map[string]string{"tests/test_tiny.py": "", "tests/test_other.py": `import tiny

def test_part():
    assert tiny.PART == 2
`})
	renamed := run(harnesstest.Passed)
	require.Contains(t, renamed.Text(), "unchanged: tiny._tiny", "a renamed test")
	require.Len(t, renamed.Sub("tiny").Subs(), 1, "the old file's test is gone")

	// Other content with an older time: cargo by itself would keep the old program.
	lib := filepath.Join(crate, "src/lib.rs")
	never := fmt.Sprint(time.Now().UnixNano() % 1e9) // an engine may have seen any fixed number
	selftest.Edit(t, crate, map[string]string{
		"src/lib.rs": strings.ReplaceAll(strings.Replace(selftest.Tiny["src/lib.rs"], "mod tiny",
			"#[pyo3(name = \"_tiny\")]\nmod tiny", 1), "42", never),
		"tests/test_other.py": `import tiny

def test_answer():
    assert tiny.answer() == ` + never + "\n",
	})
	old := time.Now().Add(-time.Hour * 24 * 365)
	require.NoError(t, os.Chtimes(lib, old, old))
	edited := run(harnesstest.Passed).Text()
	require.Contains(t, edited, "Compiling tiny v0.1.0 ("+crate+")")
	require.NotContains(t, edited, "Compiling pyo3", "an edit of Rust compiles its own crate alone")
}

// TestBuiltOnTheHost checks that a module that was built on the host is not copied and does not shadow the container's.
func TestBuiltOnTheHost(t *testing.T) {
	crate := selftest.WriteCrate(t,
		map[string]string{"tiny.cpython-311-x86_64-linux-gnu.so": "not a library",
			"tests/tiny.abi3.so": "not a library"})
	r := harnesstest.Record(t, harness.Suite{Crate: crate})
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
}

// TestProfileAndEnvironment checks that the Suite's fields reach cargo, maturin and pytest.
func TestProfileAndEnvironment(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{
		"Cargo.toml": selftest.Tiny["Cargo.toml"] + "\n[features]\nloud = []\n",
		"src/lib.rs": strings.Replace(selftest.Tiny["src/lib.rs"], "        42\n",
			"        if cfg!(feature = \"loud\") && cfg!(debug_assertions) { 1 } else { 0 }\n", 1),
		"tests/test_tiny.py": `import importlib.metadata, os, resource
import tiny

def test_build():
    assert tiny.answer() == 1

def test_environment(pytestconfig):
    assert os.environ["COLOUR"] == "red" and os.environ["GROUP"] == "only"
    assert os.environ["PYO3_NO_PYTHON_VERSION_CHECK"] == "1"
    assert os.path.samefile(os.environ["PYO3_PYTHON"], __import__("sys").executable)
    assert pytestconfig.getoption("maxfail") == 77
    assert importlib.metadata.version("attrs")

def test_confined():
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    assert os.getuid() == 1000 and int(status["CapEff"], 16) == 0 and status["NoNewPrivs"].strip() == "1"
    assert os.listdir("/sys/class/net") == ["lo"]
`,
	})
	r := harnesstest.Record(t, harness.Suite{
		Crate: crate, Profile: "dev", Features: []string{"loud"}, Env: map[string]string{"COLOUR": "red"},
		Requirements: []string{"attrs"},
		Groups: []harness.Group{{Name: "first", Env: map[string]string{"GROUP": "only"},
			PytestArgs: []string{"--maxfail=77"}}},
	})
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
	require.Len(t, r.Sub("first").Subs(), 3)
}

// TestBuiltOnce checks that two test processes that need the same build at the same time make it once.
func TestBuiltOnce(t *testing.T) {
	crate := selftest.WriteCrate(t,
		map[string]string{"src/lib.rs": selftest.Tiny["src/lib.rs"] + fmt.Sprintf("\n// %d\n", time.Now().UnixNano())})
	binary := compiled(t, anycratePackage)
	var texts [2]bytes.Buffer
	var both [2]*exec.Cmd
	for i := range both {
		both[i] = command(binary, "testdata/anycrate", "-test.v")
		both[i].Env = append(os.Environ(), "SELFTEST_CRATE="+crate)
		both[i].Stdout, both[i].Stderr = &texts[i], &texts[i]
		require.NoError(t, both[i].Start())
	}
	for i, c := range both {
		require.NoError(t, c.Wait(), texts[i].String())
	}
	text := texts[0].String() + texts[1].String()
	require.Equal(t, 1, strings.Count(text, "building with maturin"), text)
	require.Equal(t, 1, strings.Count(text, "unchanged: tiny.tiny"), text)
}

// TestBuildPastItsDeadline checks that a build that takes too long is ended and red, leaves no container, and does not
// block the next.
func TestBuildPastItsDeadline(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"build.rs": `fn main() {
    std::thread::sleep(std::time::Duration::from_secs(3600));
}
`})
	h := thisHost(t)
	r := harnesstest.Record(t, harness.Suite{Crate: crate, BuildTimeout: 15 * time.Second})
	require.Equal(t, harnesstest.Failed, r.Outcome(), r.Text())
	require.Contains(t, r.Text(), "the build took longer than its deadline of 15s: raise build-timeout in [tool.pyo3test]")
	require.Empty(t, r.Subs())
	left, err := h.Containers(t.Context(), os.Getpid())
	require.NoError(t, err)
	require.Zero(t, left)

	selftest.Edit(t, crate, map[string]string{"build.rs": ""})
	r = harnesstest.Record(t, harness.Suite{Crate: crate})
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
}

// TestNoiseOfTheLoader checks that what the loader prints when each program of a build starts is shown and breaks no
// build.
func TestNoiseOfTheLoader(t *testing.T) {
	crate := selftest.WriteCrate(t, nil)
	r := harnesstest.Record(t,
		harness.Suite{Crate: crate, Profile: "dev", Env: map[string]string{"LD_PRELOAD": "/nowhere.so"}})
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
	require.Contains(t, r.Text(), "object '/nowhere.so' from LD_PRELOAD cannot be preloaded")
}
