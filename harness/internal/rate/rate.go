// Package rate answers how often a test hangs, with which uncertainty, and whether two rates differ.
//
// An experiment is a number of independent runs and the number of events among them; an event is usually a hang. Rates
// are shares of runs, from 0 to 1. Every interval has a confidence of 95 %. Two rates differ if the p-value is below
// 5 %.
//
// The functions are pure. They panic on counts that no experiment yields: negative ones, and more events than runs. A
// caller that reads counts from a file checks them first.
package rate

import (
	"fmt"
	"math"
	"strconv"
)

const (
	// confidence is the share of experiments whose interval contains the true rate.
	confidence = 0.95
	// Significance is the p-value below which two rates differ.
	Significance = 1 - confidence
	// maxRuns bounds the answers of RunsToSeparate: few users make more runs.
	maxRuns = 100_000
	// slack is the relative difference below which two probabilities count as equal: it exceeds the rounding errors of
	// Fisher. R's fisher.test uses the same.
	slack = 1e-7
)

// quantile is how many standard deviations from its mean a normal variable stays with the given confidence: about 1.96.
var quantile = math.Sqrt2 * math.Erfinv(confidence)

// Interval holds the ends of a confidence interval, which belong to it.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Wilson returns the interval of a rate if the number of runs was fixed beforehand. Without runs it is 0 to 1.
//
// It is the score interval of E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
// Journal of the American Statistical Association 22 (1927). The high end for 0 of 200 is 1.9 %.
//
// Its coverage is near 95 %, on average over the rates. For 200 runs it is least, 84 %, at a rate of 0.09 %, which is
// one event in six such experiments: if one occurs in the first, the low end is too high. The high end for no event
// and the low end for nothing but events hold with 95 % from 7 runs on.
func Wilson(events, runs int) Interval {
	check(events, runs)
	if runs == 0 {
		return Interval{Low: 0, High: 1}
	}
	k, n, z := float64(events), float64(runs), quantile
	centre := (k + z*z/2) / (n + z*z)
	half := z / (n + z*z) * math.Sqrt(k*(n-k)/n+z*z/4)
	interval := Interval{Low: centre - half, High: centre + half}
	if events == 0 {
		interval.Low = 0 // not a rounding error above or below it
	}
	if events == runs {
		interval.High = 1
	}
	return interval
}

// Inverse returns the interval of a rate if runs were made until the given number of events had occurred, so that the
// last run had an event. Wilson's interval does not hold then: the experiment stopped because of what it found.
//
// No event means that the runs ended before the first one, as at a limit of time. Other unfinished experiments have no
// interval here. Without runs the interval is 0 to 1.
//
// The interval is exact, so its coverage is at least 95 % for every rate. At its low end, so few runs or fewer have a
// probability of 2.5 %; at its high end, so many runs or more have. This is the method of C. J. Clopper and E. S.
// Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26 (1934),
// applied to the inverse sampling of J. B. S. Haldane, "On a method of estimating frequencies", Biometrika 33 (1945).
// The time that the function takes grows with the number of events.
func Inverse(events, runs int) Interval {
	check(events, runs)
	const tail = (1 - confidence) / 2
	if events == 0 {
		return Interval{Low: 0, High: rateAt(0, runs, tail)}
	}
	return Interval{
		// So few runs or fewer suffice if so many runs have all the events.
		Low: rateAt(events-1, runs, 1-tail),
		// So many runs or more are needed if all runs but the last have too few events.
		High: rateAt(events-1, runs-1, tail),
	}
}

// rateAt returns the rate at which at most so many events in so many runs have the given probability, or 1 if they are
// always more probable.
func rateAt(events, runs int, probability float64) float64 {
	return bisect(func(rate float64) bool { return atMost(events, runs, rate) < probability })
}

// atMost returns the probability of at most so many events in so many runs, for a rate between 0 and 1, neither
// included: the lower tail of the binomial distribution.
func atMost(events, runs int, rate float64) float64 {
	event, none := math.Log(rate), math.Log1p(-rate)
	sum := 0.0
	for k := range events + 1 {
		sum += math.Exp(logChoose(runs, k) + float64(k)*event + float64(runs-k)*none)
	}
	return sum
}

// Fisher returns the two-sided p-value of the hypothesis that two experiments have the same rate. It is 1 if either has
// no runs. For 200 runs each, the fewest events that differ from none are 6: p = 0.030. The test assumes that the
// numbers of runs were fixed beforehand.
//
// It is the exact test of R. A. Fisher, "Statistical Methods for Research Workers", 5th edition (1934), section 21.02:
// given all events, the number in the first experiment has a hypergeometric distribution. The p-value is the sum of the
// tables that are no more probable than the observed one, as in R's fisher.test.
func Fisher(events1, runs1, events2, runs2 int) float64 {
	check(events1, runs1)
	check(events2, runs2)
	events := events1 + events2
	weight := func(k int) float64 { return logChoose(runs1, k) + logChoose(runs2, events-k) }
	all := logChoose(runs1+runs2, events)
	observed := weight(events1)
	var sum, total float64
	for k := max(0, events-runs2); k <= min(events, runs1); k++ {
		w := weight(k)
		p := math.Exp(w - all)
		total += p
		if w <= observed+slack { // these are logarithms, so slack is relative
			sum += p
		}
	}
	return sum / total // the total differs from 1 by rounding only
}

// CleanRuns returns the least number of runs that excludes a rate if none has an event: with that rate, so many clean
// runs have a probability of at most 5 %. It is the least n with (1-rate)^n <= 0.05, which J. A. Hanley and A.
// Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249 (1983) approximate by 3/rate.
//
// It returns 0 if no number excludes the rate, which is so for a rate of 0 and for one too small for an int to hold the
// answer. It panics on a rate outside 0 to 1.
func CleanRuns(rate float64) int {
	if !(rate >= 0 && rate <= 1) {
		panic(fmt.Sprintf("rate: a rate of %v: want 0 to 1", rate))
	}
	// rounding exceeds the error of the quotient, so that an exact solution is not rounded up to the next number.
	const rounding = 1e-14
	n := math.Log(Significance) / math.Log1p(-rate) * (1 - rounding)
	if n >= math.MaxInt {
		return 0
	}
	return max(1, int(math.Ceil(n)))
}

// RunsToSeparate returns the least number of runs of another experiment that, all without an event, have another rate
// than this one: Fisher's p-value is below 5 %. It returns 0 if no number up to 100,000 suffices, as for no event. More
// runs of this experiment are needed then.
//
// The p-value does not fall with every further run, since the possible tables change: a few runs more than the answer
// can raise it to slightly above 5 % again. The time that the function takes grows with the product of events and
// answer.
func RunsToSeparate(events, runs int) int {
	check(events, runs)
	if events == 0 {
		return 0
	}
	for n := 1; n <= maxRuns; n++ {
		if Fisher(events, runs, 0, n) < Significance*(1-slack) {
			return n
		}
	}
	return 0
}

// Ratio returns the interval of the first experiment's rate divided by the second's. The low end is 0 if the first
// experiment has no event, the high end is +Inf if the second has none, and both are so if either has no runs.
//
// To decide whether the rates differ, use Fisher: this interval excludes 1 when Pearson's chi-squared test finds a
// difference, which it does somewhat more easily.
//
// It is the score interval of P. A. R. Koopman, "Confidence intervals for the ratio of two binomial proportions",
// Biometrics 40 (1984), in the form of J. J. Gart and J. Nam, "Approximate interval estimation of the ratio of binomial
// parameters", Biometrics 44 (1988), without their correction for skewness. It extends Wilson's method to two rates. It
// assumes that the numbers of runs were fixed beforehand.
func Ratio(events1, runs1, events2, runs2 int) Interval {
	check(events1, runs1)
	check(events2, runs2)
	return Interval{
		Low:  leastRatio(events1, runs1, events2, runs2),
		High: 1 / leastRatio(events2, runs2, events1, runs1),
	}
}

// leastRatio returns the low end of Ratio's interval. The high end is the reciprocal of that with the experiments
// exchanged.
func leastRatio(events1, runs1, events2, runs2 int) float64 {
	if events1 == 0 || runs2 == 0 {
		return 0
	}
	k1, n1, k2, n2 := float64(events1), float64(runs1), float64(events2), float64(runs2)
	ratio := func(x float64) float64 { return x / (1 - x) } // takes 0 to 1 to 0 to infinity
	return ratio(bisect(func(x float64) bool {
		r := ratio(x)
		// The most likely rates p1 and p2 whose ratio is r. They solve a quadratic equation.
		b := r*(n1+k2) + k1 + n2
		p2 := 2 * (k1 + k2) / (b + math.Sqrt(max(0, b*b-4*r*(n1+n2)*(k1+k2))))
		p1 := r * p2
		variance := p1*(1-p1)/n1 + r*r*p2*(1-p2)/n2
		return k1/n1-r*k2/n2 <= quantile*math.Sqrt(max(0, variance))
	}))
}

// Sentence returns what is known of the rate at which a test does something, such as "hung", for example
//
//	31 of 200 hung: 15.5 % (95 %: 11.1 to 21.2 %)
//
// If none or all of the runs did, it gives one bound instead of two. If until is set, the runs were made until so many had:
// the interval is that of Inverse instead of Wilson, and the sentence mentions the stop unless there was none.
func Sentence(events, runs int, did string, until bool) string {
	interval := Wilson(events, runs)
	sure := percent(confidence) + " %"
	if until {
		interval = Inverse(events, runs)
		switch events {
		case 0: // nothing stopped the runs
		case 1:
			sure += ", given the stop at the first"
		default:
			sure += fmt.Sprintf(", given the stop at number %d", events)
		}
	}
	low, high := percent(interval.Low), percent(interval.High)
	count := fmt.Sprintf("%d of %d %s", events, runs, did)
	switch events {
	case 0:
		if runs == 0 {
			return "no runs: the rate is unknown"
		}
		return fmt.Sprintf("%s: at most %s %% (%s), which is no proof of never", count, high, sure)
	case runs:
		return fmt.Sprintf("%s: at least %s %% (%s)", count, low, sure)
	}
	return fmt.Sprintf("%s: %s %% (%s: %s to %s %%)", count, percent(float64(events)/float64(runs)), sure, low, high)
}

// percent returns a rate as a percentage, without a percent sign. It has one decimal, or more if it is within 1 % of 0
// or 100: two significant digits of the distance. Zeros at its end are dropped.
func percent(rate float64) string {
	value := 100 * rate
	decimals := 1
	if distance := min(value, 100-value); distance > 0 && distance < 1 {
		decimals -= int(math.Floor(math.Log10(distance)))
	}
	scale := math.Pow10(decimals)
	return strconv.FormatFloat(math.Round(value*scale)/scale, 'f', -1, 64)
}

// bisect returns the point between 0 and 1 from which a condition holds, or 1 if it never does. The condition must not
// cease to hold. It is not evaluated at 0 and 1.
func bisect(holds func(float64) bool) float64 {
	low, high := 0.0, 1.0
	for {
		middle := (low + high) / 2
		if middle <= low || middle >= high { // no number is between them
			return high
		}
		if holds(middle) {
			high = middle
		} else {
			low = middle
		}
	}
}

// logChoose returns the logarithm of the binomial coefficient, the number of ways to choose k of n.
func logChoose(n, k int) float64 {
	return logFactorial(n) - logFactorial(k) - logFactorial(n-k)
}

func logFactorial(n int) float64 {
	value, _ := math.Lgamma(float64(n) + 1) // positive, so its sign needs no attention
	return value
}

// check panics if no experiment has these counts.
func check(events, runs int) {
	if events < 0 || events > runs {
		panic(fmt.Sprintf("rate: %d events in %d runs: want 0 <= events <= runs", events, runs))
	}
}
