package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/moby/term"

	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/repro"
	"pyo3test/harness/internal/visible"
)

// reproScreen shows runs.
type reproScreen struct {
	out      io.Writer
	terminal bool
	flags    reproFlags

	mutex sync.Mutex
	live  string // the line that is drawn now
	// trying is what is tried in a search, to be shown before what it has found so far.
	trying string
	last   time.Time
	shown  map[string]bool // the signatures of which a report was shown
}

func newReproScreen(out io.Writer, f reproFlags) *reproScreen {
	file, ok := out.(*os.File)
	return &reproScreen{out: out, terminal: ok && term.IsTerminal(file.Fd()) && os.Getenv("TERM") != "dumb", flags: f,
		shown: map[string]bool{}, last: time.Now()}
}

// line prints a line above the live one.
func (s *reproScreen) line(format string, args ...any) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.print(fmt.Sprintf(format, args...))
}

func (s *reproScreen) print(text string) {
	s.erase()
	fmt.Fprintln(s.out, visible.Text(text))
}

func (s *reproScreen) erase() {
	if s.live != "" {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
	s.live = ""
}

// clear removes the live line.
func (s *reproScreen) clear() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.erase()
}

// prepare shows what happens before the runs.
func (s *reproScreen) prepare(e report.Event) {
	switch e := e.(type) {
	case report.Note:
		s.line("%12s %s", e.Topic, e.Text)
	case report.Progress:
		s.progress(e.Text)
	}
}

// liveWidth is how many characters a line has that is drawn in place: one that a terminal breaks could not be erased.
const liveWidth = 66

// progress shows a line that replaces the one before, in a terminal, or one now and then.
func (s *reproScreen) progress(text string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	text = visible.Word(text)
	switch {
	case s.terminal:
		s.erase()
		if runes := []rune(text); len(runes) > liveWidth {
			text = string(runes[:liveWidth])
		}
		s.live = text
		fmt.Fprintf(s.out, "%12s %s", "", text)
	case time.Since(s.last) > report.Heartbeat:
		s.last = time.Now()
		s.print(fmt.Sprintf("%12s %s", "", text))
	}
}

// each shows a run.
func (s *reproScreen) each(results []repro.Result, end report.TestEnded) {
	single := s.flags.options.Runs == 1 && len(results) == 1 && s.trying == ""
	if end.Outcome.Red() && !s.shown[end.Signature] && (s.flags.verbose || single) {
		s.shown[end.Signature] = true
		s.line("%s", end.Describe())
	}
	if single {
		return
	}
	text := fmt.Sprintf("%safter %v: ", s.trying, results[0].Took.Round(time.Second))
	for i, result := range results {
		if i > 0 {
			text += " | "
		}
		text += result.Count()
	}
	s.progress(text)
}
