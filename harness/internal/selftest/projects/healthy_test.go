//go:build repros

package projects_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// withThreads are more projects, whose tests have threads.
var withThreads = []realProject{
	{Sdist: selftest.Sdist{Name: "pycrdt", Version: "0.14.13",
		SHA256: "cbed47427bf9d6f9dd77763749354a7d991f55581d6b917f2823c03095d55988"}},
	{Sdist: selftest.Sdist{Name: "blake3", Version: "1.0.11",
		SHA256: "d73c0a87304d41045f6753a922113bede3ab09eda2d20371566a5bbe357c3deb"}},
}

// wereDelayed matches what a run under pressure says of its delays.
var wereDelayed = regexp.MustCompile(`under pressure: threads were delayed (\d+) times`)

// pressed is how long all projects together run under pressure.
const pressed = 30 * time.Minute

// TestHealthy: ten real suites under pressure for half an hour. Nothing hangs and nothing crashes: delays cause no failure that could
// not happen without them. A test with time limits of its own can fail, and is listed.
func TestHealthy(t *testing.T) {
	h := selftest.ThisHost(t)
	projects := slices.Concat(realProjects, withThreads)
	var table []string
	all := 0
	for _, p := range projects {
		t.Run(p.Name, func(t *testing.T) {
			suite := p.suite
			suite.Crate, suite.Pressure = h.Fetch(t, p.Sdist), true
			if p.Sdist != selftest.Rpds { // which is built as it is
				suite.Env = lessOptimised
			}
			var runs, tests, delays int
			failed := map[string]int{}
			began := time.Now()
			for ; time.Since(began) < pressed/time.Duration(len(projects)); runs++ {
				r := harnesstest.Record(t, suite)
				seen := 0
				for _, test := range everyTest(r) {
					seen++
					outcome, name := verdict.Outcome(test.Attrs()[subtest.Outcome]), test.Attrs()[subtest.NodeID]
					assert.NotContains(t, []verdict.Outcome{verdict.Hung, verdict.Crashed, verdict.Killed, verdict.NotRun}, outcome, test.Text())
					if _, known := p.red[name[strings.LastIndex(name, ":")+1:]]; outcome.Red() && !known {
						failed[name]++
					}
				}
				assert.NotZero(t, seen, r.Text())
				tests += seen
				for _, group := range r.Subs() {
					if found := wereDelayed.FindStringSubmatch(group.Text()); found != nil {
						count, _ := strconv.Atoi(found[1])
						delays += count
					}
				}
			}
			all += delays
			table = append(table, fmt.Sprintf("%-14s %3d runs, %6d tests, %6d delays; failed, and how often: %v", p.Name, runs, tests, delays, failed))
		})
	}
	assert.NotZero(t, all)
	t.Logf("\n%s", strings.Join(slices.Sorted(slices.Values(table)), "\n"))
}

// everyTest returns the recorded subtests that are tests.
func everyTest(r *harnesstest.Recorder) (tests []*harnesstest.Recorder) {
	for _, sub := range r.Subs() {
		if sub.Attrs()[subtest.Outcome] != "" && sub.Attrs()[subtest.NodeID] != "" {
			tests = append(tests, sub)
		}
		tests = append(tests, everyTest(sub)...)
	}
	return tests
}
