package report

import (
	"fmt"
	"time"
)

// Heartbeat is how long a reporter may show nothing before it shows what is at work.
const Heartbeat = 30 * time.Second

// phaseShown is the phase before the tests that is under way.
type phaseShown struct {
	name        string // "" if none is
	began       time.Time
	text        string // what it said last
	done, total int
}

// take takes a phase's progress. What is counted says more than what a tool prints beside it.
func (p *phaseShown) take(e Progress) {
	if e.Total > 0 {
		p.done, p.total = e.Done, e.Total
	}
	if e.Total > 0 || p.total == 0 {
		p.text = e.Text
	}
}

// verb returns what is done in the phase, in one word.
func (p phaseShown) verb() string {
	switch p.name {
	case "build":
		return "Building"
	case "image":
		return "Preparing"
	}
	return "Starting"
}

// state returns what the phase is doing, for one line.
func (p phaseShown) state() string {
	text := firstLine(p.text)
	switch {
	case p.total > 0:
		return fmt.Sprintf("%d/%d %s", p.done, p.total, text)
	case text == "":
		return "at work"
	}
	return text
}
