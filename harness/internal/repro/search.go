package repro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"pyo3test/harness/internal/bundle"
)

// Trial is what runs under one kind of pressure have shown in a search. Their rates are not comparable with those of other
// runs: a search finds the best of several, which is better by chance too.
type Trial struct {
	Way
	Runs   int
	Failed int   // in the place of the bundle's test, if that is known
	Other  int   // failed otherwise
	Err    error // what kept it from being tried

	order int
}

const (
	// trialRuns is how often each kind of pressure is tried in a round.
	trialRuns = 20
	// enough is the share of failures in a round after which nothing else is tried.
	enough = 0.75
)

// NotFoundError means that nothing has made the test fail in the place of the bundle's test.
type NotFoundError struct {
	Runs  int
	Other int // in how many of the runs it failed otherwise
}

func (e *NotFoundError) Error() string {
	if e.Other > 0 {
		return fmt.Sprintf("under pressure the test failed in %d of %d runs, but not in the same place: to see where, name a way, such as --pressure=calls",
			e.Other, e.Runs)
	}
	return fmt.Sprintf("no kind of pressure made the test fail in %d runs", e.Runs)
}

// Search tries kinds of pressure, the cheapest first, and returns the one under which the test failed most often, with all
// trials. It halves their number after each round. Of several that are equal, the one that was named last wins. Delays in the
// crate's code need the preparation that twin returns. One that cannot be tried is left out. It calls each before a trial.
func (p *Prepared) Search(ctx context.Context, ways []Way, o Options, twin func() (*Prepared, error), each func(next Way)) (Way, []Trial, error) {
	return search(ctx, ways, func(way Way, number int) (t Trial, err error) {
		on := p
		if way.Pressure.Code != "" {
			if on, err = twin(); err != nil {
				return t, err
			}
		}
		under, err := on.Under(way.Pressure)
		if err != nil {
			return t, err
		}
		each(way)
		one := Options{Runs: trialRuns, Jobs: o.Jobs, Each: o.Each, Seed: o.Seed + uint32(number*trialRuns)}
		result, err := under.Run(ctx, one)
		return Trial{Runs: result.Runs, Failed: result.alike(), Other: result.Failed + result.Other - result.alike()}, err
	})
}

// search is Search with a function that makes the trial of a number, which is another one each time.
func search(ctx context.Context, ways []Way, try func(way Way, number int) (Trial, error)) (Way, []Trial, error) {
	trials := make([]Trial, len(ways))
	for i, way := range ways {
		trials[i] = Trial{Way: way, order: i}
	}
	number := 0
	for left := trials; ; {
		for i := range left {
			seen, err := try(left[i].Way, number)
			number++
			left[i].Runs += seen.Runs
			left[i].Failed += seen.Failed
			left[i].Other += seen.Other
			left[i].Err = err
			if ctx.Err() != nil {
				return Way{}, trials, errors.Join(err, ctx.Err())
			}
			if float64(seen.Failed) >= enough*trialRuns {
				return left[i].Way, trials, nil
			}
		}
		sortTrials(left)
		if left = left[:len(left)/2]; len(left) <= 1 {
			switch best := trials[0]; {
			case best.Runs == 0:
				return Way{}, trials, best.Err
			case best.Failed == 0:
				none := &NotFoundError{}
				for _, trial := range trials {
					none.Runs += trial.Runs
					none.Other += trial.Other
				}
				return Way{}, trials, none
			}
			return trials[0].Way, trials, nil
		}
	}
}

// sortTrials puts those with the highest rates first; of equals, the ones that were named last. Those that could not be
// tried come last.
func sortTrials(trials []Trial) {
	share := func(t Trial) float64 {
		if t.Runs == 0 || t.Err != nil {
			return -1
		}
		return float64(t.Failed) / float64(t.Runs)
	}
	slices.SortFunc(trials, func(a, b Trial) int { return cmp.Or(cmp.Compare(share(b), share(a)), b.order-a.order) })
}

// alike returns how many runs failed in the place of the bundle's test, or in its way if the place is not known. A test that is
// only slower under pressure, and so exceeds its budget, does not count.
func (r Result) alike() (runs int) {
	if r.signature == "" {
		return r.Failed
	}
	for _, place := range r.Places {
		if place.Same {
			runs += place.Runs
		}
	}
	return runs
}

// Applicable returns the ways that can do anything for a bundle's test.
func Applicable(b *bundle.Bundle) []Way {
	return slices.DeleteFunc(Ways(), func(w Way) bool {
		return len(b.Test.Blocked) == 0 && (w.Pressure.Code == bundle.Lines || w.Pressure.Code == bundle.Functions)
	})
}
