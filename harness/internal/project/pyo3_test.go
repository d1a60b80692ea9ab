package project

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPyO3 checks that PyO3's version and features are found wherever manifests may declare them.
func TestPyO3(t *testing.T) {
	const project = `[build-system]
requires = ['maturin']
build-backend = 'maturin'
`
	for name, c := range map[string]struct {
		files map[string]string // below the workspace; the crate is in crate/
		want  PyO3
		name  string
	}{
		"a version alone": {
			map[string]string{"crate/Cargo.toml": `[package]
name = 'a-b'
[dependencies]
pyo3 = '0.25'
`},
			PyO3{Wanted: "0.25", Library: "a_b", Lock: "crate/Cargo.lock"}, "a_b",
		},
		"a table, renamed, for one target": {
			map[string]string{
				"crate/Cargo.toml": `[package]
name = 'a'
[lib]
name = 'b'
[target.'cfg(unix)'.dependencies.py]
package = 'pyo3'
version = '0.25'
features = ['abi3-py39']
[features]
default = ['x']
x = ['py/auto-initialize']
other = ['py/never']
asked = ['py?/anyhow']
`,
				"crate/pyproject.toml": project + `[tool.maturin]
features = ['asked', 'py/extension-module']
module-name = 'b._c'
`,
				"crate/Cargo.lock": `[[package]]
name = 'pyo3'
version = '0.25.1'
`,
			},
			PyO3{Wanted: "0.25", Locked: "0.25.1", HasLock: true, Library: "b", Lock: "crate/Cargo.lock",
				Features: []string{"abi3-py39", "anyhow", "auto-initialize", "extension-module"}}, "b._c",
		},
		"the workspace's": {
			map[string]string{
				"Cargo.toml": `[workspace]
members = ['crate']
[workspace.dependencies]
pyo3 = { version = '0.26', features = ['extension-module'] }
`,
				"Cargo.lock": `[[package]]
name = 'serde'
version = '1.0.0'
`,
				"crate/Cargo.toml": `[package]
name = 'a'
[dependencies]
pyo3 = { workspace = true, features = ['abi3'] }
[dev-dependencies]
pyo3 = { workspace = true, features = ['auto-initialize'] }
`,
			},
			PyO3{Wanted: "0.26", HasLock: true, Library: "a", Lock: "Cargo.lock",
				Features: []string{"abi3", "extension-module"}}, "a",
		},
		"none": {map[string]string{"crate/Cargo.toml": "[package]\nname = 'a'\n"},
			PyO3{Library: "a", Lock: "crate/Cargo.lock"}, "a"},
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
