package image

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/prereq"
	"pyo3test/harness/internal/report"
)

// TestFreeThreaded: those whose source is pinned are compiled, unless the user names a base; there are no others.
func TestFreeThreaded(t *testing.T) {
	t.Setenv(BaseVariable, "")
	require.True(t, pins("3.14t").fromSource())
	require.Equal(t, pins(DefaultPython), pins("3.14t").below())
	for _, version := range []string{DefaultPython, "3.14", "3.12t"} {
		require.False(t, pins(version).fromSource(), version)
	}
	_, err := pins("3.12t").get(t.Context(), nil, Network{}, nil)
	require.ErrorContains(t, err, "Python 3.12t: of the free-threaded ones, 3.13t, 3.14t, 3.15t can be made: set PYO3TEST_BASE_IMAGE")
	t.Setenv(BaseVariable, "mine")
	require.False(t, pins("3.14t").fromSource())
}

// TestSourceThatIsNotPinned: a file with another hash is not compiled, wherever it comes from, and no image stays.
func TestSourceThatIsNotPinned(t *testing.T) {
	prereq.Engine(t)
	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	defer e.Close()
	network, err := HostNetwork()
	require.NoError(t, err)
	on, err := base(t.Context(), e, network, pins(DefaultPython), func(report.Event) {})
	require.NoError(t, err)
	release := cpython{"3.14.7", strings.Repeat("0", 64), "file:///no/such/file file:///etc/hostname"}
	const name = repository + "base:of-another-source"
	_, err = release.compile(t.Context(), e, network, on, name, func(report.Event) {})
	require.ErrorContains(t, err, "the source of Python 3.14.7 cannot be had: file:///no/such/file: ")
	require.ErrorContains(t, err, "No such file or directory")
	require.ErrorContains(t, err, "file:///etc/hostname: not the file that is pinned")
	_, found, err := e.Image(t.Context(), name)
	require.NoError(t, err)
	require.False(t, found)
}
