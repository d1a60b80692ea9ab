//go:build repros && linux

package hangs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/pytests/commandtest"
)

// named finds the bundles that reports name.
var named = regexp.MustCompile(`to run it again with the same build: pyo3test repro (\S+\.pyo3test)`)

// TestRepros: every hang and crash of the zoo leaves a bundle that makes it happen again in the same place: here, and as a full
// bundle on a machine that has no image and no network.
func TestRepros(t *testing.T) {
	pyo3test, elsewhere := commandtest.Build(t), commandtest.Elsewhere(t)
	var table []string
	whole, classes := modern()
	for _, group := range whole.Groups {
		t.Run(group.Name, func(t *testing.T) {
			left := map[string]bool{}
			for _, file := range group.Tests { // a run leaves a limited number of bundles
				t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
				suite, one := whole, group
				one.Tests = []string{file}
				suite.Groups = []harness.Group{one}
				for _, found := range named.FindAllStringSubmatch(everything(harnesstest.Record(t, suite)), -1) {
					began := time.Now()
					test, text := again(t, exec.Command(pyo3test, "repro", "--json", found[1]))
					left[test] = true
					full := filepath.Join(t.TempDir(), "full.pyo3test")
					output, err := exec.Command(pyo3test, "repro", "--full", full, found[1]).CombinedOutput()
					require.NoError(t, err, string(output))
					_, there := again(t, elsewhere(pyo3test, "repro", "--json", full))
					assert.Equal(t, text, there)
					require.NoError(t, os.Remove(full))
					table = append(table, fmt.Sprintf("%-16s %-62s %4.1f s  %s", group.Name, test, time.Since(began).Seconds(), text))
				}
			}
			for _, c := range classes {
				switch {
				case c.group != group.Name:
				case c.test != "" && (c.outcome == "hung" || c.outcome == "crashed"):
					assert.Contains(t, left, c.test, c.name)
				case c.test == "" && c.outcome == red && c.cause != "":
					assert.NotEmpty(t, left, c.name)
				}
			}
		})
	}
	t.Logf("\n%s", strings.Join(table, "\n"))
}

// again runs a bundle's test once, which has to fail in the same place, and returns what it is and where it failed.
func again(t *testing.T, c *exec.Cmd) (test, text string) {
	t.Helper()
	var result struct {
		Test   string `json:"test"`
		Places []struct {
			Signature string `json:"signature"`
			What      string `json:"what"`
			Same      bool   `json:"same"`
		} `json:"places"`
	}
	said := commandtest.Repro(t, c, &result)
	if !assert.Len(t, result.Places, 1, said) {
		return result.Test, "DIFFERS"
	}
	if result.Places[0].Signature != "" { // of what ends without a word, nothing is seen
		assert.True(t, result.Places[0].Same, said)
	}
	assert.NotContains(t, said, "Differs ")
	return result.Test, result.Places[0].What
}
