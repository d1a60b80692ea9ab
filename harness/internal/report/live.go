package report

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/moby/term"

	"pyo3test/harness/internal/visible"
)

// live is the last lines of a terminal, which are redrawn again and again.
type live struct {
	to    *os.File // nil if there is no terminal
	lines int      // that are there now
}

// clear erases the lines.
func (l *live) clear() {
	if l.lines > 0 {
		fmt.Fprintf(l.to, "\x1b[%dA\x1b[J", l.lines) // so many lines up, and erase all from there on
		l.lines = 0
	}
}

// draw shows lines, cut off at the terminal's width: clear could not erase one that wraps.
func (l *live) draw(lines []string) {
	width := 80
	if size, err := term.GetWinsize(l.to.Fd()); err == nil && size.Width > 1 {
		width = int(size.Width) - 1
	}
	l.clear()
	for _, line := range lines {
		fmt.Fprintln(l.to, cut(strings.Map(printable, visible.Text(line)), width))
	}
	l.lines = len(lines)
}

// cut returns as much of a line as fits in the columns.
func cut(line string, columns int) string {
	for at, r := range line {
		columns--
		if r >= 0x1100 { // letters of double width begin here: https://www.unicode.org/reports/tr11/
			columns--
		}
		if columns < 0 {
			return line[:at]
		}
	}
	return line
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return '?'
	}
	return r
}

// mostRunning is how many of the running tests are named at most.
const mostRunning = 8

// beat shows what is running: on a terminal at once, elsewhere after a silence.
func (t *Terminal) beat() {
	if t.lent {
		return
	}
	names, more := t.longest()
	if t.live.to != nil {
		if lines := t.liveLines(names); lines != nil {
			t.live.draw(lines)
		}
		return
	}
	if t.at.Sub(t.spoken) < Heartbeat {
		return
	}
	switch {
	case t.phase.name != "":
		t.print("%12s [%8.3fs] %s", t.phase.verb(), t.at.Sub(t.started).Seconds(), t.phase.state())
	case len(names) > 0:
		text := strings.Join(names, ", ")
		if more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		t.print("%12s %s", "running", text)
	}
}

// liveLines returns the last lines of a terminal.
func (t *Terminal) liveLines(names []string) (lines []string) {
	since := t.at.Sub(t.started).Seconds()
	if t.phase.name != "" {
		if t.Quiet {
			return nil
		}
		return []string{fmt.Sprintf("%12s [%8.3fs] %s", t.phase.verb(), since, t.phase.state())}
	}
	done, all, reds := 0, 0, len(t.red)
	for _, g := range t.tally.groups {
		done, all = done+g.done(), all+g.selected
	}
	if t.Quiet && len(t.running) == 0 {
		return nil
	}
	if !t.tally.chosen() {
		doing := cmp.Or(t.waiting, "pytest starts and collects")
		return []string{fmt.Sprintf("%12s [%8.3fs] %s%s", "", since, doing, t.Keys)}
	}
	lines = []string{fmt.Sprintf("%12s [%8.3fs] %d/%d done, %d running, %d red%s", "", since, done, all, len(t.running),
		reds, t.Keys)}
	for _, name := range names {
		lines = append(lines, fmt.Sprintf("%12s %s", "running", name))
	}
	return lines
}

// longest returns the tests that have run longest, and how many more are running.
func (t *Terminal) longest() (names []string, more int) {
	for _, r := range t.running { // in the order in which they started
		names = append(names, fmt.Sprintf("[%8.3fs] %s", t.at.Sub(r.began).Seconds(), r.NodeID))
	}
	shown := min(len(names), mostRunning)
	return names[:shown], len(names) - shown
}
