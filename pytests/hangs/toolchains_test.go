//go:build toolchains

package hangs_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pyo3test/harness"
)

// TestToolchains: the same verdicts and causes with each Python and each kind of symbols. Python 3.13 comes with rustc
// 1.85, and 3.14 and 3.15 with 1.97, which gives v0 symbols to everything.
func TestToolchains(t *testing.T) {
	var table []string
	for _, row := range []struct{ python, flags string }{{"3.11", ""}, {"3.11", v0}, {"3.13", ""}, {"3.14", ""}, {"3.15", ""}, {"3.14t", ""}} {
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
				classes = withoutGIL(classes)
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

// withoutGIL returns the classes as they are in a free-threaded interpreter: those that need a GIL do not hang.
func withoutGIL(classes []class) (found []class) {
	for _, c := range classes {
		if other, ok := freeThreaded[c.name]; ok {
			c.outcome, c.cause = other.outcome, other.cause
			if c.outcome == "passed" || c.outcome == green {
				c.words = nil
			}
		}
		found = append(found, c)
	}
	return found
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
	"native-sleep-attached": {outcome: "hung", cause: "native-wait-attached"},
	"gil-spin":              {outcome: "hung", cause: "native-loop"},
}
