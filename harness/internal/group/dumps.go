package group

import (
	"fmt"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/report"
)

// dumpRequest is a pending request for stacks, with the function to call when it succeeds or fails.
type dumpRequest struct {
	id   string
	pid  int
	seen hang.Circumstances
	end  time.Time
	then func(hang.Report)
}

// early returns how long before the end of a budget a process is first sampled. A second sample at the end then
// distinguishes "still works" from "stuck".
func early(budget time.Duration) time.Duration { return min(time.Second, budget/4) }

// askPace asks, once, how much a process has done so far.
func (g *group) askPace(pid int) {
	if _, asked := g.paces[pid]; !asked {
		g.paces[pid] = nil
		g.must(g.session.Pace(pid))
	}
}

// takePace stores the answer, if it is still wanted.
func (g *group) takePace(e agent.Event) {
	if _, asked := g.paces[e.PID]; asked {
		g.paces[e.PID] = e.Pace
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

// askDump asks for stacks, one request at a time: two tools cannot attach to one process at once.
func (g *group) askDump(pid int, seen hang.Circumstances, then func(hang.Report)) {
	request := &dumpRequest{id: fmt.Sprint(time.Now().UnixNano()), pid: pid, seen: seen, then: then}
	if g.waiting = append(g.waiting, request); g.dump == nil {
		g.nextDump()
	}
}

func (g *group) nextDump() {
	if g.dump = nil; len(g.waiting) == 0 {
		return
	}
	g.dump, g.waiting = g.waiting[0], g.waiting[1:]
	g.dump.end = time.Now().Add(dumpTimeout)
	g.must(g.session.Dump(g.dump.pid, g.dump.id))
}

func (g *group) endDump(e agent.Event) {
	if g.dump != nil && g.dump.id == e.ID {
		request := g.dump
		g.nextDump()
		dump := g.dumpOf(e)
		cause := dump.Diagnose(request.seen).Stopped(request.pid, e.Facts)
		if e.Crowd > 0 { // the agent has stopped them
			cause = dump.Diagnose(request.seen).Crowded(e.Crowd)
		}
		request.then(hang.Report{
			Dump: dump, Cause: cause, Facts: e.Facts, Parent: e.Parent, Before: g.paces[request.pid], Now: e.Pace,
		})
	}
}

// hangText returns the text that describes a hang, with the proof if there is one, and writes the full report to a file
// named after name.
func (g *group) hangText(name, proof string, seen hang.Report) string {
	g.Evidence.Keep(g.Name, "hang-"+name+".txt", strings.NewReader(g.Tree.HostText(proof+seen.Whole(g.read))))
	return seen.Short(g.read) + "\n" + proof + seen.Stacks()
}

func (g *group) dumpOf(e agent.Event) hang.Dump {
	return e.Seen(path.Join(layout.Sources, g.Tree.Workspace))
}

// read returns the content of a source file.
func (g *group) read(name string) ([]byte, error) { return os.ReadFile(g.Tree.HostPath(name)) }

func (g *group) circumstances(test *test) hang.Circumstances {
	return hang.Circumstances{Forked: test.pid != g.pytest && g.isolation != "subprocess", ParentThreads: test.parentThreads}
}

// notes returns what else is known about a hung test.
func (g *group) notes(test *test) (notes []string) {
	if test.fixtures != "" {
		notes = append(notes, "fixtures: "+test.fixtures)
	}
	if test.after != nil {
		notes = append(notes, fmt.Sprintf("the last test that had ended before it: %s (%s)", test.after.NodeID, test.after.final.Outcome))
	}
	return notes
}

// asked counts the requests in this process for the stacks of running tests.
var asked atomic.Int64

// AskForStacks makes each group of this process show the stacks of its running tests, without stopping them.
func AskForStacks() { asked.Add(1) }

// showStacks reports the stacks of each running test, or of pytest if none runs. It calls then when everything is
// reported.
func (g *group) showStacks(why string, then func()) {
	if g.pytest == 0 || g.exited != nil {
		then()
		return
	}
	left := max(1, len(g.running))
	show := func(what string, seen hang.Report) string {
		text := g.Tree.HostText(seen.Short(g.read) + "\n" + seen.Stacks())
		g.emit(report.Stacks{Group: g.Name, What: what, Why: why, Text: text})
		if left--; left == 0 {
			then()
		}
		return text
	}
	for _, test := range g.running {
		g.askDump(test.pid, g.circumstances(test), func(seen hang.Report) {
			text := show(fmt.Sprintf("%s/%s, running for %v", g.TestName, test.name, time.Since(test.started).Round(time.Millisecond)), seen)
			if g.running[test.Index] != nil && g.stopping != "" {
				test.Seen = text
			}
		})
	}
	if len(g.running) == 0 {
		g.askDump(g.pytest, hang.Circumstances{AtExit: g.phase == exiting}, func(seen hang.Report) {
			text := show(g.TestName+", in "+g.phase.String(), seen)
			if g.stopping != "" {
				g.lastSeen = text
			}
		})
	}
}
