package image

import (
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
)

func TestToolsImage(t *testing.T) {
	ctx := t.Context()
	e, err := engine.Connect(ctx)
	require.NoError(t, err)
	defer e.Close()
	network, err := HostNetwork()
	require.NoError(t, err)
	made, err := Ensure(ctx, e, network, func(phase, text string) { t.Logf("%s: %s", phase, text) })
	require.NoError(t, err)
	t.Logf("%+v", made)
	require.Regexp(t, `^3\.\d+\.\d+`, made.Python)

	again, err := Ensure(ctx, e, network, func(phase, text string) { t.Errorf("made again: %s: %s", phase, text) })
	require.NoError(t, err)
	require.Equal(t, made, again)
}
