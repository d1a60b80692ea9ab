// Package verdict decides the outcome of each test. It judges by what was seen of the test, reads pytest's own JUnit
// file, compares the two, and writes the JUnit file that users keep.
package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Outcome is the result of a test, in a few words at most.
type Outcome string

// The outcomes, worst first.
const (
	Hung    Outcome = "hung"
	Crashed Outcome = "crashed"
	Killed  Outcome = "killed for memory"
	Failed  Outcome = "failed"
	Error   Outcome = "error" // in setup or teardown
	Leaky   Outcome = "leaky" // passed or skipped, but left processes running, if that is to be red
	NotRun  Outcome = "not run"
	Skipped Outcome = "skipped"
	XFailed Outcome = "xfailed"
	XPassed Outcome = "xpassed"
	Passed  Outcome = "passed"
)

// Outcomes holds all outcomes, in the order in which a summary counts them.
var Outcomes = []Outcome{Passed, Hung, Crashed, Killed, Failed, Error, Leaky, NotRun, Skipped, XFailed, XPassed}

// Red reports whether the outcome fails a run.
func (o Outcome) Red() bool {
	switch o {
	case Passed, XPassed, XFailed, Skipped:
		return false
	}
	return true
}

// Test is what was seen of one test.
type Test struct {
	Index     int // its place in pytest's collection
	NodeID    string
	Path      string // of its file, in the container
	Line      int    // 0 if it is not known
	Classname string // how pytest's JUnit file names it
	Name      string

	Started bool
	Phase   string // the last one that it was seen to enter: setup, call or teardown
	Reports []Report
	Finish  *Finish  // nil until the test ends
	Seen    string   // what was seen of it when it hung, or when it was run once more, for a reader
	Left    []string // the processes that it left running, for a reader; they were killed

	FailLeaky bool // leaving processes is red

	texts int // bytes in the reports
}

// Unrun returns the test as it was before it ran.
func (t Test) Unrun() Test {
	return Test{Index: t.Index, NodeID: t.NodeID, Path: t.Path, Line: t.Line, Classname: t.Classname, Name: t.Name,
		FailLeaky: t.FailLeaky}
}

// Report is pytest's report of one phase of a test, or of a subtest in it.
type Report struct {
	When       string      `json:"when"`
	Outcome    string      `json:"outcome"` // pytest's own word: passed, failed, skipped, or a plugin's
	Duration   float64     `json:"duration"`
	Longrepr   string      `json:"longrepr"`
	Message    string      `json:"message"`
	Path       string      `json:"path"` // where it happened
	Line       int         `json:"line"`
	WasXFail   *string     `json:"wasxfail"`
	Sections   [][2]string `json:"sections"` // of this phase and all before it
	Properties [][2]string `json:"properties"`
	Subtest    *struct {
		Description string `json:"description"`
	} `json:"subtest"`
}

// Finish is how the process of a test ended. A test in pytest's own process ends with status 0.
type Finish struct {
	Exit      *int    `json:"exit"`
	Signal    *int    `json:"signal"`
	Complete  bool    `json:"complete"` // all its reports arrived
	Duration  float64 `json:"duration"` // seconds
	Killed    *string `json:"killed"`   // why it was killed, nil if it was not
	Phase     string  `json:"phase"`    // its last one, if the test ran in a child
	Interrupt string  `json:"interrupt"`
	Stdout    string  `json:"stdout"` // of one that could not report
	Stderr    string  `json:"stderr"`
}

// Reasons of Finish.Killed that have an outcome of their own.
const (
	KilledHung   = "hung"
	KilledMemory = "memory"
	// KilledStandstill is for a test that had ended, but whose end was never reported because pytest's own process had
	// stopped making progress.
	KilledStandstill = "standstill"
)

// Verdict is the result of a test, for a reader.
type Verdict struct {
	Outcome    Outcome
	Phase      string // where; "" for a pass
	Path       string // the place that is to blame, in the container
	Line       int
	Text       string // traceback, or reason
	Message    string // what went wrong, in pytest's own short form; "" if pytest did not report it
	Sections   [][2]string
	Properties [][2]string
	Subtests   []Subtest
	Duration   float64 // seconds
}

// Subtest is one of the subtests that a test ran.
type Subtest struct {
	Name    string // as pytest describes it
	Outcome Outcome
	Text    string
}

// Verdict judges the test.
func (t Test) Verdict() Verdict {
	v := Verdict{Outcome: NotRun}
	own := t.ownReports(&v)
	if len(own) > 0 {
		v.Sections = longest(own, func(r Report) [][2]string { return r.Sections })
		v.Properties = longest(own, func(r Report) [][2]string { return r.Properties })
	}
	switch {
	case !t.Started:
		return v
	case t.Finish == nil:
		v.Phase, v.Text = t.Phase, strings.TrimRight("it was running when its group was ended\n"+t.Seen, "\n")
		return v
	}
	v.Duration = t.Finish.Duration
	if len(v.Sections) == 0 {
		for _, section := range [][2]string{{"Captured stdout", t.Finish.Stdout},
			{"Captured stderr", t.Finish.Stderr}} {
			if section[1] != "" {
				v.Sections = append(v.Sections, section)
			}
		}
	}
	v.judgeReports(own)
	v.judgeEnd(t)
	v.judgeLeft(t)
	return v
}

// ownReports returns the reports of the test itself, and judges those of its subtests. A plugin's outcome that is none
// of pytest's three means that the test is run again.
func (t Test) ownReports(v *Verdict) (own []Report) {
	for _, r := range t.Reports {
		if r.Outcome != "passed" && r.Outcome != "failed" && r.Outcome != "skipped" {
			own, v.Subtests = nil, nil // a rerun: what was before it does not count
			continue
		}
		if r.Subtest == nil {
			own = append(own, r)
			continue
		}
		sub := Subtest{Name: r.Subtest.Description, Outcome: r.outcome(), Text: r.Longrepr}
		if !sub.Outcome.Red() {
			sub.Text = r.reason()
		}
		v.Subtests = append(v.Subtests, sub)
	}
	return own
}

func longest(reports []Report, field func(Report) [][2]string) [][2]string {
	return field(slices.MaxFunc(reports, func(a, b Report) int { return cmp.Compare(len(field(a)), len(field(b))) }))
}

// outcome returns the outcome by one report alone.
func (r Report) outcome() Outcome {
	switch {
	case r.Outcome == "failed" && r.When != "call":
		return Error
	case r.Outcome == "failed":
		return Failed
	case r.Outcome == "skipped" && r.WasXFail != nil:
		return XFailed
	case r.Outcome == "skipped":
		return Skipped
	case r.WasXFail != nil && r.When == "call":
		return XPassed
	}
	return Passed
}

// reason returns why a test neither failed nor simply passed.
func (r Report) reason() string {
	if r.WasXFail == nil {
		return r.Message
	}
	reason := strings.TrimPrefix(*r.WasXFail, "reason: ")
	if r.Message != "" && !strings.Contains(reason, r.Message) {
		reason = strings.TrimPrefix(reason+"\n"+r.Message, "\n")
	}
	return reason
}

// judgeReports judges by pytest's reports: the first red phase decides, else the first that says more than "passed".
func (v *Verdict) judgeReports(own []Report) {
	if len(own) == 0 {
		v.Text = "pytest gave no report of it"
		return
	}
	if !slices.ContainsFunc(own, func(r Report) bool { return r.When == "call" || r.outcome() != Passed }) {
		v.Text = "pytest set it up and did not call it: is --setup-only or --setup-plan among its options?"
		return
	}
	v.Outcome = Passed
	var texts []string
	for _, r := range own {
		outcome := r.outcome()
		if outcome == Passed || !outcome.Red() && v.Outcome != Passed {
			continue
		}
		if !v.Outcome.Red() {
			v.Outcome, v.Phase, v.Path, v.Line, v.Text, v.Message = outcome, r.When, r.Path, r.Line, r.reason(), r.Message
		}
		if outcome.Red() {
			texts = append(texts, fmt.Sprintf("in %s:\n%s", r.When, r.Longrepr))
		}
	}
	switch len(texts) {
	case 0:
	case 1:
		_, v.Text, _ = strings.Cut(texts[0], "\n")
	default:
		v.Text = strings.Join(texts, "\n\n")
	}
	for _, sub := range v.Subtests {
		if sub.Outcome.Red() && !v.Outcome.Red() { // a plugin that leaves the test itself a pass
			v.Outcome, v.Phase, v.Text = Failed, "call", "subtest "+sub.Name+" failed"
		}
	}
}

// judgeEnd overrules the reports if the test's process did not end as it should.
func (v *Verdict) judgeEnd(t Test) {
	f := t.Finish
	switch {
	case f.Interrupt != "":
		v.Outcome, v.Phase, v.Text = Failed, t.Phase, "the test stopped the whole session: "+f.Interrupt
		return
	case f.Killed != nil && *f.Killed == KilledHung:
		v.Outcome = Hung
	case f.Killed != nil && *f.Killed == KilledMemory:
		v.Outcome = Killed
	case f.Killed != nil && *f.Killed == KilledStandstill:
		v.Outcome, v.Phase, v.Text = Error, "", t.Seen
		return
	case f.Killed != nil:
		v.Outcome, v.Text = NotRun, "it was ended with its session ("+*f.Killed+")"
	case f.Signal != nil, f.Exit == nil, *f.Exit != 0:
		v.Outcome = Crashed
	case !f.Complete:
		v.Outcome = Crashed
	default:
		return
	}
	v.Phase = t.Phase
	if v.Text == "" || len(t.Reports) == 0 {
		v.Text = "its process ended: " + ExitText(f.Exit, f.Signal)
	}
	if (v.Outcome == Hung || v.Outcome == Crashed) && t.Seen != "" {
		v.Text = strings.TrimRight(v.Text, "\n") + "\n" + t.Seen
	}
}

// judgeLeft adds the processes that outlived the test.
func (v *Verdict) judgeLeft(t Test) {
	if len(t.Left) == 0 {
		return
	}
	left := strings.Join(t.Left, "\n")
	v.Sections = append(slices.Clip(v.Sections), [2]string{"left running, and killed", left})
	if t.FailLeaky && !v.Outcome.Red() {
		v.Outcome, v.Phase, v.Text = Leaky, "", "the test left processes running: end them in it, or in the "+
			"tear-down of the fixture that starts them"
	}
}

// ExitText returns how a process ended: "exit status 3", or a signal by name.
func ExitText(exit, signal *int) string {
	switch {
	case signal != nil:
		return SignalName(*signal)
	case exit != nil:
		return fmt.Sprintf("exit status %d", *exit)
	}
	return "how is not known"
}

// SignalName returns the name of a Linux signal with its number: "SIGSEGV (11)". The numbers are the container's,
// whatever system this program runs on.
func SignalName(number int) string {
	names := map[int]string{
		1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
		9:  "SIGKILL",
		10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU",
		25: "SIGXFSZ", 31: "SIGSYS",
	}
	if name, ok := names[number]; ok {
		return fmt.Sprintf("%s (%d)", name, number)
	}
	return fmt.Sprintf("signal %d", number)
}
