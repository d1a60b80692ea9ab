package report

import (
	"fmt"
	"strings"

	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/verdict"
)

// Result is the result of a run.
type Result struct {
	Red bool
	// Cause is what kept tests from running, "" if they ran.
	Cause Cause
	// Outcomes holds the outcome of each test by node id, and of each file that could not be collected. If several have
	// one id, it is that of the first red one, else of the last.
	Outcomes map[string]verdict.Outcome
	// Beside reports whether the run failed for more than the tests in Outcomes, which may then lack tests.
	Beside bool
	// Refused reports whether the run ended before its first group.
	Refused bool
	// Ended reports whether the run came to its end.
	Ended bool
	// Tests is how many tests have a verdict.
	Tests int
}

// Tally counts what the events of a run say, and checks that they do not contradict each other: a test that ends twice,
// a group that ends while a test runs, an end that is green after a failure. The zero Tally is ready to use.
type Tally struct {
	started, ended bool
	problems       int // of the run itself
	beside         bool
	cause          Cause
	groups         map[string]*groupTally
	order          []string // the groups' names, as they started
	outcomes       map[string]verdict.Outcome
	tests          int // that have ended
}

// groupTally is what is known of a group.
type groupTally struct {
	ended       bool
	tests       map[string]testState // by name
	counts      map[verdict.Outcome]int
	running     int
	collected   int
	selected    int
	chosen      bool // the collection is complete
	fileErrors  int
	fileSkips   int
	exitFailed  bool
	problems    int
	why         string   // the first line of the first problem
	leaky, slow []string // their node ids
	warnings    int
}

type testState int

const (
	testRuns testState = iota + 1
	testEnded
)

// done returns how many tests have ended.
func (g *groupTally) done() (n int) {
	for _, count := range g.counts {
		n += count
	}
	return n
}

func (g *groupTally) red() bool { return g.redTests() || g.problems > 0 || g.exitFailed }

// redTests reports whether a test or a file of the group failed.
func (g *groupTally) redTests() bool {
	for outcome, count := range g.counts {
		if count > 0 && outcome.Red() {
			return true
		}
	}
	return g.fileErrors > 0
}

// group returns what is known of a group, an empty tally if nothing is.
func (t *Tally) group(name string) *groupTally {
	if g := t.groups[name]; g != nil {
		return g
	}
	return &groupTally{}
}

// chosen reports whether a group has collected its tests.
func (t *Tally) chosen() bool {
	for _, g := range t.groups {
		if g.chosen {
			return true
		}
	}
	return false
}

func (t *Tally) red() bool {
	for _, g := range t.groups {
		if g.red() {
			return true
		}
	}
	return t.problems > 0
}

// Result returns the result so far.
func (t *Tally) Result() Result {
	outcomes := t.outcomes
	if outcomes == nil {
		outcomes = map[string]verdict.Outcome{}
	}
	return Result{
		Red: t.red(), Cause: t.cause, Outcomes: outcomes, Beside: t.beside, Tests: t.tests,
		Refused: len(t.order) == 0 && t.problems > 0, Ended: t.ended,
	}
}

// take takes the next event. Its error says how it contradicts the earlier ones.
func (t *Tally) take(e Event) error {
	switch e.(type) {
	case Tick:
		return nil
	case RunStarted:
		if t.started {
			return contradiction(e, "after the start of the run")
		}
		t.started, t.groups, t.outcomes = true, map[string]*groupTally{}, map[string]verdict.Outcome{}
		return nil
	}
	switch {
	case !t.started:
		return contradiction(e, "before the start of the run")
	case t.ended:
		return contradiction(e, "after the end of the run")
	}
	return t.count(e)
}

func contradiction(e Event, why string) error {
	return fmt.Errorf("the events of the run contradict each other: %s %s", e.kind(), why)
}

func (t *Tally) count(e Event) error {
	switch e := e.(type) {
	case Problem:
		return t.takeProblem(e)
	case Note:
		if e.Group != "" {
			return t.in(e, e.Group, func(*groupTally) error { return nil })
		}
	case Waiting:
		return t.in(e, e.Group, func(*groupTally) error { return nil })
	case Listed:
		return t.in(e, e.Group, func(*groupTally) error { return nil })
	case RunEnded:
		return t.takeEnd(e)
	case GroupStarted:
		if t.groups[e.Group] != nil {
			return contradiction(e, "of "+e.Group+" for the second time")
		}
		t.groups[e.Group] = &groupTally{tests: map[string]testState{}, counts: map[verdict.Outcome]int{}}
		t.order = append(t.order, e.Group)
	case Selected:
		return t.in(e, e.Group, func(g *groupTally) error {
			if g.chosen {
				return contradiction(e, "of "+e.Group+" for the second time")
			}
			g.chosen, g.collected, g.selected = true, e.Collected, e.Tests
			return nil
		})
	case FileFailed:
		return t.in(e, e.Group, func(g *groupTally) error {
			g.fileErrors++
			t.cause = CauseCollection
			t.settle(e.NodeID, verdict.Error)
			return nil
		})
	case FileSkipped:
		return t.in(e, e.Group, func(g *groupTally) error {
			g.fileSkips++
			t.settle(e.NodeID, verdict.Skipped)
			return nil
		})
	case ExitFailed:
		t.beside = true
		return t.in(e, e.Group, func(g *groupTally) error { g.exitFailed = true; return nil })
	case TestSlow:
		return t.in(e, e.Group, func(g *groupTally) error { g.slow = append(g.slow, e.NodeID); return nil })
	case GroupEnded:
		return t.in(e, e.Group, func(g *groupTally) error {
			if g.running > 0 {
				return contradiction(e, fmt.Sprintf("of %s, where %s", e.Group,
					plural.Count(g.running, "test")+" had not ended"))
			}
			g.ended, g.warnings = true, e.Warnings
			return nil
		})
	case TestStarted:
		return t.in(e, e.Group, func(g *groupTally) error {
			if g.tests[e.Name] != 0 {
				return contradiction(e, "of "+e.Name+" for the second time")
			}
			g.tests[e.Name] = testRuns
			g.running++
			return nil
		})
	case TestEnded:
		return t.in(e, e.Group, func(g *groupTally) error { return t.takeTestEnd(g, e) })
	}
	return nil
}

// in lets f count an event of a group that is under way.
func (t *Tally) in(e Event, name string, f func(*groupTally) error) error {
	switch g := t.groups[name]; {
	case g == nil:
		return contradiction(e, "of "+name+", which has not started")
	case g.ended:
		return contradiction(e, "of "+name+", which has ended")
	default:
		return f(g)
	}
}

func (t *Tally) takeProblem(e Problem) error {
	if e.Cause != "" {
		t.cause = e.Cause
	}
	t.beside = t.beside || !e.Listed
	if e.Group == "" {
		t.problems++
		return nil
	}
	return t.in(e, e.Group, func(g *groupTally) error {
		if g.problems++; g.why == "" {
			g.why = firstLine(e.Text)
		}
		return nil
	})
}

func (t *Tally) takeTestEnd(g *groupTally, e TestEnded) error {
	switch state := g.tests[e.Name]; {
	case state == testEnded:
		return contradiction(e, "of "+e.Name+" for the second time")
	case state == testRuns:
		g.running--
	case e.Outcome != verdict.NotRun:
		return contradiction(e, "of "+e.Name+", which had not started")
	}
	g.tests[e.Name] = testEnded
	t.tests++
	g.counts[e.Outcome]++
	if e.Left > 0 {
		g.leaky = append(g.leaky, e.NodeID)
	}
	t.settle(e.NodeID, e.Outcome)
	return nil
}

// settle records an outcome.
func (t *Tally) settle(nodeID string, outcome verdict.Outcome) {
	if !t.outcomes[nodeID].Red() || t.outcomes[nodeID] == "" {
		t.outcomes[nodeID] = outcome
	}
}

func (t *Tally) takeEnd(e RunEnded) error {
	for _, name := range t.order {
		if !t.groups[name].ended {
			return contradiction(e, "before the end of "+name)
		}
	}
	if red := t.red(); red != e.Red {
		return contradiction(e, fmt.Sprintf("with red = %v, which is %v by the other events", e.Red, red))
	}
	t.ended = true
	return nil
}

// summary returns how many tests of a group had which outcome, in one line.
func (g *groupTally) summary() string {
	parts := outcomes(g.counts)
	if n := g.fileErrors; n > 0 {
		parts = append(parts, plural.Count(n, "collection error"))
	}
	parts = append(parts, g.marks()...)
	switch {
	case len(parts) == 0 && g.why != "" && !g.chosen:
		return "no test was run: " + g.why
	case g.exitFailed:
		parts = append(parts, "a bad end of the interpreter")
	case g.chosen && g.collected == 0 && len(parts) == 0:
		parts = append(parts, "none was found")
	case g.problems > 0 && !g.redTests(): // otherwise the line would look green
		parts = append(parts, "an error of the session")
	}
	if len(parts) == 0 {
		parts = []string{"no tests to run"}
	}
	text := fmt.Sprintf("%d of %d tests: %s", g.selected, g.collected, strings.Join(parts, ", "))
	if g.warnings > 0 {
		text += "; " + plural.Count(g.warnings, "warning")
	}
	return text
}

// marks returns what is worth counting beside the outcomes.
func (g *groupTally) marks() (parts []string) {
	if len(g.leaky) > 0 && g.counts[verdict.Leaky] == 0 { // those that are red are in the list of these
		parts = append(parts, fmt.Sprintf("%d of them leaky (%s)", len(g.leaky), someOf(g.leaky)))
	}
	if len(g.slow) > 0 {
		parts = append(parts, fmt.Sprintf("%d of them slow (%s)", len(g.slow), someOf(g.slow)))
	}
	return parts
}

// someOf returns the first names of a list, and how many more there are.
func someOf(names []string) string {
	const most = 3
	var shown []string
	for _, name := range names[:min(len(names), most)] {
		shown = append(shown, firstLine(name))
	}
	if more := len(names) - most; more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(shown, ", ")
}

func outcomes(counts map[verdict.Outcome]int) (parts []string) {
	for _, outcome := range verdict.Outcomes {
		if counts[outcome] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[outcome], outcome))
		}
	}
	return parts
}

// summary returns how many tests of the run had which outcome, in one line: the group's own line if there is only one.
func (t *Tally) summary() string {
	if len(t.order) == 1 {
		return t.groups[t.order[0]].summary()
	}
	sum := groupTally{counts: map[verdict.Outcome]int{}}
	for _, name := range t.order {
		g := t.groups[name]
		for outcome, count := range g.counts {
			sum.counts[outcome] += count
		}
		sum.collected += g.collected
		sum.selected += g.selected
		sum.fileErrors += g.fileErrors
		sum.leaky, sum.slow = append(sum.leaky, g.leaky...), append(sum.slow, g.slow...)
		sum.problems, sum.warnings = sum.problems+g.problems, sum.warnings+g.warnings
		sum.exitFailed = sum.exitFailed || g.exitFailed
		sum.chosen = sum.chosen || g.chosen
	}
	if len(t.order) == 0 {
		return "no test was run" + whyNone[t.cause]
	}
	return sum.summary()
}

// whyNone holds what kept tests from running, by cause.
var whyNone = map[Cause]string{
	CauseProject:     ": this project cannot be tested",
	CauseSetup:       ": the engine, an image, the network or the cache folder failed",
	CauseBuild:       ": the build failed",
	CauseCollection:  ": pytest could not collect, or found nothing",
	CauseArguments:   ": there is no such test",
	CauseInterrupted: ": the run was interrupted",
}
