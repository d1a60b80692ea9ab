package evidence

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSparse: what a hole was, or could be one, takes no space; the content is the same.
func TestSparse(t *testing.T) {
	r := newRun(t)
	r.limits = defaults
	zeros := strings.NewReader(strings.Repeat("\x00", 10<<20))
	r.Keep("g", "core", io.MultiReader(strings.NewReader("head"), zeros, strings.NewReader("tail"), strings.NewReader(strings.Repeat("\x00", 1<<20))))
	require.Empty(t, r.errs)
	path := filepath.Join(r.folder, "g", "core")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "head"+strings.Repeat("\x00", 10<<20)+"tail"+strings.Repeat("\x00", 1<<20), string(data))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Sys().(*syscall.Stat_t).Blocks*512, int64(1<<20))
}
