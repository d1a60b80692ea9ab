// Package bundle reads and writes bundles: one file with all that is needed to run one test again elsewhere, as it ran
// when it hung, crashed or ran out of memory. A bundle comes from anywhere, so what is read is checked, entry by entry,
// before any of it is used; what is written holds no credentials that can be recognised.
package bundle

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

// Extension is how a bundle's file name ends.
const Extension = ".pyo3test"

// The versions of the format. A reader takes any minor version of a major one that it knows: it passes over fields that it
// does not know. A new kind of entry is a new major version, because entries that are not known are refused. Bundles without
// an image are still written in the first.
const (
	format      = "1.1"
	formatImage = "2.0"
	formatMajor = 2 // the newest
)

// The entries of a bundle. Sources and Built are folders: what is below them is named in the manifest, file by file.
const (
	manifestName = "manifest.json"
	Sources      = "sources/"        // the tree as it travelled into the container
	Built        = "built/"          // what the build made, by its path in the container
	Recording    = "recording.jsonl" // the events of the run up to there
	Report       = "report.txt"      // what was seen of the test, for a reader
	images       = "images/"         // an OCI layout with the image that the test runs on, if the bundle is full
)

// Manifest describes a bundle. It is the first entry, as JSON.
type Manifest struct {
	Format   string `json:"format"`   // "major.minor"
	PyO3Test string `json:"pyo3test"` // the version that made it
	Test     Test   `json:"test"`
	Run      Run    `json:"run"`
	Build    Build  `json:"build"`
	Host     Host   `json:"host"`
	// Withheld holds what looked like a credential and is not in the bundle: the names of variables, and of files that
	// were left out or have such values masked.
	Withheld []string `json:"withheld,omitempty"`
	Entries  []Entry  `json:"entries"` // all but the manifest, sorted by name
	// Links holds the symbolic links of the sources with their targets: no entry is one.
	Links map[string]string `json:"links,omitempty"`
}

// Test is the test, and what happened to it.
type Test struct {
	// Kind is "" for a test; otherwise it is pytest that failed: as it collected a file, in one of its phases, or at its exit.
	Kind    string `json:"kind,omitempty"`
	NodeID  string `json:"nodeid"`          // of a file, too; otherwise a name for a reader
	Name    string `json:"name,omitempty"`  // of its subtest: several tests can have one node id
	Outcome string `json:"outcome"`         // in the words of a verdict: "hung", "crashed", "killed for memory"
	Phase   string `json:"phase,omitempty"` // setup, call or teardown
	Cause   string `json:"cause,omitempty"` // of a hang, by its key
	Title   string `json:"title,omitempty"` // the cause in a few words, or the signal
	Place   string `json:"place,omitempty"` // in the sources, such as src/locks.rs:20
	// Blocked holds the functions of the sources in which threads wait, of a hang. Its files are relative to the crate.
	Blocked []report.Frame `json:"blocked,omitempty"`
	// Signature is equal for two failures in the same place, whatever their addresses, lines and times.
	Signature string `json:"signature"`
	// Before holds the tests that had begun in its group before it, in their order.
	Before []string `json:"before,omitempty"`
	// Ran and Failed are how often it ran and how often it failed like this, as far as it is known.
	Ran    int `json:"ran"`
	Failed int `json:"failed"`
}

// Run is how the test's group ran.
type Run struct {
	Name       string            `json:"name"` // of the group
	Project    string            `json:"project,omitempty"`
	Crate      string            `json:"crate"` // the crate's folder below Sources
	Workspace  string            `json:"workspace"`
	Tests      []string          `json:"tests,omitempty"` // pytest's arguments
	PytestArgs []string          `json:"pytest_args,omitempty"`
	Env        map[string]string `json:"env,omitempty"` // what the Suite sets
	Isolation  string            `json:"isolation"`
	Workers    int               `json:"workers"`
	Shuffle    uint64            `json:"shuffle,omitempty"` // the seed of the order; 0 is pytest's own

	// The limits.
	Memory         int64         `json:"memory"` // bytes
	CPUs           float64       `json:"cpus,omitempty"`
	Processes      int64         `json:"processes"`
	StartTimeout   time.Duration `json:"start_timeout"` // nanoseconds, as all of them
	CollectTimeout time.Duration `json:"collect_timeout"`
	TestTimeout    time.Duration `json:"test_timeout"`
	FinishTimeout  time.Duration `json:"finish_timeout"`
	ExitTimeout    time.Duration `json:"exit_timeout"`
	// Unproved lets a deadlocked test use up its budget.
	Unproved bool `json:"unproved,omitempty"`
	// Network means that the tests reached the network, which those of a bundle never do.
	Network bool `json:"network,omitempty"`
	// Pressure is what makes the failure more frequent than it was; the zero value is none.
	Pressure Pressure `json:"pressure,omitzero"`
}

// Pressure is what makes a rare failure of a test frequent: delays of its threads, and conditions that it runs under. Delays
// cause nothing that could not happen without them.
type Pressure struct {
	// Calls delays threads at calls of the C library that synchronise them.
	Calls bool `json:"calls,omitempty"`
	// Code delays threads in the crate's own code, which is compiled with hooks for that: the same sources, and other
	// machine code. It is one of [Lines], [Functions] and [Crate], or "" for none.
	Code string `json:"code,omitempty"`
	// OneProcessor makes all threads of the test share one.
	OneProcessor bool `json:"one_processor,omitempty"`
	// Quota gives the test a fraction of the time of one processor.
	Quota bool `json:"quota,omitempty"`
	// Load lets other processes compute beside the test.
	Load bool `json:"load,omitempty"`
	// Memory leaves the test little of the container's memory, so that the kernel takes back pages of files all the time.
	Memory bool `json:"memory,omitempty"`
	// Interpreter makes Python switch between its threads, and collect garbage, as often as it can.
	Interpreter bool `json:"interpreter,omitempty"`
}

// Where in the code of a crate threads are delayed.
const (
	Lines     = "lines"     // near the lines at which the threads of the hang wait
	Functions = "functions" // in the functions around these
	Crate     = "crate"     // anywhere, in some places of each run
)

// Build is what the test ran with.
type Build struct {
	Python         string   `json:"python"` // the full version, with a "t" for a free-threaded one
	Base           string   `json:"base"`   // the name of the base image
	BaseID         string   `json:"base_id"`
	Tools          string   `json:"tools"` // the id of the tools image, which changes with its recipe
	Image          string   `json:"image"` // the id of the image with the extension
	SystemPackages []string `json:"system_packages,omitempty"`
	Installed      []string `json:"installed"` // as name==version
	Modules        []Module `json:"modules"`
	CargoLock      string   `json:"cargo_lock,omitempty"` // its SHA-256
	// How the extension was built.
	Profile           string   `json:"profile"`
	Features          []string `json:"features,omitempty"`
	NoDefaultFeatures bool     `json:"no_default_features,omitempty"`
	MaturinArgs       []string `json:"maturin_args,omitempty"`
}

// pythonVersion matches a full version of Python, with what names its series.
var pythonVersion = regexp.MustCompile(`^(3\.\d+)\.\w+?(t?)$`)

// Series returns the series of its Python, such as 3.14t for 3.14.7t.
func (b Build) Series() string {
	found := pythonVersion.FindStringSubmatch(b.Python)
	if found == nil {
		return ""
	}
	return found[1] + found[2]
}

// Module is a native module that was built.
type Module struct {
	Name   string `json:"name"` // the name to import it by
	Path   string `json:"path"` // in the container
	SHA256 string `json:"sha256"`
}

// Host is the machine of the run, as its engine describes it.
type Host struct {
	Architecture string `json:"architecture"` // such as x86_64
	Kernel       string `json:"kernel"`
	Processors   int    `json:"processors"`
	Memory       int64  `json:"memory"` // bytes
	Engine       string `json:"engine"` // its version
}

// Entry is a file of a bundle.
type Entry struct {
	Name       string `json:"name"`
	Size       int64  `json:"size"` // bytes
	SHA256     string `json:"sha256"`
	Executable bool   `json:"executable,omitempty"`
}

// Of describes what an event reports. The argument crate is the crate's folder on this host, to which places are relative.
func Of(e report.Event, crate string) Test {
	var t Test
	place, failure := report.Place{}, report.Failure{}
	switch e := e.(type) {
	case report.TestEnded:
		t = Test{NodeID: e.NodeID, Name: e.Name, Outcome: string(e.Outcome), Phase: e.Phase, Title: e.Signal}
		place, failure = e.Place, e.Failure
	case report.FileFailed:
		t = Test{Kind: KindFile, NodeID: e.NodeID, Outcome: string(verdict.Hung)}
		place, failure = e.Place, e.Failure
	case report.ExitFailed:
		t = Test{Kind: KindExit, NodeID: report.ExitName, Outcome: string(verdict.Hung)}
		failure = e.Failure
	case report.Problem:
		t = Test{Kind: e.Phase, NodeID: "(" + e.Phase + ")", Outcome: string(verdict.Hung)}
		failure = e.Failure
	}
	t.Cause, t.Signature = failure.Hang, failure.Signature
	for _, frame := range failure.Blocked {
		if below, err := filepath.Rel(crate, frame.File); err == nil {
			frame.File = filepath.ToSlash(below)
			t.Blocked = append(t.Blocked, frame)
		}
	}
	if failure.Hang != "" {
		t.Title = hang.Key(failure.Hang).Title()
		if failure.HangPlace.File != "" {
			place = failure.HangPlace
		}
	}
	if below, err := filepath.Rel(crate, place.File); err == nil && place.File != "" {
		place.File = filepath.ToSlash(below)
		t.Place = place.String()
	}
	return t
}

// Kinds of what a bundle is of, besides a test and the phases of pytest itself: "start", "collect" and "finish".
const (
	KindFile = "file" // the collection of a file
	KindExit = "exit" // the end of the interpreter after the tests
)

// What describes in a few words what happened to the test.
func (t Test) What() string {
	text := t.Outcome
	if t.Title != "" {
		text += ": " + t.Title
	}
	if t.Place != "" {
		text += ", " + t.Place
	}
	return text
}

// checkFormat returns an error unless this version can read the format.
func (m Manifest) checkFormat() error {
	var major, minor int
	if _, err := fmt.Sscanf(m.Format, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("its manifest has no format: it is no bundle of pyo3test")
	}
	if major < 1 || major > formatMajor {
		return fmt.Errorf("it has format %s, made by pyo3test %s, and this version reads 1.x to %d.x: use that version",
			m.Format, m.PyO3Test, formatMajor)
	}
	return nil
}

// known reports whether an entry is of a kind that this version knows.
func known(name string) bool {
	return name == Recording || name == Report || strings.HasPrefix(name, Sources) || strings.HasPrefix(name, Built) ||
		inImages.MatchString(name)
}
