package group

import (
	"context"
	"errors"
	"strings"
	"time"

	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/report"
)

// listener is called with what happens in a session, one call at a time. Its first error ends the session.
type listener interface {
	// event takes an event of the agent.
	event(e protocol.Event) error
	// tick takes the time, several times a second.
	tick(now time.Time) error
	// ended is called once if the context ends. The session goes on until the agent ends it, or tick returns an error.
	ended(why error)
}

// brokenStream is the error of a stream of events that did not end as it should.
type brokenStream struct{ error }

// listen passes a session's events to a listener until the last one, and returns how the stream ended: nil if the agent
// ended it properly.
func listen(ctx context.Context, s session, to listener) error {
	defer s.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	done := ctx.Done()
	for {
		select {
		case event, ok := <-s.Events():
			if !ok {
				if err := s.Err(); err != nil {
					return &brokenStream{err}
				}
				return nil
			}
			if err := to.event(event); err != nil {
				return err
			}
		case <-done:
			done = nil
			to.ended(context.Cause(ctx))
		case now := <-tick.C:
			if err := to.tick(now); err != nil {
				return err
			}
		}
	}
}

// watcher holds every phase and test of a group to its budget.
type watcher struct {
	*group
	ctx    context.Context // of questions to the engine
	last   time.Time       // of the last tick
	paused chan bool       // the engine's answers
}

// watch handles the agent's events until the last one.
func (g *group) watch(ctx context.Context) error {
	now := time.Now()
	g.clock.now = now
	g.clock.quiet = quiet{heard: now, mercy: mercy}
	g.asked = asked.Load()
	err := listen(ctx, g.session, &watcher{g, context.WithoutCancel(ctx), now, make(chan bool, 1)})
	if broken := (*brokenStream)(nil); errors.As(err, &broken) {
		if g.fate = g.container.Fate(context.WithoutCancel(ctx)); g.fate != "" {
			return errors.New(g.fate)
		}
	}
	return err
}

func (w *watcher) event(e protocol.Event) error {
	w.clock.now = time.Now()
	w.clock.quiet.hear(w.clock.now)
	return w.take(e)
}

func (w *watcher) ended(why error) { w.windDown(why.Error()) }

func (w *watcher) tick(now time.Time) error {
	if now.Before(w.clock.now) { // of before an event that took long
		return nil
	}
	stood := now.Sub(w.last) - w.visited
	w.visited = 0
	w.last, w.clock.now = now, now
	w.askWhetherPaused()
	w.followQuiet(stood)
	if err := w.clock.giveUp(); err != nil {
		return err
	}
	if count := asked.Load(); count != w.asked {
		w.asked = count
		w.showStacks("asked for", func() {})
	}
	if !w.clock.stopAt.IsZero() && now.After(w.clock.stopAt) {
		w.clock.stopAt = time.Time{}
		w.must(w.session.Send(protocol.Stop{}))
	}
	w.checkBudgets()
	return nil
}

// askWhetherPaused asks the engine about a container whose agent is silent, without waiting for the answer.
func (w *watcher) askWhetherPaused() {
	select {
	case is := <-w.paused:
		if w.clock.quiet.answer(w.clock.now, is) {
			w.note("the container is paused: its deadlines stand still")
		}
	default:
	}
	if w.clock.quiet.mustAsk(w.clock.now) {
		go func() { w.paused <- w.container.Paused(w.ctx) }()
	}
}

// enter begins a phase.
func (g *group) enter(p phase) {
	g.clock.enter(p)
	delete(g.dumps.paces, g.ledger.pid)
}

// take takes an event: the ledger records it, and the group acts on it.
func (g *group) take(e protocol.Event) error {
	test, err := g.ledger.take(e, g.clock.now)
	if err != nil {
		return err
	}
	switch e := e.(type) {
	case protocol.Import:
		if !e.OK && g.stopping == "" {
			g.problemBecause(report.CauseBuild, "%s", importText(e))
		}
	case protocol.Started:
		g.enter(collecting)
	case protocol.Session:
		g.reportSession(e)
	case protocol.Collected:
		g.collectTook = g.clock.now.Sub(g.clock.entered)
		g.reportNotes(e.Notes)
		return g.choose()
	case protocol.TestStart:
		g.reportStart(test)
	case protocol.TestPhase:
		if e.When == reporting {
			g.awaitPytest(min(g.Budgets.Finish, hooks*g.Budgets.Finish-test.own))
		}
	case protocol.Gone:
		if test != nil {
			g.awaitPytest(g.Budgets.Finish)
		}
	case protocol.TestFinish:
		g.endTest(test)
	case protocol.Finished:
		g.enter(exiting)
	case protocol.Exit:
		g.endPytest()
	default:
		g.takeOther(e)
	}
	return nil
}

// takeOther acts on the events that say nothing of pytest's progress.
func (g *group) takeOther(e protocol.Event) {
	switch e := e.(type) {
	case protocol.Foreign:
		g.problem("%s", foreignText(e))
	case protocol.Sections:
		g.note("%s", g.Tree.HostText(strings.TrimRight(e.Text, "\n")))
	case protocol.Missing:
		g.problemBecause(report.CauseArguments, "%s", missingText(e))
	case protocol.Bytecode:
		g.Bytecode.Add(g.compileSettings(), e.File, e.Data)
	case protocol.Deadlock:
		g.endDeadlock(e)
	case protocol.Pace:
		g.takePace(e)
	case protocol.Dump:
		g.endDump(e)
	case protocol.Delays:
		g.delays = e
		g.sayDelays(e)
	case protocol.Error:
		g.problem("the agent in the container: %s", e.Message)
	case protocol.Garbage:
		g.problem("something other than the plugin wrote to its stream of events: %.200q", e.Text)
	}
}

// sayDelays says what the pressure on all tests did, if it is on all.
func (g *group) sayDelays(d protocol.Delays) {
	if g.Pressure == nil || g.Pressure.Test != "" {
		return
	}
	count := 0
	for _, site := range d.Sites {
		count += site.Delays
	}
	if count == 0 {
		g.note("under pressure, but nothing was delayed: no test called the C library to synchronise threads")
		return
	}
	g.note("under pressure: threads were delayed %d times, %.1f s in all", count, d.Slept)
}

// endTest acts on the end of a test.
func (g *group) endTest(test *test) {
	delete(g.dumps.paces, test.pid)
	g.enter(inTests)
	if g.ledger.unfinished == 0 {
		g.enter(finishing)
	}
	g.reportEnd(test)
	if g.Flags.FailFast && g.redSeen {
		g.stop("-failfast: a test failed")
	}
}

// endPytest acts on the end of pytest's process.
func (g *group) endPytest() {
	g.clock.phaseEnd = time.Time{}
	switch {
	case g.ledger.exitStatus != nil || g.stopping != "":
	case len(g.ledger.running) == 1 && g.canGoOn(): // the test killed it
		g.again = true
	case g.ledger.missing: // which is why
	default:
		g.problemBecause(g.exitCause(), "pytest ended in the middle of %s: %s%s", g.clock.phase, g.exitText(),
			g.untoldText())
	}
}
