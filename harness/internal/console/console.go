// Package console reports a run to a terminal or a machine without go test.
package console

import (
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
	"pyo3test/harness/internal/visible"
)

// reporter shows what happens. Its methods are called one at a time.
type reporter interface {
	phase(n *node, name, text string, took time.Duration)
	slow(n *node, nodeID string, ran time.Duration, words string)
	urgent(text string)
	begin(n *node)
	say(n *node, text string)
	attr(n *node, key, value string)
	end(n *node)
}

// Console provides the T of a program that is not a test binary.
type Console struct {
	mutex    sync.Mutex
	reporter reporter
	again    func(nodeID string) string
	flags    subtest.Flags
	cause    string
	counts   map[string]int
	outcomes map[string]verdict.Outcome
	beside   bool
}

// Options describe the run to a console.
type Options struct {
	// Again returns the command that runs one test again.
	Again func(nodeID string) string
	// Flags are the run's flags.
	Flags subtest.Flags
}

func newConsole(r reporter, o Options) *Console {
	return &Console{reporter: r, again: o.Again, flags: o.Flags, counts: map[string]int{}, outcomes: map[string]verdict.Outcome{}}
}

// Result is the result of a run.
type Result struct {
	Failed bool
	// Cause is what kept tests from running, one of subtest's causes; "" if they ran.
	Cause string
	// Counts holds how many tests had each outcome, in the words of verdict.Outcome.
	Counts map[string]int
	// Outcomes holds the outcome of each test by node id. If several have one id, it is that of the first red one, else
	// of the last.
	Outcomes map[string]verdict.Outcome
	// Beside reports whether the run failed for more than the tests in Outcomes, which may then lack tests.
	Beside bool
}

// Run runs f as the test with a name, and returns when everything below it has ended.
func (c *Console) Run(name string, f func(subtest.T)) Result {
	top := &node{console: c, name: name}
	top.call(f)
	return Result{Failed: top.Failed(), Cause: c.cause, Counts: c.counts, Outcomes: c.outcomes, Beside: c.beside}
}

func (c *Console) tell(say func(reporter)) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	say(c.reporter)
}

// node is one test of the tree: the run, its groups, pytest's tests, and their subtests.
type node struct {
	console *Console
	name    string
	parent  *node
	start   time.Time

	mutex   sync.Mutex
	failed  bool
	itself  bool // failed, and not only because of one below it
	skipped bool
	elapsed time.Duration
	attrs   map[string]string
	text    strings.Builder // of a test, until its end
}

// depth returns 0 for the run, 1 for a group, 2 for a test.
func (n *node) depth() (depth int) {
	for ; n.parent != nil; n = n.parent {
		depth++
	}
	return depth
}

// call runs f in its own goroutine, which FailNow and SkipNow end.
func (n *node) call(f func(subtest.T)) {
	n.start, n.attrs = time.Now(), map[string]string{}
	n.console.tell(func(r reporter) { r.begin(n) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(n)
	}()
	<-done
	n.elapsed = time.Since(n.start)
	n.console.tell(func(r reporter) {
		n.count()
		r.end(n)
	})
}

// count adds the test's outcome to the run's result.
func (n *node) count() {
	id, outcome, depth := n.attrs[subtest.NodeID], verdict.Outcome(n.attrs[subtest.Outcome]), n.depth()
	if outcome != "" && depth >= 2 && n.attrs[subtest.Subtest] == "" {
		n.console.counts[string(outcome)]++
		if before, there := n.console.outcomes[id]; id != "" && (!there || !before.Red()) {
			n.console.outcomes[id] = outcome
		}
	}
	if depth < 2 {
		n.console.beside = n.console.beside || n.itself && n.attrs[subtest.Told] == ""
	} else if depth == 2 {
		n.console.beside = n.console.beside || n.Failed() && (id == "" || !outcome.Red())
	}
}

// Helper does nothing.
func (n *node) Helper() {}

// Name returns the full name.
func (n *node) Name() string { return n.name }

// Run runs a subtest and reports whether it did not fail.
func (n *node) Run(name string, f func(subtest.T)) bool {
	sub := &node{console: n.console, name: n.name + "/" + visible.Word(name), parent: n}
	sub.call(f)
	return !sub.Failed()
}

// Output returns the writer for what the test prints.
func (n *node) Output() io.Writer { return speaker{n} }

type speaker struct{ *node }

func (s speaker) Write(data []byte) (int, error) {
	s.console.tell(func(r reporter) { r.say(s.node, string(data)) })
	return len(data), nil
}

// Attr records and shows an attribute.
func (n *node) Attr(key, value string) {
	n.console.tell(func(r reporter) {
		n.attrs[key] = value
		if key == subtest.Cause {
			n.console.cause = value
		}
		r.attr(n, key, value)
	})
}

// ArtifactDir is never called: it is for go test's -artifacts.
func (n *node) ArtifactDir() string { return os.TempDir() }

// Deadline reports that there is none.
func (n *node) Deadline() (time.Time, bool) { return time.Time{}, false }

// Fail marks the test and all above it as failed.
func (n *node) Fail() {
	n.mutex.Lock()
	n.itself = true
	n.mutex.Unlock()
	for ; n != nil; n = n.parent {
		n.mutex.Lock()
		n.failed = true
		n.mutex.Unlock()
	}
}

// FailNow calls Fail and ends the test.
func (n *node) FailNow() {
	n.Fail()
	runtime.Goexit()
}

// Failed reports whether the test or one below it failed.
func (n *node) Failed() bool {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.failed
}

// SkipNow marks the test as skipped and ends it.
func (n *node) SkipNow() {
	n.mutex.Lock()
	n.skipped = true
	n.mutex.Unlock()
	runtime.Goexit()
}

// Flags returns the run's own flags: those of a test binary do not apply.
func (n *node) Flags() subtest.Flags {
	flags := n.console.flags
	flags.Parallel = runtime.GOMAXPROCS(0)
	return flags
}

// Phase shows what a run does before its tests.
func (n *node) Phase(name, text string, took time.Duration) {
	n.console.tell(func(r reporter) { r.phase(n, name, text, took) })
}

// Slow shows a test that takes long.
func (n *node) Slow(nodeID string, ran time.Duration, words string) {
	n.console.tell(func(r reporter) { r.slow(n, nodeID, ran, words) })
}

// Urgent shows what cannot wait.
func (n *node) Urgent(text string) {
	n.console.tell(func(r reporter) { r.urgent(text) })
}

// Again returns the command that runs just one test again.
func (n *node) Again(nodeID string) string { return n.console.again(nodeID) }
