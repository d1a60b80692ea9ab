package selftest

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/prereq"
)

// Sdist is a source distribution, as pip knows it.
type Sdist struct{ Name, Version, SHA256 string }

// Rpds is the real project that is also measured.
var Rpds = Sdist{Name: "rpds_py", Version: "2026.9.1",
	SHA256: "4793ef7f78268b124b73fa933440f01d258bbae01de9fa53e9080c9ab0425a12"}

// Fetch downloads a project with pip and returns the folder of its content. The folder is the same each time, so that
// the project is compiled once.
func (h Host) Fetch(t testing.TB, p Sdist) string {
	t.Helper()
	ctx := t.Context()
	c, err := image.StartBuilder(ctx, h.Engine, h.Network,
		engine.Spec{Image: h.Tools.Name, Purpose: "test", User: layout.User})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Remove(ctx)) }()
	script := `cd /tmp && cat >wanted.txt && PATH=` + layout.Path + ` ` + layout.Tools +
		`/python -m pip download -q --no-deps --no-build-isolation --no-binary :all: --require-hashes -r wanted.txt -d sdist`
	requirement := p.Name + "==" + p.Version + " --hash=sha256:" + p.SHA256
	var output strings.Builder
	require.NoError(t, image.Run(ctx, c, engine.Command{Argv: []string{"bash", "-c", script}, Env: h.Network.Env()},
		strings.NewReader(requirement), &output), output.String())
	stream, err := c.Download(ctx, "/tmp/sdist")
	require.NoError(t, err)
	defer stream.Close()
	outer := tar.NewReader(stream)
	for {
		header, err := outer.Next()
		require.NoError(t, err, "pip brought no archive")
		if strings.HasSuffix(header.Name, ".tar.gz") {
			break
		}
	}
	folder := filepath.Join(prereq.Place(t, "projects"), p.Name)
	unpacked, err := gzip.NewReader(outer)
	require.NoError(t, err)
	for inner := tar.NewReader(unpacked); ; {
		header, err := inner.Next()
		if errors.Is(err, io.EOF) {
			return folder
		}
		require.NoError(t, err)
		_, below, _ := strings.Cut(header.Name, "/")
		if header.Typeflag != tar.TypeReg || !filepath.IsLocal(below) {
			continue
		}
		data, err := io.ReadAll(inner)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(folder, below)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(folder, below), data, os.FileMode(header.Mode)))
	}
}
