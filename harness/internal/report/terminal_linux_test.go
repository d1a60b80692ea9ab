package report

import (
	"io"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/verdict"
)

// TestTerminal: the last lines of a terminal show what is at work, and none of them stays; a shell has the terminal to
// itself.
func TestTerminal(t *testing.T) {
	terminal, tty, err := pty.Open()
	require.NoError(t, err)
	defer terminal.Close()
	require.NoError(t, pty.Setsize(tty, &pty.Winsize{Rows: 25, Cols: 40}))
	long := "a.py::test_" + strings.Repeat("long", 10)
	require.NoError(t, play([]Event{
		RunStarted{Name: "run"}, PhaseStarted{Phase: "build"},
		Progress{Phase: "build", Text: "serde", Done: 27, Total: 41},
		Progress{Phase: "build", Text: "   Compiling serde"}, Tick{}, PhaseEnded{Phase: "build", Text: "built"},
		GroupStarted{Group: "g"}, Tick{}, Selected{Group: "g", Tests: 2, Files: 1, Collected: 2}, start(long), Tick{},
		end(long, verdict.Failed),
		Lent{Group: "g", Text: "a shell"}, Tick{}, Returned{Group: "g"}, GroupEnded{Group: "g"}, RunEnded{Red: true},
	}, NewTerminal(Screen{Out: tty, Terminal: tty, Colour: true, Keys: "; t", Again: again})))
	require.NoError(t, tty.Close())
	shown, _ := io.ReadAll(terminal) // the end of a terminal is an error
	text := strings.ReplaceAll(string(shown), "\r\n", "\n")
	const oneUp, twoUp = "\x1b[1A\x1b[J", "\x1b[2A\x1b[J"
	require.Contains(t, text, "    Building [   4.000s] 27/41 serde\n"+oneUp+"       Build [   5.000s] built\n")
	require.Contains(t, text, "             [   7.000s] pytest starts \n"+oneUp+"    Starting 2 tests in 1 file\n")
	require.Contains(t, text, "             [  10.000s] 0/2 done, 1 ru\n     running [   1.000s] a.py::test_lon\n"+
		twoUp+"\x1b[31;1m        FAIL\x1b[0m [   0.000s] (1/2) "+long+"\n")
	require.Contains(t, text, "    a shell\n     Summary", "nothing is drawn over a shell")
}
