package console

import (
	"fmt"
	"os"
	"strings"

	"github.com/moby/term"

	"pyo3test/harness/internal/visible"
)

// live is the last lines of a terminal, which are drawn again and again.
type live struct {
	to    *os.File // nil where there is no terminal
	lines int      // that stand there now
}

// clear takes away what stands there.
func (l *live) clear() {
	if l.lines > 0 {
		fmt.Fprintf(l.to, "\x1b[%dA\x1b[J", l.lines) // so many up, and all from there on away
		l.lines = 0
	}
}

// draw puts lines there, cut off where the terminal ends: one that wraps could not be taken away.
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

// cut is as much of a line as so many columns hold.
func cut(line string, columns int) string {
	for at, r := range line {
		columns--
		if r >= 0x1100 { // from here on there are letters of double width: https://www.unicode.org/reports/tr11/
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
