// Package edits_test edits crates and checks that no run is about what they were before.
package edits_test

import (
	"archive/zip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// worktree is a crate on disk and what its tests have to see of it.
type worktree struct {
	folder string // holds the crate, "python", and the crate that it depends on, "helper"
	state  map[string]string
	tests  map[string]string // file -> name of its one test
}

// edits is how many random edits TestNeverStale makes, each followed by a run.
const edits = 200

// TestNeverStale edits two worktrees of one crate in random order and with false file times. Each run's verdicts have
// to be for the current content, neither for the old one nor for the other tree.
func TestNeverStale(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	number := 0
	fresh := func() string { number++; return fmt.Sprint(1000 + number) } // the same length, so that sizes show nothing

	top := filepath.Dir(selftest.WriteCrate(t, nil))
	trees := make([]*worktree, 2)
	for i := range trees {
		trees[i] = newWorktree(t, filepath.Join(top, fmt.Sprint("tree", i)))
	}
	counts := map[string]int{}
	for i := range edits {
		tree := trees[random.IntN(2)]
		kind := tree.edit(t, random, fresh)
		counts[kind]++
		expected := tree.text()
		r := harnesstest.Record(t, harness.Suite{
			Crate: filepath.Join(tree.folder, "python"), Profile: "dev",
			Env:    map[string]string{"BUILT_FOR": tree.state["env"]},
			Groups: []harness.Group{{Name: "g", Env: map[string]string{"EXPECTED": expected}}},
		})
		require.Equal(t, harnesstest.Passed, r.Outcome(), "edit %d (%s), expected %s\n%s", i, kind, expected, r.Text())
		var names, want []string
		for _, sub := range r.Sub("g").Subs() {
			names = append(names, sub.Attrs()["pytest.nodeid"])
		}
		for file, name := range tree.tests {
			want = append(want, "tests/"+file+"::"+name)
		}
		require.ElementsMatch(t, want, names, "edit %d (%s)", i, kind)
	}
	t.Logf("%d edits, each followed by a run: %v", edits, counts)
}

func newWorktree(t *testing.T, folder string) *worktree {
	w := &worktree{folder: folder, tests: map[string]string{}, state: map[string]string{
		"rust": "0", "helper": "0", "python": "0", "data": "0", "feature": "off", "env": "0", "conftest": "none",
		"extra": "none",
	}}
	selftest.Edit(t, folder, map[string]string{
		"python/Cargo.toml": selftest.Tiny["Cargo.toml"] + "helper = { path = \"../helper\" }\n",
		"python/Cargo.lock": selftest.TinyLockWithHelper(t),
		"python/pyproject.toml": selftest.Tiny["pyproject.toml"] + `[tool.maturin]
module-name = "tiny._tiny"
python-source = "python"
`,
		"helper/Cargo.toml": `[package]
name = "helper"
version = "0.1.0"
edition = "2024"
`,
		// Each value has a fixed length on its line, so that an edit changes no size.
		"python/src/lib.rs": `use pyo3::prelude::*;

#[pymodule]
#[pyo3(name = "_tiny")]
mod tiny {
    use pyo3::prelude::*;

    #[pyfunction]
    fn state() -> String {
        let feature = if cfg!(feature = "loud") { "on" } else { "off" };
        format!(
            "rust={} helper={} data={} feature={feature} env={}",
            include!("rust.in"),
            helper::NUMBER,
            include_str!("../data.txt").trim(),
            env!("BUILT_FOR"),
        )
    }
}
`,
		"python/src/rust.in":             "\"0\"",
		"helper/src/lib.rs":              "pub const NUMBER: &str = \"0\";\n",
		"python/data.txt":                "0",
		"python/python/tiny/__init__.py": "from ._tiny import state\n",
		"python/python/tiny/part.py":     "PART = \"0\"\n",
		"python/tests/state.py": `import importlib.util, os
import pytest, tiny, tiny.part

def check(request):
    try:
        conftest = request.getfixturevalue("value")
    except pytest.FixtureLookupError:
        conftest = "none"
    extra = importlib.import_module("tiny.extra").EXTRA if importlib.util.find_spec("tiny.extra") else "none"
    assert f"{tiny.state()} python={tiny.part.PART} conftest={conftest} extra={extra}" == os.environ["EXPECTED"]
`,
	})
	w.addTest(t, "test_first.py", "test_0")
	return w
}

func (w *worktree) addTest(t *testing.T, file, name string) {
	w.tests[file] = name
	selftest.Edit(t, w.folder,
		map[string]string{"python/tests/" + file: "import state\n\ndef " + name +
			"(request):\n    state.check(request)\n"})
}

// text returns what the tests have to see.
func (w *worktree) text() string {
	var parts []string
	for _, key := range []string{"rust", "helper", "data", "feature", "env", "python", "conftest", "extra"} {
		parts = append(parts, key+"="+w.state[key])
	}
	return strings.Join(parts, " ")
}

// edit makes one change and returns its kind.
func (w *worktree) edit(t *testing.T, random *rand.Rand, fresh func() string) string {
	value := fresh()
	change := func(key, file, text string) {
		w.state[key] = value
		path := filepath.Join(w.folder, file)
		var old time.Time
		if info, err := os.Stat(path); err == nil {
			old = info.ModTime()
		}
		selftest.Edit(t, w.folder, map[string]string{file: text})
		when := []time.Time{{}, old, old.Add(-time.Hour), time.Now().Add(time.Hour)}[random.IntN(4)]
		if !when.IsZero() && !old.IsZero() {
			require.NoError(t, os.Chtimes(path, when, when))
		}
	}
	kinds := map[string]func(){
		"rust":   func() { change("rust", "python/src/rust.in", "\""+value+"\"") },
		"helper": func() { change("helper", "helper/src/lib.rs", "pub const NUMBER: &str = \""+value+"\";\n") },
		"data":   func() { change("data", "python/data.txt", value) },
		"env":    func() { w.state["env"] = value },
		"feature": func() {
			w.state["feature"] = map[string]string{"on": "off", "off": "on"}[w.state["feature"]]
			features := map[string]string{"on": "default = [\"loud\"]", "off": "default = []"}[w.state["feature"]]
			selftest.Edit(t, w.folder,
				map[string]string{"python/Cargo.toml": selftest.Tiny["Cargo.toml"] + `helper = { path = "../helper" }

[features]
loud = []
` + features + "\n"})
		},
		"module": func() { change("python", "python/python/tiny/part.py", "PART = \""+value+"\"\n") },
		"extra": func() {
			if w.state["extra"] == "none" {
				change("extra", "python/python/tiny/extra.py", "EXTRA = \""+value+"\"\n")
			} else {
				w.state["extra"] = "none"
				selftest.Edit(t, w.folder, map[string]string{"python/python/tiny/extra.py": ""})
			}
		},
		"conftest": func() {
			if w.state["conftest"] == "none" || random.IntN(2) == 0 {
				change("conftest", "python/tests/conftest.py", `import pytest

@pytest.fixture
def value():
    return "`+value+"\"\n")
			} else {
				w.state["conftest"] = "none"
				selftest.Edit(t, w.folder, map[string]string{"python/tests/conftest.py": ""})
			}
		},
		"test": func() {
			file := slices.Sorted(maps.Keys(w.tests))[random.IntN(len(w.tests))]
			switch random.IntN(4) {
			case 0: // another test in the same file
				w.addTest(t, file, "test_"+value)
			case 1: // renamed
				name := w.tests[file]
				delete(w.tests, file)
				selftest.Edit(t, w.folder, map[string]string{"python/tests/" + file: ""})
				w.addTest(t, "test_"+value+".py", name)
			case 2: // new
				w.addTest(t, "test_"+value+".py", "test_"+value)
			case 3: // deleted
				if len(w.tests) > 1 {
					delete(w.tests, file)
					selftest.Edit(t, w.folder, map[string]string{"python/tests/" + file: ""})
				}
			}
		},
		"built on the host": func() {
			selftest.Edit(t, w.folder,
				map[string]string{"python/python/tiny/_tiny.cpython-311-x86_64-linux-gnu.so": "not " + value})
		},
		"times alone": func() {
			when := time.Now().Add(time.Duration(random.IntN(1000)-500) * time.Hour)
			for _, file := range []string{"python/src/lib.rs", "helper/src/lib.rs", "python/python/tiny/part.py"} {
				require.NoError(t, os.Chtimes(filepath.Join(w.folder, file), when, when))
			}
		},
		"nothing": func() {},
	}
	kind := slices.Sorted(maps.Keys(kinds))[random.IntN(len(kinds))]
	kinds[kind]()
	return kind
}

// TestPythonThatIsBuiltIn checks that Python files that the compiler reads by a name with a space, or that maturin
// copies, are not those of the last build.
func TestPythonThatIsBuiltIn(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{
		"src/lib.rs": strings.Replace(selftest.Tiny["src/lib.rs"], "        42\n",
			"        include_str!(\"../my data/a b.py\").trim().parse().unwrap()\n", 1),
		"my data/a b.py": "1\n", "tiny.data/purelib/tiny_data.py": "VALUE = 1\n",
		"tests/test_tiny.py": `import os, tiny, tiny_data

def test_values():
    assert f"{tiny.answer()} {tiny_data.VALUE}" == os.environ["WANT"]
`,
	})
	for _, step := range []struct{ want, file, text string }{
		{want: "1 1"},
		{"2 1", "my data/a b.py", "2\n"},
		{"2 2", "tiny.data/purelib/tiny_data.py", "VALUE = 2\n"},
	} {
		if step.file != "" {
			selftest.Edit(t, crate, map[string]string{step.file: step.text})
		}
		r := harnesstest.Record(t,
			harness.Suite{Crate: crate,
				Groups: []harness.Group{{Name: "g", Env: map[string]string{"WANT": step.want}}}})
		require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
	}
}

// TestWheelOfTheSameName checks that a package from a folder is the current one, not an earlier one with the same name
// and version.
func TestWheelOfTheSameName(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{
		"requirements-test.txt": "--find-links wheels\nwhl\n",
		"tests/test_tiny.py": `import tiny, whl

def test_value():
    assert whl.VALUE == 1
`,
		"wheels/.keep": " ",
	})
	for value, outcome := range []harnesstest.Outcome{harnesstest.Failed, harnesstest.Passed, harnesstest.Failed} {
		writeWheel(t, filepath.Join(crate, "wheels/whl-1-py3-none-any.whl"), fmt.Sprintf("VALUE = %d\n", value))
		r := harnesstest.Record(t, harness.Suite{Crate: crate})
		require.Equal(t, outcome, r.Outcome(), "%d\n%s", value, r.Text())
		require.Len(t, r.Sub("tiny").Subs(), 1, r.Text())
	}
}

// writeWheel writes a wheel "whl" with version 1 that holds one module. Like those of some projects it records its bytecode,
// with a sum that is wrong as soon as uv has compiled it again.
func writeWheel(t *testing.T, path, module string) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	w := zip.NewWriter(f)
	for name, text := range map[string]string{
		"whl.py":                          module,
		"__pycache__/whl.cpython-311.pyc": "old",
		"whl-1.dist-info/WHEEL": `Wheel-Version: 1.0
Root-Is-Purelib: true
Tag: py3-none-any
`,
		"whl-1.dist-info/RECORD": `whl.py,,
__pycache__/whl.cpython-311.pyc,sha256=y6BrVzb69n5UsHtWHq6UOV53TFF6fZEKVDaeEmPM-9Q,3
whl-1.dist-info/WHEEL,,
whl-1.dist-info/METADATA,,
whl-1.dist-info/RECORD,,
`,
		"whl-1.dist-info/METADATA": `Metadata-Version: 2.1
Name: whl
Version: 1
`,
	} {
		entry, err := w.Create(name)
		require.NoError(t, err)
		_, err = io.WriteString(entry, text)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
}
