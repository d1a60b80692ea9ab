// Package harnesstest provides a harness.T that records what a run reports instead of failing a test. It is for tests
// of suites that are meant to fail.
package harnesstest

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"pyo3test/harness"
	"pyo3test/harness/internal/visible"
)

// Outcome is the result of a recorded test.
type Outcome string

// The outcomes that go test knows.
const (
	Passed  Outcome = "pass"
	Failed  Outcome = "fail"
	Skipped Outcome = "skip"
)

// Recorder is a harness.T that keeps everything that is reported to it. Use Record to run one.
type Recorder struct {
	tb       testing.TB
	name     string
	parent   *Recorder
	deadline time.Time

	mutex   sync.Mutex
	output  bytes.Buffer
	failed  bool
	skipped bool
	attrs   map[string]string
	subs    []*Recorder
	start   time.Time
	elapsed time.Duration
}

// Record runs a suite as harness.Run does and returns what it reported; tb fails only if the recording itself does. What
// the run and its groups print is echoed to tb's output as it comes, with one line for each test.
func Record(tb testing.TB, suite harness.Suite) *Recorder {
	tb.Helper()
	return RecordUntil(tb, suite, time.Time{})
}

// RecordUntil is like Record, with a deadline like that of go test's -timeout. The zero time means no deadline.
func RecordUntil(tb testing.TB, suite harness.Suite, deadline time.Time) *Recorder {
	tb.Helper()
	r := &Recorder{tb: tb, name: tb.Name(), deadline: deadline}
	r.call(func(t harness.T) { harness.RunT(t, suite) })
	return r
}

// call runs f in its own goroutine, which FailNow and SkipNow end.
func (r *Recorder) call(f func(harness.T)) {
	r.start = time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.elapsed = time.Since(r.start)
}

// Outcome returns what go test would report.
func (r *Recorder) Outcome() Outcome {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	switch {
	case r.failed:
		return Failed
	case r.skipped:
		return Skipped
	}
	return Passed
}

// Text returns all that the test itself printed.
func (r *Recorder) Text() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.output.String()
}

// Elapsed returns how long the test was open.
func (r *Recorder) Elapsed() time.Duration {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.elapsed
}

// Attrs returns the attributes that the test was given.
func (r *Recorder) Attrs() map[string]string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.attrs
}

// Subs returns the tests directly below this one, in the order in which they began.
func (r *Recorder) Subs() []*Recorder {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.subs)
}

// Sub returns the subtest with the given name, or nil if there is none.
func (r *Recorder) Sub(name string) *Recorder {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, sub := range r.subs {
		if sub.name == r.name+"/"+name {
			return sub
		}
	}
	return nil
}

// Name returns the test's full name.
func (r *Recorder) Name() string { return r.name }

// Run runs a subtest and reports whether it did not fail.
func (r *Recorder) Run(name string, f func(harness.T)) bool {
	sub := &Recorder{tb: r.tb, name: r.name + "/" + name, parent: r, deadline: r.deadline}
	r.mutex.Lock()
	r.subs = append(r.subs, sub)
	r.mutex.Unlock()
	sub.call(f)
	if r.parent != nil && r.parent.parent == nil { // one of pytest's tests
		fmt.Fprintf(r.tb.Output(), "%s %.100s (%.2fs)\n", sub.Outcome(), sub.name[len(r.name)+1:],
			sub.Elapsed().Seconds())
	}
	return sub.Outcome() != Failed
}

// Output returns a writer that records. What the run and its groups print is echoed too; what single tests print is
// not.
func (r *Recorder) Output() io.Writer { return recording{r} }

type recording struct{ *Recorder }

func (r recording) Write(data []byte) (int, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.output.Write(data)
	if r.parent == nil || r.parent.parent == nil {
		return visible.Writer{To: r.tb.Output()}.Write(data)
	}
	return len(data), nil
}

// Attr records an attribute.
func (r *Recorder) Attr(key, value string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.attrs == nil {
		r.attrs = map[string]string{}
	}
	r.attrs[key] = value
}

// ArtifactDir returns a folder of the real test.
func (r *Recorder) ArtifactDir() string { return r.tb.ArtifactDir() }

// Deadline returns the recording's deadline.
func (r *Recorder) Deadline() (time.Time, bool) { return r.deadline, !r.deadline.IsZero() }

// Fail marks the test and all above it as failed.
func (r *Recorder) Fail() {
	for ; r != nil; r = r.parent {
		r.mutex.Lock()
		r.failed = true
		r.mutex.Unlock()
	}
}

// FailNow calls Fail and ends the test.
func (r *Recorder) FailNow() {
	r.Fail()
	runtime.Goexit()
}

// Failed reports whether the test or one below it failed.
func (r *Recorder) Failed() bool { return r.Outcome() == Failed }

// SkipNow marks the test as skipped and ends it.
func (r *Recorder) SkipNow() {
	r.mutex.Lock()
	r.skipped = true
	r.mutex.Unlock()
	runtime.Goexit()
}
