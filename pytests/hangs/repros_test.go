//go:build repros

package hangs_test

import (
	"encoding/json"
	"fmt"
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
)

// named finds the bundles that reports name.
var named = regexp.MustCompile(`to run it again with the same build: pyo3test repro (\S+\.pyo3test)`)

// TestRepros: every hang and crash of the zoo leaves a bundle that makes it happen again in the same place.
func TestRepros(t *testing.T) {
	command := filepath.Join(t.TempDir(), "pyo3test")
	output, err := exec.Command("go", "build", "-o", command, "../../harness/cmd/pyo3test").CombinedOutput()
	require.NoError(t, err, string(output))
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
					test, text := again(t, command, found[1])
					left[test] = true
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
func again(t *testing.T, command, file string) (test, text string) {
	t.Helper()
	c := exec.Command(command, "repro", "--json", file)
	var said strings.Builder
	c.Stderr = &said
	output, _ := c.Output() // its status is 1
	var result struct {
		Test   string `json:"test"`
		Places []struct {
			Signature string `json:"signature"`
			What      string `json:"what"`
			Same      bool   `json:"same"`
		} `json:"places"`
	}
	if !assert.NoError(t, json.Unmarshal(output, &result), said.String()) ||
		!assert.Len(t, result.Places, 1, "%s\n%s", file, said.String()) {
		return result.Test, "DIFFERS"
	}
	if result.Places[0].Signature != "" { // of what ends without a word, nothing is seen
		assert.True(t, result.Places[0].Same, "%s\n%s", file, said.String())
	}
	assert.NotContains(t, said.String(), "Differs ")
	return result.Test, result.Places[0].What
}
