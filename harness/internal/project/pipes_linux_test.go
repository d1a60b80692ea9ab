package project

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPipesAreNotOpened checks that no pipe is opened: that would wait for a writer.
func TestPipesAreNotOpened(t *testing.T) {
	folder := crate(t, map[string]string{"a": "-> pipe", "uv.lock/x": ""})
	for _, name := range []string{"pipe", "conftest.py", "pytest.ini", "rust-toolchain", "requirements-test.txt",
		"LICENSE", "Cargo.lock", "pylock.toml", ".coverage"} {
		require.NoError(t, syscall.Mkfifo(filepath.Join(folder, name), 0o644))
	}
	ended := make(chan error, 1)
	go func() {
		project, err := Read(folder)
		if err == nil {
			_, err = project.Dependencies(Wanted{}, os.Open)
		}
		if err == nil {
			_, err = project.Collect(Selection{}, os.Open)
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("a pipe was opened")
	}
	require.NoError(t, os.Remove(filepath.Join(folder, "pyproject.toml")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(folder, "pyproject.toml"), 0o644))
	_, err := Read(folder)
	require.ErrorContains(t, err, "pyproject.toml: not a regular file")
}
