package project

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDependencies checks where projects declare what their tests need, and which of several places counts.
func TestDependencies(t *testing.T) {
	const project = maturin + `[project]
name = "My.Ext"
dependencies = ["numpy>=2"]
`
	const extras = `[project.optional-dependencies]
testing = ["pytest>=8", "my_ext[fast]"]
fast = ["attrs", "my-ext[testing]"]
`
	const groups = `[dependency-groups]
dev = ["ruff"]
test = ["pytest-asyncio", {include-group = "more"}, "-e .[fast]"]
more = ["hypothesis"]
`
	const lock = `version = 1
[[package]]
name = "pytest"
source = { registry = "https://pypi.org/simple" }
[[package]]
name = "helper"
source = { directory = "helper" }
[[package]]
name = "my-ext"
source = { editable = "py" }
`
	for name, c := range map[string]struct {
		files  map[string]string
		wanted Wanted
		want   Dependencies
	}{
		"nothing": {
			files: map[string]string{"py/pyproject.toml": project},
			want:  Dependencies{Requirements: []string{"numpy>=2"}},
		},
		"an extra, and those that it names": {
			files: map[string]string{"py/pyproject.toml": project + extras, "py/requirements-test.txt": "attrs\n"},
			want: Dependencies{From: `extra "testing" of pyproject.toml`,
				Requirements: []string{"pytest>=8", "attrs", "numpy>=2"}, Pytest: true},
		},
		"a group goes before an extra": {
			files: map[string]string{"py/pyproject.toml": project + extras + groups},
			want: Dependencies{From: `group "test" of pyproject.toml`,
				Requirements: []string{"pytest-asyncio", "hypothesis", "attrs", "pytest>=8", "numpy>=2"}, Pytest: true},
		},
		"an extra that names pytest goes before a group that does not": { // as in cramjam
			files: map[string]string{"py/pyproject.toml": project + `[dependency-groups]
dev = ["ruff"]
[project.optional-dependencies]
dev = ["pytest"]
`},
			want: Dependencies{From: `extra "dev" of pyproject.toml`, Requirements: []string{"pytest", "numpy>=2"},
				Pytest: true},
		},
		"a name that begins as usual, with pytest": { // as in pydantic_core
			files: map[string]string{"py/pyproject.toml": project + `[dependency-groups]
dev = ["maturin"]
testing-extra = [{include-group = "dev"}, "pytest"]
codspeed = ["pytest-codspeed"]
`},
			want: Dependencies{From: `group "testing-extra" of pyproject.toml`,
				Requirements: []string{"maturin", "pytest", "numpy>=2"}, Pytest: true},
		},
		"another name, with pytest": {
			files: map[string]string{"py/pyproject.toml": project + `[dependency-groups]
ci = ["pytest"]
dev = ["ruff"]
`},
			want: Dependencies{From: `group "ci" of pyproject.toml`, Requirements: []string{"pytest", "numpy>=2"},
				Pytest: true},
		},
		"a plugin alone under another name": {
			files: map[string]string{"py/pyproject.toml": project + `[dependency-groups]
codspeed = ["pytest-codspeed"]
docs = ["sphinx", {include-group = "docs"}]
`},
			wanted: Wanted{With: []string{"attrs"}},
			want:   Dependencies{Requirements: []string{"attrs", "numpy>=2"}},
		},
		"a lock above goes before a group": {
			files: map[string]string{"py/pyproject.toml": project + groups, "uv.lock": lock, "helper/x.py": ""},
			want: Dependencies{
				From: `../uv.lock, group "test"`, Lock: &Lock{Kind: "uv", Groups: []string{"test"}, Extras: []string{}},
				Requirements: []string{"numpy>=2"},
				Pytest:       true, Local: true, Travel: []string{"uv.lock", "pyproject.toml", "helper"},
			},
		},
		"packages as files": {
			files:  map[string]string{"py/pyproject.toml": project, "py/w/x-1.whl": "PK", "py/y-1.tar.gz": "gz"},
			wanted: Wanted{Requirements: []string{"./w/x-1.whl", "y-1.tar.gz"}},
			want: Dependencies{
				From: "the Suite", Requirements: []string{"./w/x-1.whl", "./y-1.tar.gz", "numpy>=2"}, Local: true,
				Travel: []string{"py/w/x-1.whl", "py/y-1.tar.gz"},
			},
		},
		"the lock of another project": {
			files: map[string]string{"py/pyproject.toml": project, "uv.lock": `version = 1
[[package]]
name = "pytest"
source = { virtual = "." }
`},
			want: Dependencies{Requirements: []string{"numpy>=2"}},
		},
		"pylock": {
			files: map[string]string{"py/pyproject.toml": project + groups, "py/pylock.toml": `lock-version = "1.0"
[[packages]]
name = "pytest"
`},
			want: Dependencies{From: "pylock.toml", Lock: &Lock{Kind: "pylock", Groups: []string{}, Extras: []string{}},
				Requirements: []string{"numpy>=2"}, Pytest: true},
		},
		"pylock with local packages": {
			files: map[string]string{
				"py/pyproject.toml": project, "helper/x.py": "", "py/x.whl": "",
				"py/pylock.toml": `lock-version = "1.0"
[[packages]]
name = "helper"
[packages.directory]
path = "../helper"
` +
					`[[packages]]
name = "my-ext"
directory = { path = "." }
[[packages]]
name = "x"
wheels = [{ path = "x.whl" }]
`,
			},
			want: Dependencies{
				From: "pylock.toml", Lock: &Lock{Kind: "pylock", Groups: []string{}, Extras: []string{}},
				Requirements: []string{"numpy>=2"},
				Local:        true, Travel: []string{"helper", "py/x.whl"},
			},
		},
		"a requirements file with others in it": {
			files: map[string]string{
				"py/pyproject.toml": project + "[project.optional-dependencies]\nfast = [\"attrs\"]\n",
				"py/requirements-test.txt": `# what tests need
-r reqs/base.txt
--constraint=bounds.txt
pytest==8.4.2 \
    --hash=sha256:0 # why
-e .[fast]
./helper[x] ; python_version > '3'
`,
				"py/reqs/base.txt":           "-r more.txt\nmy_ext\nhelper2 @ file:../helper2\r\n",
				"py/reqs/more.txt":           "https://example.com/x-1.0-py3-none-any.whl#sha256=0\n",
				"py/bounds.txt":              "attrs<25\nmy-ext==1.0\n",
				"py/helper/pyproject.toml":   "",
				"helper2/pyproject.toml":     "",
				"py/requirements-unused.txt": "numpy",
			},
			want: Dependencies{
				From: "requirements-test.txt", Requirements: []string{"attrs", "numpy>=2"}, Pytest: true, Local: true,
				Travel: []string{"helper2", "py/helper"},
				Files: []RequirementFile{{
					Name: "requirements-test.txt", Constraints: "attrs<25\n",
					Text: `https://example.com/x-1.0-py3-none-any.whl#sha256=0
helper2 @ file:../helper2
pytest==8.4.2      --hash=sha256:0
./helper[x] ; python_version > '3'
`,
				}},
			},
		},
		"the Suite goes before all": {
			files: map[string]string{"py/pyproject.toml": project + extras + groups, "uv.lock": lock,
				"py/mine.txt": "attrs\n"},
			wanted: Wanted{Requirements: []string{"mine.txt", "tox"}, Groups: []string{"dev"}},
			want: Dependencies{From: "the Suite", Requirements: []string{"ruff", "tox", "numpy>=2"},
				Files: []RequirementFile{{Name: "mine.txt", Text: "attrs\n"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			top := realTemp(t)
			write(t, top, map[string]string{"py/Cargo.toml": member})
			write(t, top, c.files)
			for i, path := range c.want.Travel {
				c.want.Travel[i] = filepath.Join(top, path)
			}
			if c.want.Files == nil {
				c.want.Files = []RequirementFile{}
			}
			project, err := Read(filepath.Join(top, "py"))
			require.NoError(t, err)
			got, err := project.Dependencies(c.wanted, os.Open)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestDependenciesThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		wanted Wanted
		says   string
	}{
		"no such extra": {wanted: Wanted{Extras: []string{"x"}},
			says: `Extras: the project has no extra "x"; it has ["fast"]`},
		"no such group": {wanted: Wanted{Groups: []string{"x"}},
			says: `DependencyGroups: the project has no group "x"; it has ["a" "b" "c"]`},
		"a group that names none": {wanted: Wanted{Groups: []string{"c"}},
			says: `the dependency group "c" includes "z", which is not there`},
		"a circle of groups": {wanted: Wanted{Groups: []string{"a"}},
			says: `the dependency group "a" includes itself`},
		"no such file": {wanted: Wanted{Requirements: []string{"x.txt"}}, says: "Requirements: no file "},
		"a circle of files": {files: map[string]string{"x.txt": "-r x.txt\n"},
			wanted: Wanted{Requirements: []string{"x.txt"}}, says: "x.txt includes itself"},
		"a file that is gone": {files: map[string]string{"x.txt": "-c y.txt\n"},
			wanted: Wanted{Requirements: []string{"x.txt"}}, says: "x.txt includes, is not there"},
		"a broken lock": {files: map[string]string{"uv.lock": "["}, says: "uv.lock: "},
	} {
		t.Run(name, func(t *testing.T) {
			top := realTemp(t)
			write(t, top, map[string]string{"Cargo.toml": member, "pyproject.toml": maturin + `[project]
name = "x"
optional-dependencies = {fast = []}
[dependency-groups]
a = [{include-group = "b"}]
b = [{include-group = "a"}]
c = [{include-group = "z"}]
`})
			write(t, top, c.files)
			project, err := Read(top)
			require.NoError(t, err)
			_, err = project.Dependencies(c.wanted, os.Open)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// TestConfigurationAboveTravels checks that the configuration that pytest, cargo and rustup would find above the crate
// travels to the container.
func TestConfigurationAboveTravels(t *testing.T) {
	above := map[string]string{
		"conftest.py": "", "a/conftest.py": "", "a/helper.py": "", "a/setup.cfg": "[metadata]\n",
		"rust-toolchain": "1.80", "a/rust-toolchain.toml": "",
		".cargo/config.toml": "[source.vendored]\ndirectory = \"vendor\"\n", "vendor/x/Cargo.toml": member,
		"a/.cargo/config":    "",
		"a/crate/Cargo.toml": member, "a/crate/pyproject.toml": maturin, "a/crate/tests/test_x.py": "",
	}
	crate := []string{"a/crate/Cargo.toml", "a/crate/pyproject.toml", "a/crate/tests/test_x.py", ".cargo/config.toml",
		"vendor/x/Cargo.toml", "a/.cargo/config", "a/rust-toolchain.toml"}
	for name, c := range map[string]struct {
		files  map[string]string
		travel []string
	}{
		"none for pytest": {},
		"pytest.ini": {map[string]string{"pytest.ini": ""},
			[]string{"conftest.py", "a/conftest.py", "pytest.ini"}},
		"the nearest": {map[string]string{"pytest.ini": "", "a/tox.ini": "[pytest]\n"},
			[]string{"a/conftest.py", "a/tox.ini"}},
		"pyproject.toml": {map[string]string{"pyproject.toml": "[tool.pytest.ini_options]\n"},
			[]string{"conftest.py", "a/conftest.py", "pyproject.toml"}},
		"setup.cfg": {map[string]string{"setup.cfg": "[tool:pytest]\n"},
			[]string{"conftest.py", "a/conftest.py", "setup.cfg"}},
		"the crate has its own": {map[string]string{"pytest.ini": "", "a/crate/.pytest.ini": ""},
			[]string{"a/crate/.pytest.ini"}},
		"a pyproject.toml without": {map[string]string{"pyproject.toml": "[tool.other]\n"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			top := realTemp(t)
			write(t, top, above)
			write(t, top, c.files)
			project, err := Read(filepath.Join(top, "a/crate"))
			require.NoError(t, err)
			tree, err := project.Collect(Selection{Root: top}, os.Open)
			require.NoError(t, err)
			var names []string
			for _, file := range tree.Files {
				names = append(names, file.Name)
			}
			require.ElementsMatch(t, append(c.travel, crate...), names)
		})
	}
}

// TestProvider checks which group or extra has a package, by whatever form of its name.
func TestProvider(t *testing.T) {
	var p Project
	p.Groups = map[string][]any{"a": {map[string]any{"include-group": "b"}}, "b": {"hypothesis>=6", "python_dateutil"}}
	p.Metadata.Extras = map[string][]string{"x": {"attrs; python_version > '3'"}}
	for pkg, want := range map[string][2]string{
		"hypothesis": {"group", "a"}, "python-dateutil": {"group", "a"}, "attrs": {"extra", "x"}, "numpy": {},
	} {
		kind, name := p.Provider(pkg)
		require.Equal(t, want, [2]string{kind, name}, pkg)
	}
}
