package hang

import (
	"fmt"
	"strings"
)

// Report holds what a reader who has never seen the code needs to know of a hang. Its paths are the container's.
type Report struct {
	Dump  Dump
	Cause Cause
	Facts string // what the system reports about the process
	// Parent holds the parent's threads other than its main one, which a fork does not copy.
	Parent []string
	// Before and Now hold what it had done shortly before its dump, and at its dump; nil if it was not sampled.
	Before, Now *Pace
	// Later is a second dump of a process that works.
	Later *Dump
	// Notes holds what else is known, a line each.
	Notes []string
}

// excerptLines is how many lines of source are shown before and after the culprit's.
const excerptLines = 1

// Short returns the cause, the chain of waits, the culprit's line and the cure. read returns a source file's content.
func (r Report) Short(read func(name string) ([]byte, error)) string {
	var out strings.Builder
	fmt.Fprintf(&out, "cause: %s\n", r.Cause.Sentence)
	for _, line := range r.Cause.Chain {
		fmt.Fprintf(&out, "    %s\n", line)
	}
	if r.Cause.Key == InheritedThroughFork {
		for _, thread := range r.Parent {
			fmt.Fprintf(&out, "    its parent has, and a fork does not copy: %s\n", thread)
		}
	}
	if r.Cause.File != "" {
		out.WriteString(excerpt(r.Cause.File, r.Cause.Line, read))
	}
	if r.Cause.Cure != "" {
		fmt.Fprintf(&out, "what helps: %s\n", strings.ReplaceAll(r.Cause.Cure, "\n", "\n    "))
	}
	for _, note := range append(r.Notes, r.pace()) {
		if note != "" {
			fmt.Fprintln(&out, note)
		}
	}
	return out.String()
}

// excerpt returns the place, and its line with the lines around it.
func excerpt(file string, line int, read func(string) ([]byte, error)) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s:%d\n", file, line)
	data, err := read(file)
	if err != nil { // a file that the build made, for example
		return out.String()
	}
	lines := strings.Split(string(data), "\n")
	for number := max(1, line-excerptLines); number <= min(len(lines), line+excerptLines); number++ {
		mark := " "
		if number == line {
			mark = ">"
		}
		fmt.Fprintf(&out, "  %s %4d | %s\n", mark, number, lines[number-1])
	}
	return out.String()
}

// Whole returns the full report.
func (r Report) Whole(read func(name string) ([]byte, error)) string {
	text := r.Short(read) + "\n" + r.Dump.Format()
	if r.Later != nil {
		text += "\na second dump, a moment later:\n" + r.Later.Format()
	}
	return text + r.facts()
}

// facts returns what the system reports about the process and its parent's threads.
func (r Report) facts() string {
	text := ""
	if r.Facts != "" {
		text += "\nwhat the system reports about the process:\n" + r.Facts + "\n"
	}
	if len(r.Parent) > 0 {
		text += "\nthe threads that its parent has beside its main one:\n" + strings.Join(r.Parent, "\n") + "\n"
	}
	return text
}

// Stacks returns the stacks for a reader. If no tool could read them, it adds what the system reports.
func (r Report) Stacks() string {
	if len(r.Dump.threads()) > 0 {
		return r.Dump.Format()
	}
	return r.Dump.Format() + r.facts()
}

// Crash describes for a reader where a process crashed: the thread that received the signal comes first in the dump.
func (d Dump) Crash(read func(name string) ([]byte, error)) string {
	text := ""
	if threads := d.threads(); len(threads) > 0 {
		if file, line := threads[0].userFrame(); file != "" {
			text = excerpt(file, line, read)
		}
	}
	return text + d.Format()
}
