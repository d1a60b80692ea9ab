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
	for _, row := range []struct{ python, flags string }{{"3.11", ""}, {"3.11", v0}, {"3.13", ""}, {"3.14", ""}, {"3.15", ""}} {
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
			set(modern())
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
