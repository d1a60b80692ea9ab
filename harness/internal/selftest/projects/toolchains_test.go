//go:build toolchains

package projects_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pyo3test/harness/internal/selftest"
)

// v0 makes an old rustc name symbols as it does by itself since 1.97.
const v0 = "-Csymbol-mangling-version=v0"

// TestToolchains checks that the tests of real projects, and their outcomes, are those of plain pytest with each Python and
// each kind of symbols.
func TestToolchains(t *testing.T) {
	h := selftest.ThisHost(t)
	var table []string
	for _, row := range []struct{ python, flags string }{{"3.11", ""}, {"3.11", v0}, {"3.13", ""}, {"3.14", ""}, {"3.14t", ""}} {
		for _, p := range realProjects {
			if !slices.Contains([]string{"rpds_py", "rtoml", "jiter"}, p.Name) {
				continue
			}
			name, result, began := strings.TrimSpace(row.python+" "+row.flags)+" "+p.Name, "not run", time.Now()
			t.Run(name, func(t *testing.T) {
				result = "DIFFERS"
				suite := p.suite
				suite.Crate, suite.Python, suite.Env = h.Fetch(t, p.Sdist), []string{row.python}, maps.Clone(lessOptimised)
				if row.flags != "" {
					suite.Env["RUSTFLAGS"] = row.flags
				}
				result = fmt.Sprintf("%d tests as by hand", sameAsPlain(t, h, suite))
			})
			table = append(table, fmt.Sprintf("%-50s %-25s %6.0f s", name, result, time.Since(began).Seconds()))
		}
	}
	t.Logf("\n%s", strings.Join(table, "\n"))
}
