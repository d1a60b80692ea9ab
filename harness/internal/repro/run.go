package repro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/group"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/rate"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

// Options say how often a test runs.
type Options struct {
	Runs         int           // how often; 0 is no bound
	For          time.Duration // after which no run begins; 0 is no bound
	UntilFailure bool          // end with the first run that fails as the bundle's test did
	Seed         uint32        // of the delays of the first run; each run has the next
	Jobs         int           // how many run at the same time, each in a container of its own
	// Each is called after each run, one call at a time, with the results so far and the end of the test.
	Each func(so []Result, end report.TestEnded)
}

// Run runs the test until the options or the context end it, and returns what was seen until then. Its error says what kept
// the test from running.
func (p *Prepared) Run(ctx context.Context, o Options) (Result, error) {
	results, err := Run(ctx, o, p)
	return results[0], err
}

// Run runs several preparations of one test in turn, so that what changes on the machine meanwhile concerns all of them,
// and returns a result of each.
func Run(ctx context.Context, o Options, sides ...*Prepared) ([]Result, error) {
	s := &series{options: o, began: time.Now(), sides: sides}
	for _, side := range sides {
		s.results = append(s.results, newResult(side))
	}
	ctx, s.end = context.WithCancel(ctx)
	defer s.end()
	var all sync.WaitGroup
	for range max(1, o.Jobs) {
		all.Go(func() { s.work(ctx) })
	}
	all.Wait()
	for i, r := range s.results {
		s.results[i].Interval = rate.Wilson(r.Failed, r.Runs)
		if r.UntilFailure {
			s.results[i].Interval = rate.Inverse(r.Failed, r.Runs)
		}
	}
	return s.results, errors.Join(s.errs...)
}

// Visit returns the same test, and calls visit with each of its hangs before the process is killed.
func (p *Prepared) Visit(visit func(group.Hung)) *Prepared {
	visited := *p
	visited.config.Hung = visit
	return &visited
}

// series is a number of runs under way.
type series struct {
	options Options
	began   time.Time
	end     context.CancelFunc
	sides   []*Prepared

	mutex   sync.Mutex
	begun   int
	over    bool // UntilFailure has ended it
	results []Result
	errs    []error
}

// maxUnknown bounds how often a test is run that has never had a verdict.
const maxUnknown = 5

// work runs each side once, again and again.
func (s *series) work(ctx context.Context) {
	var repeated []*group.Repeated
	for _, side := range s.sides {
		one := group.NewRepeated(side.config)
		repeated = append(repeated, one)
		defer func() { s.fail(one.Close(context.WithoutCancel(ctx))) }()
	}
	for {
		number, ok := s.next(ctx)
		if !ok {
			return
		}
		for i, side := range s.sides {
			end, delays, err := side.once(ctx, repeated[i], s.options.Seed+uint32(number))
			if ctx.Err() != nil {
				return // what was under way has no verdict
			}
			if err != nil {
				s.fail(err)
				s.end()
				return
			}
			s.count(i, end, delays)
		}
	}
}

// once runs the test once, and returns its end, and where its threads were delayed.
func (p *Prepared) once(ctx context.Context, in *group.Repeated, seed uint32) (report.TestEnded, protocol.Delays, error) {
	seen := &seen{test: p.bundle.Test}
	stream := report.NewStream(seen)
	_ = stream.Emit(report.RunStarted{Name: "repro"}) // seen objects to nothing
	_ = stream.Emit(report.GroupStarted{Group: p.config.Name})
	delays := in.Once(ctx, stream, seed&math.MaxInt32)
	switch {
	case seen.end == nil, seen.problem != "" && !seen.end.Outcome.Red(), // a failure that was seen stays one, whatever follows
		seen.problem != "" && seen.end.Outcome == verdict.NotRun:
		return report.TestEnded{}, delays, fmt.Errorf("run %s of %s: %s", seen.test.NodeID, p.crate(), seen.why())
	case seen.apart && p.config.Isolation == "inprocess":
		seen.end.Outcome = verdict.NotRun // as what it is to be seen with
	}
	return *seen.end, delays, nil
}

// next returns the number of the run of each side that begins now, from 0, unless there is to be none.
func (s *series) next(ctx context.Context) (number int, ok bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	o := s.options
	if ctx.Err() != nil || o.Runs > 0 && s.begun >= o.Runs || o.For > 0 && s.begun > 0 && time.Since(s.began) > o.For {
		return 0, false
	}
	s.begun++
	return s.begun - 1, true
}

func (s *series) count(side int, end report.TestEnded, delays protocol.Delays) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.over {
		return // a run that another worker had begun before the last one
	}
	result := &s.results[side]
	before := result.Runs
	failed := result.count(end, time.Since(s.began))
	if result.Runs > before {
		result.countDelays(s.sides[side].sites(delays), delays.Timed, delays.Full)
	}
	if failed && s.options.UntilFailure {
		s.over, result.UntilFailure = true, true
		s.end()
	}
	if result.Runs == 0 && result.Unknown == maxUnknown {
		s.errs = append(s.errs, fmt.Errorf("%d runs of %s of %s, and none gave the test a verdict: %s: %s", result.Unknown,
			s.sides[side].bundle.Test.NodeID, s.sides[side].crate(), end.Outcome, cmp.Or(end.Message, end.Text)))
		s.end()
	}
	if s.options.Each != nil {
		s.options.Each(s.results, end)
	}
}

func (s *series) fail(err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err != nil {
		s.errs = append(s.errs, err)
	}
}

// seen is a reporter that keeps what one run has shown of a bundle's test, or of what else the bundle is of.
type seen struct {
	test    bundle.Test
	end     *report.TestEnded
	problem string
	notes   string
	apart   bool // an earlier test ended pytest, so that the test ran in another process
	started bool
}

// Report keeps an event.
func (s *seen) Report(_ time.Time, e report.Event, _ *report.Tally) error {
	switch e := e.(type) {
	case report.Session:
		s.apart = s.apart || s.started && s.end == nil
	case report.TestStarted:
		s.started = true
	case report.TestEnded:
		if s.test.Kind == "" && e.NodeID == s.test.NodeID && (s.end == nil || e.Name == s.test.Name) {
			s.end = &e
		}
	case report.FileFailed:
		if s.test.Kind == bundle.KindFile && e.NodeID == s.test.NodeID {
			s.failed(e.Failure, e.Text, e.Place)
		} else {
			s.notes += e.Text + "\n"
		}
	case report.ExitFailed:
		if s.test.Kind == bundle.KindExit {
			s.failed(e.Failure, e.Text, report.Place{})
		}
	case report.Problem:
		if s.test.Kind != "" && e.Phase == s.test.Kind {
			s.failed(e.Failure, e.Text, report.Place{})
		} else {
			s.problem += e.Text + "\n"
		}
	case report.GroupEnded:
		if s.test.Kind != "" && s.end == nil && s.problem == "" {
			s.end = &report.TestEnded{Outcome: verdict.Passed}
		}
	case report.Note:
		s.notes += e.Text + "\n"
	}
	return nil
}

// failed keeps a failure of pytest itself as if it were a test's.
func (s *seen) failed(f report.Failure, text string, place report.Place) {
	s.end = &report.TestEnded{Test: report.Test{NodeID: s.test.NodeID}, Outcome: verdict.Hung, Failure: f, Text: text, Place: place}
	if f.Hang == "" { // it died, or could not be imported
		s.end.Outcome = verdict.Failed
	}
}

// why returns what kept the test from its verdict.
func (s *seen) why() string {
	return cmp.Or(s.problem, s.notes, "pytest did not collect it")
}
