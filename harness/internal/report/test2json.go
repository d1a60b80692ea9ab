package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
	"pyo3test/harness/internal/visible"
)

// Test2JSON reports a run for machines: it writes the lines of `go test -json` and nothing else.
type Test2JSON struct {
	encoder *json.Encoder
	pkg     string
	again   func(nodeID string) string
	run     string // the name of the run's test
	at      time.Time
	starts  map[string]time.Time // by full name
}

// NewTest2JSON returns a reporter that reports the run as a package with the name. again returns the command that runs
// one test again.
func NewTest2JSON(out io.Writer, pkg string, again func(nodeID string) string) *Test2JSON {
	return &Test2JSON{encoder: json.NewEncoder(out), pkg: visible.Word(pkg), again: again,
		starts: map[string]time.Time{}}
}

// line is a line of cmd/internal/test2json; see `go doc test2json`.
type line struct {
	Time    time.Time
	Action  string
	Package string
	Test    string   `json:",omitempty"`
	Elapsed *float64 `json:",omitempty"`
	Output  string   `json:",omitempty"`
	Key     string   `json:",omitempty"`
	Value   string   `json:",omitempty"`
}

func (j *Test2JSON) write(l line) {
	l.Time, l.Package = j.at, j.pkg
	_ = j.encoder.Encode(l) // there is nowhere else to report an error
}

// name returns the full name of a group, or of the run if it is "".
func (j *Test2JSON) name(group string) string {
	if group == "" {
		return j.run
	}
	return j.run + "/" + visible.Word(group)
}

func (j *Test2JSON) testName(test Test) string {
	return j.name(test.Group) + "/" + visible.Word(test.Name)
}

// Report writes an event.
func (j *Test2JSON) Report(at time.Time, e Event, so *Tally) error {
	j.at = at
	switch e := e.(type) {
	case RunStarted:
		j.run = visible.Word(e.Name)
		j.write(line{Action: "start"})
		j.begin(j.run)
	case PhaseEnded:
		j.print(j.run, fmt.Sprintf("%-6s %s [%.1fs]", e.Phase, e.Text, e.Took.Seconds()))
	case Note:
		if e.Topic != "" {
			e.Text = fmt.Sprintf("%-6s %s", e.Topic, e.Text)
		}
		j.print(j.name(e.Group), e.Text)
	case Problem:
		if e.Cause != "" {
			j.attr(j.name(e.Group), subtest.Cause, string(e.Cause))
		}
		j.print(j.name(e.Group), e.Text)
	case Lent:
		j.print(j.name(e.Group), e.Text)
	case Waiting:
		j.print(j.name(e.Group), e.Text)
	case Session:
		j.print(j.name(e.Group), e.text())
	case Stacks:
		PrintStacks(e) // for people: machines read the lines
	case GroupStarted:
		j.begin(j.name(e.Group))
	case Selected:
		j.attr(j.name(e.Group), subtest.Files, strconv.Itoa(e.Files))
		j.attr(j.name(e.Group), subtest.Tests, strconv.Itoa(e.Tests))
	case GroupEnded:
		j.endGroup(e, so.group(e.Group))
	case RunEnded:
		j.endRun(e)
	default:
		j.takeTest(e)
	}
	return nil
}

func (j *Test2JSON) takeTest(e Event) {
	switch e := e.(type) {
	case FileFailed:
		j.single(j.testName(e.Test), e.NodeID, verdict.Error, e.text())
	case FileSkipped:
		j.single(j.testName(e.Test), e.NodeID, verdict.Skipped, e.text())
	case ExitFailed:
		j.single(j.name(e.Group)+"/"+ExitName, "", verdict.Error, e.Text)
	case TestStarted:
		j.begin(j.testName(e.Test))
	case TestSlow:
		j.print(j.name(e.Group), fmt.Sprintf("SLOW %s: %v; %s", e.NodeID, e.Ran, e.Text))
	case TestEnded:
		j.endTest(e)
	case Proof:
		j.print(j.name(e.Group), e.Text)
	}
}

func (j *Test2JSON) endTest(e TestEnded) {
	name := j.testName(e.Test)
	if _, began := j.starts[name]; !began {
		j.begin(name)
	}
	for _, property := range e.Properties {
		j.attr(name, attributeKey(property[0]), attributeValue(property[1]))
	}
	if e.Left > 0 {
		j.attr(name, subtest.Left, strconv.Itoa(e.Left))
	}
	j.attr(name, subtest.Seconds, strconv.FormatFloat(e.Seconds, 'f', 6, 64))
	for _, sub := range e.Subtests {
		below := name + "/" + subtest.Name(sub.Name)
		j.begin(below)
		j.attr(below, subtest.Subtest, attributeValue(sub.Name))
		j.attr(below, subtest.Outcome, string(sub.Outcome))
		j.print(below, sub.Text)
		j.end(below, action(sub.Outcome))
	}
	text := e.text()
	if e.Outcome.Red() {
		text += "again: " + j.again(e.NodeID) + "\n" + e.Repro()
	}
	j.endWith(name, e.NodeID, e.Outcome, text)
}

// single reports what has a verdict and no start.
func (j *Test2JSON) single(name, nodeID string, outcome verdict.Outcome, text string) {
	j.begin(name)
	j.endWith(name, nodeID, outcome, text)
}

func (j *Test2JSON) endWith(name, nodeID string, outcome verdict.Outcome, text string) {
	if nodeID != "" {
		j.attr(name, subtest.NodeID, attributeValue(nodeID))
	}
	j.attr(name, subtest.Outcome, string(outcome))
	j.print(name, text)
	j.end(name, action(outcome))
}

func action(outcome verdict.Outcome) string {
	switch {
	case outcome.Red():
		return "fail"
	case outcome == verdict.Skipped || outcome == verdict.XFailed:
		return "skip"
	}
	return "pass"
}

func redAction(red bool) string {
	if red {
		return "fail"
	}
	return "pass"
}

func (j *Test2JSON) endGroup(e GroupEnded, g *groupTally) {
	name := j.name(e.Group)
	j.attr(name, subtest.Phases, phaseTimes(e.Phases))
	j.attr(name, subtest.Summary, g.summary())
	j.print(name, g.summary())
	j.end(name, redAction(g.red()))
}

func (j *Test2JSON) endRun(e RunEnded) {
	start := j.starts[j.run]
	j.end(j.run, redAction(e.Red))
	elapsed := j.at.Sub(start).Seconds()
	j.write(line{Action: "output", Output: strings.ToUpper(redAction(e.Red)) + "\n"})
	j.write(line{Action: redAction(e.Red), Elapsed: &elapsed})
}

func (j *Test2JSON) begin(name string) {
	j.starts[name] = j.at
	j.write(line{Action: "run", Test: name})
	j.write(line{Action: "output", Test: name, Output: "=== RUN   " + name + "\n"})
}

func (j *Test2JSON) print(name, text string) {
	for _, part := range strings.SplitAfter(visible.Text(lines(text)), "\n") {
		if part != "" {
			j.write(line{Action: "output", Test: name, Output: "    " + part})
		}
	}
}

func (j *Test2JSON) attr(name, key, value string) {
	j.write(line{Action: "attr", Test: name, Key: visible.Word(key), Value: visible.Word(value)})
}

func (j *Test2JSON) end(name, action string) {
	elapsed := j.at.Sub(j.starts[name]).Seconds()
	delete(j.starts, name)
	indent := strings.Repeat("    ", min(strings.Count(name, "/"), 2)) // as deep as the run, a group or a test
	j.write(line{Action: "output", Test: name,
		Output: fmt.Sprintf("%s--- %s: %s (%.2fs)\n", indent, strings.ToUpper(action), name, elapsed)})
	j.write(line{Action: action, Test: name, Elapsed: &elapsed})
}
