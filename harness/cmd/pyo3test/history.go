package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

// history is what the recordings of a crate's runs tell of its tests. They are in a folder of the user's cache.
type history struct {
	crate, folder string
	runs          []pastRun // in the order of their starts
	known         known
	err           error // of a recording that cannot be read
}

// known is how a crate's tests ended when they last ran.
type known struct {
	Outcomes map[string]verdict.Outcome // by node id
	// Unsettled holds, by scope, why a run may have left tests without a verdict, or failed for more than its tests.
	Unsettled map[string]string
}

// asked is what a run was asked to run, in the first line of its recording: all tests if Tests and PytestArgs are empty.
type asked struct {
	Tests, PytestArgs []string
	Failed            bool // only what had not passed
	// Before is what was known when the run started: older recordings can be removed.
	Before known
}

func (a asked) all() bool { return len(a.Tests) == 0 && len(a.PytestArgs) == 0 }

// scope returns a key for what was asked for, "" for all tests.
func (a asked) scope() string {
	if a.all() {
		return ""
	}
	key, _ := json.Marshal([][]string{a.Tests, a.PytestArgs}) // strings always encode
	return string(key)
}

// covers reports whether the run runs all tests of a file or folder.
func (a asked) covers(file string) bool {
	return len(a.PytestArgs) == 0 && (len(a.Tests) == 0 || slices.ContainsFunc(a.Tests, func(name string) bool {
		return name == file || strings.HasPrefix(file, strings.TrimSuffix(name, "/")+"/")
	}))
}

// pastRun is a recorded run.
type pastRun struct {
	asked
	report.Result
	file       string
	cutOff     bool // its recording ends before it did
	start, end time.Time
}

// namedNothing reports whether the arguments of a run named no test, so that there was nothing for it to run.
func (p pastRun) namedNothing() bool {
	return p.Cause == report.CauseArguments && !p.all() && len(p.Outcomes) == 0
}

// Report keeps the times of the run's events.
func (p *pastRun) Report(at time.Time, _ report.Event, _ *report.Tally) error {
	if p.start.IsZero() {
		p.start = at
	}
	p.end = at
	return nil
}

const (
	// mostRecordings is how many recordings of a crate are kept, and more only while runs overlap.
	mostRecordings = 10
	// longestRun is how long a run without an end may be under way.
	longestRun = 24 * time.Hour
	// cutOff is why a run whose recording ends too early left tests without a verdict.
	cutOff = "it was cut off"
	// unreadable is why nothing is known of a run.
	unreadable = "its recording cannot be read"
)

// remember reads the recordings of a crate's runs.
func remember(crate string) (*history, error) {
	folder, err := cache.Folder()
	if err != nil {
		return nil, err
	}
	h := &history{crate: crate,
		folder: filepath.Join(folder, "recordings", fmt.Sprintf("%x", sha256.Sum256([]byte(crate))))}
	names, err := h.names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		run, err := readRun(filepath.Join(h.folder, name))
		switch {
		case err == nil:
			h.runs = append(h.runs, run)
		case !errors.Is(err, fs.ErrNotExist): // otherwise another run has removed it
			h.err = errors.Join(h.err, err)
		}
	}
	h.known = after(slices.Clone(h.runs))
	if h.err != nil {
		h.known.Unsettled[""] = unreadable
	}
	return h, nil
}

// names returns the names of the recordings, the oldest first.
func (h *history) names() (names []string, err error) {
	entries, err := os.ReadDir(h.folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, cache.Failed(fmt.Errorf("read the recordings of earlier runs: %w", err))
	}
	for _, entry := range entries { // sorted by name, which begins with the time
		names = append(names, entry.Name())
	}
	return names, nil
}

func readRun(file string) (run pastRun, err error) {
	run.file = file
	f, err := os.Open(file)
	if err != nil {
		return run, err
	}
	defer f.Close()
	run.Result, err = report.Replay(f, &run.asked, &run)
	if run.cutOff = errors.Is(err, report.ErrCutOff); err != nil && !run.cutOff {
		return run, fmt.Errorf("%s: %w: remove it", file, err)
	}
	return run, nil
}

// after returns what is known after runs, which are in the order of their starts.
func after(runs []pastRun) known {
	k := known{map[string]verdict.Outcome{}, map[string]string{}}
	if len(runs) == 0 {
		return k
	}
	maps.Copy(k.Outcomes, runs[0].Before.Outcomes)
	maps.Copy(k.Unsettled, runs[0].Before.Unsettled)
	ended := map[string]time.Time{} // when the run of an unsettled scope ended; zero if it was cut off
	for _, run := range runs {
		switch {
		case run.cutOff && run.Failed: // what it did not get to is still recorded as not passed
		case run.cutOff:
			k.Unsettled[run.scope()], ended[run.scope()] = cutOff, time.Time{}
		case run.Beside && run.namedNothing(): // it could not have run any test
		case run.Beside:
			k.Unsettled[run.scope()], ended[run.scope()] = whyUnsettled(run.Cause), run.end
		case !run.Failed:
			maps.DeleteFunc(k.Unsettled, func(scope, _ string) bool {
				return (run.all() || scope == run.scope()) &&
					ended[scope].Before(run.start) // not of a run beside this one
			})
		}
	}
	slices.SortStableFunc(runs, func(a, b pastRun) int { return a.end.Compare(b.end) })
	for _, run := range runs {
		k.take(run)
	}
	return k
}

// take records the outcomes of a run. It forgets that a file or folder could not be collected once one of its tests has
// an outcome in a run that was asked for all of them.
func (k known) take(run pastRun) {
	for id := range run.Outcomes {
		file, _, _ := strings.Cut(id, "::")
		for ; file != "." && file != "/"; file = path.Dir(file) {
			if run.covers(file) {
				delete(k.Outcomes, file)
			}
		}
	}
	maps.Copy(k.Outcomes, run.Outcomes)
}

// whyUnsettled returns what was wrong with a run besides its tests.
func whyUnsettled(cause report.Cause) string {
	switch cause {
	case report.CauseProject:
		return "the project could not be tested"
	case report.CauseSetup:
		return "the engine, an image or the network failed"
	case report.CauseBuild:
		return "the build failed"
	case report.CauseCollection:
		return "pytest could not collect, or found nothing"
	case report.CauseArguments:
		return "it named a test, file or folder that does not exist"
	case report.CauseInterrupted:
		return "it was interrupted"
	}
	return "it was red for more than its tests"
}

// notPassed returns the node ids of what did not pass. If a run left tests without a verdict, only is nil, which means
// all tests, and why is the reason.
func (h *history) notPassed() (only map[string]bool, why string, err error) {
	switch {
	case h.err != nil:
		return nil, "", cache.Failed(fmt.Errorf("--failed: %w", h.err))
	case len(h.known.Unsettled) > 0:
		first := slices.Sorted(maps.Keys(h.known.Unsettled))[0]
		return nil, h.known.Unsettled[first], nil
	case len(h.known.Outcomes) == 0:
		return nil, "", fmt.Errorf("--failed: no run of %s is known: run it without, first", h.crate)
	}
	only = map[string]bool{}
	for id, outcome := range h.known.Outcomes {
		if outcome.Red() {
			only[id] = true
		}
	}
	return only, "", nil
}

// recording records a run in a file.
type recording struct {
	*report.Recorder
	file *os.File
}

// record begins the recording of a run, and removes the oldest recordings that are too many.
func (h *history) record(a asked) (*recording, error) {
	a.Before = h.known
	if err := os.MkdirAll(h.folder, 0o755); err != nil {
		return nil, cache.Failed(err)
	}
	name := fmt.Sprintf("%s-%d.jsonl", time.Now().UTC().Format("20060102T150405.000000000"), os.Getpid())
	file, err := os.Create(filepath.Join(h.folder, name))
	if err != nil {
		return nil, cache.Failed(err)
	}
	recorder, err := report.NewRecorder(file, report.Version, a)
	if err != nil {
		return nil, cache.Failed(errors.Join(err, file.Close(), os.Remove(file.Name())))
	}
	if err := h.prune(); err != nil {
		return nil, cache.Failed(errors.Join(err, file.Close()))
	}
	return &recording{recorder, file}, nil
}

// prune removes the oldest recordings if a newer one has all that they tell in its Before, and enough are left with the one
// that starts now.
func (h *history) prune() (err error) {
	kept := 0
	var ended time.Time // when the last of those before kept ended
	for i, run := range h.runs {
		if ended.Before(run.start) && len(h.runs)-i+1 >= mostRecordings {
			kept = i
		}
		end := run.end
		if run.cutOff { // it may be under way
			end = run.start.Add(longestRun)
		}
		if end.After(ended) {
			ended = end
		}
	}
	for _, run := range h.runs[:kept] {
		if removed := os.Remove(run.file); !errors.Is(removed, fs.ErrNotExist) { // another run may have removed it
			err = errors.Join(err, removed)
		}
	}
	return err
}

// Close ends the recording.
func (r *recording) Close() error { return cache.Failed(errors.Join(r.Err(), r.file.Close())) }
