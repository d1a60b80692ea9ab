package report

import (
	"errors"
	"sync"
	"time"
)

// Reporter shows or keeps the events of a run. A Stream calls it for one event at a time, with a tally that has counted
// the event. Its error makes the run fail, unless it is ErrExcluded.
type Reporter interface {
	Report(at time.Time, e Event, so *Tally) error
}

// Emit reports an event.
type Emit func(Event)

// ErrExcluded is the answer to GroupStarted, TestStarted or TestEnded if go test does not run that test because of -run,
// -skip or -failfast.
var ErrExcluded = errors.New("testing does not run it")

// Stream passes the events of a run to its reporters, in order. Its methods may be called from several goroutines.
type Stream struct {
	mutex     sync.Mutex
	tally     Tally
	reporters []Reporter
	now       func() time.Time
}

// NewStream returns a stream to reporters.
func NewStream(to ...Reporter) *Stream { return &Stream{reporters: to, now: time.Now} }

// Add adds a reporter for the events from now on.
func (s *Stream) Add(to Reporter) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.reporters = append(s.reporters, to)
}

// Emit passes an event to every reporter and returns what they object to.
func (s *Stream) Emit(e Event) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	at := s.now()
	errs := []error{s.tally.take(e)}
	for _, to := range s.reporters {
		errs = append(errs, to.Report(at, e, &s.tally))
	}
	return errors.Join(errs...)
}

// Result returns the result of the events so far.
func (s *Stream) Result() Result {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.tally.Result()
}

// Red reports whether a group has failed so far, or the run if the group is "".
func (s *Stream) Red(group string) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if group == "" {
		return s.tally.red()
	}
	return s.tally.group(group).red()
}

// End emits RunEnded.
func (s *Stream) End() error {
	result := s.Result()
	return s.Emit(RunEnded{Red: result.Red, Cause: result.Cause})
}

// Ticking emits a Tick each second until the returned function is called.
func (s *Stream) Ticking() (stop func()) {
	ended := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				_ = s.Emit(Tick{}) // no reporter objects to the time
			}
		}
	})
	return func() { close(ended); ticking.Wait() }
}
