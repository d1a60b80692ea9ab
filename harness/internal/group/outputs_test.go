package group

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOutputFolder checks that what tests write goes to a folder that has nothing of the user's.
func TestOutputFolder(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	folder := filepath.Join(top, "reports")
	got, err := OutputFolder(folder)
	require.NoError(t, err)
	require.Equal(t, folder, got)
	require.NoDirExists(t, folder)

	require.NoError(t, os.Mkdir(folder, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, ".gitignore"), []byte(madeByUs), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "coverage.xml"), nil, 0o644))
	require.NoError(t, os.Symlink(folder, filepath.Join(top, "link")))
	for _, name := range []string{folder, filepath.Join(top, "link")} {
		got, err := OutputFolder(name)
		require.NoError(t, err)
		require.Equal(t, folder, got)
	}

	_, err = OutputFolder(top)
	require.ErrorContains(t, err, top+" has other files: name a new or empty folder")
	require.NoError(t, os.WriteFile(filepath.Join(folder, ".gitignore"), []byte("*.log\n"), 0o644))
	_, err = OutputFolder(folder)
	require.ErrorContains(t, err, "has other files")
	_, err = OutputFolder(filepath.Join(folder, "coverage.xml"))
	require.Error(t, err)
}
