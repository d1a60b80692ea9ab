package evidence

import (
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
	text := "head" + strings.Repeat("\x00", 10<<20) + "tail" + strings.Repeat("\x00", 1<<20)
	r.Keep("g", "core", strings.NewReader(text))
	require.Empty(t, r.errs)
	path := filepath.Join(r.folder, "g", "core")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, text == string(data), "another content")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Sys().(*syscall.Stat_t).Blocks*512, int64(1<<20))
}
