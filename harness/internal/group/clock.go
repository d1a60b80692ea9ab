package group

import (
	"errors"
	"fmt"
	"time"
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

// silence bounds how long the agent may be silent; it beats each second.
const silence = time.Minute

// clock holds the deadlines of a group. It does not read the time: its callers set it.
type clock struct {
	budgets Budgets
	now     time.Time // of the event or tick at hand

	phase   phase
	entered time.Time             // when the phase began
	took    [phases]time.Duration // how long each earlier phase took, restarts included
	lastEnd time.Time             // when the group is given up, whatever events arrive; zero before the agent runs
	deadlines
}

// deadlines are those of one attempt. The zero time means none.
type deadlines struct {
	phaseEnd time.Time // when the phase's budget ends
	stopAt   time.Time // when a group that winds down is ended, with or without its stacks
	grace    time.Time // when to give up on a pytest that was stopped
	quiet    quiet     // how long the agent has been silent
}

// enter begins a phase.
func (c *clock) enter(p phase) {
	if !c.entered.IsZero() {
		c.took[c.phase] += c.now.Sub(c.entered)
	}
	c.phase, c.entered = p, c.now
	c.phaseEnd = c.now.Add(c.budget(p))
	c.quiet.mercy = mercy
}

func (c *clock) budget(p phase) time.Duration {
	return [...]time.Duration{
		starting: c.budgets.Start, collecting: c.budgets.Collect, inTests: c.budgets.Finish,
		finishing: c.budgets.Finish, exiting: c.budgets.Exit,
	}[p]
}

// phaseOver reports whether the phase's budget is used up, or would be after some more time.
func (c *clock) phaseOver(early time.Duration) bool {
	return !c.phaseEnd.IsZero() && c.now.After(c.phaseEnd.Add(-early))
}

// stand moves the attempt's deadlines by the time for which everything stood still.
func (c *clock) stand(still time.Duration) {
	for _, end := range []*time.Time{&c.phaseEnd, &c.stopAt, &c.grace} {
		if !end.IsZero() {
			*end = end.Add(still)
		}
	}
}

// extend moves the end of the group.
func (c *clock) extend(later time.Duration) {
	if !c.lastEnd.IsZero() {
		c.lastEnd = c.lastEnd.Add(later)
	}
}

// giveUp returns why the container must be killed now, or nil. Nothing that runs in the container can delay this.
func (c *clock) giveUp() error {
	switch {
	case c.quiet.tooLong(c.now):
		return fmt.Errorf("the agent in the container sent nothing for %v: its engine or container hangs, or a test "+
			"stopped it or left it no processor time",
			silence)
	case !c.grace.IsZero() && c.now.After(c.grace):
		return errors.New("pytest was told to end and its end was not reported")
	case !c.lastEnd.IsZero() && c.now.After(c.lastEnd):
		return errors.New("the group has used up all its budgets together, and was not at its end: something in " +
			"its container holds it up")
	}
	return nil
}
