package group

import (
	"fmt"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/report"
)

// dumpQueue holds the requests for stacks, one at a time: two tools cannot attach to one process at once. It sends
// nothing and reads no clock.
type dumpQueue struct {
	current *dumpRequest       // nil if none is under way
	waiting []*dumpRequest     // those that follow it
	count   int                // how many there were
	paces   map[int]*hang.Pace // what a process had done shortly before its budget ended, nil until reported
}

// dumpRequest is a request for stacks, with the function to call when it succeeds or fails.
type dumpRequest struct {
	id   string
	pid  int
	seen hang.Circumstances
	end  time.Time // when it has failed; zero while it waits
	then func(hang.Report)
}

func newDumpQueue() dumpQueue { return dumpQueue{paces: map[int]*hang.Pace{}} }

// add adds a request.
func (q *dumpQueue) add(pid int, seen hang.Circumstances, then func(hang.Report)) {
	q.count++
	q.waiting = append(q.waiting, &dumpRequest{id: fmt.Sprint(q.count), pid: pid, seen: seen, then: then})
}

// next begins the request whose turn it is and returns it; nil if one is under way, or none waits.
func (q *dumpQueue) next(now time.Time) *dumpRequest {
	if q.current != nil || len(q.waiting) == 0 {
		return nil
	}
	q.current, q.waiting = q.waiting[0], q.waiting[1:]
	q.current.end = now.Add(dumpTimeout)
	return q.current
}

// answered ends the request with an id and returns it; nil if that is not the current one.
func (q *dumpQueue) answered(id string) *dumpRequest {
	request := q.current
	if request == nil || request.id != id {
		return nil
	}
	q.current = nil
	return request
}

// overdue returns the current request if it has failed, else nil.
func (q *dumpQueue) overdue(now time.Time) *dumpRequest {
	if q.current != nil && now.After(q.current.end) {
		return q.current
	}
	return nil
}

// stand moves the end of the current request.
func (q *dumpQueue) stand(still time.Duration) {
	if q.current != nil {
		q.current.end = q.current.end.Add(still)
	}
}

// early returns how long before the end of a budget a process is first sampled. A second sample at the end then
// distinguishes "still works" from "stuck".
func early(budget time.Duration) time.Duration { return min(time.Second, budget/4) }

// askPace asks, once, how much a process has done so far.
func (g *group) askPace(pid int) {
	if _, asked := g.dumps.paces[pid]; !asked {
		g.dumps.paces[pid] = nil
		g.must(g.session.Send(protocol.AskPace{PID: pid}))
	}
}

// takePace stores the answer, if it is still wanted.
func (g *group) takePace(e protocol.Pace) {
	if _, asked := g.dumps.paces[e.PID]; asked {
		g.dumps.paces[e.PID] = e.Pace
	}
}

// askDumps asks for the stacks of a process whose budget is used up, and asks again if the process still works.
func (g *group) askDumps(pid int, seen hang.Circumstances, then func(hang.Report)) {
	g.askDump(pid, seen, func(first hang.Report) {
		if !first.Works() {
			then(first)
			return
		}
		g.askDump(pid, seen, func(later hang.Report) {
			first.Later = &later.Dump
			then(first)
		})
	})
}

func (g *group) askDump(pid int, seen hang.Circumstances, then func(hang.Report)) {
	g.dumps.add(pid, seen, then)
	g.nextDump()
}

func (g *group) nextDump() {
	if request := g.dumps.next(g.clock.now); request != nil {
		g.must(g.session.Send(protocol.AskDump{PID: request.pid, ID: request.id}))
	}
}

func (g *group) endDump(e protocol.Dump) {
	request := g.dumps.answered(e.ID)
	if request == nil {
		return
	}
	g.nextDump()
	dump := g.dumpOf(e)
	cause := dump.Diagnose(request.seen).Stopped(request.pid, e.Facts)
	if e.Crowd > 0 { // the agent has stopped them
		cause = dump.Diagnose(request.seen).Crowded(e.Crowd)
	}
	request.then(hang.Report{
		Dump: dump, Cause: cause, Facts: e.Facts, Parent: e.Parent, Before: g.dumps.paces[request.pid], Now: e.Pace,
	})
}

// hangText returns the text that describes a hang, with the proof if there is one, and writes the full report to a file
// named after name.
func (g *group) hangText(name, proof string, seen hang.Report) string {
	g.Evidence.Keep(g.Name, "hang-"+name+".txt", strings.NewReader(g.Tree.HostText(proof+seen.Whole(g.read))))
	return seen.Short(g.read) + "\n" + proof + seen.Stacks()
}

func (g *group) dumpOf(e protocol.Dump) hang.Dump {
	return e.Seen(path.Join(layout.Sources, g.Tree.Workspace))
}

// read returns the content of a source file.
func (g *group) read(name string) ([]byte, error) { return g.Tree.ReadSource(name) }

func (g *group) circumstances(test *test) hang.Circumstances {
	return hang.Circumstances{Forked: test.pid != g.ledger.pid && g.ledger.isolation != "subprocess",
		ParentThreads: test.threads}
}

// notes returns what else is known about a hung test.
func (g *group) notes(test *test) (notes []string) {
	if test.fixtures != "" {
		notes = append(notes, "fixtures: "+test.fixtures)
	}
	if test.after != nil {
		notes = append(notes, fmt.Sprintf("the last test that had ended before it: %s (%s)", test.after.NodeID,
			test.after.end.Outcome))
	}
	return notes
}

// asked counts the requests in this process for the stacks of running tests.
var asked atomic.Int64

// AskForStacks makes each group of this process show the stacks of its running tests, without stopping them.
func AskForStacks() { asked.Add(1) }

// Asked returns how often AskForStacks was called.
func Asked() int64 { return asked.Load() }

// showStacks reports the stacks of each running test, or of pytest if none runs. It calls then when everything is
// reported.
func (g *group) showStacks(why string, then func()) {
	if g.ledger.pid == 0 || g.ledger.exited != nil {
		then()
		return
	}
	left := max(1, len(g.ledger.running))
	show := func(what string, seen hang.Report) string {
		text := g.Tree.HostText(seen.Short(g.read) + "\n" + seen.Stacks())
		g.emit(report.Stacks{Group: g.Name, What: what, Why: why, Text: text})
		if left--; left == 0 {
			then()
		}
		return text
	}
	for _, test := range g.ledger.running {
		g.askDump(test.pid, g.circumstances(test), func(seen hang.Report) {
			text := show(fmt.Sprintf("%s/%s, running for %v", g.TestName, test.name,
				g.clock.now.Sub(test.at).Round(time.Millisecond)), seen)
			if g.ledger.running[test.Index] != nil && g.stopping != "" {
				test.Seen = text
			}
		})
	}
	if len(g.ledger.running) == 0 {
		g.askDump(g.ledger.pid, hang.Circumstances{AtExit: g.clock.phase == exiting}, func(seen hang.Report) {
			text := show(g.TestName+", in "+g.clock.phase.String(), seen)
			if g.stopping != "" {
				g.lastSeen = text
			}
		})
	}
}
