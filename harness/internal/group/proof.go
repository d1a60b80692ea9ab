package group

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

const (
	// maxProofs bounds how many tests of a group are rerun: of those that crashed, and of those that a fork made hang.
	maxProofs = 3
	// proofTimeout bounds one rerun, on top of the time that the group took to collect; proofsTimeout bounds them all.
	proofTimeout  = 30 * time.Second
	proofsTimeout = 2 * time.Minute
)

// crashes holds the signals of a crash: SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV and SIGSYS as Linux numbers them.
var crashes = []int{4, 6, 7, 8, 11, 31}

// proof is a rerun of a culprit, for what its first run could not show. It delays no test: it comes after the group's
// last one.
type proof struct {
	test     *test
	debugger bool // gdb runs it, for the native stacks of a crash; otherwise it is to show that only the fork makes it hang
}

// culprits returns the tests for which a rerun can show more.
func (g *group) culprits() []proof {
	var crashed, forked []proof
	for _, test := range g.selected {
		switch {
		case test.end.Outcome == verdict.Crashed && test.Finish.Signal != nil &&
			slices.Contains(crashes, *test.Finish.Signal):
			crashed = append(crashed, proof{test, true})
		case test.end.Outcome == verdict.Hung && test.failure.Hang == string(hang.InheritedThroughFork):
			forked = append(forked, proof{test, false})
		}
	}
	return slices.Concat(crashed[:min(len(crashed), maxProofs)], forked[:min(len(forked), maxProofs)])
}

// prove reruns the culprits, each alone in a fresh interpreter.
func (g *group) prove(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, proofsTimeout)
	defer cancel()
	for i, p := range g.culprits() {
		text, err := g.runProof(ctx, p, i)
		if err != nil {
			text = fmt.Sprintf("it could not be run once more: %v", err)
		}
		if ctx.Err() != nil {
			return
		}
		text = "(proof) " + p.test.NodeID + ", run once more " + text
		g.emit(report.Proof{Test: g.testOf(p.test), Text: g.Tree.HostText(text)})
		g.Evidence.Keep(g.Name, "proof-"+p.test.name+".txt", strings.NewReader(g.Tree.HostText(text)))
	}
}

// runProof runs one test in its own pytest, without a fork, and describes the result.
func (g *group) runProof(ctx context.Context, p proof, number int) (string, error) {
	limit := proofTimeout + g.collectTook
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	session, err := agent.Open(context.WithoutCancel(ctx), g.container)
	if err != nil {
		return "", err
	}
	start := g.startCommand(nil)
	start.Isolation, start.Workers, start.Debugger, start.Imports = "inprocess", 0, p.debugger, []protocol.Module{}
	start.Out, start.Restore = path.Join(layout.Out, fmt.Sprintf("proof-%d", number+1)), ""
	if err := session.Send(start); err != nil {
		session.Close()
		return "", err
	}
	seen := &proven{proof: p, g: g, session: session, limit: limit, ledger: newLedger(limit, false), began: time.Now()}
	if err := listen(ctx, session, seen); err != nil && !errors.Is(err, errNotEnded) {
		return "", err
	}
	return seen.result(), nil
}

// proven listens to a rerun, and holds what it has shown.
type proven struct {
	proof
	g        *group
	session  *agent.Session
	limit    time.Duration
	ledger   ledger
	began    time.Time
	again    *test // nil until it is collected
	stacks   hang.Dump
	deadlock bool
	late     bool
	killed   time.Time // when it was told to end; zero if it was not
}

// errNotEnded means that a rerun that was told to end did not.
var errNotEnded = errors.New("the rerun did not end")

func (s *proven) ended(error) {
	s.late, s.killed = true, time.Now()
	_ = s.session.Send(protocol.Stop{}) // if that fails, tick gives up
}

func (s *proven) tick(now time.Time) error {
	if !s.killed.IsZero() && now.Sub(s.killed) > killTimeout {
		return errNotEnded
	}
	return nil
}

func (s *proven) event(e protocol.Event) error {
	if _, err := s.ledger.take(e, time.Now()); err != nil {
		return err
	}
	switch e := e.(type) {
	case protocol.Collected:
		at := slices.IndexFunc(s.ledger.tests, func(t *test) bool { return t.NodeID == s.test.NodeID })
		if at < 0 {
			return s.session.Send(protocol.Stop{})
		}
		s.again = s.ledger.tests[at]
		s.ledger.expect([]int{at})
		return s.session.Send(protocol.Run{Order: []int{at}})
	case protocol.TestStart:
		s.began = time.Now()
	case protocol.TestFinish:
		return s.session.Send(protocol.Stop{}) // how it ends does not matter
	case protocol.Deadlock:
		s.deadlock = true
		return s.session.Send(protocol.Stop{})
	case protocol.Dump:
		s.stacks = s.g.dumpOf(e)
	}
	return nil
}

// result describes what the rerun has shown, as text to follow "run once more".
func (s *proven) result() string {
	where := "in a fresh interpreter, without a fork"
	if s.debugger {
		where += ", under gdb"
	}
	where += ": "
	took := time.Since(s.began).Round(10 * time.Millisecond)
	if s.again == nil {
		return where + "it was not collected there"
	}
	outcome := s.again.Verdict().Outcome
	switch {
	case s.again.Finish != nil && s.debugger:
		return fmt.Sprintf("%s%s after %v: what the fork changes may be a part of the crash", where, outcome, took)
	case s.again.Finish != nil && outcome == verdict.Passed:
		return fmt.Sprintf("%spassed after %v: it is the fork that makes it hang", where, took)
	case s.again.Finish != nil:
		return fmt.Sprintf("%s%s after %v, and it did not hang: it is the fork that makes it hang", where, outcome,
			took)
	case s.deadlock:
		return fmt.Sprintf("%sa proven deadlock there too, after %v: the fork is not the only cause", where, took)
	case s.late:
		return fmt.Sprintf("%sno end within %v", where, s.limit)
	case s.debugger && len(s.stacks.Stacks) > 0:
		return strings.TrimSuffix(where, ": ") + "\n" + s.stacks.Crash(s.g.read)
	}
	return where + "its process ended: " + s.exitText()
}

func (s *proven) exitText() string {
	if s.ledger.exited == nil {
		return "its end was not reported"
	}
	return verdict.ExitText(s.ledger.exited.Exit, s.ledger.exited.Signal) + "\n" +
		strings.TrimSpace(s.ledger.exited.Text)
}
