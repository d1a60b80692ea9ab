package repro

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"pyo3test/harness/internal/group"
	"pyo3test/harness/internal/report"
)

// Options say how often a test runs.
type Options struct {
	Runs         int           // how often; 0 is no bound
	For          time.Duration // after which no run begins; 0 is no bound
	UntilFailure bool          // end with the first run that fails as the bundle's test did
	Jobs         int           // how many run at the same time, each in a container of its own
	// Each is called after each run, one call at a time, with the result so far and the end of the test.
	Each func(so Result, end report.TestEnded)
}

// Run runs the test until the options or the context end it, and returns what was seen until then. Its error says what kept
// the test from running.
func (p *Prepared) Run(ctx context.Context, o Options) (Result, error) {
	s := &series{prepared: p, options: o, began: time.Now(), result: newResult(p.bundle.Test, p.crate())}
	ctx, s.end = context.WithCancel(ctx)
	defer s.end()
	var all sync.WaitGroup
	for range max(1, o.Jobs) {
		all.Go(func() { s.work(ctx) })
	}
	all.Wait()
	return s.result, errors.Join(s.errs...)
}

// series is a number of runs under way.
type series struct {
	prepared *Prepared
	options  Options
	began    time.Time
	end      context.CancelFunc

	mutex  sync.Mutex
	begun  int
	result Result
	errs   []error
}

// work runs the test in one container after the other.
func (s *series) work(ctx context.Context) {
	repeated := group.NewRepeated(s.prepared.config)
	defer func() { s.fail(repeated.Close(context.WithoutCancel(ctx))) }()
	for s.next(ctx) {
		seen := &seen{nodeID: s.prepared.bundle.Test.NodeID}
		stream := report.NewStream(seen)
		_ = stream.Emit(report.RunStarted{Name: "repro"}) // seen objects to nothing
		_ = stream.Emit(report.GroupStarted{Group: s.prepared.config.Name})
		repeated.Once(ctx, stream)
		if ctx.Err() != nil {
			return // what was under way has no verdict
		}
		if seen.end == nil || seen.problem != "" {
			s.fail(fmt.Errorf("%s could not be run: %s", seen.nodeID, seen.why()))
			s.end()
			return
		}
		s.count(*seen.end)
	}
}

// next reports whether another run begins.
func (s *series) next(ctx context.Context) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	o := s.options
	if ctx.Err() != nil || o.Runs > 0 && s.begun >= o.Runs || o.For > 0 && s.begun > 0 && time.Since(s.began) > o.For {
		return false
	}
	s.begun++
	return true
}

func (s *series) count(end report.TestEnded) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.result.UntilFailure {
		return // a run that another worker had begun before the last one
	}
	failed := s.result.count(end, time.Since(s.began))
	if failed && s.options.UntilFailure {
		s.result.UntilFailure = true
		s.end()
	}
	if s.options.Each != nil {
		s.options.Each(s.result, end)
	}
}

func (s *series) fail(err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err != nil {
		s.errs = append(s.errs, err)
	}
}

// seen is a reporter that keeps what one run has shown of one test.
type seen struct {
	nodeID  string
	end     *report.TestEnded
	problem string
	notes   string
}

// Report keeps an event.
func (s *seen) Report(_ time.Time, e report.Event, _ *report.Tally) error {
	switch e := e.(type) {
	case report.TestEnded:
		if e.NodeID == s.nodeID {
			s.end = &e
		}
	case report.Problem:
		s.problem += e.Text + "\n"
	case report.FileFailed:
		s.problem += e.Text + "\n"
	case report.Note:
		s.notes += e.Text + "\n"
	}
	return nil
}

// why returns what kept the test from its verdict.
func (s *seen) why() string {
	switch {
	case s.problem != "":
		return s.problem
	case s.notes != "":
		return s.notes
	}
	return "pytest did not collect it"
}
