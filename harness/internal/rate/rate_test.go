package rate

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireInterval compares the ends with expected values that were rounded to the given unit.
func requireInterval(t *testing.T, low, high, unit float64, got Interval) {
	t.Helper()
	require.InDelta(t, low, got.Low, unit/2)
	require.InDelta(t, high, got.High, unit/2)
}

// binomial returns the probabilities of 0 to n events in n runs, by multiplication instead of logarithms.
func binomial(n int, rate float64) []float64 {
	probabilities := []float64{math.Pow(1-rate, float64(n))}
	for k := range n {
		next := probabilities[k] * float64(n-k) / float64(k+1) * rate / (1 - rate)
		probabilities = append(probabilities, next)
	}
	return probabilities
}

func TestWilson(t *testing.T) {
	requireInterval(t, 0.111, 0.212, 0.001, Wilson(31, 200))
	requireInterval(t, 0, 0.019, 0.001, Wilson(0, 200))
	require.Equal(t, Interval{Low: 0, High: 1}, Wilson(0, 0))
	for _, runs := range []int{1, 2, 7, 200, 1_000_000} {
		require.Zero(t, Wilson(0, runs).Low)
		require.Equal(t, 1.0, Wilson(runs, runs).High)
		require.InDelta(t, 1-Wilson(0, runs).High, Wilson(runs, runs).Low, 1e-12)
	}
}

// wilsonCoverage returns the probability that the interval contains the true rate.
func wilsonCoverage(runs int, rate float64) float64 {
	coverage := 0.0
	for events, probability := range binomial(runs, rate) {
		if interval := Wilson(events, runs); interval.Low <= rate && rate <= interval.High {
			coverage += probability
		}
	}
	return coverage
}

func TestWilsonCoverage(t *testing.T) {
	const runs = 200
	for rate, want := range map[float64]string{0.01: "94.8", 0.1: "95.6"} {
		require.Equal(t, want, fmt.Sprintf("%.1f", 100*wilsonCoverage(runs, rate)))
	}
	// The coverage is least just outside an interval. By symmetry, rates up to a half suffice.
	const outside = 1e-9
	rare := Wilson(1, runs).Low - outside
	least := wilsonCoverage(runs, rare)
	require.InDelta(t, 0.0009, rare, 0.00005)
	require.InDelta(t, 0.84, least, 0.005)
	for events := range runs {
		for _, rate := range []float64{Wilson(events, runs).High + outside, Wilson(events+1, runs).Low - outside} {
			if rate != rare && rate <= 0.5 {
				require.Greater(t, wilsonCoverage(runs, rate), least, "rate %v", rate)
			}
		}
	}
}

// TestWilsonClean checks from which number of runs on the high end holds with 95 % if there is no event.
func TestWilsonClean(t *testing.T) {
	for runs := 1; runs <= 300; runs++ {
		clean := math.Pow(1-Wilson(0, runs).High, float64(runs))
		require.Equal(t, runs >= 7, clean <= 0.05, "%d runs", runs)
	}
}

// TestInverse compares the interval with the solutions of its equations that have a closed form.
func TestInverse(t *testing.T) {
	for _, n := range []int{2, 3, 57, 200, 1_000_000} {
		got, clean := Inverse(1, n), Inverse(0, n)
		require.InEpsilon(t, -math.Expm1(math.Log(0.975)/float64(n)), got.Low, 1e-9)
		require.InEpsilon(t, -math.Expm1(math.Log(0.025)/float64(n-1)), got.High, 1e-9)
		require.Zero(t, clean.Low)
		require.InEpsilon(t, -math.Expm1(math.Log(0.025)/float64(n)), clean.High, 1e-9)
	}
	for _, n := range []int{1, 2, 5, 300} {
		got := Inverse(n, n)
		require.InEpsilon(t, math.Pow(0.025, 1/float64(n)), got.Low, 1e-9)
		require.Equal(t, 1.0, got.High)
	}
	require.Equal(t, Interval{Low: 0, High: 1}, Inverse(0, 0))
}

// TestInverseCoverage computes the probabilities that the true rate is below the interval and that it is above, when
// runs are made until the last event: neither may exceed 2.5 %.
func TestInverseCoverage(t *testing.T) {
	for _, rate := range []float64{0.01, 0.05, 0.3} {
		for _, events := range []int{1, 3} {
			var sum, below, above float64
			probability := math.Pow(rate, float64(events)) // of needing just so many runs
			for runs := events; 1-sum > 1e-9; runs++ {
				interval := Inverse(events, runs)
				if rate < interval.Low {
					below += probability
				}
				if rate > interval.High {
					above += probability
				}
				sum += probability
				probability *= float64(runs) / float64(runs+1-events) * (1 - rate)
			}
			remaining := 1e-9 // the runs that the loop leaves out
			require.LessOrEqual(t, below+remaining, 0.025, "rate %v, %d events", rate, events)
			require.LessOrEqual(t, above+remaining, 0.025, "rate %v, %d events", rate, events)
		}
	}
}

// TestInverseLimit computes the coverage when runs are made until the first event or a limit.
func TestInverseLimit(t *testing.T) {
	const limit = 50
	intervals := []Interval{Inverse(0, limit)}
	for runs := 1; runs <= limit; runs++ {
		intervals = append(intervals, Inverse(1, runs))
	}
	for rate := 0.005; rate < 1; rate += 0.005 {
		coverage, clean := 0.0, 1.0
		for _, interval := range intervals[1:] {
			if interval.Low <= rate && rate <= interval.High {
				coverage += clean * rate
			}
			clean *= 1 - rate
		}
		if rate <= intervals[0].High {
			coverage += clean
		}
		require.GreaterOrEqual(t, coverage, 0.95, "rate %v", rate)
	}
}

func TestIntervalsContainEstimate(t *testing.T) {
	for runs := 1; runs <= 30; runs++ {
		for events := range runs + 1 {
			estimate := float64(events) / float64(runs)
			for _, interval := range []Interval{Wilson(events, runs), Inverse(events, runs)} {
				require.LessOrEqual(t, 0.0, interval.Low)
				require.LessOrEqual(t, interval.Low, estimate, "%d of %d", events, runs)
				require.GreaterOrEqual(t, interval.High, estimate, "%d of %d", events, runs)
				require.LessOrEqual(t, interval.High, 1.0)
			}
		}
	}
}

func TestFisher(t *testing.T) {
	for events, want := range map[int]float64{2: 0.499, 3: 0.248, 5: 0.061, 6: 0.030} {
		require.InDelta(t, want, Fisher(0, 200, events, 200), 0.0005)
	}
	require.InDelta(t, 34.0/70, Fisher(3, 4, 1, 4), 1e-9)      // Fisher's lady tasting tea
	require.InDelta(t, 0.0005367, Fisher(2, 17, 10, 13), 5e-8) // the convictions of twins in R's fisher.test
	require.InEpsilon(t, 2*math.Exp(-logChoose(400, 200)), Fisher(0, 200, 200, 200), 1e-9)
	for runs := range 4 {
		for events := range runs + 1 {
			require.Equal(t, 1.0, Fisher(events, runs, 0, 0))
			require.Equal(t, 1.0, Fisher(0, 0, events, runs))
		}
	}
}

// TestFisherExact compares every small table with sums of whole numbers.
func TestFisherExact(t *testing.T) {
	choose := func(n, k int) int64 { return new(big.Int).Binomial(int64(n), int64(k)).Int64() }
	everyPair(9, func(events1, runs1, events2, runs2 int) {
		events := events1 + events2
		ways := func(k int) int64 { return choose(runs1, k) * choose(runs2, events-k) }
		var sum int64
		for k := max(0, events-runs2); k <= min(events, runs1); k++ {
			if ways(k) <= ways(events1) {
				sum += ways(k)
			}
		}
		want := float64(sum) / float64(choose(runs1+runs2, events))
		got := Fisher(events1, runs1, events2, runs2)
		require.InEpsilon(t, want, got, 1e-9, "%d of %d, %d of %d", events1, runs1, events2, runs2)
		require.InEpsilon(t, got, Fisher(events2, runs2, events1, runs1), 1e-9)
		require.InEpsilon(t, got, Fisher(runs1-events1, runs1, runs2-events2, runs2), 1e-9)
	})
}

// everyPair calls a function with every two experiments of so many runs or fewer.
func everyPair(limit int, f func(events1, runs1, events2, runs2 int)) {
	for runs1 := range limit + 1 {
		for runs2 := range limit + 1 {
			for events1 := range runs1 + 1 {
				for events2 := range runs2 + 1 {
					f(events1, runs1, events2, runs2)
				}
			}
		}
	}
}

func TestCleanRuns(t *testing.T) {
	for rate, want := range map[float64]int{0.01: 299, 0.1: 29, 0.26: 10, 0.95: 1, 1: 1, 0: 0, 1e-300: 0} {
		require.Equal(t, want, CleanRuns(rate), "rate %v", rate)
	}
	for rate := 0.0007; rate < 0.95; rate += 0.0007 {
		n := CleanRuns(rate)
		require.LessOrEqual(t, math.Pow(1-rate, float64(n)), 0.05, "rate %v", rate)
		require.Greater(t, math.Pow(1-rate, float64(n-1)), 0.05, "rate %v", rate)
	}
	for _, rate := range []float64{-0.01, 1.01, math.NaN()} {
		require.Panics(t, func() { CleanRuns(rate) })
	}
}

func TestRunsToSeparate(t *testing.T) {
	for events, want := range map[int]int{0: 0, 1: 3801, 5: 201, 6: 140} { // p is exactly 0.05 for 1 of 200, 0 of 3800
		require.Equal(t, want, RunsToSeparate(events, 200), "%d events", events)
	}
	require.Equal(t, 0, RunsToSeparate(0, 0))
	require.Equal(t, 19*5000+1, RunsToSeparate(1, 5000))
	require.Equal(t, 0, RunsToSeparate(1, 6000)) // 114,001 would suffice
	require.Equal(t, 10, RunsToSeparate(16, 50))
	require.InDelta(t, 0.052, Fisher(16, 50, 0, 11), 0.0005) // one run more raises p
	for runs := 1; runs <= 30; runs++ {
		for events := 1; events <= runs; events++ {
			n := RunsToSeparate(events, runs)
			require.Positive(t, n)
			require.Less(t, Fisher(events, runs, 0, n), 0.05)
			require.GreaterOrEqual(t, Fisher(events, runs, 0, n-1), 0.05*(1-slack))
		}
	}
}

func TestRatio(t *testing.T) {
	requireInterval(t, 2.94, 7.15, 0.01, Ratio(36, 40, 16, 80)) // Koopman's example
	all := Interval{Low: 0, High: math.Inf(1)}
	require.Equal(t, all, Ratio(0, 5, 0, 7))
	require.Equal(t, all, Ratio(0, 0, 3, 7))
	require.Equal(t, all, Ratio(3, 7, 0, 0))
	require.Equal(t, all, Ratio(0, 0, 0, 0))
	require.Equal(t, math.Inf(1), Ratio(6, 200, 0, 200).High)
	require.Greater(t, Ratio(6, 200, 0, 200).Low, 1.0)
	require.InEpsilon(t, Wilson(7, 7).Low, Ratio(7, 7, 9, 9).Low, 1e-9)
	require.InEpsilon(t, 1/Wilson(9, 9).Low, Ratio(7, 7, 9, 9).High, 1e-9)
}

// TestRatioEnds checks each end by the equation of Koopman's paper, which is another than ours, and by Pearson's
// chi-squared test.
func TestRatioEnds(t *testing.T) {
	chiSquared := func(r, x, m, y, n float64) float64 {
		b := r*(m+y) + x + n
		p := (b - math.Sqrt(max(0, b*b-4*r*(m+n)*(x+y)))) / (2 * (m + n))
		if 1-p < 1e-9 { // the paper's equation is then 0/0; this is its limit
			return math.Pow(x/m-r*y/n, 2) / ((r - 1) / n)
		}
		return math.Pow(x-m*p, 2) / (m * p * (1 - p)) * (1 + m*(r-p)/(n*(1-p)))
	}
	limit := quantile * quantile
	everyPair(9, func(events1, runs1, events2, runs2 int) {
		if runs1 == 0 || runs2 == 0 {
			return
		}
		x, m, y, n := float64(events1), float64(runs1), float64(events2), float64(runs2)
		interval := Ratio(events1, runs1, events2, runs2)
		require.LessOrEqual(t, interval.Low*y/n, x/m)
		require.LessOrEqual(t, x/m/interval.High, y/n)
		if events1 > 0 {
			require.InEpsilon(t, limit, chiSquared(interval.Low, x, m, y, n), 1e-6)
		}
		if events2 > 0 {
			require.InEpsilon(t, limit, chiSquared(1/interval.High, y, n, x, m), 1e-6)
		}
		if x+y > 0 && x+y < m+n {
			pearson := math.Pow(x*n-y*m, 2) * (m + n) / (m * n * (x + y) * (m + n - x - y))
			require.Equal(t, pearson > limit, interval.Low > 1 || interval.High < 1)
		}
	})
}

// TestRatioCoverage computes the probability that the interval contains the true ratio.
func TestRatioCoverage(t *testing.T) {
	const runs1, runs2, rate1, rate2 = 60, 90, 0.3, 0.1
	coverage := 0.0
	second := binomial(runs2, rate2)
	for events1, probability1 := range binomial(runs1, rate1) {
		for events2, probability2 := range second {
			interval := Ratio(events1, runs1, events2, runs2)
			if interval.Low <= rate1/rate2 && rate1/rate2 <= interval.High {
				coverage += probability1 * probability2
			}
		}
	}
	require.InDelta(t, 0.95, coverage, 0.01)
}

func TestSentence(t *testing.T) {
	for want, got := range map[string]string{
		"31 of 200 hung: 15.5 % (95 %: 11.1 to 21.2 %)":                           Sentence(31, 200, "hung", false),
		"1 of 2000 hung: 0.05 % (95 %: 0.0088 to 0.28 %)":                         Sentence(1, 2000, "hung", false),
		"10 of 100 hung: 10 % (95 %: 5.5 to 17.4 %)":                              Sentence(10, 100, "hung", false),
		"995 of 1000 hung: 99.5 % (95 %: 98.8 to 99.79 %)":                        Sentence(995, 1000, "hung", false),
		"5 of 5 hung: at least 56.6 % (95 %)":                                     Sentence(5, 5, "hung", false),
		"1 of 1 hung: at least 20.7 % (95 %)":                                     Sentence(1, 1, "hung", false),
		"no runs: the rate is unknown":                                            Sentence(0, 0, "hung", false),
		"0 of 200 hung: at most 1.9 % (95 %), which is no proof of never":         Sentence(0, 200, "hung", false),
		"0 of 200 hung: at most 1.8 % (95 %), which is no proof of never":         Sentence(0, 200, "hung", true),
		"0 of 1 hung: at most 79.3 % (95 %), which is no proof of never":          Sentence(0, 1, "hung", false),
		"1 of 57 hung: 1.8 % (95 %, given the stop at the first: 0.044 to 6.4 %)": Sentence(1, 57, "hung", true),
		"3 of 57 hung: 5.3 % (95 %, given the stop at number 3: 1.1 to 12.3 %)":   Sentence(3, 57, "hung", true),
		"1 of 1 hung: at least 2.5 % (95 %, given the stop at the first)":         Sentence(1, 1, "hung", true),
	} {
		require.Equal(t, want, got)
		t.Log(got)
	}
}

func TestPercent(t *testing.T) {
	for rate, want := range map[float64]string{
		0: "0", 1: "100", 0.155: "15.5", 0.1: "10", 0.00996: "1", 0.0052: "0.52", 0.0005: "0.05", 0.000123: "0.012",
		1e-9: "0.0000001", 0.9999: "99.99", 0.99996: "99.996",
	} {
		require.Equal(t, want, percent(rate))
	}
}

func TestImpossibleCounts(t *testing.T) {
	for _, call := range []func(events, runs int){
		func(events, runs int) { Wilson(events, runs) },
		func(events, runs int) { Inverse(events, runs) },
		func(events, runs int) { Fisher(events, runs, 1, 2) },
		func(events, runs int) { Fisher(1, 2, events, runs) },
		func(events, runs int) { RunsToSeparate(events, runs) },
		func(events, runs int) { Ratio(events, runs, 1, 2) },
		func(events, runs int) { Ratio(1, 2, events, runs) },
		func(events, runs int) { Sentence(events, runs, "hung", false) },
		func(events, runs int) { Sentence(events, runs, "hung", true) },
	} {
		require.Panics(t, func() { call(-1, 5) })
		require.Panics(t, func() { call(-2, -1) })
		require.PanicsWithValue(t, "rate: 6 events in 5 runs: want 0 <= events <= runs", func() { call(6, 5) })
	}
}
