//go:build toolchains

package projects_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/harnesstest"
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
				if name == "3.13 jiter" {
					r := harnesstest.Record(t, suite)
					require.Contains(t, r.Text(), "jiter@0.19.0 requires rustc 1.88")
					require.Contains(t, r.Text(), "this base has Rust 1.85.1, and a crate needs a newer one")
					result = "refused: Debian's Rust 1.85 is too old"
					return
				}
				result = fmt.Sprintf("%d tests as by hand", sameAsPlain(t, h, suite))
			})
			table = append(table, fmt.Sprintf("%-50s %-40s %6.0f s", name, result, time.Since(began).Seconds()))
		}
	}
	t.Logf("\n%s", strings.Join(table, "\n"))
}
