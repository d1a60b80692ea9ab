package console

import (
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
