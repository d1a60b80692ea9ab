package harness_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/selftest"
)

// inTools runs a script in a container of the tools image, with the network, and returns what it prints on both streams.
func (h host) inTools(t *testing.T, script, input string) string {
	t.Helper()
	c, err := image.StartBuilder(t.Context(), h.Engine, h.Network,
		engine.Spec{Image: h.Tools.Name, Purpose: "test", User: layout.User})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Remove(t.Context())) }()
	var output strings.Builder
	env := append(h.Network.Env(), "PATH="+layout.Path)
	err = image.Run(t.Context(), c, engine.Command{Argv: []string{"bash", "-ec", script}, Env: env},
		strings.NewReader(input), &output)
	require.NoError(t, err, output.String())
	return output.String()
}

// localBackend builds a package attrs 99.0 and needs nothing from an index.
const localBackend = `import zipfile

def build_wheel(folder, settings=None, metadata=None):
    name, info = "attrs-99.0-py3-none-any.whl", "attrs-99.0.dist-info/"
    with zipfile.ZipFile(folder + "/" + name, "w") as wheel:
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: attrs\nVersion: 99.0\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")
    return name
`

// TestDependenciesAreInstalled checks that dependencies are installed from each place where projects list what their
// tests need, and only from the first; never an index's copy of the project itself.
func TestDependenciesAreInstalled(t *testing.T) {
	h := thisHost(t)
	const sees = `import importlib.metadata as m, sys, pytest, tiny

def has(name):
    try:
        return m.version(name)
    except m.PackageNotFoundError:
        return None

def test_installed():
    assert (pytest.__version__, has("attrs"), has("tox"), has("tiny")) == %s
`
	group := selftest.Tiny["pyproject.toml"] + `requires-python = ">=3.11"
[project.optional-dependencies]
fast = ["attrs==25.3.0"]
[dependency-groups]
test = ["pytest==8.4.2", "tiny[fast]"]
other = ["tox"]
`
	lock := h.inTools(t, "mkdir /tmp/l && cd /tmp/l && cat >pyproject.toml && uv lock --quiet && cat uv.lock", group)
	pylock := h.inTools(t, "mkdir /tmp/l && cd /tmp/l && cat >pyproject.toml && uv export --quiet --group test "+
		"--no-emit-project --format pylock.toml",
		group)
	newer := strings.ReplaceAll(group, "25.3.0", "25.4.0") // the lock decides
	for _, c := range []struct {
		name, from, versions string
		files                map[string]string
		suite                harness.Suite
	}{
		{"uv.lock", `uv.lock, group "test"`, `("8.4.2", "25.3.0", None, "0.1.0")`,
			map[string]string{"pyproject.toml": newer, "uv.lock": lock}, harness.Suite{}},
		{"pylock.toml", "pylock.toml", `("8.4.2", "25.3.0", None, "0.1.0")`,
			map[string]string{"pyproject.toml": newer, "pylock.toml": pylock}, harness.Suite{}},
		{"group", `group "test" of pyproject.toml`, `("8.4.2", "25.4.0", None, "0.1.0")`,
			map[string]string{"pyproject.toml": newer}, harness.Suite{}},
		{
			"a source of uv", `group "test" of pyproject.toml`, `("8.4.2", "99.0", None, "0.1.0")`,
			map[string]string{
				"pyproject.toml": strings.ReplaceAll(newer, "attrs==25.4.0", "attrs") +
					"[tool.uv.sources]\nattrs = { path = \"packages/attrs\" }\n",
				"packages/attrs/backend.py": localBackend,
				"packages/attrs/pyproject.toml": `[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "attrs"
version = "99.0"
`,
			},
			harness.Suite{},
		},
		{
			"requirements file", "requirements-test.txt", `("8.4.1", "25.2.0", None, "0.1.0")`,
			map[string]string{"requirements-test.txt": `-r more/base.txt
tiny
pytest<9
`, "more/base.txt": "-c bounds.txt\nattrs\n", "more/bounds.txt": "attrs==25.2.0\npytest==8.4.1\n"},
			harness.Suite{},
		},
		{"the Suite", "the Suite", `("8.4.2", None, "4.30.0", "0.1.0")`, map[string]string{"pyproject.toml": newer},
			harness.Suite{Requirements: []string{"pytest==8.4.2", "tox==4.30.0"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.files["tests/test_tiny.py"] = strings.Replace(sees, "%s", c.versions, 1)
			c.suite.Crate = selftest.WriteCrate(t, c.files)
			before := selftest.Snapshot(t, c.suite.Crate)
			artifacts := t.TempDir()
			t.Setenv("PYO3TEST_ARTIFACTS", artifacts)
			r := harnesstest.Record(t, c.suite)
			require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
			require.Contains(t, r.Text(), "packages to test with, by "+c.from)
			require.Equal(t, before, selftest.Snapshot(t, c.suite.Crate), "the tree was written to")
			lists, err := filepath.Glob(filepath.Join(artifacts, "*", "installed.txt"))
			require.NoError(t, err)
			require.Len(t, lists, 1)
			list, err := os.ReadFile(lists[0])
			require.NoError(t, err)
			require.Contains(t, string(list), "\npytest==8.4.")
		})
	}
}

// TestDependenciesThatCannotBeHad checks that dependencies that cannot be had are red before any test runs, and that
// the message says which and what to do.
func TestDependenciesThatCannotBeHad(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		suite harness.Suite
		says  []string
	}{
		"a conflict": {nil, harness.Suite{Requirements: []string{"attrs==25.3.0", "attrs==25.4.0"}},
			[]string{"installing the Suite", "attrs==25.3.0", "a requirement cannot be had as it is written"}},
		"no such version": {map[string]string{"requirements-test.txt": "attrs==0.0.1\n"}, harness.Suite{},
			[]string{"installing requirements-test.txt", "attrs==0.0.1",
				"a requirement cannot be had as it is written"}},
		"a wrong hash": {map[string]string{"requirements-test.txt": "attrs==25.3.0 --hash=sha256:" +
			strings.Repeat("0", 64) + "\n"}, harness.Suite{}, []string{"Hash mismatch for `attrs==25.3.0`"}},
		"pytest is left out": {map[string]string{"pylock.toml": `lock-version = "1.0"
created-by = "hand"
packages = []
#name = "pytest"
[x]
name = "pytest"
`}, harness.Suite{}, []string{"no pytest in the test environment: pylock.toml leaves it out"}},
		"a system package": {nil, harness.Suite{SystemPackages: []string{"no-such-package"}},
			[]string{"SystemPackages: install no-such-package: ", "Unable to locate package no-such-package"}},
		"no such Python": {nil, harness.Suite{Python: []string{"3.9"}}, []string{"3.9", "PYO3TEST_BASE_IMAGE"}},
		"a system library": {map[string]string{"build.rs": "fn main() { " +
			"println!(\"cargo:rustc-link-lib=nosuchlibrary\"); }\n"}, harness.Suite{},
			[]string{"cannot find -lnosuchlibrary", "in system-packages in [tool.pyo3test] (SystemPackages of a Suite)"}},
		"a file that is left": {map[string]string{"src/lib.rs": selftest.Tiny["src/lib.rs"] +
			"const TEXT: &str = include_str!(\"../../elsewhere.txt\");\n"}, harness.Suite{},
			[]string{"elsewhere.txt", "name it in include in [tool.pyo3test] (Include of a Suite)"}},
		"an option of no field": {map[string]string{"pyproject.toml": selftest.Tiny["pyproject.toml"] +
			"[tool.pyo3test]\nworkers = \"many\"\n"}, harness.Suite{},
			[]string{"pyproject.toml: [tool.pyo3test]: ", "'Workers' expected type 'int'"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.suite.Crate = selftest.WriteCrate(t, c.files)
			r := harnesstest.Record(t, c.suite)
			require.Equal(t, harnesstest.Failed, r.Outcome(), r.Text())
			require.Empty(t, r.Subs(), r.Text())
			for _, words := range c.says {
				require.Contains(t, r.Text(), words)
			}
		})
	}
}

// TestOptions checks that what a Suite leaves open is taken from [tool.pyo3test], and that an unknown key is reported.
func TestOptions(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{
		"pyproject.toml": selftest.Tiny["pyproject.toml"] + `
[tool.pyo3test]
workers = 2
test-timeout = 1.5
requirements = ["attrs==25.3.0"]
system_packages = ["hello"]
colour = "red"
env = {COLOUR = "blue"}

[[tool.pyo3test.groups]]
name = "all"
PytestArgs = ["--maxfail=77"]
`,
		"tests/test_tiny.py": `import importlib.metadata, os, subprocess, time
import tiny

def test_options(pytestconfig):
    assert os.environ["COLOUR"] == "green"
    assert pytestconfig.getoption("maxfail") == 77
    assert importlib.metadata.version("attrs") == "25.3.0"
    assert "Hello" in subprocess.check_output(["hello"], text=True)

def test_hang():
    time.sleep(3600)
`,
	})
	r := harnesstest.Record(t, harness.Suite{Crate: crate, Env: map[string]string{"COLOUR": "green"}})
	require.Equal(t, harnesstest.Failed, r.Outcome())
	require.Contains(t, r.Text(), `[tool.pyo3test] has an unknown key "colour"`)
	require.Contains(t, r.Sub("all").Text(), "2 workers")
	require.Equal(t, harnesstest.Passed, r.Sub("all").Sub("tests/test_tiny.py/test_options").Outcome(), r.Text())
	require.Contains(t, r.Sub("all").Sub("tests/test_tiny.py/test_hang").Text(), "hung: no end within 1.5s")
}
