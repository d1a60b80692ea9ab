package harness_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/prereq"
)

// tiny is the smallest crate that PyO3 and maturin build, and one test.
var tiny = map[string]string{
	"Cargo.toml": `[package]
name = "tiny"
version = "0.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib"]

[dependencies]
pyo3 = "0.30.1"
`,
	"pyproject.toml": `[build-system]
requires = ["maturin>=1.9.4,<2"]
build-backend = "maturin"

[project]
name = "tiny"
version = "0.1.0"
`,
	"src/lib.rs": `use pyo3::prelude::*;

#[pymodule]
mod tiny {
    use pyo3::prelude::*;

    #[pyfunction]
    fn answer() -> i32 {
        42
    }
}
`,
	"tests/test_tiny.py": "import tiny\n\ndef test_answer():\n    assert tiny.answer() == 42\n",
}

// writeCrate writes the tiny crate with other or additional files, and returns its folder. A file with the content ""
// is left out. The folder is the same each time, so that its dependencies are compiled once: tests that use it are not
// parallel.
func writeCrate(t *testing.T, files map[string]string) string {
	t.Helper()
	prereq.Engine(t)
	folder := filepath.Join(os.TempDir(), fmt.Sprintf("pyo3test-selftest-%d", os.Getuid()), "tiny")
	require.NoError(t, os.RemoveAll(folder))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(filepath.Dir(folder))) })
	edit(t, folder, map[string]string{"Cargo.lock": tinyLock(t)})
	edit(t, folder, tiny)
	edit(t, folder, files)
	return folder
}

// tinyLock returns the tiny crate's Cargo.lock.
func tinyLock(t *testing.T) string {
	t.Helper()
	lock, err := os.ReadFile("../pytests/outcomes/Cargo.lock")
	require.NoError(t, err)
	return strings.ReplaceAll(string(lock), `name = "outcomes"`, `name = "tiny"`)
}

// tinyLockWithHelper returns the tiny crate's Cargo.lock with a dependency on a local crate "helper".
func tinyLockWithHelper(t *testing.T) string {
	t.Helper()
	const alone = "dependencies = [\n \"pyo3\",\n]"
	require.Contains(t, tinyLock(t), alone)
	return strings.Replace(tinyLock(t), alone, "dependencies = [\n \"helper\",\n \"pyo3\",\n]", 1) + "\n[[package]]\nname = \"helper\"\nversion = \"0.1.0\"\n"
}

// edit writes files of a crate, and deletes those without content.
func edit(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if text == "" {
			require.NoError(t, os.RemoveAll(path))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
}

// snapshot returns every file of a folder, with content, mode and time.
func snapshot(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprint(info.Mode(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %x", sha256.Sum256(data))
		}
		files[path] = text
		return nil
	}))
	return files
}
