package bytecode

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/project"
)

const pyc = "tests/__pycache__/test_a.cpython-311-pytest-9.2.0.pyc"

func tree(sum string) project.Tree {
	return project.Tree{Files: []project.File{{Name: "tests/test_a.py", Sum: sum}, {Name: "src/lib.rs", Sum: "r"}}}
}

func open(t *testing.T, sum string) *Store {
	t.Helper()
	s, err := Open("tree", tree(sum))
	require.NoError(t, err)
	return s
}

func packed(t *testing.T, s *Store, settings string) []string {
	t.Helper()
	names, err := s.Pack(settings, tar.NewWriter(io.Discard))
	require.NoError(t, err)
	return names
}

func TestContentDecides(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	s := open(t, "one")
	s.Add("", pyc, []byte("code"))
	require.NoError(t, s.Save())
	require.Equal(t, []string{pyc}, packed(t, open(t, "one"), ""))
	require.Empty(t, packed(t, open(t, "one"), "others"), "compiled under other settings")

	edited := open(t, "two")
	require.Empty(t, packed(t, edited, ""), "compiled of other content")
	edited.Add("", pyc, []byte("other code"))
	require.NoError(t, edited.Save())
	require.Empty(t, packed(t, open(t, "one"), ""))
	require.Len(t, packed(t, open(t, "two"), ""), 1)
}

func TestNamesOutsideTheTree(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	s := open(t, "one")
	for _, name := range []string{
		"", "test_a.py", "tests/test_a.pyc", "tests/__pycache__/test_a.py", "tests/__pycache__/test_b.cpython-311.pyc",
		"/" + pyc,
		"tests/../tests/__pycache__/test_a.cpython-311.pyc", "../tests/__pycache__/test_a.cpython-311.pyc",
		"src/__pycache__/lib.cpython-311.pyc",
	} {
		s.Add("", name, []byte("code"))
	}
	require.Empty(t, packed(t, s, ""))
}

// TestDamagedFile checks that a file with a flipped bit, or half a file, counts as no file.
func TestDamagedFile(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	s := open(t, "one")
	s.Add("", pyc, []byte("code, and some more of it"))
	require.NoError(t, s.Save())
	whole, err := os.ReadFile(s.file)
	require.NoError(t, err)
	for at := range whole {
		damaged := slices.Clone(whole)
		damaged[at] ^= 4
		require.NoError(t, os.WriteFile(s.file, damaged, 0o600))
		for _, found := range open(t, "one").entries { // a flipped bit in gzip's header may go unnoticed
			require.Equal(t, "code, and some more of it", string(found.Data))
		}
	}
	require.NoError(t, os.WriteFile(s.file, whole[:len(whole)/2], 0o600))
	require.Empty(t, packed(t, open(t, "one"), ""))
}

func TestFewTreesAreKept(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for i := range keptTrees + 3 {
		s, err := Open(fmt.Sprint(i), tree("one"))
		require.NoError(t, err)
		s.Add("", pyc, []byte("code"))
		require.NoError(t, s.Save())
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(open(t, "one").file), "*"))
	require.NoError(t, err)
	require.Len(t, left, keptTrees)
}
