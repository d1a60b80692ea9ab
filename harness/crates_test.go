package harness_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/selftest"
)

// TestCratesAreCompiledOnce checks that a crate in a new place starts from the crates that it compiled in another, and
// that none of its own code ran before that: its build script marks the target folder.
func TestCratesAreCompiledOnce(t *testing.T) {
	const mark = `fn main() {
    let mark = std::path::Path::new("/build/target/mark");
    assert!(!mark.exists(), "the build script of another crate was here");
    std::fs::write(mark, "").unwrap();
}
`
	h := thisHost(t)
	beside := filepath.Dir(selftest.WriteCrate(t, nil))
	build := func(name string) string {
		crate := filepath.Join(beside, name)
		target := "pyo3test-target-" + extension.CrateID(project.Tree{Root: crate, Crate: "."}, h.Tools)
		require.NoError(t, h.RemoveVolume(t.Context(), target), "it may be there from an earlier test")
		selftest.Edit(t, crate, selftest.Tiny)
		selftest.Edit(t, crate, map[string]string{
			"build.rs":   mark + fmt.Sprint("// ", time.Now().UnixNano()), // not built yet
			"Cargo.lock": selftest.TinyLock(t),
		})
		r := harnesstest.Record(t, harness.Suite{Crate: crate})
		require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
		return r.Text()
	}
	build("one")
	text := build("two")
	require.Contains(t, text, "Compiling tiny v0.1.0")
	require.NotContains(t, text, "Compiling pyo3", text)
}
