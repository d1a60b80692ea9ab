// Package selftest has what the harness's own tests share: crates to build, and pytest as it runs by hand.
package selftest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/prereq"
)

// Tiny is the smallest crate that PyO3 and maturin build, and one test.
var Tiny = map[string]string{
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

// WriteCrate writes the tiny crate with other or additional files, and returns its folder. A file with the content ""
// is left out. The folder is the same each time, so that its dependencies are compiled once: tests that use it are not
// parallel.
func WriteCrate(t testing.TB, files map[string]string) string {
	t.Helper()
	prereq.Engine(t)
	folder := filepath.Join(prereq.Place(t, "crates"), "tiny")
	Edit(t, folder, map[string]string{"Cargo.lock": TinyLock(t)})
	Edit(t, folder, Tiny)
	Edit(t, folder, files)
	return folder
}

// TinyLock returns the tiny crate's Cargo.lock.
func TinyLock(t testing.TB) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	lock, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../../pytests/outcomes/Cargo.lock"))
	require.NoError(t, err)
	return strings.ReplaceAll(string(lock), `name = "outcomes"`, `name = "tiny"`)
}

// TinyLockWithHelper returns the tiny crate's Cargo.lock with a dependency on a local crate "helper".
func TinyLockWithHelper(t testing.TB) string {
	t.Helper()
	const alone = "dependencies = [\n \"pyo3\",\n]"
	require.Contains(t, TinyLock(t), alone)
	return strings.Replace(TinyLock(t), alone, "dependencies = [\n \"helper\",\n \"pyo3\",\n]", 1) +
		"\n[[package]]\nname = \"helper\"\nversion = \"0.1.0\"\n"
}

// Edit writes files of a crate, and deletes those without content.
func Edit(t testing.TB, folder string, files map[string]string) {
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

// Snapshot returns every file of a folder, with content, mode and time.
func Snapshot(t testing.TB, folder string) map[string]string {
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

// Merged returns all files of several sets; a later set wins.
func Merged(sets ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, set := range sets {
		maps.Copy(all, set)
	}
	return all
}
