package harness

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/engine"
)

// TestFullCacheFolder checks that a full disk of the cache folder is not blamed on the engine.
func TestFullCacheFolder(t *testing.T) {
	full := &os.PathError{Op: "open", Path: "locks/base", Err: syscall.ENOSPC}
	r := &run{engine: &engine.Engine{}}
	require.Contains(t, r.explain(t.Context(), full), engine.DiskFull)
	text := r.explain(t.Context(), errors.Join(cache.Failed(full)))
	require.NotContains(t, text, "engine")
	require.Contains(t, text, "the disk of the cache folder ")
}
