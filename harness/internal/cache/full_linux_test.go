package cache

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/prereq"
)

// TestFull checks that the errors tell a disk without inodes from one without space, and neither blames the engine's
// disk.
func TestFull(t *testing.T) {
	if os.Getuid() != 0 {
		prereq.Skip(t, "a mount takes root")
	}
	disk := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=64k,nr_inodes=8"))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
	t.Setenv("XDG_CACHE_HOME", disk)
	folder, err := lockFolder()
	require.NoError(t, err)

	filling := filepath.Join(disk, "filling")
	require.Error(t, os.WriteFile(filling, make([]byte, 1<<20), 0o600))
	err = Failed(os.WriteFile(filepath.Join(folder, "file"), make([]byte, 1), 0o600))
	require.ErrorContains(t, err, "the disk of the cache folder "+filepath.Dir(folder)+" is full: free space there, ")
	require.NoError(t, os.Remove(filling))

	for err = nil; err == nil; {
		err = os.Mkdir(filepath.Join(disk, rand.Text()), 0o700)
	}
	_, err = Lock(t.Context(), "test", nil)
	require.ErrorContains(t, err,
		"the disk of the cache folder "+filepath.Dir(folder)+" has no free inodes: remove files ")
	require.ErrorIs(t, err, syscall.ENOSPC)
}
