package console

import (
	"io"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/subtest"
)

// TestTerminal: a terminal shows in its last lines what runs, and keeps none of them; colour is never the only signal.
func TestTerminal(t *testing.T) {
	terminal, tty, err := pty.Open()
	require.NoError(t, err)
	defer terminal.Close()
	require.NoError(t, pty.Setsize(tty, &pty.Winsize{Rows: 25, Cols: 40}))
	c, done := NewScreen(Screen{Out: tty, Terminal: tty, Colour: true}, Options{Again: again})
	c.Run("run", func(t subtest.T) {
		t.Run("group", func(t subtest.T) {
			t.Attr(subtest.Tests, "2")
			open := subtest.Begin(t, "a.py/test_"+strings.Repeat("long", 10))
			c.tell(func(r reporter) { r.(*screen).beat() })
			open.End(func(t subtest.T) {
				t.Attr(subtest.NodeID, "a.py::t")
				t.Attr(subtest.Outcome, "failed")
				t.Fail()
			})
		})
	})
	done()
	require.NoError(t, tty.Close())
	shown, _ := io.ReadAll(terminal) // the end of a terminal is an error
	text := seconds.ReplaceAllString(string(shown), "[   0.000s]")
	require.Contains(t, text, "             [   0.000s] 0/2 done, 1 ru\r\n     running [   0.000s] a.py/test_long\r\n\x1b[2A\x1b[J\x1b[31;1m        FAIL\x1b[0m [   0.000s] (1/2) a.py::t\r\n")
	require.Equal(t, strings.Count(text, "running ["), strings.Count(text, "\x1b[2A\x1b[J"), "all that was drawn is taken away")
}
