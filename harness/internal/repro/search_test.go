package repro

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/report"
)

// rates answers trials with the failures of each round in turn, by the name of the way.
type rates map[string][]int

func (r rates) try(way Way, _ int) (Trial, error) {
	left := r[way.Name]
	if len(left) == 0 {
		return Trial{}, errors.New("it cannot be tried")
	}
	r[way.Name] = left[1:]
	return Trial{Runs: trialRuns, Failed: left[0], Other: 1}, nil
}

func ways(names ...string) (ways []Way) {
	for _, name := range names {
		ways = append(ways, Way{Name: name})
	}
	return ways
}

func TestSearch(t *testing.T) {
	for name, c := range map[string]struct {
		rates rates
		ways  []Way
		found string
		order []string
	}{
		"the best": {rates{"none": {0}, "calls": {4, 4}, "crate": {2}, "functions": {9, 8}}, ways("none", "calls", "crate", "functions"),
			"functions", []string{"functions", "calls", "crate", "none"}},
		"rounds add up": {rates{"none": {0}, "calls": {5, 9}, "crate": {2}, "functions": {6, 1}}, ways("none", "calls", "crate", "functions"),
			"calls", []string{"calls", "functions", "crate", "none"}},
		"nothing else is tried": {rates{"none": {0}, "calls": {15}}, ways("none", "calls", "crate", "functions"),
			"calls", []string{"none", "calls", "crate", "functions"}},
		"of equals the last": {rates{"a": {1}, "b": {1}, "c": {1, 1}, "d": {1, 1}, "e": {1, 1, 1}, "f": {1, 1, 1}}, ways("a", "b", "c", "d", "e", "f"),
			"f", []string{"f", "e", "d", "c", "b", "a"}},
		"without a twin": {rates{"none": {0, 0}, "calls": {3, 3}}, ways("none", "calls", "crate", "functions"),
			"calls", []string{"calls", "none", "functions", "crate"}},
	} {
		found, trials, err := search(t.Context(), c.ways, c.rates.try)
		assert.NoError(t, err, name)
		assert.Equal(t, c.found, found.Name, name)
		var order []string
		for _, trial := range trials {
			order = append(order, trial.Name)
		}
		assert.Equal(t, c.order, order, name)
	}
}

func TestSearchFindsNothing(t *testing.T) {
	_, trials, err := search(t.Context(), ways("none", "calls"), rates{"none": {0}, "calls": {0}}.try)
	var none *NotFoundError
	assert.ErrorAs(t, err, &none)
	assert.ErrorContains(t, err, "failed in 2 of 40 runs, but not in the same place")
	assert.Len(t, trials, 2)
	assert.EqualError(t, &NotFoundError{Runs: 40}, "no kind of pressure made the test fail in 40 runs")

	_, _, err = search(t.Context(), ways("none", "calls"), rates{}.try)
	assert.ErrorContains(t, err, "it cannot be tried")

	ctx, cancel := context.WithCancel(t.Context())
	_, trials, err = search(ctx, ways("none", "calls", "crate"), func(way Way, _ int) (Trial, error) {
		if way.Name == "calls" {
			cancel()
		}
		return Trial{Runs: 7, Failed: 1}, nil
	})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, []int{7, 7, 0}, []int{trials[0].Runs, trials[1].Runs, trials[2].Runs}, "what is known by then")
}

func TestApplicable(t *testing.T) {
	names := func(b bundle.Test) (names []string) {
		for _, way := range Applicable(&bundle.Bundle{Manifest: bundle.Manifest{Test: b}}) {
			names = append(names, way.Name)
		}
		return names
	}
	assert.NotContains(t, names(bundle.Test{}), "functions", "the functions are not known")
	assert.Contains(t, names(bundle.Test{}), "crate")
	assert.Contains(t, names(bundle.Test{Blocked: []report.Frame{{Function: "f"}}}), "functions")
}
