package image

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/prereq"
	"pyo3test/harness/internal/report"
	"pyo3test/images"
)

// TestFreeThreaded: those whose source is pinned are compiled, unless the user names a base; there are no others.
func TestFreeThreaded(t *testing.T) {
	t.Setenv(BaseVariable, "")
	require.True(t, pins("3.14t").compiled())
	require.Equal(t, pins(DefaultPython), pins("3.14t").below())
	for _, version := range []string{DefaultPython, "3.14", "3.12t"} {
		require.False(t, pins(version).compiled(), version)
	}
	_, err := pins("3.12t").get(t.Context(), nil, Network{}, nil)
	require.ErrorContains(t, err, "Python 3.12t: of the free-threaded ones, 3.13t, 3.14t, 3.15t can be made: set PYO3TEST_BASE_IMAGE")
	t.Setenv(BaseVariable, "mine")
	require.False(t, pins("3.14t").compiled())
}

// TestSourceThatIsNotPinned: a file with another hash is not compiled, wherever it comes from, and no image stays.
func TestSourceThatIsNotPinned(t *testing.T) {
	prereq.Engine(t)
	if os.Getenv(BaseVariable) != "" {
		prereq.Skip(t, BaseVariable+" is set: its packages may have other names")
	}
	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	defer e.Close()
	network, err := HostNetwork()
	require.NoError(t, err)
	on, err := base(t.Context(), e, network, pins(DefaultPython), func(report.Event) {})
	require.NoError(t, err)
	release, _, _ := images.Source("3.14t")
	var said []string
	emit := func(event report.Event) {
		if line, ok := event.(report.Progress); ok {
			said = append(said, line.Text)
		}
	}
	const name = repository + "base:of-another-source"
	_, err = compileRelease(t.Context(), e, network, on, name, release, strings.Repeat("0", 64), emit)
	require.ErrorContains(t, err, "the source of Python "+release+" is at none of these places: https://www.python.org/")
	require.Contains(t, strings.Join(said, "\n"), ".orig.tar.xz: not the file that is pinned")
	_, found, err := e.Image(t.Context(), name)
	require.NoError(t, err)
	require.False(t, found)
}
