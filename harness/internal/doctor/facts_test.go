package doctor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/project"
)

// TestOneProcess: what needs one process is a finding, unless the project runs its tests in a single process.
func TestOneProcess(t *testing.T) {
	var facts Facts
	facts.Session.OneProcess = [][2]string{{"pytest-dependency 0.6.1", "it skips"},
		{"/a/conftest.py:3: pytest_sessionfinish", "it sees nothing"}}
	var p project.Project
	found := facts.ofOneProcess(p)
	require.Len(t, found, 2)
	for i, each := range found {
		require.Equal(t, facts.Session.OneProcess[i], [2]string{each.What, each.Why})
		require.Equal(t, Note, each.Level)
		require.Contains(t, each.Fix, `isolation = "inprocess"`)
	}
	p.Tool.PyO3Test = map[string]any{"Isolation": "inprocess"}
	require.Empty(t, facts.ofOneProcess(p))
}
