// Package report holds the events of a run and the reporters that show them: go test, the terminal, test2json, JUnit
// and a recording. A reporter gets events and nothing else, so a recorded run can be shown again, by any of them.
package report

import (
	"fmt"
	"time"

	"pyo3test/harness/internal/verdict"
)

// Event is something that happened in a run. Its paths and texts are as the user knows them, not as the container does.
type Event interface{ kind() string }

// Version is that of pyo3test: the newest section of CHANGELOG.md.
const Version = "0.1.0"

// The events of a run as a whole.
type (
	// RunStarted is the first event of a run.
	RunStarted struct {
		Name  string `json:"name"`  // of the run's test, such as TestPython
		Crate string `json:"crate"` // the crate's folder
	}

	// PhaseStarted begins a phase before the tests: "engine", "image" or "build".
	PhaseStarted struct {
		Phase string `json:"phase"`
	}

	// Progress is what a phase is doing: a line that one of its tools printed, or how far it is.
	Progress struct {
		Phase string `json:"phase"`
		Text  string `json:"text"`
		Done  int    `json:"done,omitempty"`
		Total int    `json:"total,omitempty"` // 0 if it is not known
	}

	// PhaseEnded ends a phase that succeeded. Text is its result.
	PhaseEnded struct {
		Phase string        `json:"phase"`
		Text  string        `json:"text"`
		Took  time.Duration `json:"took"` // nanoseconds
	}

	// Note is what the reader of a run or a group should know.
	Note struct {
		Group string `json:"group,omitempty"` // "" for the run
		Topic string `json:"topic,omitempty"` // of a note before the tests: a phase, "config", "tree" or "tests"
		Text  string `json:"text"`
	}

	// Problem makes a run or a group fail and is no single test's fault.
	Problem struct {
		Group string `json:"group,omitempty"` // "" for the run
		Cause Cause  `json:"cause,omitempty"` // set if it kept tests from running
		Text  string `json:"text"`
		// Log is the part of Text that was also reported as the progress of its phase.
		Log     string `json:"log,omitempty"`
		Failure        // if it is pytest that hung
		// Phase is that in which pytest hung: start, collect or finish.
		Phase string `json:"phase,omitempty"`
		// Packages are Debian packages that a build lacks.
		Packages []string `json:"packages,omitempty"`
		// Listed means that each test that did not run because of it has an event of its own.
		Listed bool `json:"listed,omitempty"`
	}

	// RunEnded is the last event of a run.
	RunEnded struct {
		Red   bool  `json:"red"`
		Cause Cause `json:"cause,omitempty"`
	}

	// Tick is the time, once a second. It is not recorded.
	Tick struct{}

	// Lent means that the terminal belongs to a shell or a debugger, until Returned.
	Lent struct {
		Group string `json:"group"`
		Text  string `json:"text"`
	}
	// Returned ends Lent.
	Returned struct {
		Group string `json:"group"`
	}
)

// The events of a group.
type (
	// GroupStarted is the first event of a group.
	GroupStarted struct {
		Group string `json:"group"`
	}

	// Waiting means that a group waits until other runs leave it a place.
	Waiting struct {
		Group string `json:"group"`
		Text  string `json:"text"`
	}

	// Session describes pytest's session.
	Session struct {
		Group     string        `json:"group"`
		Pytest    string        `json:"pytest"`
		Python    string        `json:"python"`
		Isolation string        `json:"isolation"`
		Workers   int           `json:"workers"`
		Budget    time.Duration `json:"budget"` // of a test, in nanoseconds
	}

	// Selected ends the collection: which of the collected tests are to run.
	Selected struct {
		Group     string `json:"group"`
		Tests     int    `json:"tests"`
		Files     int    `json:"files"`
		Collected int    `json:"collected"`
	}

	// Listed names the tests of a group of which none is to run.
	Listed struct {
		Group string       `json:"group"`
		Tests []ListedTest `json:"tests"`
	}

	// FileFailed means that a file or folder could not be collected.
	FileFailed struct {
		Test
		JUnit JUnitName `json:"junit"`
		Place Place     `json:"place"`
		Failure
		Text string `json:"text"`
	}

	// FileSkipped means that a file skips itself as a whole.
	FileSkipped struct {
		Test
		JUnit JUnitName `json:"junit"`
		Place Place     `json:"place"`
		Text  string    `json:"text"` // the reason
	}

	// ExitFailed means that the interpreter did not end as it should, after its session.
	ExitFailed struct {
		Group string `json:"group"`
		Failure
		Text string `json:"text"`
	}

	// Stacks shows what runs, without stopping it.
	Stacks struct {
		Group string `json:"group"`
		What  string `json:"what"`
		Why   string `json:"why"`
		Text  string `json:"text"`
	}

	// GroupEnded is the last event of a group.
	GroupEnded struct {
		Group    string      `json:"group"`
		Phases   []PhaseTime `json:"phases,omitempty"`
		Warnings int         `json:"warnings,omitempty"`
	}
)

// The events of a test.
type (
	// TestStarted means that pytest started a test.
	TestStarted struct {
		Test
	}

	// TestSlow means that a test has used half of its budget.
	TestSlow struct {
		Test
		Ran    time.Duration `json:"ran"`    // nanoseconds
		Budget time.Duration `json:"budget"` // nanoseconds
		Text   string        `json:"text"`   // what it is doing
	}

	// TestEnded is a test's verdict. A test that never started has no other event.
	TestEnded struct {
		Test
		JUnit   JUnitName       `json:"junit"`
		Outcome verdict.Outcome `json:"outcome"`
		Seconds float64         `json:"seconds"`
		Phase   string          `json:"phase,omitempty"`   // where it went wrong: setup, call or teardown
		Place   Place           `json:"place,omitzero"`    // what went wrong there, or the test itself
		Signal  string          `json:"signal,omitempty"`  // that its process died of, such as SIGSEGV
		Message string          `json:"message,omitempty"` // what went wrong, in one line
		Failure
		Text       string       `json:"text,omitempty"`     // traceback, hang report or reason
		Sections   [][2]string  `json:"sections,omitempty"` // what it printed: title, text
		Properties [][2]string  `json:"properties,omitempty"`
		Subtests   []SubtestEnd `json:"subtests,omitempty"`
		Left       int          `json:"left,omitempty"` // how many processes it left running
	}

	// Proof is what a culprit showed when it ran once more.
	Proof struct {
		Test
		Text string `json:"text"`
	}
)

// Failure is what a hang, a crash or an end for memory is known by.
type Failure struct {
	// Hang and HangPlace are the cause of a hang, a key of package hang, and its place in the user's code.
	Hang      string `json:"hang,omitempty"`
	HangPlace Place  `json:"hang_place,omitzero"`
	// Blocked holds the functions of the user's compiled code in which threads wait, of a hang.
	Blocked []Frame `json:"blocked,omitempty"`
	// Signature is equal for two failures in the same place.
	Signature string `json:"signature,omitempty"`
	// Bundle is the file that the pyo3test command runs the test again from, "" if there is none.
	Bundle string `json:"bundle,omitempty"`
}

// Test names one of pytest's tests, or a file or folder that has tests.
type Test struct {
	Group  string `json:"group"`
	Name   string `json:"name"`   // of its subtest, below the group's; unique in the group
	NodeID string `json:"nodeid"` // pytest's own; several tests may have the same
}

// ListedTest is a test and where it is.
type ListedTest struct {
	Test
	Place Place `json:"place"`
}

// Place is a line of a file, or the file if Line is 0. The zero Place is not known.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
}

// Frame is a function on a stack, and where it is.
type Frame struct {
	Function string `json:"function"`
	Place
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// JUnitName is how pytest's JUnit file names a test, and where it is.
type JUnitName struct {
	Classname string `json:"classname"`
	Name      string `json:"name"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
}

// SubtestEnd is the verdict of a subtest that a test ran.
type SubtestEnd struct {
	Name    string          `json:"name"`
	Outcome verdict.Outcome `json:"outcome"`
	Text    string          `json:"text,omitempty"`
}

// PhaseTime is how long a group was in a phase.
type PhaseTime struct {
	Phase string        `json:"phase"`
	Took  time.Duration `json:"took"` // nanoseconds
}

// Cause is what kept tests from running; "" if they ran.
type Cause string

// The causes.
const (
	CauseProject     Cause = "project"     // the project or the Suite cannot be used
	CauseSetup       Cause = "setup"       // engine, images or network
	CauseBuild       Cause = "build"       // the extension or its dependencies
	CauseCollection  Cause = "collection"  // pytest could not collect, or found nothing
	CauseArguments   Cause = "arguments"   // an argument names a test, file or folder that does not exist
	CauseInterrupted Cause = "interrupted" // a signal, or the end of go test's -timeout
)

func (RunStarted) kind() string   { return "run-started" }
func (PhaseStarted) kind() string { return "phase-started" }
func (Progress) kind() string     { return "progress" }
func (PhaseEnded) kind() string   { return "phase-ended" }
func (Note) kind() string         { return "note" }
func (Problem) kind() string      { return "problem" }
func (RunEnded) kind() string     { return "run-ended" }
func (Tick) kind() string         { return "tick" }
func (Lent) kind() string         { return "lent" }
func (Returned) kind() string     { return "returned" }
func (GroupStarted) kind() string { return "group-started" }
func (Waiting) kind() string      { return "waiting" }
func (Session) kind() string      { return "session" }
func (Selected) kind() string     { return "selected" }
func (Listed) kind() string       { return "listed" }
func (FileFailed) kind() string   { return "file-failed" }
func (FileSkipped) kind() string  { return "file-skipped" }
func (ExitFailed) kind() string   { return "exit-failed" }
func (Stacks) kind() string       { return "stacks" }
func (GroupEnded) kind() string   { return "group-ended" }
func (TestStarted) kind() string  { return "test-started" }
func (TestSlow) kind() string     { return "test-slow" }
func (TestEnded) kind() string    { return "test-ended" }
func (Proof) kind() string        { return "proof" }
