package repro

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/bundle"
)

// fake runs a test that fails at some rate after all of some culprits.
type fake struct {
	culprits []string
	rate     float64
	random   *rand.Rand
	runs     int
	attempts [][]string
}

func newFake(rate float64, seed uint64, culprits ...string) *fake {
	return &fake{culprits: culprits, rate: rate, random: rand.New(rand.NewPCG(seed, 0))}
}

func (f *fake) run(before []string, runs int, untilFailure bool) (failed, ran int, err error) {
	f.attempts = append(f.attempts, before)
	can := !slices.ContainsFunc(f.culprits, func(c string) bool { return !slices.Contains(before, c) })
	for ran < runs && !(untilFailure && failed > 0) {
		ran++
		if can && f.random.Float64() < f.rate {
			failed++
		}
	}
	f.runs += ran
	return failed, ran, nil
}

// numbered returns so many tests.
func numbered(tests int) (names []string) {
	for i := range tests {
		names = append(names, fmt.Sprintf("t.py::test_%d", i))
	}
	return names
}

// TestMinimiseTwo: two tests among 200 are found, in few runs if they always cause the failure.
func TestMinimiseTwo(t *testing.T) {
	all := numbered(200)
	for rate, want := range map[float64]struct{ most, exact int }{1: {150, 100}, 0.3: {maxSearch, 95}} {
		most, sum, exact := 0, 0, 0
		for seed := range uint64(100) {
			places := rand.New(rand.NewPCG(seed, 1)).Perm(len(all))[:2]
			slices.Sort(places)
			f := newFake(rate, seed, all[places[0]], all[places[1]])
			found, err := minimise(context.Background(), all, f.run)
			require.NoError(t, err)
			require.Subset(t, found.Before, f.culprits)
			require.Equal(t, f.runs, found.Runs)
			if slices.Equal(f.culprits, found.Before) {
				exact++
			}
			most, sum = max(most, f.runs), sum+f.runs
		}
		t.Logf("rate %v: %d runs on average, %d at most, %d of 100 exact", rate, sum/100, most, exact)
		require.LessOrEqual(t, most, want.most)
		require.GreaterOrEqual(t, exact, want.exact)
	}
}

func TestMinimiseNone(t *testing.T) {
	f := newFake(1, 1)
	found, err := minimise(context.Background(), numbered(200), f.run)
	require.NoError(t, err)
	require.Empty(t, found.Before)
	require.Equal(t, FixedRuns+1, found.Runs)
}

func TestMinimiseAll(t *testing.T) {
	all := numbered(5)
	found, err := minimise(context.Background(), all, newFake(1, 1, all...).run)
	require.NoError(t, err)
	require.Equal(t, all, found.Before)
	require.False(t, found.Bounded)
}

func TestMinimiseOnly(t *testing.T) {
	all := numbered(1)
	found, err := minimise(context.Background(), all, newFake(1, 1, all...).run)
	require.NoError(t, err)
	require.Equal(t, all, found.Before)
}

func TestMinimiseNever(t *testing.T) {
	f := newFake(0, 1)
	found, err := minimise(context.Background(), numbered(200), f.run)
	require.NoError(t, err)
	require.Equal(t, numbered(200), found.Before)
	require.Equal(t, FixedRuns, f.runs)
}

// TestMinimiseOnce: no subset is tried twice, and the attempts are the same each time.
func TestMinimiseOnce(t *testing.T) {
	all := numbered(20)
	first, second := newFake(0.3, 3, all[2], all[7], all[19]), newFake(0.3, 3, all[2], all[7], all[19])
	for _, f := range []*fake{first, second} {
		_, err := minimise(context.Background(), all, f.run)
		require.NoError(t, err)
	}
	require.Equal(t, first.attempts, second.attempts)
	seen := map[string]bool{}
	for _, before := range first.attempts {
		require.False(t, seen[fmt.Sprint(before)])
		seen[fmt.Sprint(before)] = true
	}
}

// TestMinimiseBound: to find out that most tests are needed takes more runs than there may be.
func TestMinimiseBound(t *testing.T) {
	all := numbered(200)
	culprits := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == all[0] })
	f := newFake(0.3, 1, culprits...)
	found, err := minimise(context.Background(), all, f.run)
	require.NoError(t, err)
	require.True(t, found.Bounded)
	require.LessOrEqual(t, f.runs, maxSearch)
	require.Subset(t, found.Before, culprits)
}

// TestMinimiseRarer: tests after which the failure is much rarer are not enough.
func TestMinimiseRarer(t *testing.T) {
	all := numbered(2)
	try := func(before []string, runs int, untilFailure bool) (failed, ran int, err error) {
		switch {
		case !untilFailure:
			return 19, runs, nil
		case len(before) == 1:
			return 1, runs, nil // the last of them
		}
		return 0, runs, nil
	}
	found, err := minimise(context.Background(), all, try)
	require.NoError(t, err)
	require.Equal(t, all, found.Before)
}

// TestMinimiseInterrupted: what is known by then is the smallest list after which the test has failed.
func TestMinimiseInterrupted(t *testing.T) {
	all := numbered(200)
	ctx, cancel := context.WithCancel(context.Background())
	f := newFake(1, 1, all[20], all[30])
	try := func(before []string, runs int, untilFailure bool) (failed, ran int, err error) {
		if len(before) == 50 {
			cancel()
			return 0, 0, nil // as a run that was interrupted
		}
		return f.run(before, runs, untilFailure)
	}
	found, err := minimise(ctx, all, try)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, all[:100], found.Before)
}

// TestAfter: the test runs after some of the tests, and the bundle keeps its own.
func TestAfter(t *testing.T) {
	b := &bundle.Bundle{Manifest: bundle.Manifest{Test: bundle.Test{NodeID: "t.py::t", Before: numbered(3)},
		Run: bundle.Run{Isolation: "inprocess"}}}
	after := (&Prepared{bundle: b}).After(numbered(3)[1:2])
	require.Equal(t, []string{"t.py::test_1", "t.py::t"}, after.config.Flags.Order)
	require.Equal(t, map[string]bool{"t.py::test_1": true, "t.py::t": true}, after.config.Flags.Only)
	require.Equal(t, numbered(3), b.Test.Before)
}

func TestCheckMinimise(t *testing.T) {
	check := func(isolation string, before ...string) error {
		return CheckMinimise(&bundle.Bundle{Manifest: bundle.Manifest{Test: bundle.Test{NodeID: "t.py::t", Before: before},
			Run: bundle.Run{Isolation: isolation}}})
	}
	require.NoError(t, check("inprocess", "t.py::test_0"))
	require.EqualError(t, check("inprocess"), "no test began before t.py::t: it runs alone already")
	require.EqualError(t, check("forked", "t.py::test_0"),
		"each test of the bundle's run had a process of its own, so t.py::t needs no earlier test: it runs alone already")
}

// TestCompared: a difference is reported if it is unlikely to be chance.
func TestCompared(t *testing.T) {
	result := func(failed int) Result {
		r := resultOf(bundle.Test{Outcome: "hung"}, "/crate")
		r.Failed, r.Runs = failed, 20
		return r
	}
	require.Empty(t, Minimal{All: result(20)}.Compared(result(18)))
	for often, counts := range map[string][2]int{"less": {20, 3}, "more": {3, 20}} {
		require.Equal(t, "the test hung "+often+" often than after all earlier tests, which is unlikely to be chance: "+
			"the others matter too", Minimal{All: result(counts[0])}.Compared(result(counts[1])))
	}
}
