package group

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/verdict"
)

// phase is the stage that a group is in. Each has a budget, so that nothing waits without a limit.
type phase int

const (
	starting   phase = iota // the agent starts and imports the extension
	collecting              // pytest starts and collects
	inTests                 // tests run
	finishing               // the last test is done, the session is ending
	exiting                 // the session has ended, the interpreter has not
	phases                  // the number of phases
)

func (p phase) String() string {
	return [...]string{"start and import", "collection", "the tests", "session finish", "interpreter exit"}[p]
}

// short names the phase in a list of times.
func (p phase) short() string { return [...]string{"start", "collect", "tests", "finish", "exit"}[p] }

const (
	// silence bounds how long the agent may be silent; it beats each second.
	silence = time.Minute
	// workingShare is the least processor time, in seconds, that a working process uses from one beat to the next.
	workingShare = 0.1
)

func (g *group) enterPhase(p phase) {
	if !g.entered.IsZero() {
		g.took[g.phase] += time.Since(g.entered)
	}
	g.phase, g.entered = p, time.Now()
	g.phaseEnd = time.Now().Add(g.budget(p))
	g.quiet.mercy = mercy
	delete(g.paces, g.pytest)
}

func (g *group) budget(p phase) time.Duration {
	return [...]time.Duration{
		starting: g.Budgets.Start, collecting: g.Budgets.Collect, inTests: g.Budgets.Finish, finishing: g.Budgets.Finish, exiting: g.Budgets.Exit,
	}[p]
}

// stand moves all deadlines by still. Once the group is being ended, its deadlines stay.
func (g *group) stand(still time.Duration) {
	if g.stopping != "" {
		return
	}
	for _, end := range []*time.Time{&g.phaseEnd, &g.stopAt, &g.grace} {
		if !end.IsZero() {
			*end = end.Add(still)
		}
	}
	if g.dump != nil {
		g.dump.end = g.dump.end.Add(still)
	}
	for _, test := range g.running {
		test.started = test.started.Add(still)
		if !test.killed.IsZero() {
			test.killed = test.killed.Add(still)
		}
	}
}

// watch handles the agent's events until the last one and holds every phase and test to its budget.
func (g *group) watch(ctx context.Context) error {
	defer g.session.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	g.quiet = quiet{heard: last, mercy: mercy}
	paused := make(chan bool, 1)
	done := ctx.Done()
	g.asked = asked.Load()
	for {
		select {
		case event, ok := <-g.session.Events():
			if !ok {
				return g.brokenOff(ctx)
			}
			g.quiet.hear(time.Now())
			if err := g.take(event); err != nil {
				return err
			}
		case <-done:
			done = nil
			g.windDown(context.Cause(ctx).Error())
		case is := <-paused:
			if g.quiet.answer(time.Now(), is) {
				g.note("the container is paused: its deadlines stand still")
			}
		case now := <-tick.C:
			g.followQuiet(now, now.Sub(last))
			last = now
			if g.quiet.mustAsk(now) {
				go func() { paused <- g.container.Paused(context.WithoutCancel(ctx)) }()
			}
			if err := g.giveUp(now); err != nil {
				return err
			}
			if count := asked.Load(); count != g.asked {
				g.asked = count
				g.showStacks("asked for", func() {})
			}
			if !g.stopAt.IsZero() && now.After(g.stopAt) {
				g.stopAt = time.Time{}
				g.must(g.session.Stop())
			}
			g.checkBudgets(now)
		}
	}
}

// brokenOff returns how the stream of events ended: nil if the agent ended it properly, otherwise what became of its
// container if that is the reason, or else the stream's error.
func (g *group) brokenOff(ctx context.Context) error {
	err := g.session.Err()
	if err != nil {
		if g.fate = g.container.Fate(context.WithoutCancel(ctx)); g.fate != "" {
			return errors.New(g.fate)
		}
	}
	return err
}

// take acts on one event. An event that cannot come at this point is an error: something other than the plugin sent it,
// so no event can be trusted.
func (g *group) take(e agent.Event) error {
	if why := g.untimely(e.Kind); why != "" {
		return fmt.Errorf("pytest's stream of events contradicts itself: a %q %s: did a test or a conftest write to a descriptor that it did not open?", e.Kind, why)
	}
	switch e.Kind {
	case agent.Importing:
		g.pytest = e.PID
	case agent.Import:
		if e.OK {
			g.imported++
		} else if g.stopping == "" {
			g.problem("%s", importWords(e))
		}
	case agent.Started:
		g.pytest = e.PID
		g.collectBegan = time.Now()
		g.enterPhase(collecting)
	case agent.SessionStart:
		g.rootDir, g.isolation = e.RootDir, e.Isolation
		g.reportSession(e)
	case agent.Collecting:
		g.collecting = e.NodeID
	case agent.CollectError:
		g.collectErrors = append(g.collectErrors, verdict.CollectError{
			NodeID: e.NodeID, Longrepr: e.Longrepr, Path: e.Path, Line: e.Line, Classname: e.JUnitName[0], Name: e.JUnitName[1]})
	case agent.CollectSkip:
		g.collectSkips = append(g.collectSkips, verdict.CollectSkip{
			NodeID: e.NodeID, Reason: e.Reason, Path: e.Path, Line: e.Line, Classname: e.JUnitName[0], Name: e.JUnitName[1]})
	case agent.Item:
		return g.addTest(e)
	case agent.Collected:
		if e.Count != len(g.tests) {
			return fmt.Errorf("pytest collected %d tests and named %d", e.Count, len(g.tests))
		}
		g.collectTook = time.Since(g.collectBegan)
		g.reportNotes(e.Notes)
		return g.collected()
	case agent.TestStart, agent.Phase, agent.Report, agent.Finish:
		return g.takeTest(e)
	case agent.Foreign:
		g.problem("%s", foreignWords(e))
	case agent.Leave:
		g.left = true
	case agent.Beat:
		g.working, g.cpu = e.CPU-g.cpu >= workingShare, e.CPU
	case agent.Warning:
		g.warnings++
	case agent.Bytecode:
		g.Bytecode.Add(g.compileSettings(), e.File, e.Data)
	case agent.JUnit:
		if len(g.junit)+len(e.Data) > maxJUnit {
			return fmt.Errorf("pytest's JUnit file is longer than %d MiB", maxJUnit>>20)
		}
		g.junit = append(g.junit, e.Data...)
	case agent.Finished:
		status := e.ExitStatus
		g.exitStatus = &status
		g.enterPhase(exiting)
	case agent.Exit:
		g.exited = &e
		g.phaseEnd = time.Time{}
		switch {
		case g.exitStatus != nil || g.stopping != "":
		case len(g.running) == 1 && g.canGoOn(): // the test killed it
			g.again = true
		default:
			g.problem("pytest ended in the middle of %s: %s%s", g.phase, g.exitWords(), g.untoldWords())
		}
	case agent.Killed:
		g.takeLeft(e)
	case agent.Gone:
		g.takeGone(e.PID)
	case agent.Deadlock:
		g.endDeadlock(e)
	case agent.Pace:
		g.takePace(e)
	case agent.Dump:
		g.endDump(e)
	case agent.Error:
		g.problem("the agent in the container: %s", e.Message)
	case agent.Garbage:
		g.problem("something other than the plugin wrote to its stream of events: %.200q", e.Text)
	}
	return nil
}

// untimely returns why an event cannot come now, or "".
func (g *group) untimely(kind agent.Kind) string {
	switch kind {
	case agent.Collecting, agent.CollectError, agent.CollectSkip, agent.Item, agent.Collected:
		if g.chosen {
			return "after the end of the collection"
		}
	case agent.TestStart, agent.Phase, agent.Report, agent.Finish:
		if !g.chosen {
			return "before the end of the collection"
		}
		if g.exitStatus != nil {
			return "after the end of the session"
		}
	case agent.Finished:
		if g.exitStatus != nil {
			return "after the end of the session"
		}
		if len(g.running) > 0 {
			return "while a test runs"
		}
	case agent.Importing, agent.Started:
		if g.phase != starting {
			return "after the start"
		}
	case agent.SessionStart, agent.Foreign, agent.Leave:
	case agent.JUnit, agent.Exit:
		if g.exited == nil {
			return "" // the agent sends it, after pytest's last event
		}
	default:
		return ""
	}
	if g.left || g.exited != nil {
		return "after the end of pytest"
	}
	return ""
}

func (g *group) addTest(e agent.Event) error {
	if e.Index != len(g.tests) {
		return fmt.Errorf("item %d came where %d was due", e.Index, len(g.tests))
	}
	budget := g.Budgets.Test
	if e.Timeout != nil && *e.Timeout > 0 {
		budget = time.Duration(*e.Timeout * float64(time.Second))
	}
	g.tests = append(g.tests, &test{budget: budget, fixtures: strings.Join(e.Fixtures, ", "), Test: verdict.Test{
		Index: e.Index, NodeID: e.NodeID, Path: e.Path, Line: e.Line, Classname: e.JUnitName[0], Name: e.JUnitName[1], FailLeaky: g.FailLeaky,
	}})
	return nil
}

// takeLeft records the processes that a test has left running, which the agent kills.
func (g *group) takeLeft(e agent.Event) {
	test := g.running[e.Index]
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

// leftover is the agent's reason for killing what an ended test has left running.
const leftover = "leftover"

// takeTest acts on an event of one test. An event that contradicts earlier ones ends the group: its stream cannot be
// trusted.
func (g *group) takeTest(e agent.Event) error {
	if e.Index >= len(g.tests) || !g.tests[e.Index].selected || g.tests[e.Index].round != g.round {
		return fmt.Errorf("an event of test %d, which was not to run", e.Index)
	}
	test := g.tests[e.Index]
	if running := g.running[e.Index] != nil; running == (e.Kind == agent.TestStart) || test.closed {
		return fmt.Errorf("a %s event of %s out of its order", e.Kind, test.NodeID)
	}
	switch e.Kind {
	case agent.TestStart:
		test.Started, test.started, test.pid = true, time.Now(), e.PID
		test.parentThreads = e.Threads
		test.after = g.last
		g.running[e.Index] = test
		g.reportStart(test)
	case agent.Phase:
		g.takePhase(test, e.When)
	case agent.Report:
		test.AddReport(e.Report)
	case agent.Finish:
		finish := e.Finish // a pointer into e would keep all of it
		test.Finish = &finish
		if test.still { // too late: pytest is about to be killed
			test.Finish = standstillFinish(test)
		}
		test.Phase = cmp.Or(e.Finish.Phase, test.Phase) // the phases of a forked test are reported at its end
		delete(g.running, e.Index)
		delete(g.paces, test.pid)
		g.last = test
		g.enterPhase(inTests)
		if g.unfinished--; g.unfinished == 0 {
			g.enterPhase(finishing)
		}
		g.reportEnd(test)
		if g.Flags.FailFast && g.redSeen {
			g.stop("-failfast: a test failed")
		}
	}
	return nil
}
