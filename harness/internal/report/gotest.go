package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
	"pyo3test/harness/internal/visible"
)

// T is what the reporter of go test needs from a test: a *testing.T, or a recorder of one. Its methods do what those of
// testing.T do.
type T interface {
	Name() string
	Run(name string, f func(T)) bool
	Output() io.Writer
	Attr(key, value string)
	ArtifactDir() string
	Deadline() (deadline time.Time, ok bool)
	Fail()
	FailNow()
	SkipNow()
}

// GoTest reports a run to go test: each group is a subtest, and each of pytest's tests one of its group's.
type GoTest struct {
	top     T
	verbose bool // shows what the tools print that make images and builds
	again   func(test, nodeID string) string
	started time.Time
	open    map[Test]*subtestOpen // a group has neither Name nor NodeID
	// excluded holds the tests that testing does not run.
	excluded map[Test]bool

	phase  phaseShown
	spoken time.Time // when it last printed a line about a phase
}

// NewGoTest returns a reporter to a test. again returns the commands that run one test again, by the name of its subtest
// and by pytest's node id.
func NewGoTest(t T, verbose bool, again func(test, nodeID string) string) *GoTest {
	return &GoTest{top: t, verbose: verbose, again: again, open: map[Test]*subtestOpen{}, excluded: map[Test]bool{}}
}

// t returns the test of a group, or of the run if the group is "" or closed.
func (g *GoTest) t(group string) T {
	if open := g.open[Test{Group: group}]; group != "" && open != nil {
		return open.t
	}
	return g.top
}

func (g *GoTest) print(group, text string) {
	if text != "" {
		_, _ = io.WriteString(g.t(group).Output(), text) // testing has no error to give
	}
}

// line prints a line about a phase before the tests.
func (g *GoTest) line(at time.Time, phase, text string) {
	g.spoken = at
	g.print("", fmt.Sprintf("%6.1fs %-6s %s\n", at.Sub(g.started).Seconds(), phase, text))
}

// Report shows an event.
func (g *GoTest) Report(at time.Time, e Event, so *Tally) error {
	switch e := e.(type) {
	case RunStarted:
		g.started = at
	case PhaseStarted, Progress, PhaseEnded, Tick:
		g.takePhase(at, e)
	case Note:
		if e.Topic != "" {
			g.line(at, e.Topic, e.Text)
		} else {
			g.print(e.Group, lines(e.Text))
		}
	case Problem:
		if e.Cause != "" {
			g.t(e.Group).Attr(subtest.Cause, string(e.Cause))
		}
		if e.Cause == CauseProject && e.Group == "" {
			e.Text = "harness.Suite: " + e.Text // which is what a user of go test wrote
		}
		g.print(e.Group, lines(e.textBelow(g.verbose)))
		g.t(e.Group).Fail()
	case Lent:
		g.print(e.Group, lines(e.Text))
	case Waiting:
		g.print(e.Group, lines(e.Text))
	case Session:
		g.print(e.Group, e.text())
	case Selected:
		g.t(e.Group).Attr(subtest.Files, strconv.Itoa(e.Files))
		g.t(e.Group).Attr(subtest.Tests, strconv.Itoa(e.Tests))
	case Stacks:
		PrintStacks(e)
	case ExitFailed:
		g.failedExit(e)
	case TestSlow:
		g.print(e.Group, fmt.Sprintf("SLOW %s: %v of %v; %s\n", e.NodeID, e.Ran, e.Budget, e.Text))
	case Proof:
		g.print(e.Group, lines(e.Text))
	case FileFailed:
		g.failedFile(e)
	case FileSkipped:
		g.skippedFile(e)
	case TestStarted:
		return g.begin(e.Test)
	case TestEnded:
		return g.endTest(e)
	case GroupStarted:
		return g.begin(Test{Group: e.Group})
	case GroupEnded:
		g.endGroup(e, so.group(e.Group).summary())
	}
	return nil
}

// PrintStacks writes stacks to standard error at once: a test's own output appears only when its whole package ends.
func PrintStacks(e Stacks) {
	text := strings.TrimRight(visible.Text(e.text()), "\n")
	fmt.Fprintln(os.Stderr, strings.ReplaceAll(text, "\n", "\n    ")) // so that no line looks like go test's
}

func (g *GoTest) takePhase(at time.Time, e Event) {
	switch e := e.(type) {
	case PhaseStarted:
		g.phase, g.spoken = phaseShown{name: e.Phase, began: at}, at
	case Progress:
		g.phase.take(e)
		if g.verbose && e.Total == 0 {
			g.line(at, e.Phase, e.Text)
		}
	case PhaseEnded:
		g.phase = phaseShown{}
		g.line(at, e.Phase, fmt.Sprintf("%s [%.1fs]", e.Text, e.Took.Seconds()))
	case Tick:
		if g.phase.name != "" && at.Sub(g.spoken) >= Heartbeat {
			g.line(at, g.phase.name,
				fmt.Sprintf("%s: still at work after %.0f s", g.phase.state(), at.Sub(g.phase.began).Seconds()))
		}
	}
}

// begin opens the subtest of a test, or of a group.
func (g *GoTest) begin(test Test) error {
	parent, name := g.top, test.Group
	if test.Name != "" {
		parent, name = g.t(test.Group), test.Name
	}
	open := openSubtest(parent, name)
	if open == nil {
		g.excluded[test] = true
		return ErrExcluded
	}
	g.open[test] = open
	return nil
}

func (g *GoTest) endTest(e TestEnded) error {
	if g.excluded[e.Test] {
		return nil
	}
	if g.open[e.Test] == nil { // it never started
		if err := g.begin(e.Test); err != nil {
			return err
		}
	}
	open := g.open[e.Test]
	delete(g.open, e.Test)
	open.end(func(t T) { g.showTest(t, e) })
	return nil
}

// showTest shows a test's verdict in its subtest. It does not return if that is a skip.
func (g *GoTest) showTest(t T, e TestEnded) {
	for _, property := range e.Properties {
		t.Attr(attributeKey(property[0]), attributeValue(property[1]))
	}
	t.Attr(subtest.NodeID, attributeValue(e.NodeID))
	t.Attr(subtest.Outcome, string(e.Outcome))
	if e.Left > 0 {
		t.Attr(subtest.Left, strconv.Itoa(e.Left))
	}
	t.Attr(subtest.Seconds, strconv.FormatFloat(e.Seconds, 'f', 6, 64)) // Go's own elapsed time has steps of 10 ms
	for _, sub := range e.Subtests {
		t.Run(subtest.Name(sub.Name), func(t T) {
			t.Attr(subtest.Subtest, attributeValue(sub.Name))
			t.Attr(subtest.Outcome, string(sub.Outcome))
			_, _ = io.WriteString(t.Output(), lines(sub.Text))
			finish(t, sub.Outcome)
		})
	}
	text := e.text()
	if e.Outcome.Red() {
		text += g.again(t.Name(), e.NodeID) + e.Repro()
	}
	_, _ = io.WriteString(t.Output(), text)
	finish(t, e.Outcome)
}

// finish fails or skips a subtest according to its outcome.
func finish(t T, outcome verdict.Outcome) {
	switch {
	case outcome.Red():
		t.Fail()
	case outcome == verdict.Skipped || outcome == verdict.XFailed:
		t.SkipNow()
	}
}

// failedFile shows a file that could not be collected: in a subtest, or in the group's test if -run leaves that out.
func (g *GoTest) failedFile(e FileFailed) {
	shown := false
	g.t(e.Group).Run(e.Name, func(t T) {
		shown = true
		t.Attr(subtest.NodeID, attributeValue(e.NodeID))
		t.Attr(subtest.Outcome, string(verdict.Error))
		_, _ = io.WriteString(t.Output(), e.text())
		t.Fail()
	})
	if !shown {
		g.print(e.Group, e.text())
		g.t(e.Group).Fail()
	}
	g.t(e.Group).Attr(subtest.Cause, string(CauseCollection))
}

func (g *GoTest) skippedFile(e FileSkipped) {
	g.t(e.Group).Run(e.Name, func(t T) {
		t.Attr(subtest.NodeID, attributeValue(e.NodeID))
		t.Attr(subtest.Outcome, string(verdict.Skipped))
		_, _ = io.WriteString(t.Output(), e.text())
		t.SkipNow()
	})
}

// ExitName is the subtest of an interpreter that hung or died after its session.
const ExitName = "(exit)"

func (g *GoTest) failedExit(e ExitFailed) {
	shown := false
	show := func(t T) {
		shown = true
		_, _ = io.WriteString(t.Output(), lines(e.Text))
		t.Fail()
	}
	g.t(e.Group).Run(ExitName, func(t T) {
		t.Attr(subtest.Outcome, string(verdict.Error))
		show(t)
	})
	if !shown { // -run leaves it out
		show(g.t(e.Group))
	}
}

func (g *GoTest) endGroup(e GroupEnded, summary string) {
	open := g.open[Test{Group: e.Group}]
	if open == nil {
		return // testing does not run it
	}
	delete(g.open, Test{Group: e.Group})
	open.end(func(t T) {
		t.Attr(subtest.Phases, phaseTimes(e.Phases))
		t.Attr(subtest.Summary, summary)
		_, _ = io.WriteString(t.Output(), lines(summary))
	})
}

func phaseTimes(phases []PhaseTime) string {
	var parts []string
	for _, p := range phases {
		parts = append(parts, fmt.Sprintf("%s %.1f", p.Phase, p.Took.Seconds()))
	}
	return strings.Join(parts, "  ")
}

// attributeKey makes a property's name one that testing accepts: white space in it would fail the test.
func attributeKey(name string) string {
	if name = strings.Join(strings.Fields(name), "_"); name == "" {
		return "_"
	}
	return name
}

// attributeValue makes a value a single line: a line break in it would fail the test.
func attributeValue(value string) string {
	if strings.ContainsAny(value, "\r\n") {
		return strconv.Quote(value)
	}
	return value
}

// subtestOpen is a subtest that stays open while its test runs, so that its elapsed time is the test's own.
type subtestOpen struct {
	t     T
	last  chan func(T)
	ended chan struct{}
}

// openSubtest opens a subtest. It returns nil if testing does not call the subtest's function because -run, -skip or
// -failfast excludes it.
func openSubtest(parent T, name string) *subtestOpen {
	o := &subtestOpen{last: make(chan func(T), 1), ended: make(chan struct{})}
	called := make(chan T, 1)
	go func() {
		defer close(o.ended)
		parent.Run(name, func(t T) {
			called <- t
			(<-o.last)(t)
		})
		called <- nil
	}()
	if o.t = <-called; o.t == nil {
		return nil
	}
	return o
}

// end runs a last function in a subtest, which may fail or skip it, and closes it.
func (o *subtestOpen) end(last func(T)) {
	o.last <- last
	<-o.ended
}

// Excluded reports whether an error of Emit is that testing does not run a test, and nothing else.
func Excluded(err error) bool { return errors.Is(err, ErrExcluded) }
