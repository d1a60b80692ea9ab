//go:build repros

package races_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"pyo3test/pytests/commandtest"
)

// The rates of each race: without pressure, and under the two kinds that reach all of them. Whoever sees other rates has
// another machine; that pressure raises them is what counts.
func TestRates(t *testing.T) {
	races := []string{"test_lock_across_detach", "test_once_that_detaches", "test_two_orders", "test_drop_joins"}
	pyo3test, bundles := commandtest.Build(t), bundles(t, races...)
	var table []string
	for _, race := range races {
		t.Run(race, func(t *testing.T) {
			highest := map[string]float64{}
			lowest := map[string]float64{}
			for _, way := range []struct {
				name string
				runs int
			}{{"none", 400}, {"calls", 100}, {"functions", 100}} {
				var seen struct {
					Runs, Failed int
					Interval     struct{ Low, High float64 }
				}
				repro(t, &seen, pyo3test, "--pressure="+way.name, "-n", strconv.Itoa(way.runs), bundles[race])
				lowest[way.name], highest[way.name] = seen.Interval.Low, seen.Interval.High
				table = append(table, fmt.Sprintf("%-24s %-10s %3d of %3d   %5.1f %% (%.1f to %.1f)", race, way.name, seen.Failed, seen.Runs,
					100*float64(seen.Failed)/float64(seen.Runs), 100*seen.Interval.Low, 100*seen.Interval.High))
			}
			assert.Greater(t, max(lowest["calls"], lowest["functions"]), 3*highest["none"])
		})
	}
	t.Logf("\n%s", strings.Join(table, "\n"))
}

// TestIntervals: of 100 measurements of 200 runs, at least 90 have an interval with the rate of 2,000 runs in it. It takes two hours.
func TestIntervals(t *testing.T) {
	const race = "test_once_that_detaches"
	pyo3test, bundle := commandtest.Build(t), bundles(t, race)[race]
	measure := func(runs int) (rate, low, high float64) {
		var seen struct {
			Runs, Failed int
			Interval     struct{ Low, High float64 }
		}
		repro(t, &seen, pyo3test, "--pressure=calls", "-j", "2", "-n", strconv.Itoa(runs), bundle)
		return float64(seen.Failed) / float64(seen.Runs), seen.Interval.Low, seen.Interval.High
	}
	truth, _, _ := measure(2000)
	inside := 0
	for range 100 {
		if _, low, high := measure(200); low <= truth && truth <= high {
			inside++
		}
	}
	t.Logf("the rate of %s under pressure is %.1f %%, and %d of 100 intervals have it", race, 100*truth, inside)
	assert.NotZero(t, truth)
	assert.GreaterOrEqual(t, inside, 90)
}
