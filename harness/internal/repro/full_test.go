package repro

import (
	"archive/tar"
	"bytes"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/bundle"
)

// TestLimitOfImage: a bundle's image can be too large for this machine.
func TestLimitOfImage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a"+bundle.Extension)
	require.NoError(t, bundle.NewWriter(bundle.Secrets{}).Save(file, bundle.Manifest{
		Test:  bundle.Test{NodeID: "a", Ran: 1, Failed: 1},
		Build: bundle.Build{Python: "3.11.2"},
		Run: bundle.Run{Crate: ".", Workspace: ".", Isolation: "forked", Memory: 1, Processes: 1,
			StartTimeout: 1, CollectTimeout: 1, TestTimeout: 1, FinishTimeout: 1, ExitTimeout: 1},
	}))
	plain, err := bundle.Open(file)
	require.NoError(t, err)
	defer plain.Close()
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 3 << 20}))
	_, err = w.Write(make([]byte, 3<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	file = filepath.Join(t.TempDir(), "full"+bundle.Extension)
	require.NoError(t, plain.SaveFull(file, bundle.Image{}, func(to io.Writer) error { return bundle.CopyRoot(to, &root, 1<<30) }))
	full, err := bundle.Open(file)
	require.NoError(t, err)
	defer full.Close()
	most := Limits{Memory: 1, Processes: 1, Time: 1, Image: 4 << 20}
	require.NoError(t, checkLimits(full, most))
	most.Image = 2 << 20
	require.ErrorContains(t, checkLimits(full, most), "the bundle's image has 3 MiB, and may have 2: run it with --limits")
}
