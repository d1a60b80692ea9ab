package cache

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPrune: of the entries of a folder the newest stay, within a number and a size.
func TestPrune(t *testing.T) {
	folder := t.TempDir()
	clock := time.Now().Add(-time.Hour)
	fill := func(sizes ...int) {
		for i, size := range sizes {
			entry := filepath.Join(folder, fmt.Sprintf("%d", i+1), "g")
			require.NoError(t, os.MkdirAll(entry, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(entry, "file"), make([]byte, size), 0o600))
			for _, path := range []string{filepath.Join(entry, "file"), entry, filepath.Dir(entry)} {
				require.NoError(t, os.Chtimes(path, clock, clock))
			}
			clock = clock.Add(time.Second)
		}
	}
	const all = 6 << 20
	fill(1, 1, 1, 1)
	require.NoError(t, Prune(folder, 3, all))
	require.Equal(t, []string{"2", "3", "4"}, names(t, folder))
	fill(1, 3<<20, 4<<20, 2<<20)
	require.NoError(t, Prune(folder, 3, all))
	require.Equal(t, []string{"3", "4"}, names(t, folder))
	fill(1, 1, 1, 7<<20)
	require.NoError(t, Prune(folder, 3, all))
	require.Equal(t, []string{"4"}, names(t, folder), "the newest stays")
	require.NoError(t, Prune(filepath.Join(folder, "none"), 3, all))
}

// names returns the names in a folder.
func names(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
