package harness_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// TestWhatTravels checks that no test vanishes because a tool marked its folder, that links out of the crate reach the
// container as links, and that the run says what it left out.
func TestWhatTravels(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{
		"tests/marked/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55",
		"tests/marked/test_red.py":  "def test_red():\n    assert False\n",
		"tests/data/built.so":       "data", "../secret": "of the host",
		"tests/test_links.py": `import os

def test_links():
    folder = os.path.dirname(__file__)
    assert os.readlink(folder + "/secret") == "../../secret" and not os.path.exists(folder + "/secret")
    assert os.readlink(folder + "/environ") == "/proc/1/environ"
    assert open(folder + "/here").read() == open(__file__).read()
    assert not os.path.exists(folder + "/data/built.so")
`,
	})
	for name, target := range map[string]string{"secret": "../../secret", "environ": "/proc/1/environ",
		"here": filepath.Join(crate, "tests/test_links.py")} {
		require.NoError(t, os.Symlink(target, filepath.Join(crate, "tests", name)))
	}
	r := harnesstest.Record(t, harness.Suite{Crate: crate})
	require.Equal(t, harnesstest.Failed, r.Outcome(), r.Text())
	require.Equal(t, harnesstest.Failed, r.Sub("tiny").Sub("tests/marked/test_red.py/test_red").Outcome(), r.Text())
	require.Equal(t, harnesstest.Passed, r.Sub("tiny").Sub("tests/test_links.py/test_links").Outcome(), r.Text())
	require.Contains(t, r.Text(), "left out: tests/data/built.so; to bring one, name it in include in [tool.pyo3test] (Include of a Suite)")
	require.Contains(t, r.Text(),
		"links out of the sources, not followed: tests/environ, tests/secret; to follow one, name it in include in [tool.pyo3test] (Include of a Suite)")
}
