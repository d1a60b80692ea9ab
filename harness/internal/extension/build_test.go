package extension

import (
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/project"
)

func TestBuildLogHasPlacesOfTheHost(t *testing.T) {
	log := buildLog{tree: project.Tree{Root: "/home/me/repo", Crate: "py", Workspace: "ws"}}
	log.add("   Compiling x v0.1.0 (/src/ws/py)")
	log.add("error[E0308]: mismatched types")
	require.Equal(t, "   --> /home/me/repo/ws/py/src/lib.rs:9:9", log.add("   --> py/src/lib.rs:9:9"))
	require.Equal(t, "error[E0308]: mismatched types\n   --> /home/me/repo/ws/py/src/lib.rs:9:9", log.fromFirstError())
}
