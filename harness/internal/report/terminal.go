package report

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/verdict"
	"pyo3test/harness/internal/visible"
)

// Screen describes how a run is shown to people.
type Screen struct {
	Out     io.Writer
	Title   string // its first line; none if it is empty
	Quiet   bool   // leaves out what passes
	Verbose bool   // shows what the tools print that make images and builds
	Each    bool   // shows each test that passes, not only each file
	Output  bool   // shows what tests print that pass
	// Collects means that no test is to run: no counts of tests are shown.
	Collects bool
	// Terminal is Out if that is a terminal, else nil. The last lines of a terminal show what is running, updated every
	// second.
	Terminal *os.File
	Colour   bool
	// Keys is the text in the first of the last lines that says which keys do what.
	Keys string
	// GitHub is the folder of a GitHub job's sources, "" elsewhere. In such a job, what is red becomes an annotation.
	GitHub string
	// Again returns the command that runs one test again.
	Again func(nodeID string) string
	// Failed is the command that reruns what did not pass. It is shown at the end of a red run.
	Failed string
}

// Terminal reports a run to people: twelve columns of status, the time, a counter and the name. Tests that pass share a
// line per file.
type Terminal struct {
	Screen
	live    live
	lent    bool   // to a shell or a debugger
	waiting string // what the last group to wait waits for, until pytest starts
	tally   *Tally // of the events so far
	crate   string
	started time.Time
	at      time.Time // of the event at hand
	spoken  time.Time // when the last line was written
	phase   phaseShown
	files   []*fileShown // with tests that run, or that have passed since they were shown
	running []runningTest
	red     []redLine
	hidden  map[string][]string // by group: what a quiet run has to tell if it turns red
	topics  []string            // lines of a quiet run on what comes before the tests
	times   []PhaseTime
}

// fileShown is what has passed of a file since it was last shown.
type fileShown struct {
	group, name  string
	passed, open int
	seconds      float64
}

type runningTest struct {
	Test
	began time.Time
}

// redLine is a line of the final list.
type redLine struct {
	outcome verdict.Outcome
	word    string
	name    string
	why     string
}

// NewTerminal returns a reporter to people.
func NewTerminal(screen Screen) *Terminal {
	t := &Terminal{Screen: screen, hidden: map[string][]string{}}
	t.live.to = screen.Terminal
	return t
}

// statuses are the words for the outcomes, in the order in which a reader wants to see them at the end.
var statuses = []struct {
	outcome verdict.Outcome
	word    string
}{
	{verdict.Hung, "HUNG"}, {verdict.Crashed, "CRASHED"}, {verdict.Killed, "MEMORY"}, {verdict.Failed, "FAIL"},
	{verdict.Error, "ERROR"},
	{verdict.Leaky, "LEAKY"}, {verdict.NotRun, "NOT RUN"}, {verdict.Skipped, "SKIP"}, {verdict.XFailed, "XFAIL"},
	{verdict.XPassed, "XPASS"}, {verdict.Passed, "PASS"},
}

// status returns the word for an outcome: that of a crash is the signal, if there was one.
func status(outcome verdict.Outcome, signal string) string {
	if outcome == verdict.Crashed && signal != "" {
		return signal
	}
	for _, each := range statuses {
		if each.outcome == outcome {
			return each.word
		}
	}
	return strings.ToUpper(string(outcome))
}

// ours is text in which nothing comes from a test.
type ours string

// Colours of a terminal: https://en.wikipedia.org/wiki/ANSI_escape_code#Colors
const (
	red    ours = "\x1b[31;1m"
	green  ours = "\x1b[32;1m"
	yellow ours = "\x1b[33;1m"
	plain  ours = "\x1b[0m"
)

// word returns a status in its twelve columns, coloured if that is wanted.
func (t *Terminal) word(word string) ours {
	padded := ours(fmt.Sprintf("%12s", word))
	if !t.Colour {
		return padded
	}
	colour := red
	switch word {
	case "PASS", "XFAIL":
		colour = green
	case "SKIP", "SLOW", "LEAKY", "NOT RUN":
		colour = yellow
	}
	return colour + padded + plain
}

// print writes a line. Of the texts in it, only those of type ours may control a terminal.
func (t *Terminal) print(format string, args ...any) {
	t.spoken = t.at
	t.live.clear()
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = visible.Text(text)
		}
	}
	fmt.Fprintf(t.Out, format+"\n", args...)
}

// printText writes text, indented.
func (t *Terminal) printText(text string) {
	if text = strings.TrimRight(text, "\n"); text == "" {
		return
	}
	for _, each := range strings.Split(visible.Text(text), "\n") {
		t.print("%s", strings.TrimRight("    "+each, " "))
	}
}

// tell writes what a run or group has to tell. A quiet run keeps it, and writes it if the group turns red.
func (t *Terminal) tell(group, text string) {
	if t.Quiet {
		t.hidden[group] = append(t.hidden[group], text)
		return
	}
	if group != "" {
		t.showFiles(group)
	}
	t.printText(text)
}

// tellHidden writes what a quiet run has kept of a group that is red.
func (t *Terminal) tellHidden(group string, isRed bool) {
	if isRed {
		for _, text := range t.hidden[group] {
			t.printText(text)
		}
	}
	delete(t.hidden, group)
}

// Report shows an event.
func (t *Terminal) Report(at time.Time, e Event, so *Tally) error {
	t.at, t.tally = at, so
	switch e := e.(type) {
	case RunStarted:
		t.started, t.spoken, t.crate = at, at, e.Crate
		if t.Title != "" && !t.Quiet {
			t.print("%s", t.Title)
		}
	case PhaseStarted:
		t.phase = phaseShown{name: e.Phase, began: at}
	case Progress:
		t.progress(e)
	case PhaseEnded:
		t.phase = phaseShown{}
		t.times = append(t.times, PhaseTime{e.Phase, e.Took})
		t.topic(e.Phase, e.Text)
	case Tick:
		t.beat()
	case Note:
		if e.Topic != "" {
			t.topic(e.Topic, e.Text)
		} else {
			t.tell(e.Group, e.Text)
		}
	case Problem:
		t.phase = phaseShown{}
		t.tell(e.Group, e.textBelow(t.Verbose))
	case Lent:
		t.showFiles(e.Group)
		t.printText(e.Text)
		t.lent = true
	case Returned:
		t.lent = false
	case Stacks:
		t.print("%s", strings.TrimRight(e.text(), "\n"))
	case RunEnded:
		t.finish()
	default:
		t.takeGroup(e)
	}
	return nil
}

func (t *Terminal) takeGroup(e Event) {
	switch e := e.(type) {
	case Waiting:
		t.waiting = e.Text
		t.tell(e.Group, e.Text)
	case Session:
		t.waiting = ""
		t.tell(e.Group, e.text())
	case Selected:
		if !t.Quiet && !t.Collects {
			t.print("    Starting %s in %s", plural.Count(e.Tests, "test"), plural.Count(e.Files, "file"))
		}
	case TestStarted:
		t.running = append(t.running, runningTest{e.Test, t.at})
		t.file(e.Test).open++
	case TestSlow:
		if !t.Quiet {
			t.print("%s [>%7.3fs] %*s %s   %s", t.word("SLOW"), e.Ran.Seconds(), len(t.counter(e.Group)), "", e.NodeID,
				e.Text)
		}
	case TestEnded:
		t.endTest(e)
	case FileFailed:
		t.error(e.Test, e.Place, e.text(), "could not be collected")
	case FileSkipped:
		if !t.Quiet {
			t.showFiles(e.Group)
			t.showEnd(e.Test, verdict.Skipped, "", 0, e.text())
		}
	case ExitFailed:
		t.error(Test{Group: e.Group, NodeID: ExitName}, Place{}, e.Text, firstLine(e.Text))
	case Proof:
		t.tell(e.Group, e.Text)
	case GroupEnded:
		t.showFiles(e.Group)
		t.files = slices.DeleteFunc(t.files, func(f *fileShown) bool { return f.group == e.Group })
		t.tellHidden(e.Group, t.tally.group(e.Group).red())
		if !t.several() {
			t.times = append(t.times, e.Phases...)
		} else if !t.Quiet && !t.Collects {
			t.printText(e.Group + ": " + t.tally.group(e.Group).summary())
		}
	}
}

// several reports whether the run has more than one group, as far as it is known.
func (t *Terminal) several() bool { return len(t.tally.order) > 1 }

// topic shows a line about what happens before the tests.
func (t *Terminal) topic(name, text string) {
	shown := fmt.Sprintf("%12s [%8.3fs] %s", strings.ToUpper(name[:1])+name[1:], t.at.Sub(t.started).Seconds(), text)
	if t.Quiet {
		t.topics = append(t.topics, shown)
		return
	}
	t.print("%s", shown)
}

func (t *Terminal) progress(e Progress) {
	t.phase.take(e)
	if t.Verbose && e.Total == 0 {
		t.print("%12s [%8.3fs] %s", "", t.at.Sub(t.started).Seconds(), e.Text)
	}
}

// file returns what is shown of a test's file. It first shows the group's files in which no test is running.
func (t *Terminal) file(test Test) *fileShown {
	name := fileOf(test)
	for _, f := range t.files {
		if f.group == test.Group && f.name == name {
			return f
		}
	}
	t.showFiles(test.Group)
	f := &fileShown{group: test.Group, name: name}
	t.files = append(t.files, f)
	return f
}

func fileOf(test Test) string {
	name, _, _ := strings.Cut(test.NodeID, "::")
	return name
}

// showFiles shows what has passed of a group's files in which no test is running.
func (t *Terminal) showFiles(group string) {
	t.files = slices.DeleteFunc(t.files, func(f *fileShown) bool {
		if f.group != group || f.open > 0 {
			return false
		}
		if f.passed > 0 && !t.Quiet {
			t.print("%s [%8.3fs] %s %s (%s)", t.word("PASS"), f.seconds, t.counter(group), f.name,
				plural.Count(f.passed, "test"))
		}
		return true
	})
}

// counter returns how many of the group's tests are done, as "(done/all)".
func (t *Terminal) counter(group string) string {
	g := t.tally.group(group)
	all := fmt.Sprint(g.selected)
	return fmt.Sprintf("(%*d/%s)", len(all), g.done(), all)
}

func (t *Terminal) endTest(e TestEnded) {
	f := t.file(e.Test)
	t.running = slices.DeleteFunc(t.running, func(r runningTest) bool {
		same := r.Test == e.Test
		if same {
			f.open--
		}
		return same
	})
	if e.Outcome == verdict.Passed {
		text := e.text()
		if !t.Quiet && (t.Each || t.Output && text != "") {
			if !t.Output {
				text = ""
			}
			t.showEnd(e.Test, e.Outcome, "", e.Seconds, text)
			return
		}
		f.passed++
		f.seconds += e.Seconds
		return
	}
	text := e.text()
	if e.Outcome.Red() {
		t.red = append(t.red, redLine{e.Outcome, status(e.Outcome, e.Signal), e.NodeID, t.why(e)})
		text += "again: " + t.Again(e.NodeID) + "\n" + e.Repro()
	} else if t.Quiet {
		return
	}
	t.showEnd(e.Test, e.Outcome, e.Signal, e.Seconds, text)
	if e.Outcome.Red() {
		t.annotate(status(e.Outcome, e.Signal), e.NodeID, e.Place, text)
	}
}

// error shows what is wrong with a file as a whole, or with the interpreter's end.
func (t *Terminal) error(test Test, place Place, text, why string) {
	t.showFiles(test.Group)
	t.showEnd(test, verdict.Error, "", 0, text)
	word := status(verdict.Error, "")
	t.red = append(t.red, redLine{verdict.Error, word, test.NodeID, why})
	t.annotate(word, test.NodeID, place, text)
}

func (t *Terminal) showEnd(test Test, outcome verdict.Outcome, signal string, seconds float64, text string) {
	t.print("%s [%8.3fs] %s %s", t.word(status(outcome, signal)), seconds, t.counter(test.Group), test.NodeID)
	t.printText(text)
}

// why returns the cause and the place of a red test, for the final list.
func (t *Terminal) why(e TestEnded) string {
	place, cause := e.Place, e.Message
	if e.Outcome == verdict.Hung {
		cause = hang.Key(e.Hang).Title()
		if e.HangPlace.File != "" {
			place = e.HangPlace
		}
	}
	if e.Outcome == verdict.Crashed {
		cause = "in " + e.Phase
	}
	if relative, err := filepath.Rel(t.crate, place.File); err == nil && place.File != "" &&
		filepath.IsLocal(relative) {
		place.File = filepath.ToSlash(relative)
	}
	return strings.Trim(firstLine(cause)+", "+place.String(), ", ")
}

// finish writes the summary: how many tests had which outcome, and the red ones once more.
func (t *Terminal) finish() {
	if t.tally.problems > 0 { // what failed in a group has nothing to do with engine, image and build
		for _, line := range t.topics {
			t.printText(line)
		}
	}
	t.tellHidden("", t.tally.red())
	t.live.clear()
	if t.Collects {
		return
	}
	t.print("%12s [%8.3fs] %s", "Summary", t.at.Sub(t.started).Seconds(), t.tally.summary())
	if len(t.times) > 0 && !t.Quiet {
		t.print("%12s %s", "Duration", phaseTimes(t.times))
	}
	for _, each := range statuses {
		for _, line := range t.red {
			if line.outcome == each.outcome {
				t.print("%s %s", t.word(line.word), strings.TrimRight(line.name+"  "+visible.Word(line.why), " "))
			}
		}
	}
	if len(t.red) > 0 && t.Failed != "" {
		t.print("%12s %s", "again", t.Failed)
	}
}
