package selftest

import (
	"io"
	"os"
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/prereq"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// Host is what a run finds on this machine before it builds anything.
type Host struct {
	*engine.Engine
	Network image.Network
	Tools   image.Image
}

// ThisHost returns the host, with its tools image.
func ThisHost(t testing.TB) Host {
	t.Helper()
	prereq.Engine(t)
	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	network, err := image.HostNetwork()
	require.NoError(t, err)
	tools, err := image.Ensure(t.Context(), e, network, agent.Programs(), "", func(e report.Event) { t.Logf("%+v", e) })
	require.NoError(t, err)
	return Host{e, network, tools}
}

// ByHand runs pytest by hand in a container of the same image, without anything of ours, and returns its JUnit
// testcases.
func (h Host) ByHand(t testing.TB, built string, tree project.Tree, arguments ...string) []verdict.Case {
	t.Helper()
	ctx := t.Context()
	c, err := h.Start(ctx, engine.Spec{Image: built, Purpose: "test", User: layout.User, Confined: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Remove(ctx)) }()
	require.NoError(t, c.UploadTar(ctx, "/", tree.Pack))
	script := `cp -r ` + layout.Built + `/tree/. ` + layout.Sources + ` 2>/dev/null; cd ` +
		path.Join(layout.Sources, tree.Crate) +
		` && pytest -q --junitxml=/tmp/junit.xml "$@"; cat /tmp/junit.xml >&2`
	var env []string
	for key, value := range extension.Environment(nil) {
		env = append(env, key+"="+value)
	}
	p, err := c.Exec(ctx, engine.Command{Argv: append([]string{"bash", "-c", script, "bash"}, arguments...), Env: env})
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, p.Stdout) }()
	cases, err := verdict.ReadJUnit(p.Stderr, 1<<30)
	require.NoError(t, err)
	return cases
}

// ReadJUnit returns the testcases of a JUnit file.
func ReadJUnit(t testing.TB, name string) []verdict.Case {
	t.Helper()
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	cases, err := verdict.ReadJUnit(file, 1<<30)
	require.NoError(t, err)
	return cases
}

// Prepared does what a run does before pytest, and returns what is copied and the image of the build. That is not always
// the crate's newest image: content that was built before is not built again, whatever was built since.
func Prepared(t testing.TB, suite harness.Suite) (tree project.Tree, built string) {
	t.Helper()
	result := harness.Execute(suite, harness.Options{
		Name: t.Name(), Flags: subtest.Flags{Run: "^$", Parallel: 1},
		Prepared: func(found project.Tree, image string) { tree, built = found, image },
	})
	require.False(t, result.Red, "the suite cannot be prepared")
	return tree, built
}
