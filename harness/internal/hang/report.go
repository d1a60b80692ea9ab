package hang

import (
	"fmt"
	"strings"
)

// Report is what a reader who has never seen the code needs of a hang. Its paths are the container's.
type Report struct {
	Dump  Dump
	Cause Cause
	Facts string // what the system tells of the process
	// Parent are the threads that its parent has beside its main one, and a fork does not copy.
	Parent []string
	// Before and Now are what it had done a while before its stacks were taken, and then; nil where nobody looked.
	Before, Now *Pace
	// Later is a second look at one that works.
	Later *Dump
	// Notes are what else is known of it, a line each.
	Notes []string
}

// excerptLines is how many lines of source stand before and after the culprit's.
const excerptLines = 1

// Short is the cause, who waits for whom, the culprit's line and the cure. read gives the content of a file of the sources.
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

// excerpt is the place, and its line with those around it.
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

// Whole is all there is.
func (r Report) Whole(read func(name string) ([]byte, error)) string {
	text := r.Short(read) + "\n" + r.Dump.Format()
	if r.Later != nil {
		text += "\na second look, a moment later:\n" + r.Later.Format()
	}
	return text + r.facts()
}

// facts is what the system tells of the process, and of its parent's threads.
func (r Report) facts() string {
	text := ""
	if r.Facts != "" {
		text += "\nwhat the system tells of the process:\n" + r.Facts + "\n"
	}
	if len(r.Parent) > 0 {
		text += "\nthe threads that its parent has beside its main one:\n" + strings.Join(r.Parent, "\n") + "\n"
	}
	return text
}

// Stacks are the threads for a reader; where no tool could see them, what the system tells instead.
func (r Report) Stacks() string {
	if len(r.Dump.threads()) > 0 {
		return r.Dump.Format()
	}
	return r.Dump.Format() + r.facts()
}

// Crash is where a process crashed, for a reader: the thread that received the signal comes first in the dump.
func (d Dump) Crash(read func(name string) ([]byte, error)) string {
	text := ""
	if threads := d.threads(); len(threads) > 0 {
		if file, line := threads[0].userFrame(); file != "" {
			text = excerpt(file, line, read)
		}
	}
	return text + d.Format()
}
