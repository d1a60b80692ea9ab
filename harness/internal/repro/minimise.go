package repro

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/rate"
)

const (
	// FixedRuns is how often a test runs to measure its rate, after all earlier tests and after those that are left.
	FixedRuns = 20
	// maxClean bounds the clean runs that rule out a subset: a rate of 5 % has so many in one of 22 attempts.
	maxClean = 60
	// maxSearch bounds the runs of a search. To find two tests among 200 takes 73 on average if they always cause the
	// failure, and 576 if its rate is 30 %, 1573 at most in 100 simulations.
	maxSearch = 2000
)

// Minimal is what a search has found for the earlier tests that a failure needs.
type Minimal struct {
	// Before holds the fewest earlier tests after which the test was seen to fail; all of them if All never failed.
	Before []string
	// All holds the runs after all earlier tests.
	All Result
	// Runs is how often the test ran in the search, the runs after all earlier tests included.
	Runs int
	// Bounded means that the bound on the runs ended the search: fewer tests may suffice.
	Bounded bool
}

// After returns the same test, to run after some of the tests that ran before it, in their order.
func (p *Prepared) After(before []string) *Prepared {
	b := *p.bundle
	b.Test.Before = before
	after := *p
	after.bundle = &b
	after.config.Flags.Only, after.config.Flags.Order = chosen(b.Run, b.Test)
	return &after
}

// CheckMinimise returns an error if no earlier test can matter to a bundle's test.
func CheckMinimise(b *bundle.Bundle) error {
	switch {
	case b.Test.Kind == "" && b.Run.Isolation != "inprocess":
		return unusable("each test of the bundle's run had a process of its own, so %s needs no earlier test: "+
			"it runs alone already", b.Test.NodeID)
	case len(b.Test.Before) == 0:
		return unusable("no test began before %s: it runs alone already", b.Test.NodeID)
	}
	return nil
}

// Minimise finds the fewest earlier tests after which the test still fails. It uses the Jobs, Seed and Each of the
// options, and calls next before the runs after some number of tests. With an error, such as the context's, it returns what
// it knows by then too.
func (p *Prepared) Minimise(ctx context.Context, o Options, next func(tests int)) (Minimal, error) {
	var all *Result
	try := func(before []string, runs int, untilFailure bool) (failed, ran int, err error) {
		next(len(before))
		one := Options{Runs: runs, UntilFailure: untilFailure, Jobs: o.Jobs, Seed: o.Seed, Each: o.Each}
		if untilFailure {
			one.Jobs = 1 // quick passes beside a slow failure would lower the rate
		}
		o.Seed += uint32(runs)
		result, err := p.After(before).Run(ctx, one)
		if all == nil {
			all = &result
		} else if result.Runs == 0 && result.Unknown >= maxUnknown {
			err = nil // an earlier test needs one that was left out, and ends pytest without it
		}
		return result.Failed, result.Runs, err
	}
	found, err := minimise(ctx, p.bundle.Test.Before, try)
	found.All = *all
	return found, err
}

// attempt runs the test after some earlier tests: so often, or until it fails. It returns how often it failed and ran.
type attempt func(before []string, runs int, untilFailure bool) (failed, ran int, err error)

// errBound ends a search.
var errBound = errors.New("the bound on the runs of a search")

// minimise is the ddmin of A. Zeller and R. Hildebrandt, "Simplifying and isolating failure-inducing input", IEEE
// Transactions on Software Engineering 28 (2002), on rates. It leaves out one part of the tests after the other, smaller and
// smaller ones. It does not try parts alone, which takes more runs than it saves if a failure needs several tests. The test
// has failed at least once after those that it returns and, unless chance misled it, needs every one of them.
func minimise(ctx context.Context, before []string, try attempt) (Minimal, error) {
	s := reduction{ctx: ctx, try: try, tried: map[string]bool{}, found: Minimal{Before: before}}
	err := s.run()
	if errors.Is(err, errBound) {
		s.found.Bounded, err = true, nil
	}
	return s.found, err
}

// reduction is a minimisation under way.
type reduction struct {
	ctx          context.Context
	try          attempt
	failed, runs int // after all earlier tests
	clean        int // how many clean runs rule out a subset
	tried        map[string]bool
	found        Minimal
}

func (s *reduction) run() (err error) {
	s.failed, s.runs, err = s.count(s.found.Before, FixedRuns, false)
	if err != nil || s.failed == 0 {
		return err
	}
	// The rate can have come out too high. With the low end, a subset with the same rate still seldom has only clean runs.
	s.clean = min(rate.CleanRuns(rate.Wilson(s.failed, s.runs).Low), maxClean)
	if alone, err := s.keep(nil); alone || err != nil {
		return err
	}
	for parts := 2; len(s.found.Before) > 1; {
		left, err := s.leaveOut(parts)
		switch {
		case err != nil:
			return err
		case left:
			parts = max(2, parts-1)
		case parts == len(s.found.Before):
			return nil
		default:
			parts *= 2
		}
		parts = min(parts, len(s.found.Before))
	}
	return nil
}

// leaveOut leaves out the first of so many parts without which the test still fails, and reports whether there is one.
func (s *reduction) leaveOut(parts int) (bool, error) {
	known := s.found.Before
	for i := range parts {
		from, to := i*len(known)/parts, (i+1)*len(known)/parts
		if kept, err := s.keep(slices.Concat(known[:from], known[to:])); kept || err != nil {
			return kept, err
		}
	}
	return false, nil
}

// keep makes the tests the smallest known if the test fails after them, and reports whether it does.
func (s *reduction) keep(before []string) (bool, error) {
	key := strings.Join(before, "\n")
	fails, ok := s.tried[key]
	if ok {
		return fails, nil
	}
	if s.found.Runs+s.clean > maxSearch {
		return false, errBound
	}
	failed, ran, err := s.count(before, s.clean, true)
	if err != nil {
		return false, err
	}
	// One failure shows that the test can fail; one that took many runs is rarer than after all tests, perhaps another.
	fewer := failed*s.runs < s.failed*ran && rate.Fisher(failed, ran, s.failed, s.runs) < rate.Significance
	fails = failed > 0 && !fewer
	s.tried[key] = fails
	if fails {
		s.found.Before = before
	}
	return fails, nil
}

// count counts the runs of an attempt. One that was interrupted is an error.
func (s *reduction) count(before []string, runs int, untilFailure bool) (failed, ran int, err error) {
	failed, ran, err = s.try(before, runs, untilFailure)
	s.found.Runs += ran
	if err == nil {
		err = s.ctx.Err()
	}
	return failed, ran, err
}

// Compared says how fresh runs after the tests that are left differ from those after all, "" if that can be chance.
func (m Minimal) Compared(fresh Result) string {
	c := Compare(m.All, fresh)
	often := "more"
	if c.less() {
		often = "less"
	}
	if !c.separates() {
		return ""
	}
	return fmt.Sprintf("the test %s %s often than after all earlier tests, which is unlikely to be chance: "+
		"the others matter too", did(fresh.outcome), often)
}
