package subtest

import (
	"io"
	"time"
)

// T is what a run needs of a test: *testing.T, a command line program, or a recorder. Its methods mean what testing.T's do.
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

// Open is a subtest that is open while its test runs, so that its elapsed time is the test's own.
type Open struct {
	verdict chan func(T)
	ended   chan struct{}
}

// Begin opens a subtest. It returns nil where testing does not call the subtest's function: -run or -skip leave it out,
// or -failfast has struck.
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

// End runs the last words of a subtest, which may fail or skip it, and closes it.
func (o *Open) End(words func(T)) {
	o.verdict <- words
	<-o.ended
}
