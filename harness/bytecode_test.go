package harness_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// TestCompiledOnce checks that a test file's bytecode from pytest is reused while the file's content is the same, and
// only then. A Python warning shows that a file is compiled.
func TestCompiledOnce(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	file := func(number, more string) map[string]string {
		return map[string]string{"tests/test_tiny.py": `import pathlib, tiny

def test_answer():
    assert tiny.answer() == ` + number + "\n\nLITERAL = 1 is 1\n" + more}
	}
	// A test that spoils the compiled files does so in its own container only.
	spoil := `
def test_spoil():
    files = list(pathlib.Path(__file__).parent.rglob('*.pyc'))
    assert files
    for file in files: file.write_bytes(b'')
`
	crate := selftest.WriteCrate(t, file("42", spoil))
	selftest.Edit(t, crate, map[string]string{"tests/__init__.py": " "})
	run := func(outcome harnesstest.Outcome) string {
		t.Helper()
		r := harnesstest.Record(t, harness.Suite{Crate: crate})
		require.Equal(t, outcome, r.Outcome(), r.Text())
		return r.Sub("tiny").Text()
	}
	const compiles = "; 1 warning"
	require.Contains(t, run(harnesstest.Passed), compiles)
	require.NotContains(t, run(harnesstest.Passed), compiles)
	selftest.Edit(t, crate, file("43", spoil))
	require.Contains(t, run(harnesstest.Failed), compiles, "other content of the same length")
	selftest.Edit(t, crate, file("42", spoil))
	require.Contains(t, run(harnesstest.Passed), compiles)

	selftest.Edit(t, crate, map[string]string{"pytest.ini": "[pytest]\nenable_assertion_pass_hook = true\n"})
	require.Contains(t, run(harnesstest.Passed), compiles, "pytest compiles in another way")
	require.NotContains(t, run(harnesstest.Passed), compiles)
}
