package engine

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/prereq"
)

// TestNeverFetched checks that an image that the engine does not have is never pulled, whatever its name.
func TestNeverFetched(t *testing.T) {
	prereq.Engine(t)
	e, err := Connect(t.Context())
	require.NoError(t, err)
	defer e.Close()
	ours := "localhost/pyo3test/test:" + strings.ToLower(rand.Text())
	for _, name := range []string{ours, "sha256:" + strings.Repeat("0", 64)} {
		_, err := e.Start(t.Context(), Spec{Image: name, Purpose: "test"})
		require.ErrorContains(t, err, "No such image: "+name)
		require.ErrorContains(t, err, "run again")
	}
}
