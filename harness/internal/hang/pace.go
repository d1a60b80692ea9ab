package hang

import "fmt"

// Pace is what a process has done up to a moment.
type Pace struct {
	At       float64 `json:"at"`  // seconds on the container's monotonic clock
	CPU      float64 `json:"cpu"` // seconds of processor time, its living descendants' included
	Switches int     `json:"switches"`
	// Queued is the time, in seconds, for which its threads were ready to run and had no processor; 0 if the kernel does
	// not count it.
	Queued float64 `json:"queued"`
	Ready  int     `json:"ready"` // how many of its threads run or are ready to
}

// busyShare is the share of one processor above which a process counts as working.
const busyShare = 0.1

// Works reports whether the process used the processor in the time before its dump.
func (r Report) Works() bool {
	return r.Before != nil && r.Now != nil && r.Now.CPU-r.Before.CPU > busyShare*(r.Now.At-r.Before.At)
}

// pace describes whether the process still works or is stuck, "" if it was not sampled twice.
func (r Report) pace() string {
	if r.Before == nil || r.Now == nil {
		return ""
	}
	span, cpu, switches := r.Now.At-r.Before.At, r.Now.CPU-r.Before.CPU, r.Now.Switches-r.Before.Switches
	queued := r.Now.Queued - r.Before.Queued
	text := fmt.Sprintf("in the %.1fs before: ", span)
	switch {
	case r.Works():
		text += fmt.Sprintf("it worked, with %.2fs of processor time", cpu)
		if r.Later != nil {
			text += r.moved()
		}
	case queued > span/2: // a loop that gets no processor looks like a wait in steps
		text += fmt.Sprintf("its threads had %.2fs of processor time, and were ready to run for another %.2fs, "+
			"in which the machine had no processor for them", cpu, queued)
	case r.Before.Ready > 0 && r.Now.Ready > 0: // what it waits for in the queue is counted when it leaves that
		text += "it was ready to run, and the machine had no processor for it"
	case switches > 0:
		text += fmt.Sprintf("its threads woke up %d times and did next to nothing: it waits, in steps", switches)
	default:
		text += "none of its threads ran: it is stuck"
	}
	return text
}

// moved compares the place of the thread that runs the test with its place in the second dump.
func (r Report) moved() string {
	first, second := r.Dump.threads(), r.Later.threads()
	if len(first) == 0 || len(second) == 0 {
		return ""
	}
	a, b := first[mainThread(r.Dump.PID, first)], second[mainThread(r.Later.PID, second)]
	fileA, lineA := a.userFrame()
	fileB, lineB := b.userFrame()
	switch {
	case fileA == fileB && lineA == lineB:
		return "; a second dump found it at the same line: it loops, or is slow there"
	case fileB == "":
		return "; a second dump found it elsewhere: it continues, and may only need a larger budget"
	}
	return fmt.Sprintf("; a second dump found it at %s:%d: it continues, and may only need a larger budget", fileB,
		lineB)
}
