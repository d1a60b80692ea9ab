package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/doctor"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/prereq"
)

// patient creates a crate, always in the same place, so that its dependencies are compiled only once.
func patient(t *testing.T, files map[string]string) string {
	t.Helper()
	prereq.Engine(t)
	crate := filepath.Join(prereq.Place(t, "patient"), "crate")
	all, err := patientFiles()
	require.NoError(t, err)
	maps.Copy(all, files)
	maps.DeleteFunc(all, func(_, content string) bool { return content == "" })
	require.NoError(t, writeFiles(crate, all))
	return crate
}

const patientManifest = `[package]
name = 'patient'
version = '0.1.0'
edition = '2021'
[lib]
crate-type = ['cdylib']
[dependencies]
pyo3 = '0.30.1'
`

// patientFiles returns the files of the smallest crate with nothing wrong with it, but for those that doctor advises to
// have.
func patientFiles() (files map[string]string, err error) {
	files = map[string]string{
		"Cargo.toml": patientManifest,
		"src/lib.rs": `use pyo3::prelude::*;

#[pyfunction]
fn one() -> i32 { 1 }

#[pymodule]
fn patient(m: &Bound<'_, PyModule>) -> PyResult<()> { m.add_function(wrap_pyfunction!(one, m)?) }
`,
		"pyproject.toml": `[build-system]
requires = ['maturin>=1.9.4,<2']
build-backend = 'maturin'
[project]
name = 'patient'
version = '0.1.0'
requires-python = '>=3.9'
[dependency-groups]
test = ['pytest==9.1.1', 'pytest-forked==1.7.5']
`,
		"tests/test_one.py": `import patient

def test_one():
    assert patient.one() == 1
`,
		"pytest.ini": "[pytest]\naddopts = --forked\n",
	}
	lock, err := os.ReadFile("../../../pytests/modern/Cargo.lock") // the same dependencies
	if err != nil {
		return nil, err
	}
	files["Cargo.lock"] = strings.ReplaceAll(string(lock), "pyo3test-modern", "patient")
	return files, nil
}

const versions = `[build-system]
requires = ['maturin>=1.9.4,<2']
build-backend = 'maturin'
[project]
name = 'patient'
version = '0.1.0'
[dependency-groups]
`

// TestDoctor: each check fires on a project that is broken in its way, and does not if that is fixed. A healthy project
// has no findings at all.
func TestDoctor(t *testing.T) {
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	for name, c := range map[string]struct {
		files map[string]string
		code  int
		want  []string // checks with their levels, except those that are in order
		words []string
	}{
		"healthy": {nil, exitPassed, nil, nil},
		"by hand": {
			files: map[string]string{
				"pyproject.toml": versions +
					"test = ['pytest==9.2.0', 'pytest-forked==1.7.5', 'pytest-cov==7.1.0', 'pytest-timeout==2.4.0', " +
					"'pytest-xdist==3.8.0']\n",

				"pytest.ini": `[pytest]
addopts = --cov=patient -n 1
faulthandler_timeout = 5
timeout = 30
testpaths = tests
`,
				"tests/test_no.py": `import pytest
patient = pytest.importorskip('patient')

def test_no():
    pass
`,
				"tests/conftest.py": `try:
    import patient
except ImportError:
    collect_ignore = ["test_one.py"]

try:
    import patient
except ImportError as error:
    raise SystemExit("not built") from error
`,
				"tests/check_more.py": "def test_more():\n    pass\n",
				"Makefile":            "test:\n\tPYO3_NO_PYTHON_VERSION_CHECK=1 PYO3_PYTHON=python3 pytest\n",
			},
			want: []string{
				"coverage by hand", "faulthandler_timeout by hand", "forked note", "hidden-import by hand",
				"hidden-import by hand", "pair by hand", "timeout by hand",
				"unfound note", "variable note", "workers note",
			},
			words: []string{
				"pytest 9.2.0 and pytest-forked 1.7.5 do not work together", "EXITED with status 3",
				"CRATE/tests/conftest.py:1: a failed import of patient is caught",
				"CRATE/tests/test_no.py:2: importorskip('patient')", "CRATE/pytest.ini: faulthandler_timeout = 5",
				"CRATE/tests/check_more.py: test_more",
				"CRATE/Makefile:2 sets PYO3_NO_PYTHON_VERSION_CHECK", "-n 1 is among",
			},
		},
		"by hand, fixed": {files: map[string]string{
			"pyproject.toml": versions + `test = ['pytest==9.1.1', 'pytest-forked==1.7.5', 'pytest-cov==7.1.0']
[tool.coverage.run]
patch = ['fork', '_exit']
`,
			"pytest.ini": `[pytest]
addopts = --cov=patient --forked
python_files = test_*.py check_*.py
`,
			"tests/check_more.py": "def test_more():\n    pass\n",
			"Makefile":            "test:\n\tPYO3_PYTHON=python3 pytest\n",
		}},
		"warnings are errors": {
			files: map[string]string{"pytest.ini": `[pytest]
addopts = --forked
filterwarnings =
    error
    ignore::UserWarning
`},
			want:  []string{"filterwarnings by hand"},
			words: []string{"CRATE/pytest.ini: filterwarnings = error"},
		},
		"a warning of one kind is an error": {files: map[string]string{"pytest.ini": `[pytest]
addopts = --forked
filterwarnings = error::FutureWarning
`}},
		"pytest-run-parallel, which does no harm": {files: map[string]string{"pyproject.toml": versions +
			"test = ['pytest==9.1.1', 'pytest-forked==1.7.5', 'pytest-run-parallel==0.8.2']\n"}},
		"what needs one process": {
			files: map[string]string{
				"pyproject.toml": versions +
					"test = ['pytest==9.1.1', 'pytest-forked==1.7.5', 'pytest-dependency==0.6.1']\n",
				"tests/conftest.py": "def pytest_sessionfinish():\n    pass\n",
				"tests/test_two.py": `import pytest

@pytest.mark.dependency()
def test_two():
    pass
`,
			},
			want: []string{"one-process note", "one-process note"},
			words: []string{"pytest-dependency 0.6.1\na forked test does not know which others have passed",
				"CRATE/tests/conftest.py:1: pytest_sessionfinish\nit runs in pytest's own process"},
		},
		"what needs one process, and has it": {files: map[string]string{
			"pyproject.toml": versions + `test = ['pytest==9.1.1', 'pytest-forked==1.7.5']
[tool.pyo3test]
isolation = 'inprocess'
`,
			"tests/conftest.py": "def pytest_sessionfinish():\n    pass\n",
		}},
		"no pytest-forked": {
			files: map[string]string{"pyproject.toml": versions + "test = ['pytest==9.1.1']\n", "pytest.ini": ""},
			want:  []string{"forked note", "pytest-forked note"},
		},
		"no pytest-forked, and it would not work": {
			files: map[string]string{"pyproject.toml": versions + "test = ['pytest==9.2.0']\n", "pytest.ini": ""},
			want:  []string{"forked note", "pair by hand", "pytest-forked note"},
		},
		"no pytest-forked, and warnings are errors": {
			files: map[string]string{"pyproject.toml": versions + "test = ['pytest==9.1.1']\n",
				"pytest.ini": "[pytest]\nfilterwarnings = error\n"},
			want: []string{"filterwarnings by hand", "forked note", "pytest-forked note"},
		},
		"warnings of pytest's own are errors": {
			files: map[string]string{"pyproject.toml": versions + "test = ['pytest==9.2.0']\n",
				"pytest.ini": `[pytest]
filterwarnings = error
faulthandler_timeout = 5
`},
			want: []string{"faulthandler_timeout by hand", "forked note", "pair by hand", "pytest-forked note"},
		},
		"an import that no environment has": {
			files: map[string]string{"tests/test_more.py": `import pytest
pytest.importorskip("not_the_name")
pytest.importorskip("json")
from helper import value

def test_more():
    pass
`, "tests/helper.py": `try:
    import patients
except ImportError:
    value = 1
`},
			want: []string{"missing-import note"},
			words: []string{"CRATE/tests/test_more.py:2: importorskip('not_the_name'), and the " +
				"test environment does not"},
		},
		"an unknown option": {
			files: map[string]string{"pytest.ini": "[pytest]\naddopts = --forked --benchmark-only\n"},
			code:  exitFailed, want: []string{"options breaks", "run breaks"},
			words: []string{"unrecognized arguments: --benchmark-only"},
		},
		"another Python, as the build finds": {
			files: map[string]string{"pyproject.toml": `[build-system]
requires = ['maturin>=1.9.4,<1.10']
build-backend = 'maturin'
[project]
name = 'patient'
version = '0.1.0'
requires-python = '>=3.12'
`},
			code: exitFailed, want: []string{"run breaks"}, words: []string{"3.12"},
		},
		"another maturin": {
			files: map[string]string{"pyproject.toml": `[build-system]
requires = ['maturin>=1.9.4,<1.10']
build-backend = 'maturin'
[project]
name = 'patient'
version = '0.1.0'
[dependency-groups]
test = ['pytest==9.1.1', 'pytest-forked==1.7.5']
`},
			want: []string{"maturin note"},
		},
		"Rust": {
			files: map[string]string{
				"Cargo.lock": "", "Cargo.toml": `[package]
name = 'patient'
version = '0.1.0'
edition = '2021'
[lib]
crate-type = ['cdylib']
[dependencies]
pyo3 = { version = '0.30', features = ['auto-initialize'] }
[features]
default = ['x']
x = ['pyo3/extension-module']
`,
				"patient.cpython-310-x86_64-linux-gnu.so": "old",
				"src/lib.rs": `use pyo3::prelude::*;

#[pymodule]
fn patient(m: &Bound<'_, PyModule>) -> PyResult<()> {
    std::thread::Builder::new().name("at-import".into()).spawn(|| loop { std::thread::park() })?;
    m.add("one", m.getattr("__name__")?)
}
`,
			},
			want: []string{"auto-initialize note", "extension-module note", "lock note", "native-module note",
				"threads note"},
			words: []string{"the import of patient starts 1 thread (at-import)", "CRATE/Cargo.lock is missing",
				"CRATE/patient.cpython-310-x86_64-linux-gnu.so is among the sources"},
		},
		"a build that fails": {files: map[string]string{"src/lib.rs": "fn\n"}, code: exitFailed,
			want: []string{"run breaks"}, words: []string{"build failed for"}},
		"an import that fails": {
			files: map[string]string{"src/lib.rs": `use pyo3::prelude::*;

#[pymodule]
#[pyo3(name = "other")]
fn patient(_m: &Bound<'_, PyModule>) -> PyResult<()> { Ok(()) }
`},
			code: exitFailed, want: []string{"run breaks"},
			words: []string{"PyInit_patient", "what helps: the #[pymodule] function has to have the module's name"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			crate := patient(t, c.files)
			code, out, errs := call(t, "doctor", "--json", crate)
			require.Empty(t, errs)
			require.Equal(t, c.code, code, out)
			var findings []doctor.Finding
			require.NoError(t, json.Unmarshal([]byte(out), &findings))
			var got []string
			text := ""
			for _, finding := range findings {
				if finding.Level != doctor.Fine {
					got = append(got, finding.Check+" "+string(finding.Level))
					text += finding.What + "\n" + finding.Why + "\n"
					require.NotEmpty(t, finding.Why)
				}
			}
			slices.Sort(got)
			require.Equal(t, c.want, got, out)
			for _, words := range c.words {
				require.Contains(t, text, strings.Replace(words, "CRATE", crate, 1))
			}
		})
	}
}

// TestDoctorNetwork: doctor reports which indexes builds cannot reach and names the network settings, but not their
// values, which may be secret. It tries this in the run's own tools image, although a newer, empty one exists here.
func TestDoctorNetwork(t *testing.T) {
	prereq.Engine(t)
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	defer e.Close()
	const other = "localhost/pyo3test/tools:of-another-base"
	require.NoError(t, e.Import(t.Context(), other, bytes.NewReader(make([]byte, 1024)),
		[]string{"LABEL " + engine.Label + "=image", "LABEL " + engine.MadeAs + "=" + other}))
	defer func() { require.NoError(t, e.RemoveImage(context.WithoutCancel(t.Context()), other)) }()
	crate := patient(t, nil)
	code, out, errs := call(t, "doctor", crate)
	require.Equal(t, exitPassed, code, out+errs)
	require.Contains(t, out, "ok builds reach the indexes of Python packages and of crates (")
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		t.Setenv(name, "http://me:secret@127.0.0.1:9")
	}
	code, out, errs = call(t, "doctor", crate)
	require.Equal(t, exitPassed, code, out+errs, "all is built")
	for _, index := range []string{"Python packages", "crates"} {
		require.Regexp(t, "NOTE builds do not reach the index of "+index+": .*(refused|Couldn't connect)", out)
	}
	require.Contains(t, out, "HTTPS_PROXY")
	require.NotContains(t, out, "secret")
	require.NoError(t, os.WriteFile(filepath.Join(crate, "src/lib.rs"), []byte("fn\n"), 0o644))
	code, out, errs = call(t, "doctor", crate)
	require.Equal(t, exitFailed, code, out+errs)
	require.Contains(t, out, "BREAKS builds do not reach the index of crates")
}

// TestDoctorFixes: doctor first shows what it would write; once that is written, those findings are gone.
func TestDoctorFixes(t *testing.T) {
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	crate := patient(t, map[string]string{"pytest.ini": "[pytest]\naddopts = -ra\n"})
	code, out, errs := call(t, "doctor", "--fix", crate)
	require.Equal(t, exitPassed, code, errs)
	require.Contains(t, out, "NOTE --forked is not among the project's own options")
	require.Contains(t, out, "+addopts = --forked -ra")
	require.Contains(t, out, "nothing was written: add --yes")
	code, _, errs = call(t, "doctor", "--fix", "--yes", crate)
	require.Equal(t, exitPassed, code, errs)
	code, out, errs = call(t, "doctor", crate)
	require.Equal(t, exitPassed, code, errs)
	require.Contains(t, out, "0 break, 0 break by hand, 0 notes, ")
	require.FileExists(t, filepath.Join(crate, "tests/conftest.py"))
}

// TestInitLeavesNoFinding: nothing that init writes, with any flags, is a finding of doctor.
func TestInitLeavesNoFinding(t *testing.T) {
	files, err := patientFiles()
	require.NoError(t, err)
	delete(files, "pytest.ini")
	files["pyproject.toml"] = versions + "test = ['pytest==9.1.1']\n"
	findings := func(crate string) (texts []string) {
		p, pyo3, err := readProject(crate)
		require.NoError(t, err)
		found, err := doctor.Static(p, pyo3)
		require.NoError(t, err)
		for _, f := range found {
			if f.Level != doctor.Fine {
				texts = append(texts, f.What)
			}
		}
		return texts
	}
	for flags := range 1 << 5 {
		crate := filepath.Join(t.TempDir(), "crate")
		require.NoError(t, writeFiles(crate, files))
		require.NoError(t, os.Mkdir(filepath.Join(crate, ".git"), 0o755))
		require.Empty(t, findings(crate))
		f := initFlags{conftest: flags&1 != 0, config: flags&2 != 0, script: flags&4 != 0, yes: true}
		if flags&8 != 0 {
			f.ci = "github"
		}
		require.NoError(t, initialise(t.Context(), nil, io.Discard, crate, f, flags&16 != 0))
		require.Empty(t, findings(crate), "%+v", f)
	}
}

// TestInitForks: what init --config writes makes plain pytest fork, with versions that work together.
func TestInitForks(t *testing.T) {
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	crate := patient(t, map[string]string{"pytest.ini": "", "pyproject.toml": `[build-system]
requires = ['maturin>=1.9.4,<2']
build-backend = 'maturin'
[project]
name = 'patient'
version = '0.1.0'
`})
	code, out, errs := call(t, "doctor", "--fix", "--yes", crate)
	require.Equal(t, exitPassed, code, out+errs)
	code, out, errs = call(t, "doctor", crate)
	require.Equal(t, exitPassed, code, out+errs)
	require.Contains(t, out, "0 break, 0 break by hand, 0 notes, ")
	require.Contains(t, out, "--forked is among the project's own options")

	require.NoError(t, os.Remove(filepath.Join(crate, "Cargo.lock")))
	require.NoError(t, writeFiles(crate,
		map[string]string{"Cargo.toml": strings.Replace(patientManifest, "0.30.1", "0.30", 1)}))
	code, out, errs = call(t, "doctor", crate)
	require.Equal(t, exitPassed, code, out+errs)
	require.Contains(t, out, "ok PyO3 0.30.", "the version that was built with")
}

// TestDoctorChecks: the findings on a crate with several faults, the worst first.
func TestDoctorChecks(t *testing.T) {
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	crate := patient(t, map[string]string{
		"pytest.ini": `[pytest]
addopts = -ra
filterwarnings = error
`, "tests/check_more.py": "def test_more():\n    pass\n",
		"tests/test_one.py": `import pytest
patient = pytest.importorskip('patient')

def test_one():
    assert patient.one() == 1
`,
	})
	code, out, errs := call(t, "doctor", "--json", crate)
	require.Equal(t, exitPassed, code, errs)
	var findings []doctor.Finding
	require.NoError(t, json.Unmarshal([]byte(out), &findings))
	var checks []string
	for _, f := range findings {
		checks = append(checks, fmt.Sprintf("%s: %s", f.Level, f.Check))
	}
	require.Equal(t, []string{
		"by hand: filterwarnings", "by hand: hidden-import", "note: forked", "note: unfound",
		"ok: pyo3", "ok: python", "ok: maturin", "ok: pair", "ok: tests", "ok: disk", "ok: network",
	}, checks)
}

// TestDoctorScreen: how findings are shown to people.
func TestDoctorScreen(t *testing.T) {
	var out strings.Builder
	show(&out, []doctor.Finding{
		{Level: doctor.Breaks, What: "the first", Why: "it breaks", Fix: "fix it", See: "https://example.com"},
		{Level: doctor.ByHand, What: "the second"}, {Level: doctor.Note, What: "the third", Fix: "perhaps"},
		{Level: doctor.Fine, What: "the fourth"},
	})
	require.Equal(t, `      BREAKS the first
             why  it breaks
             fix  fix it
             see  https://example.com
     BY HAND the second
        NOTE the third
             fix  perhaps
          ok the fourth
    Findings 1 break, 1 break by hand, 1 notes, 1 in order
`, out.String())
}
