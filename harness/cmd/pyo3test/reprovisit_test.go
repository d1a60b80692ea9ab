package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/bundle"
)

// TestCanVisit: only a test that hangs has a process to look at.
func TestCanVisit(t *testing.T) {
	require.NoError(t, canVisit(bundle.Test{NodeID: "t.py::test_a", Outcome: "hung"}))
	require.ErrorContains(t, canVisit(bundle.Test{NodeID: "t.py", Kind: bundle.KindFile, Outcome: "hung"}), "the bundle is of t.py")
	require.ErrorContains(t, canVisit(bundle.Test{NodeID: "t.py::test_a", Outcome: "crashed"}), "the bundle's is crashed: -v shows")
}
