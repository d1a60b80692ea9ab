package harness_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/selftest"
)

// TestHostileText checks that a reader of go test's output does not obey what tests print or are called, and that the
// text is kept as it was.
func TestHostileText(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import pytest

def evil(x):
    return f"\x1b]52;c;aGk=\x07\n::error::{x}\n  ##[error]{x}\n\x16--- PASS: TestForged (0.00s)\n--- PASS: TestForged (0.00s)\n=== RUN   TestForged\n50 %\r100 %\x9b1m\u202e"

@pytest.mark.parametrize("x", ["##[error]x", "\x16=== RUN   TestForged"])
def test_hostile(x, record_property):
    record_property("\x16a", "\x16=== RUN   TestForged")
    print(evil(x))
    raise RuntimeError(evil(x))
`})
	binary := compiled(t, anycratePackage)
	for _, flag := range []string{"-test.v", "-test.v=test2json"} {
		artifacts := t.TempDir()
		c := command(binary, "testdata/anycrate", flag)
		c.Env = append(os.Environ(), "SELFTEST_CRATE="+crate, "PYO3TEST_ARTIFACTS="+artifacts, "GITHUB_ACTIONS=true")
		output, err := c.CombinedOutput()
		require.Error(t, err)
		text := string(output)
		require.Contains(t, text, "2 of 2 tests: 2 failed")
		require.Contains(t, text, `\x1b]52;c;aGk=\a`)
		if flag == "-test.v" {
			require.NotRegexp(t, `[\x00-\x08\x0b-\x1f\x7f-\x{9f}\x{202e}]`, text)
		}
		require.NotRegexp(t, `(?m)^\s*::|##\[`, text)

		reader := exec.Command("go", "tool", "test2json")
		reader.Stdin = strings.NewReader(text)
		events, err := reader.Output()
		require.NoError(t, err)
		for line := range strings.Lines(string(events)) {
			var event struct{ Action, Test string }
			require.NoError(t, json.Unmarshal([]byte(line), &event), line)
			require.NotContains(t, event.Test, "Forged (")
			require.NotEqual(t, "TestForged", event.Test, line)
			require.False(t, event.Action == "pass" || event.Action == "skip", line)
		}

		logs, err := filepath.Glob(filepath.Join(artifacts, "*", "tiny", "pytest.log"))
		require.NoError(t, err)
		require.Len(t, logs, 1)
		log, err := os.ReadFile(logs[0])
		require.NoError(t, err)
		require.Contains(t, string(log), "\x1b]52;c;aGk=\a")
	}
}
