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

func TestAdviceOnANewPython(t *testing.T) {
	failed := Error{Phase: "build", Log: "error: the configured Python interpreter version (3.14) is newer than PyO3's maximum " +
		"supported version (3.12)\n= help: please check if an updated version of PyO3 is available."}
	require.Equal(t, "\n\nthis is Python 3.14, and the crate's PyO3 knows those up to 3.12: require a newer pyo3 in Cargo.toml, "+
		"or name another version in python in [tool.pyo3test] (Python of a Suite)", failed.Advice())
}

// TestOldRust: a crate that needs a newer Rust than the base has is named by cargo; what to do is not.
func TestOldRust(t *testing.T) {
	failed := Error{Phase: "build", Log: "error: rustc 1.85.1 is not supported by the following packages:\n  jiter@0.19.0 requires rustc 1.88\n"}
	require.Contains(t, failed.Advice(), "this base has Rust 1.85.1, and a crate needs a newer one: lock an older version of that crate, or set "+
		"PYO3TEST_BASE_IMAGE to an image")
}

func TestAdviceOnAnOldFreeThreadedPython(t *testing.T) {
	failed := Error{Phase: "build", Log: "error: PyO3 does not support the free-threaded build of CPython versions below 3.14, the " +
		"selected Python version is 3.13"}
	require.Equal(t, "\n\nthis is the free-threaded Python 3.13t, and the crate's PyO3 knows those from 3.14t on: name 3.14t in python "+
		"in [tool.pyo3test] (Python of a Suite), or require an older pyo3 in Cargo.toml (0.26 knows 3.13t)", failed.Advice())
}
