package repro

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"pyo3test/harness/internal/bundle"
)

// Trial is what runs under one kind of pressure have shown in a search. Their rates are not comparable with those of other
// runs: a search finds the best of several, which is better by chance too.
type Trial struct {
	Way
	Runs   int
	Failed int
}

const (
	// trialRuns is how often each kind of pressure is tried in a round.
	trialRuns = 20
	// enough is the share of failures in a round after which nothing else is tried.
	enough = 0.75
)

// Search tries kinds of pressure, the cheapest first, and returns the one under which the test failed most often, with all
// trials. It halves their number after each round. Of several that are equal, the one that was named last wins. For delays in
// the crate's code it calls twin, once; without a twin, these are left out. It calls each before a trial.
func (p *Prepared) Search(ctx context.Context, ways []Way, o Options, twin func() *Prepared, each func(next Way)) (Way, []Trial, error) {
	trials := make([]Trial, len(ways))
	for i, way := range ways {
		trials[i].Way = way
	}
	twin = sync.OnceValue(twin)
	left := len(trials)
	for round := 0; ; round++ {
		for i := range trials[:left] {
			on := p
			if trials[i].Pressure.Code != "" {
				if on = twin(); on == nil {
					continue
				}
			}
			each(trials[i].Way)
			one := Options{Runs: trialRuns, Jobs: o.Jobs, Each: o.Each, Seed: o.Seed + uint32((round*len(ways)+i)*trialRuns)}
			result, err := on.Under(trials[i].Pressure).Run(ctx, one)
			trials[i].Runs += result.Runs
			trials[i].Failed += result.Failed
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return Way{}, trials, err
			}
			if float64(result.Failed) >= enough*float64(trialRuns) {
				return trials[i].Way, trials, nil
			}
		}
		sortTrials(trials[:left])
		if left /= 2; left <= 1 {
			return trials[0].Way, trials, nil
		}
	}
}

// sortTrials puts those with the highest rates first; of equals, the ones that were last. Those that never ran come last.
func sortTrials(trials []Trial) {
	slices.Reverse(trials)
	share := func(t Trial) float64 {
		if t.Runs == 0 {
			return -1
		}
		return float64(t.Failed) / float64(t.Runs)
	}
	slices.SortStableFunc(trials, func(a, b Trial) int { return cmp.Compare(share(b), share(a)) })
}

// Applicable returns the ways that can do anything for a bundle's test.
func Applicable(b *bundle.Bundle) []Way {
	return slices.DeleteFunc(Ways(), func(w Way) bool {
		return len(b.Test.Blocked) == 0 && (w.Pressure.Code == bundle.Lines || w.Pressure.Code == bundle.Functions)
	})
}
