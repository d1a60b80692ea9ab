package project

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOption: the keys of [tool.pyo3test] are the Suite's fields, written as people write them.
func TestOption(t *testing.T) {
	for _, key := range []string{"TestTimeout", "testtimeout", "test-timeout", "test_timeout", "TEST_TIMEOUT"} {
		var p Project
		p.Tool.PyO3Test = map[string]any{"python": "3.12", key: 5}
		require.Equal(t, 5, p.Option("TestTimeout"), key)
		require.Equal(t, "3.12", p.Option("Python"), key)
		require.Nil(t, p.Option("Isolation"), key)
	}
	require.Nil(t, Project{}.Option("Python"))
}
