package races_test

import (
	"archive/zip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/pytests/commandtest"
)

// certain is the environment in which each race is as good as certain.
var certain = map[string]string{"RACES_CERTAIN": "1"}

// TestFixed: without the races, the tests pass in any case.
func TestFixed(t *testing.T) {
	harness.Run(t, harness.Suite{Crate: ".", Features: []string{"fixed"}, Env: certain})
}

// result is what repro says of runs.
type result struct {
	Runs, Failed, Near int
	Places             []struct{ Same bool }
}

// TestPressure: a race that hangs in few runs hangs in most of those under pressure, and not at all in a fixed crate, whose
// threads are delayed in the same places.
func TestPressure(t *testing.T) {
	var seen struct {
		Bundle, Other result
		P             float64
	}
	race := bundles(t, "test_lock_across_detach")["test_lock_across_detach"]
	repro(t, &seen, commandtest.Build(t), "--pressure=calls", "--compare", "-n", "12", race, fixed(t))
	assert.GreaterOrEqual(t, seen.Bundle.Failed, 6, "fewer than one in a hundred without pressure")
	if assert.NotEmpty(t, seen.Bundle.Places) {
		assert.True(t, seen.Bundle.Places[0].Same)
	}
	assert.Zero(t, seen.Other.Failed)
	assert.Equal(t, 12, seen.Other.Near)
	assert.Less(t, seen.P, 0.05)
}

// TestPressureInCode: two mutexes that are free are taken without a call of the C library. Only delays in the crate's own code
// reach them.
func TestPressureInCode(t *testing.T) {
	var seen result
	race := bundles(t, "test_two_orders")["test_two_orders"]
	repro(t, &seen, commandtest.Build(t), "--pressure=functions", "--until-failure", "-n", "60", race)
	assert.Equal(t, 1, seen.Failed, "not one in six hundred without pressure")
	assert.NotZero(t, seen.Near)
	if assert.NotEmpty(t, seen.Places) {
		assert.True(t, seen.Places[0].Same)
	}
}

// TestPressureOnAll: with all tests under pressure, a race hangs within a few runs, and its bundle keeps the pressure.
func TestPressureOnAll(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("PYO3TEST_ARTIFACTS", folder)
	var left []string
	for range 6 { // in nine of ten runs, it hangs
		harnesstest.Record(t, harness.Suite{Crate: ".", Pressure: true, Groups: []harness.Group{
			{Name: "all", Tests: []string{"tests/test_races.py::test_lock_across_detach"}},
		}})
		if left, _ = filepath.Glob(filepath.Join(folder, "*", "all", "*.pyo3test")); len(left) > 0 {
			break
		}
	}
	require.Len(t, left, 1)
	var seen struct {
		result
		Under string
	}
	repro(t, &seen, commandtest.Build(t), "-n", "6", left[0])
	assert.NotZero(t, seen.Failed)
	assert.Contains(t, seen.Under, "delays where threads synchronise")
}

// TestFixedUnderPressure: what has no race passes under it, and says that threads were delayed.
func TestFixedUnderPressure(t *testing.T) {
	recorded := harnesstest.Record(t, harness.Suite{Crate: ".", Features: []string{"fixed"}, Env: certain, Pressure: true})
	assert.Equal(t, harnesstest.Passed, recorded.Outcome())
	assert.Regexp(t, `under pressure: threads were delayed [1-9]\d* times, \d+\.\d s in all`, recorded.Subs()[0].Text())
}

// repro runs a bundle, and decodes the result.
func repro(t *testing.T, result any, pyo3test string, args ...string) {
	t.Helper()
	t.Log(commandtest.Repro(t, exec.Command(pyo3test, append([]string{"repro", "--json"}, args...)...), result))
}

// bundles makes each race hang for certain, and returns the bundles of some tests, by their names, without what made it so.
func bundles(t *testing.T, tests ...string) map[string]string {
	t.Helper()
	folder := t.TempDir()
	t.Setenv("PYO3TEST_ARTIFACTS", folder)
	harnesstest.Record(t, harness.Suite{Crate: ".", Env: certain, Groups: []harness.Group{{Name: "all"}}})
	found := map[string]string{}
	for _, test := range tests {
		left, err := filepath.Glob(filepath.Join(folder, "*", "all", test+".pyo3test"))
		require.NoError(t, err)
		require.Len(t, left, 1, test)
		found[test] = filepath.Join(folder, test+".pyo3test")
		rewrite(t, left[0], found[test])
	}
	return found
}

// rewrite copies a bundle without the environment of its tests.
func rewrite(t *testing.T, from, to string) {
	t.Helper()
	in, err := zip.OpenReader(from)
	require.NoError(t, err)
	defer in.Close()
	file, err := os.Create(to)
	require.NoError(t, err)
	defer file.Close()
	out := zip.NewWriter(file)
	for _, entry := range in.File {
		if entry.Name != "manifest.json" {
			require.NoError(t, out.Copy(entry))
			continue
		}
		reader, err := entry.Open()
		require.NoError(t, err)
		var manifest map[string]any
		require.NoError(t, json.NewDecoder(reader).Decode(&manifest))
		delete(manifest["run"].(map[string]any), "env")
		writer, err := out.Create(entry.Name)
		require.NoError(t, err)
		require.NoError(t, json.NewEncoder(writer).Encode(manifest))
	}
	require.NoError(t, out.Close())
}

// fixed returns a copy of the crate that has no races.
func fixed(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS(".")))
	manifest := filepath.Join(folder, "Cargo.toml")
	file, err := os.Open(manifest)
	require.NoError(t, err)
	defer file.Close()
	text, err := io.ReadAll(file)
	require.NoError(t, err)
	changed := strings.Replace(string(text), "[features]\n", "[features]\ndefault = [\"fixed\"]\n", 1)
	require.NotEqual(t, string(text), changed)
	require.NoError(t, os.WriteFile(manifest, []byte(changed), 0o644))
	return folder
}
