package harness_test

import (
	"cmp"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/image"
)

// host is what a run finds on this machine before it builds anything.
type host struct {
	*engine.Engine
	network image.Network
	tools   image.Image
}

func thisHost(t *testing.T) host {
	t.Helper()
	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	network, err := image.HostNetwork()
	require.NoError(t, err)
	tools, err := image.Ensure(t.Context(), e, network, agent.Programs(), "", func(phase, text string) { t.Logf("%s: %s", phase, text) })
	require.NoError(t, err)
	return host{e, network, tools}
}

// built is what travels of a crate, and the newest image that was built of it.
func (h host) built(t *testing.T, crate string) (extension.Tree, engine.Image) {
	t.Helper()
	project, err := extension.ReadProject(crate)
	require.NoError(t, err)
	tree, err := project.Collect("", nil, os.Open)
	require.NoError(t, err)
	images, err := h.Images(t.Context(), map[string]string{engine.Label + ".crate": extension.CrateID(tree, h.tools)})
	require.NoError(t, err)
	require.NotEmpty(t, images)
	return tree, slices.MaxFunc(images, func(a, b engine.Image) int { return cmp.Compare(a.Created, b.Created) })
}
