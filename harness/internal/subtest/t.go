package subtest

import (
	"io"
	"time"
)

// T is what a run needs from a test: *testing.T, a command line program, or a recorder. Its methods do what testing.T's
// do.
type T interface {
	Helper()
	Name() string
	Run(name string, f func(T)) bool
	Output() io.Writer
	Attr(key, value string)
	ArtifactDir() string
	Deadline() (deadline time.Time, ok bool)
	Fail()
	FailNow()
	Failed() bool
	SkipNow()
}

// The attributes that a run gives its tests.
const (
	NodeID  = "pytest.nodeid"  // pytest's name of a test, or of a file that could not be collected
	Outcome = "pytest.outcome" // its result, in the words of verdict.Outcome
	Seconds = "pytest.seconds" // its time
	Subtest = "pytest.subtest" // of a subtest of pytest's: its own name
	Left    = "pytest.left"    // how many processes it left running
	Tests   = "pytest.tests"   // of a group: how many tests are to run
	Files   = "pytest.files"   // of a group: in how many files they are
	Phases  = "pytest.phases"  // of a group: the seconds of each phase, as "start 0.6  collect 0.4"
	Summary = "pytest.summary" // of a group: its last line
	Cause   = "pytest.cause"   // of a run or a group: what kept tests from running
	Told    = "pytest.told"    // of a group that was ended early: it names each test that it did not run
)

// Values of Cause.
const (
	CauseProject     = "project"     // the project or the Suite cannot be used
	CauseSetup       = "setup"       // engine, images or network
	CauseBuild       = "build"       // the extension or its dependencies
	CauseCollection  = "collection"  // pytest could not collect, or found nothing
	CauseInterrupted = "interrupted" // a signal, or the end of go test's -timeout
)

// Screen is a T with its own way to show what go test has no place for.
type Screen interface {
	// Phase shows what a run does before its tests, and how long it took, 0 if it has not ended.
	Phase(name, text string, took time.Duration)
	// Slow shows what a test is doing after it has used half of its budget.
	Slow(nodeID string, ran time.Duration, words string)
	// Urgent shows at once what cannot wait for the end of a test.
	Urgent(text string)
}

// Again is a T for which a command other than go test runs one test again.
type Again interface{ Again(nodeID string) string }

// Open is a subtest that stays open while its test runs, so that its elapsed time is the test's own.
type Open struct {
	verdict chan func(T)
	ended   chan struct{}
}

// Begin opens a subtest. It returns nil if testing does not call the subtest's function because -run, -skip or
// -failfast excludes it.
func Begin(parent T, name string) *Open {
	o := &Open{verdict: make(chan func(T), 1), ended: make(chan struct{})}
	called := make(chan bool, 1)
	go func() {
		defer close(o.ended)
		parent.Run(name, func(t T) {
			called <- true
			(<-o.verdict)(t)
		})
		called <- false
	}()
	if !<-called {
		return nil
	}
	return o
}

// End runs a last function in a subtest, which may fail or skip it, and closes it.
func (o *Open) End(words func(T)) {
	o.verdict <- words
	<-o.ended
}
