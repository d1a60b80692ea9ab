package project

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPyO3 checks that PyO3's version and features are found wherever manifests may declare them.
func TestPyO3(t *testing.T) {
	const project = "[build-system]\nrequires = ['maturin']\nbuild-backend = 'maturin'\n"
	for name, c := range map[string]struct {
		files map[string]string // below the workspace; the crate is in crate/
		want  PyO3
		name  string
	}{
		"a version alone": {
			map[string]string{"crate/Cargo.toml": "[package]\nname = 'a-b'\n[dependencies]\npyo3 = '0.25'\n"},
			PyO3{Wanted: "0.25", Library: "a_b", Lock: "crate/Cargo.lock"}, "a_b",
		},
		"a table, renamed, for one target": {
			map[string]string{
				"crate/Cargo.toml":     "[package]\nname = 'a'\n[lib]\nname = 'b'\n[target.'cfg(unix)'.dependencies.py]\npackage = 'pyo3'\nversion = '0.25'\nfeatures = ['abi3-py39']\n[features]\ndefault = ['x']\nx = ['py/auto-initialize']\nother = ['py/never']\nasked = ['py?/anyhow']\n",
				"crate/pyproject.toml": project + "[tool.maturin]\nfeatures = ['asked', 'py/extension-module']\nmodule-name = 'b._c'\n",
				"crate/Cargo.lock":     "[[package]]\nname = 'pyo3'\nversion = '0.25.1'\n",
			},
			PyO3{Wanted: "0.25", Locked: "0.25.1", HasLock: true, Library: "b", Lock: "crate/Cargo.lock", Features: []string{"abi3-py39", "anyhow", "auto-initialize", "extension-module"}}, "b._c",
		},
		"the workspace's": {
			map[string]string{
				"Cargo.toml":       "[workspace]\nmembers = ['crate']\n[workspace.dependencies]\npyo3 = { version = '0.26', features = ['extension-module'] }\n",
				"Cargo.lock":       "[[package]]\nname = 'serde'\nversion = '1.0.0'\n",
				"crate/Cargo.toml": "[package]\nname = 'a'\n[dependencies]\npyo3 = { workspace = true, features = ['abi3'] }\n[dev-dependencies]\npyo3 = { workspace = true, features = ['auto-initialize'] }\n",
			},
			PyO3{Wanted: "0.26", HasLock: true, Library: "a", Lock: "Cargo.lock", Features: []string{"abi3", "extension-module"}}, "a",
		},
		"none": {map[string]string{"crate/Cargo.toml": "[package]\nname = 'a'\n"}, PyO3{Library: "a", Lock: "crate/Cargo.lock"}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			root, err := filepath.EvalSymlinks(t.TempDir())
			require.NoError(t, err)
			if c.files["crate/pyproject.toml"] == "" {
				c.files["crate/pyproject.toml"] = project
			}
			for name, content := range c.files {
				require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o644))
			}
			p, err := Read(filepath.Join(root, "crate"))
			require.NoError(t, err)
			c.want.Manifest, c.want.Lock = filepath.Join(root, "crate/Cargo.toml"), filepath.Join(root, c.want.Lock)
			found, err := p.PyO3()
			require.NoError(t, err)
			require.Equal(t, c.want, found)
			require.Equal(t, c.name, p.ModuleName(found.Library))
		})
	}
}
