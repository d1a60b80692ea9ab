package harness_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/verdict"
)

// rpds is a real project that carries its tests, as pip knows it.
const rpds = "rpds_py==2026.9.1 --hash=sha256:4793ef7f78268b124b73fa933440f01d258bbae01de9fa53e9080c9ab0425a12"

// fetch has pip bring the source distribution of a requirement with its hash, and returns the folder of its content. It
// lies at the same place each time, so that it is compiled once.
func (h host) fetch(t *testing.T, requirement string) string {
	t.Helper()
	ctx := t.Context()
	c, err := image.StartBuilder(ctx, h.Engine, h.network, engine.Spec{Image: h.tools.Name, Purpose: "test", User: image.User})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Remove(ctx)) }()
	script := `cd /tmp && cat >wanted.txt && PATH=` + image.Path + ` ` + image.Tools + `/python -m pip download -q --no-deps --no-build-isolation --no-binary :all: --require-hashes -r wanted.txt -d sdist`
	var output strings.Builder
	require.NoError(t, image.Run(ctx, c, engine.Command{Argv: []string{"bash", "-c", script}, Env: h.network.Env()}, strings.NewReader(requirement), &output), output.String())
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
	name, _, _ := strings.Cut(requirement, "=")
	folder := filepath.Join(os.TempDir(), "pyo3test-selftest-sdists", name)
	require.NoError(t, os.RemoveAll(folder))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(filepath.Dir(folder))) })
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

// plainPytest runs pytest by hand in a container of the same image, without anything of ours, and returns its JUnit.
func (h host) plainPytest(t *testing.T, built engine.Image, tree extension.Tree) []verdict.Case {
	t.Helper()
	ctx := t.Context()
	c, err := h.Start(ctx, engine.Spec{Image: built.ID, Purpose: "test", User: image.User, Confined: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Remove(ctx)) }()
	require.NoError(t, c.UploadTar(ctx, "/", tree.Pack))
	script := `cp -r ` + image.Built + `/tree/. ` + extension.Sources + ` 2>/dev/null; cd ` + path.Join(extension.Sources, tree.Crate) + ` && pytest -q --junitxml=/tmp/junit.xml; cat /tmp/junit.xml >&2`
	var env []string
	for key, value := range extension.Environment(nil) {
		env = append(env, key+"="+value)
	}
	p, err := c.Exec(ctx, engine.Command{Argv: []string{"bash", "-c", script}, Env: env})
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, p.Stdout) }()
	cases, err := verdict.ReadJUnit(p.Stderr, 1<<30)
	require.NoError(t, err)
	return cases
}

// TestRealProject: on a project that nobody here wrote, with no setting but its path, the tests and their outcomes are
// those of plain pytest in the same image.
func TestRealProject(t *testing.T) {
	h := thisHost(t)
	crate := h.fetch(t, rpds)
	before := snapshot(t, crate)

	junit := filepath.Join(t.TempDir(), "junit.xml")
	t.Setenv("PYO3TEST_JUNIT", junit)
	r := harnesstest.Record(t, harness.Suite{Crate: crate})
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
	file, err := os.Open(junit)
	require.NoError(t, err)
	defer file.Close()
	ours, err := verdict.ReadJUnit(file, 1<<30)
	require.NoError(t, err)
	require.Equal(t, before, snapshot(t, crate), "the tree was written to")

	tree, built := h.built(t, crate)
	theirs := h.plainPytest(t, built, tree)
	require.Greater(t, len(theirs), 100)
	require.ElementsMatch(t, theirs, ours)
	t.Logf("%d tests, each as plain pytest has it", len(ours))
}
