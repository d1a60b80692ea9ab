package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/term"
	"github.com/spf13/cobra"

	"pyo3test/harness"
	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/repro"
	"pyo3test/harness/internal/visible"
)

func reproCommand() *cobra.Command {
	var f reproFlags
	c := &cobra.Command{
		Use:   "repro [flags] BUNDLE",
		Short: "Run the test of a bundle again, and say how often it fails",
		Long: `Runs one test as it ran when it hung, crashed or ran out of memory: with that extension, those packages, limits and
settings, without a network. The bundle is the file that the failed test names, also one from CI or from somebody else. It is
checked before anything of it is used, and its test can reach nothing of this machine. Each run says whether the test failed in
the same place, in another place, otherwise, or passed. Ctrl-C ends the runs, and shows what is known by then.

The exit code is 0 if the test never failed, 1 if it did, and 2 if the bundle cannot be used.`,
		Example: `  pyo3test repro test_once.pyo3test
  pyo3test repro -n 200 -j 2 test_once.pyo3test         how often does it hang?
  pyo3test repro --until-failure --for 10m test_once.pyo3test`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.repro(c, args[0]) },
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.IntVarP(&f.options.Runs, "runs", "n", 0, "run the test `N` times; the default is once, or without a bound with --for or --until-failure")
	flags.IntVarP(&f.options.Jobs, "jobs", "j", 1, "how many run at the same time (`N`), each in a container of its own")
	flags.BoolVar(&f.options.UntilFailure, "until-failure", false, "end with the first run that fails as the bundle's test did")
	flags.DurationVar(&f.options.For, "for", 0, "begin no run after this `time`, such as 10m")
	flags.BoolVar(&f.limits, "limits", false, "allow the bundle more memory, processes and time for a test than the defaults")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "the report of the first failure in each place")
	flags.BoolVar(&f.json, "json", false, "the result as one object on stdout, and nothing else there")
	return c
}

// reproFlags holds the flags of repro.
type reproFlags struct {
	options               repro.Options
	limits, verbose, json bool
}

// ownLimits are those that a bundle may ask for if it is trusted.
var ownLimits = repro.Limits{Memory: 1 << 50, Processes: 1 << 22, Test: 24 * time.Hour}

func (f reproFlags) repro(c *cobra.Command, file string) (err error) {
	if f.options.Runs < 0 || f.options.Jobs < 1 || f.options.For < 0 {
		return errors.New("-n and --for are 0 or more, and -j is 1 or more")
	}
	if f.options.Runs == 0 && f.options.For == 0 && !f.options.UntilFailure {
		f.options.Runs = 1
	}
	b, err := bundle.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	screen := newReproScreen(visible.Unwrap(c.OutOrStdout()), f)
	if f.json {
		screen = newReproScreen(visible.Unwrap(c.ErrOrStderr()), f)
	}
	screen.line("%12s %s  %s", "pyo3test", report.Version, filepath.Base(file))
	screen.line("%12s %s  %s", "Test", b.Test.NodeID, b.Test.What())
	result, err := f.run(c.Context(), b, screen)
	screen.clear()
	if result.Runs > 0 {
		screen.line("%12s %s", "Summary", strings.ReplaceAll(result.Text(), "\n", "\n"+strings.Repeat(" ", 13)))
	}
	if f.json {
		if jsonErr := json.NewEncoder(c.OutOrStdout()).Encode(result); jsonErr != nil {
			err = errors.Join(err, jsonErr)
		}
	}
	var unusable repro.UnusableError
	switch {
	case c.Context().Err() != nil: // main knows the code
		return status(exitFailed)
	case errors.As(err, &unusable):
		return err
	case err != nil:
		fmt.Fprintf(c.ErrOrStderr(), "%s: %v\n", c.CommandPath(), err)
		return status(exitSetup)
	case result.Failed+result.Other > 0:
		return status(exitFailed)
	}
	return nil
}

// run prepares the bundle's test and runs it.
func (f reproFlags) run(ctx context.Context, b *bundle.Bundle, screen *reproScreen) (repro.Result, error) {
	e, err := engine.Connect(ctx)
	if err != nil {
		return repro.Result{}, err
	}
	defer e.Close()
	if _, err := e.Sweep(ctx); err != nil {
		return repro.Result{}, err
	}
	most := repro.Limits{Memory: harness.DefaultMemory, Processes: harness.DefaultProcesses, Test: time.Hour}
	if f.limits {
		most = ownLimits
	}
	prepared, err := repro.Prepare(ctx, e, b, most, screen.prepare)
	if err != nil {
		return repro.Result{}, err
	}
	for _, difference := range prepared.Differences {
		screen.line("%12s %s", "Differs", difference)
	}
	f.options.Each = screen.each
	return prepared.Run(ctx, f.options)
}

// reproScreen shows runs.
type reproScreen struct {
	out      io.Writer
	terminal bool
	flags    reproFlags

	mutex sync.Mutex
	live  string // the line that is drawn now
	last  time.Time
	shown map[string]bool // the signatures of which a report was shown
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

// heartbeat is how often progress is shown where it cannot be drawn in place.
const heartbeat = 30 * time.Second

// progress shows a line that replaces the one before, in a terminal, or one now and then.
func (s *reproScreen) progress(text string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	text = visible.Word(text)
	switch {
	case s.terminal:
		s.erase()
		if len(text) > 70 {
			text = text[:70]
		}
		s.live = text
		fmt.Fprintf(s.out, "%12s %s", "", text)
	case time.Since(s.last) > heartbeat:
		s.last = time.Now()
		s.print(fmt.Sprintf("%12s %s", "", text))
	}
}

// each shows a run.
func (s *reproScreen) each(so repro.Result, end report.TestEnded) {
	if end.Outcome.Red() && !s.shown[end.Signature] && (s.flags.verbose || s.flags.options.Runs == 1) {
		s.shown[end.Signature] = true
		s.line("%s", end.Describe())
	}
	s.progress(fmt.Sprintf("run %d, after %v: %s", so.Runs, so.Took.Round(time.Second), so.Sentence()))
}
