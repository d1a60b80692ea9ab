package scaffold

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/project"
)

const maturin = `[build-system]
requires = ["maturin>=1.9.4,<2"]
build-backend = "maturin"

[project]
name = "tiny"
`

// TestRequireForked checks that --forked comes with pytest-forked, wherever a project lists what its tests need, or not
// at all.
func TestRequireForked(t *testing.T) {
	for name, c := range map[string]struct {
		pyproject string // below maturin's
		files     map[string]string
		changed   string // the file, "" if the pair cannot be had
		want      string // a part of it, or of the note
	}{
		"nothing": {"", nil, "pyproject.toml",
			`name = "tiny"

[dependency-groups]
test = ["pytest-forked>=1.7.5", "pytest<9.2"]
`},
		"a group": {"[dependency-groups]\ntest = [\"pytest>=8\"]\n", nil, "pyproject.toml",
			`test = ["pytest-forked>=1.7.5", "pytest<9.2", "pytest>=8"]`},
		"an empty group": {"[dependency-groups]\ntest = []\n", nil, "pyproject.toml",
			`test = ["pytest-forked>=1.7.5", "pytest<9.2", ]`},
		"other groups": {"[dependency-groups]\nlint = [\"ruff\"]\n", nil, "pyproject.toml",
			"[dependency-groups]\ntest = [\"pytest-forked"},
		"a group of lines": {`[dependency-groups]
test = [
    "pytest", # why
]
`, nil, "pyproject.toml", `test = [
    "pytest-forked>=1.7.5",
    "pytest<9.2",
    "pytest", # why
]`},
		"an extra": {"[project.optional-dependencies]\ndev = ['pytest']\n", nil, "pyproject.toml",
			`dev = ["pytest-forked>=1.7.5", "pytest<9.2", 'pytest']`},
		"a requirements file": {"", map[string]string{"requirements-test.txt": "pytest"}, "requirements-test.txt",
			`pytest
pytest-forked>=1.7.5
pytest<9.2
`},
		"a newer pytest": {"[dependency-groups]\ntest = [\"pytest>=9.2\"]\n", nil, "",
			"does not work with the pytest of group \"test\" of pyproject.toml"},
		"a lock file": {"[dependency-groups]\ntest = [\"pytest\"]\n", map[string]string{"uv.lock": `version = 1
[[package]]
name = "tiny"
source = { editable = "." }
`}, "",
			"first run `uv add --group test 'pytest-forked>=1.7.5' 'pytest<9.2'`"},
		"a list in another form": {`[dependency-groups]
"test" = ["pytest"]
[tool.x]
`, nil, "pyproject.toml", `"test" = ["pytest-forked`},
		"dotted": {"dependency-groups.test = [\"pytest\"]\n", nil, "", "cannot be edited safely"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			text := maturin + c.pyproject
			if strings.HasPrefix(c.pyproject, "dependency-groups.") {
				text = c.pyproject + maturin
			}
			require.NoError(t, os.WriteFile(filepath.Join(folder, "pyproject.toml"), []byte(text), 0o644))
			require.NoError(t, os.WriteFile(filepath.Join(folder, "Cargo.toml"), []byte("[package]\nname = 'tiny'\n"),
				0o644))
			for file, text := range c.files {
				require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte(text), 0o644))
			}
			read := func() Project {
				p, err := project.Read(folder)
				require.NoError(t, err)
				return Project{Project: p}
			}
			var plan Plan
			require.NoError(t, read().Config(&plan))
			if c.changed == "" {
				require.Empty(t, plan.Changes)
				require.Contains(t, plan.Notes[0], c.want)
				return
			}
			require.Len(t, plan.Changes, 2, plan.Notes)
			for _, change := range plan.Changes {
				require.NoError(t, change.Apply())
			}
			data, err := os.ReadFile(filepath.Join(folder, c.changed))
			require.NoError(t, err)
			require.Contains(t, string(data), c.want)
			require.FileExists(t, filepath.Join(folder, "pytest.ini"))
			var again Plan
			require.NoError(t, read().Config(&again))
			require.Empty(t, again.Changes, "a second time there is nothing to do")
		})
	}
}
