package harness_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/prereq"
	"pyo3test/harness/internal/report"
)

// host is what a run finds on this machine before it builds anything.
type host struct {
	*engine.Engine
	network image.Network
	tools   image.Image
}

func thisHost(t *testing.T) host {
	t.Helper()
	prereq.Engine(t)
	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	network, err := image.HostNetwork()
	require.NoError(t, err)
	tools, err := image.Ensure(t.Context(), e, network, agent.Programs(), "", func(e report.Event) { t.Logf("%+v", e) })
	require.NoError(t, err)
	return host{e, network, tools}
}
