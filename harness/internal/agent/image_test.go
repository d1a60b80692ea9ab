package agent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
)

// TestToolsImage makes the tools image where it is not there, and then finds it.
func TestToolsImage(t *testing.T) {
	ctx := t.Context()
	e, err := engine.Connect(ctx)
	require.NoError(t, err)
	defer e.Close()
	network, err := image.HostNetwork()
	require.NoError(t, err)
	made, err := image.Ensure(ctx, e, network, Programs(), "", func(phase, text string) { t.Logf("%s: %s", phase, text) })
	require.NoError(t, err)
	t.Logf("%+v", made)
	require.Regexp(t, `^3\.\d+\.\d+`, made.Python)

	again, err := image.Ensure(ctx, e, network, Programs(), "", func(phase, text string) { t.Errorf("made again: %s: %s", phase, text) })
	require.NoError(t, err)
	require.Equal(t, made, again)
}
