package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestVariables: a variable that is set but not read is found with its line; one that is read or only mentioned is not.
func TestVariables(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		rust       string
		want       string // file:line and variable
	}{
		"a script": {"ci.sh", "set -e\nexport PYO3_NO_PYTHON_VERSION_CHECK=1\n", "",
			"ci.sh:2 sets PYO3_NO_PYTHON_VERSION_CHECK"},
		"a workflow": {".github/workflows/ci.yml", "env:\n  PYO3_CHECK: 1\n", "", "ci.yml:2 sets PYO3_CHECK"},
		"a conftest": {"tests/conftest.py", `import os

os.environ['PYO3_NO_VERSION'] = '1'
`, "", "conftest.py:3 sets PYO3_NO_VERSION"},
		"setdefault": {"tests/conftest.py", "os.environ.setdefault(\"PYO3_NO_VERSION\", '1')\n", "",
			"conftest.py:1 sets PYO3_NO_VERSION"},
		"cargo's": {".cargo/config.toml", "[env]\nPYO3_PYTHN = \"python3\"\n", "",
			"config.toml:2 sets PYO3_PYTHN"},
		"read by the crate":   {"ci.sh", "export PYO3_OURS=1\n", "fn main() { std::env::var(\"PYO3_OURS\"); }", ""},
		"PyO3's":              {"ci.sh", "export PYO3_PYTHON=python3 UNSAFE_PYO3_SKIP_VERSION_CHECK=1\n", "", ""},
		"words":               {"ci.sh", "# PYO3_WHATEVER is not set\n", "", ""},
		"another's":           {"ci.sh", "export MYPYO3_X=1\n", "", ""},
		"in what is left out": {"target/x.sh", "export PYO3_X=1\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			for file, text := range map[string]string{c.file: c.text, "build.rs": c.rust} {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(folder, file)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte(text), 0o644))
			}
			files, err := readFiles(folder)
			require.NoError(t, err)
			found := files.variables()
			if c.want == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.Contains(t, found[0].What, "/"+c.want+",")
		})
	}
}
