//go:build toolchains

package hangs_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
)

// TestToolchains: the same verdicts and causes with each Python and each kind of symbols. Python 3.13 comes with rustc
// 1.85, and 3.14 and 3.15 with 1.97, which gives v0 symbols to everything.
func TestToolchains(t *testing.T) {
	var table []string
	for _, row := range []struct{ python, flags string }{{"3.11", ""}, {"3.11", v0}, {"3.13", ""}, {"3.14", ""}, {"3.15", ""}, {"3.13t", ""}, {"3.14t", ""}} {
		name := strings.TrimSpace(row.python + " " + row.flags)
		result := "not run"
		visitAll := func(t *testing.T) {
			result = "DIFFERS"
			set := func(suite harness.Suite, classes []class) {
				suite.Python = []string{row.python}
				if row.flags != "" {
					suite.Env = map[string]string{"RUSTFLAGS": row.flags}
				}
				t.Run(suite.Crate, func(t *testing.T) { visit(t, suite, classes) })
			}
			suite, classes := modern()
			if strings.HasSuffix(row.python, "t") {
				differences := maps.Clone(freeThreaded)
				if row.python == "3.13t" {
					suite.Crate = withOldPyO3(t, suite.Crate)
					maps.Copy(differences, in313t)
				}
				classes = withoutGIL(t, classes, differences)
			}
			set(suite, classes)
			if row.python == "3.11" { // the old PyO3 knows no Python after 3.12
				set(legacy())
			}
		}
		began := time.Now()
		if t.Run(name, visitAll) && result != "not run" { // -run can leave it out
			result = "as expected"
		}
		table = append(table, fmt.Sprintf("%-45s %-12s %6.0f s", name, result, time.Since(began).Seconds()))
	}
	t.Logf("\n%s", strings.Join(table, "\n"))
}

// withOldPyO3 returns a copy of the zoo with the last PyO3 that knows 3.13t, in which a module has to say that it needs no GIL.
func withOldPyO3(t *testing.T, crate string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "crate")
	require.NoError(t, os.CopyFS(folder, os.DirFS(crate)))
	require.NoError(t, os.Remove(filepath.Join(folder, "Cargo.lock")))
	for name, change := range map[string][2]string{
		"Cargo.toml": {`pyo3 = "0.30.1"`, `pyo3 = "0.26"`},
		"src/lib.rs": {"#[pymodule]", "#[pymodule(gil_used = false)]"},
	} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(text), change[0]), name)
		changed := strings.Replace(string(text), change[0], change[1], 1)
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(changed), 0o644))
	}
	return folder
}

// withoutGIL returns the classes with what differs.
func withoutGIL(t *testing.T, classes []class, differences map[string]class) []class {
	t.Helper()
	changed := slices.Clone(classes)
	for name, other := range differences {
		at := slices.IndexFunc(changed, func(c class) bool { return c.name == name })
		require.GreaterOrEqual(t, at, 0, name)
		changed[at].outcome, changed[at].cause = other.outcome, other.cause
		switch {
		case other.outcome == "passed" || other.outcome == green:
			changed[at].words = nil
		case other.words != nil:
			changed[at].words = other.words
		}
	}
	return changed
}

// in313t has what differs from freeThreaded in 3.13t with PyO3 0.26.
var in313t = map[string]class{
	// The first thread beside the main one that attaches stops the world, to make objects immortal (new_threadstate of
	// pystate.c). Here it is a native one, and the main thread waits for it while it is attached. In lock-across-callback
	// it is a thread of Python's, which the main thread makes without a wait, so that this class passes.
	"gil-mutex":        {outcome: "hung", cause: "stop-the-world"},
	"gil-parking-lot":  {outcome: "hung", cause: "stop-the-world"},
	"lazy-gil":         {outcome: "hung", cause: "stop-the-world"},
	"drop-join":        {outcome: "hung", cause: "stop-the-world"},
	"join-attached":    {outcome: "hung", cause: "stop-the-world"},
	"log-bridge":       {outcome: "hung", cause: "stop-the-world"},
	"recv-attached":    {outcome: "hung", cause: "stop-the-world"},
	"channel-full":     {outcome: "hung", cause: "stop-the-world"},
	"rayon-reentry":    {outcome: "hung", cause: "stop-the-world"},
	"tokio-block-on":   {outcome: "hung", cause: "stop-the-world"},
	"exit-atexit-join": {outcome: red, cause: "stop-the-world"},

	// CPython switches the GIL on while it calls the function that makes a module, which PyO3 0.26 runs the module's own
	// code in. Later versions run that when the GIL is off again.
	"import": {outcome: red, cause: "native-wait-gil"},

	// A Python thread gives its name to the system only since 3.14.
	"exit-thread": {outcome: red, cause: "exit-thread", words: []string{"deadlock proved: ", "Event.wait"}},
}

// freeThreaded has what differs without a GIL.
var freeThreaded = map[string]class{
	"gil-mutex":            {outcome: "passed"},
	"gil-parking-lot":      {outcome: "passed"},
	"lock-across-callback": {outcome: "passed"},
	"lazy-gil":             {outcome: "passed"},
	"drop-join":            {outcome: "passed"},
	"join-attached":        {outcome: "passed"},
	"log-bridge":           {outcome: "passed"},
	"recv-attached":        {outcome: "passed"},
	"channel-full":         {outcome: "passed"},
	"rayon-reentry":        {outcome: "passed"},
	"tokio-block-on":       {outcome: "passed"},
	"exit-atexit-join":     {outcome: green},

	"stop-the-world":        {outcome: "hung", cause: "stop-the-world"},
	"rust-lock-order":       {outcome: "hung", cause: "native-wait-detached"},
	"callback":              {outcome: "hung", cause: "native-wait-detached"},
	"idle-pool":             {outcome: "hung", cause: "native-wait-detached"},
	"native-park":           {outcome: "hung", cause: "native-wait-detached"},
	"deaf":                  {outcome: "hung", cause: "native-wait-detached"},
	"set-up":                {outcome: "hung", cause: "native-wait-detached"},
	"tear-down":             {outcome: "hung", cause: "native-wait-detached"},
	"session-fixture":       {outcome: "hung", cause: "native-wait-detached"},
	"collection":            {outcome: red, cause: "native-wait-detached"},
	"import":                {outcome: red, cause: "native-wait-attached"},
	"native-park-attached":  {outcome: "hung", cause: "native-wait-attached"},
	"native-sleep-attached": {outcome: "hung", cause: "native-sleep"},
	"gil-spin":              {outcome: "hung", cause: "native-loop"},
}
