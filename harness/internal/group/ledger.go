package group

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

// ledger holds what the events of one pytest process say of its session and its tests. It only takes events: it sends
// nothing, waits for nothing and reads no clock. Each attempt has its own, and so has each proof.
type ledger struct {
	budget    time.Duration // of a test that has none of its own
	failLeaky bool          // a test that leaves processes running is red

	pid      int  // pytest's once it runs; before that, that of the importing process
	imported int  // how many of the built modules could be imported
	started  bool // pytest has started

	rootDir       string // pytest's, in the container
	isolation     string // what pytest derived from the group's isolation and its own options
	collecting    string // the file that is being imported
	collectErrors []verdict.CollectError
	collectSkips  []verdict.CollectSkip
	tests         []*test // by collection index
	collected     bool    // the collection is complete
	deselected    int     // how many tests pytest left out while it collected
	missing       bool    // pytest refuses an argument that names no test

	due        map[int]bool // the indices of the tests that are to run
	unfinished int          // how many of them have not ended
	running    map[int]*test
	starts     int   // how many tests have started
	last       *test // the test that ended last
	warnings   int

	exitStatus *int           // as reported by pytest at the end of its session
	exited     *protocol.Exit // the end of its process
	left       bool           // the interpreter ran to its own end
	junit      []byte         // the file that pytest wrote
	cpu        float64        // seconds that the current process had used at the last beat
	working    bool           // it used processor time between the last two beats
}

func newLedger(budget time.Duration, failLeaky bool) ledger {
	return ledger{budget: budget, failLeaky: failLeaky, due: map[int]bool{}, running: map[int]*test{}}
}

// test is one collected test.
type test struct {
	verdict.Test
	budget   time.Duration
	fixtures string // all that it requests
	start           // its current one

	// What the group decides.
	name     string // of the subtest, relative to the group's
	selected bool
	begun    bool          // its start is reported
	closed   bool          // its end is reported
	end      verdict.Ended // once it is closed
}

// start is what is known of one start of a test.
type start struct {
	number  int // which one it is of the session, from 1
	pid     int
	at      time.Time // when it started; later by as much as pytest's own process took since
	after   *test     // the last test that had ended before
	threads int       // how many threads pytest had when it forked the test's process

	gone bool // its process has ended, but pytest has not reported its end yet
	// reporting is when pytest's own process began to report it, zero if it does not; own is how long it did before.
	reporting time.Time
	own       time.Duration
	still     bool // pytest's own process was stuck when it should have reported it

	slow     bool           // half of its budget is used up, and that was reported
	expired  bool           // its budget is used up or a deadlock is proved, and it is being ended
	killed   time.Time      // when the agent was told to kill it
	deadlock *deadlock      // the proof that it can never end
	failure  report.Failure // why it hung; zero if it did not
}

// expect says which tests are to run, by their collection indices.
func (l *ledger) expect(order []int) {
	for _, index := range order {
		l.due[index] = true
	}
	l.unfinished = len(order)
}

// take takes an event, and returns the test that it is about, if any. An event that cannot come at this point is an
// error: something other than the plugin sent it, so no event can be trusted.
func (l *ledger) take(e protocol.Event, at time.Time) (*test, error) {
	if why := l.untimely(e); why != "" {
		return nil, fmt.Errorf("pytest's stream of events contradicts itself: a %q %s: did a test or a conftest "+
			"write to a descriptor that it did not open?",
			e.Kind(), why)
	}
	switch e := e.(type) {
	case protocol.Item, protocol.Collecting, protocol.CollectError, protocol.CollectSkip, protocol.Collected:
		return nil, l.takeCollection(e)
	case protocol.TestEvent:
		return l.takeTest(e, at)
	case protocol.Gone:
		return l.takeGone(e.PID), nil
	case protocol.Killed:
		l.takeLeftover(e)
	case protocol.Importing:
		l.pid = e.PID
	case protocol.Import:
		if e.OK {
			l.imported++
		}
	case protocol.Started:
		l.pid, l.started = e.PID, true
	case protocol.Missing:
		l.missing = true
	case protocol.Session:
		l.rootDir, l.isolation = e.RootDir, e.Isolation
	case protocol.Beat:
		l.working, l.cpu = e.CPU-l.cpu >= workingShare, e.CPU
	case protocol.Warning:
		l.warnings++
	case protocol.JUnit:
		if len(l.junit)+len(e.Data) > maxJUnit {
			return nil, fmt.Errorf("pytest's JUnit file is longer than %d MiB", maxJUnit>>20)
		}
		l.junit = append(l.junit, e.Data...)
	case protocol.Finished:
		l.exitStatus = &e.ExitStatus
	case protocol.Leave:
		l.left = true
	case protocol.Exit:
		l.exited = &e
	}
	return nil, nil
}

// workingShare is the least processor time, in seconds, that a working process uses from one beat to the next.
const workingShare = 0.1

// untimely returns why an event cannot come now, or "".
func (l *ledger) untimely(e protocol.Event) string {
	switch e.(type) {
	case protocol.Collecting, protocol.CollectError, protocol.CollectSkip, protocol.Item, protocol.Collected:
		if l.collected {
			return "after the end of the collection"
		}
	case protocol.TestEvent:
		if !l.collected {
			return "before the end of the collection"
		}
		if l.exitStatus != nil {
			return "after the end of the session"
		}
	case protocol.Finished:
		if l.exitStatus != nil {
			return "after the end of the session"
		}
		if len(l.running) > 0 {
			return "while a test runs"
		}
	case protocol.Importing, protocol.Started:
		if l.started {
			return "after the start"
		}
	case protocol.Session, protocol.Foreign, protocol.Missing, protocol.Sections, protocol.Leave:
	case protocol.JUnit, protocol.Exit:
		if l.exited == nil {
			return "" // the agent sends it, after pytest's last event
		}
	default:
		return ""
	}
	if l.left || l.exited != nil {
		return "after the end of pytest"
	}
	return ""
}

func (l *ledger) takeCollection(e protocol.Event) error {
	switch e := e.(type) {
	case protocol.Collecting:
		l.collecting = e.NodeID
	case protocol.CollectError:
		l.collectErrors = append(l.collectErrors, verdict.CollectError{
			NodeID: e.NodeID, Longrepr: e.Longrepr, Path: e.Path, Line: e.Line, Classname: e.JUnitName[0], Name: e.JUnitName[1]})
	case protocol.CollectSkip:
		l.collectSkips = append(l.collectSkips, verdict.CollectSkip{
			NodeID: e.NodeID, Reason: e.Reason, Path: e.Path, Line: e.Line, Classname: e.JUnitName[0], Name: e.JUnitName[1]})
	case protocol.Item:
		return l.addTest(e)
	case protocol.Collected:
		if e.Count != len(l.tests) {
			return fmt.Errorf("pytest collected %d tests and named %d", e.Count, len(l.tests))
		}
		l.collected, l.deselected = true, e.Deselected
	}
	return nil
}

func (l *ledger) addTest(e protocol.Item) error {
	if e.Index != len(l.tests) {
		return fmt.Errorf("item %d came where %d was due", e.Index, len(l.tests))
	}
	budget := l.budget
	if e.Timeout != nil && *e.Timeout > 0 {
		budget = time.Duration(*e.Timeout * float64(time.Second))
	}
	l.tests = append(l.tests, &test{budget: budget, fixtures: strings.Join(e.Fixtures, ", "), Test: verdict.Test{
		Index: e.Index, NodeID: e.NodeID, Path: e.Path, Line: e.Line, Classname: e.JUnitName[0], Name: e.JUnitName[1],
		FailLeaky: l.failLeaky,
	}})
	return nil
}

// takeTest takes an event of one test. An event that contradicts earlier ones is an error.
func (l *ledger) takeTest(e protocol.TestEvent, at time.Time) (*test, error) {
	index := e.TestIndex()
	if index >= len(l.tests) || !l.due[index] {
		return nil, fmt.Errorf("an event of test %d, which was not to run", index)
	}
	test := l.tests[index]
	_, starts := e.(protocol.TestStart)
	if running := l.running[index] != nil; running == starts || test.closed || !running && test.Finish != nil {
		return nil, fmt.Errorf("a %s event of %s out of its order", e.Kind(), test.NodeID)
	}
	switch e := e.(type) {
	case protocol.TestStart:
		l.starts++
		test.Started = true
		test.start = start{number: l.starts, pid: e.PID, at: at, after: l.last, threads: e.Threads}
		l.running[index] = test
	case protocol.TestPhase:
		test.enter(e.When, at)
	case protocol.TestReport:
		test.AddReport(e.Report)
	case protocol.TestFinish:
		l.endTest(test, e.Finish, at)
	}
	return test, nil
}

func (l *ledger) endTest(test *test, finish verdict.Finish, at time.Time) {
	test.Finish = &finish
	if test.still { // too late: pytest is about to be killed
		test.Finish = test.standstillFinish(at)
	}
	test.Phase = cmp.Or(finish.Phase, test.Phase) // the phases of a forked test are reported at its end
	delete(l.running, test.Index)
	l.last = test
	l.unfinished--
}

// reporting is the phase of a test in which pytest's own process reports it to its plugins.
const reporting = "report"

// enter records which phase a test is in. The time in which pytest's own process reports the test does not count as the
// test's.
func (t *test) enter(when string, at time.Time) {
	if !t.reporting.IsZero() {
		took := at.Sub(t.reporting)
		t.own += took
		t.at = t.at.Add(took)
		t.reporting = time.Time{}
	}
	if when == reporting {
		t.reporting = at
	} else {
		t.Phase = when
	}
}

// isOver reports whether the test itself has nothing left to do, at least for now: pytest's own process takes the time.
func (t *test) isOver() bool { return t.gone || !t.reporting.IsZero() }

// standstillFinish returns the end of a test whose own end was never reported.
func (t *test) standstillFinish(at time.Time) *verdict.Finish {
	killed := verdict.KilledStandstill
	return &verdict.Finish{Duration: at.Sub(t.at).Seconds(), Killed: &killed}
}

// forget forgets that a test has run, so that it can run again.
func (t *test) forget() {
	t.start = start{}
	t.Test = t.Test.Unrun()
}

// takeGone records that the process of a test has ended, and returns the test.
func (l *ledger) takeGone(pid int) *test {
	for _, test := range l.running {
		if test.pid == pid && pid != l.pid && !test.gone {
			test.gone = true
			return test
		}
	}
	return nil
}

// leftover is the agent's reason for killing what an ended test has left running.
const leftover = "leftover"

// takeLeftover records the processes that a test has left running, which the agent kills.
func (l *ledger) takeLeftover(e protocol.Killed) {
	test := l.running[e.Index]
	if e.Reason != leftover || test == nil || test.pid != e.PID {
		return
	}
	for _, process := range e.Processes {
		test.Left = append(test.Left, fmt.Sprintf("%d: %s", process.PID, process.Command))
	}
	if more := e.Count - len(e.Processes); more > 0 {
		test.Left = append(test.Left, fmt.Sprintf("and %d more", more))
	}
}

// idle reports whether no test is at work, so that pytest's own process takes the time.
func (l *ledger) idle() bool {
	for _, test := range l.running {
		if !test.isOver() {
			return false
		}
	}
	return true
}

// stand makes the tests that run have started later by the time for which they stood still.
func (l *ledger) stand(still time.Duration) {
	for _, test := range l.running {
		test.at = test.at.Add(still)
		if !test.killed.IsZero() {
			test.killed = test.killed.Add(still)
		}
	}
}

// untold returns the test whose report pytest's own process is stuck at, nil if no test is running. If pytest reports
// none, it is the test that began last: pytest was not stuck then, so an earlier test, whose report is only late, did
// not stop it.
func (l *ledger) untold() (last *test) {
	for _, t := range l.running {
		switch {
		case !t.reporting.IsZero():
			return t
		case last == nil || t.number > last.number:
			last = t
		}
	}
	return last
}
