package image

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/prereq"
)

// TestNoRegistryAndNotDebian checks that on a host that can get a base in neither way, the error says what to do and no
// image stays.
func TestNoRegistryAndNotDebian(t *testing.T) {
	prereq.Engine(t)
	ctx := t.Context()
	e, err := engine.Connect(ctx)
	require.NoError(t, err)
	defer e.Close()
	programs := t.TempDir() // a host without apt-get
	for _, name := range []string{"bash", "id", "cat"} {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(programs, name)))
	}
	t.Setenv("PATH", programs)
	const version = "3.13"
	name := debianName(version)
	before, _, err := e.Image(ctx, name) // an earlier run may have made it
	require.NoError(t, err)
	_, err = made(ctx, e, version, errors.New("python:3.11: no such host"), silently)
	require.ErrorContains(t, err,
		"get the base image: python:3.11: no such host; and without a registry: debian base: "+
			"a base from Debian's packages can be made by root on Debian only")
	require.ErrorContains(t, err,
		"try again, or set PYO3TEST_BASE_IMAGE to an image that this engine can have, or PYO3TEST_MIRROR to a mirror")
	after, _, err := e.Image(ctx, name)
	require.NoError(t, err)
	require.Equal(t, before, after)
	_, found, err := e.Image(ctx, name+"-unverified")
	require.NoError(t, err)
	require.False(t, found)
}

func TestIsPython(t *testing.T) {
	for _, c := range []struct {
		full, wanted string
		is           bool
	}{
		{"3.14.2", "3.14", true}, {"3.14.2t", "3.14t", true}, {"3.14.2t", "3.14", false}, {"3.14.2", "3.14t", false},
		{"3.1.4", "3.14", false}, {"3.14.2", "3.1", false}, {"3.15.0rc1", "3.15", true},
	} {
		require.Equal(t, c.is, isPython(c.full, c.wanted), "%+v", c)
	}
}
