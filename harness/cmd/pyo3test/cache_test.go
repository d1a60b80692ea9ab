package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUnusableCacheFolder: an unusable cache folder is a fault of this host, not of the command line.
func TestUnusableCacheFolder(t *testing.T) {
	crate, file := modern(t, nil), filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	t.Setenv("XDG_CACHE_HOME", file)
	t.Setenv("HOME", file)
	for _, args := range [][]string{{"run", crate}, {"clean", "--dry-run"}} {
		code, _, errs := call(t, args...)
		require.Equal(t, exitSetup, code, errs)
		require.Contains(t, errs, "use the cache folder "+file)
		require.Contains(t, errs, "set XDG_CACHE_HOME")
	}
}
