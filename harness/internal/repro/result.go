package repro

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/rate"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

// Place is where runs failed alike.
type Place struct {
	Signature string `json:"signature"`
	What      string `json:"what"` // in a few words
	Same      bool   `json:"same"` // it is the bundle's own
	Runs      int    `json:"runs"`
}

// Result is what the runs have shown so far.
type Result struct {
	Test    string        `json:"test"`
	Runs    int           `json:"runs"`
	Failed  int           `json:"failed"`  // in the way that the bundle's test did: as many hung, say, wherever
	Other   int           `json:"other"`   // red in another way
	Unknown int           `json:"unknown"` // skipped, or without a verdict: not among Runs
	Places  []Place       `json:"places"`  // the most frequent first
	First   time.Duration `json:"first"`   // until the first of Failed, in nanoseconds; 0 if there is none
	Took    time.Duration `json:"took"`    // nanoseconds
	// Interval is that of the rate of Failed, with 95 % confidence, once the runs have ended.
	Interval rate.Interval `json:"interval"`
	// UntilFailure means that the runs ended because one failed, which makes the plain rate too high.
	UntilFailure bool `json:"until_failure"`
	// Under is the pressure on the test, in a few words, "" if there was none.
	Under string `json:"under,omitempty"`
	// Sites are where threads were delayed, those with the most delays first; Near is in how many runs it was where the
	// threads of the failure wait, or in which the memory was filled to the end.
	Sites  []Site `json:"sites,omitempty"`
	Delays int    `json:"delays,omitempty"` // at all sites, also those that are not kept
	Near   int    `json:"near,omitempty"`
	// Timed is in how many runs the test waited with time limits of its own, which delays can exceed.
	Timed     int  `json:"timed,omitempty"`
	aimed     bool // the delays are aimed at the place of the failure, or not each run is under pressure to its end
	pressure  bundle.Pressure
	crate     string // its folder on this host
	outcome   verdict.Outcome
	signature string
}

// newResult returns the result of no run.
func newResult(p *Prepared) Result {
	test := p.bundle.Test
	r := Result{crate: p.crate(), Test: test.NodeID, outcome: verdict.Outcome(test.Outcome), signature: test.Signature, Places: []Place{}}
	if p.pressure != (bundle.Pressure{}) {
		r.Under, r.pressure = Words(p.pressure), p.pressure
		r.aimed = p.pressure.Code != "" && len(test.Blocked) > 0 || p.pressure.Code == "" && p.pressure.Calls || p.pressure.Memory
	}
	return r
}

// Undelayed reports whether delays were aimed at the place of the failure, and missed it in most runs.
func (r Result) Undelayed() bool { return r.aimed && 2*r.evidence() < r.Runs }

// evidence returns how many runs say something of the failure: if delays are aimed at it, those in which one was there.
func (r Result) evidence() int {
	if r.aimed {
		return max(r.Failed, r.Near)
	}
	return r.Runs
}

// maxSites bounds how many sites are kept: delays anywhere in a crate are at others in each run.
const maxSites = 1000

// countDelays adds where the threads of a run were delayed. The argument full means that the memory was filled to its end.
func (r *Result) countDelays(sites []Site, timed int, full bool) {
	near := full
	for _, site := range sites {
		near = near || site.Near && site.Delays > 0
		at := slices.IndexFunc(r.Sites, func(s Site) bool { return s.Where == site.Where })
		if at < 0 {
			at = len(r.Sites)
			r.Sites = append(r.Sites, Site{Where: site.Where, Near: site.Near})
		}
		r.Delays += site.Delays
		r.Sites[at].Delays += site.Delays
		r.Sites[at].Slept += site.Slept
	}
	slices.SortStableFunc(r.Sites, func(a, b Site) int { return cmp.Compare(b.Delays, a.Delays) })
	r.Sites = r.Sites[:min(len(r.Sites), maxSites)]
	if near {
		r.Near++
	}
	if timed > 0 {
		r.Timed++
	}
}

// count counts a run, and reports whether it failed as the bundle's test did. A run that says nothing of the test does not
// count.
func (r *Result) count(end report.TestEnded, at time.Duration) (failed bool) {
	r.Took = at
	if end.Outcome == verdict.Skipped || end.Outcome == verdict.NotRun {
		r.Unknown++
		return false
	}
	r.Runs++
	if !end.Outcome.Red() {
		return false
	}
	text := what(end, r.crate)
	index := slices.IndexFunc(r.Places, func(p Place) bool {
		return p.Signature == end.Signature && (p.Signature != "" || p.What == text) // of several places that nobody saw
	})
	if index < 0 {
		index = len(r.Places)
		r.Places = append(r.Places, Place{Signature: end.Signature, What: text,
			Same: end.Signature == r.signature && r.signature != ""})
	}
	r.Places[index].Runs++
	slices.SortStableFunc(r.Places, func(a, b Place) int { return cmp.Compare(b.Runs, a.Runs) })
	if end.Outcome != r.outcome {
		r.Other++
		return false
	}
	if r.Failed++; r.Failed == 1 {
		r.First = at
	}
	return true
}

// what describes the end of a test in a few words.
func what(end report.TestEnded, crate string) string { return bundle.Of(end, crate).What() }

// Count returns how many runs failed, in a few words.
func (r Result) Count() string { return fmt.Sprintf("%d of %d %s", r.Failed, r.Runs, did(r.outcome)) }

// Sentence returns the rate, with its interval.
func (r Result) Sentence() string {
	return rate.Sentence(r.Failed, r.Runs, did(r.outcome), r.UntilFailure)
}

// did returns what tests with an outcome did, to follow "3 of 200".
func did(outcome verdict.Outcome) string {
	switch outcome {
	case verdict.Killed:
		return "ran out of memory"
	case verdict.Error:
		return "ended with an error"
	}
	return string(outcome)
}

// where says whether a place is the bundle's own.
func (r Result) where(p Place) string {
	switch {
	case p.Same:
		return "in the same place: "
	case p.Signature == "" || r.signature == "":
		return "in a place that could not be seen: "
	}
	return "in another place: "
}

// one describes a single run.
func (r Result) one() string {
	switch {
	case len(r.Places) == 0:
		return "it passed"
	case r.Other > 0:
		return "it failed in another way: " + r.Places[0].What
	}
	return "again, " + r.where(r.Places[0]) + r.Places[0].What
}

// Text returns the result for a reader, in one or several lines.
func (r Result) Text() string {
	if r.Runs == 1 && r.Unknown == 0 {
		return r.one()
	}
	return r.Rates()
}

// Rates returns the rate, and how often the test failed in which place, also of a single run.
func (r Result) Rates() string {
	lines := []string{r.Sentence()}
	for _, place := range r.Places {
		lines = append(lines, fmt.Sprintf("%d of %s %s%s", place.Runs, plural.Count(r.Failed+r.Other, "failure"), r.where(place), place.What))
	}
	if r.Unknown > 0 {
		lines = append(lines, fmt.Sprintf("not counted: %s that skipped the test, or gave it no verdict", plural.Count(r.Unknown, "run")))
	}
	if r.Failed > 0 && r.Runs > 1 {
		lines = append(lines, fmt.Sprintf("the first after %v, %v in all", r.First.Round(time.Millisecond),
			r.Took.Round(time.Millisecond)))
	}
	return strings.Join(append(lines, r.delays()...), "\n")
}

// shownSites is how many sites a result names.
const shownSites = 5

// delays says where threads were delayed, in lines; none if the test was not under pressure.
func (r Result) delays() (lines []string) {
	if r.Under == "" {
		return nil
	}
	var most []string
	for _, site := range r.Sites[:min(len(r.Sites), shownSites)] {
		most = append(most, fmt.Sprintf("%d at %s", site.Delays, site.Where))
	}
	lines = append(lines, fmt.Sprintf("under pressure (%s)", r.Under))
	if r.pressure.Calls || r.pressure.Code != "" {
		lines[0] += ": " + plural.Count(r.Delays, "delay")
	}
	if r.Delays > 0 {
		lines[0] += ", most " + strings.Join(most, ", ")
	}
	if r.pressure.Memory && r.Near < r.Runs {
		lines = append(lines, fmt.Sprintf("in %s the memory did not stay full to the end, so they count as runs without pressure",
			plural.Count(r.Runs-r.Near, "run")))
	}
	if r.Timed > 0 {
		lines = append(lines, fmt.Sprintf("in %s the test waited with time limits of its own: a failure there may come from the delays alone",
			plural.Count(r.Timed, "run")))
	}
	return lines
}
