package harness

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/group"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/repro"
	"pyo3test/harness/internal/verdict"
)

// Bundles says which tests leave a bundle: a file from which `pyo3test repro` runs the test again, on any machine.
type Bundles string

const (
	// BundleHangs is the default: tests that hang, crash or are killed for memory.
	BundleHangs Bundles = "hangs"
	// BundleAll is every test that is red.
	BundleAll Bundles = "all"
	// BundleNone is none.
	BundleNone Bundles = "none"
)

// wants reports whether a test with an outcome leaves a bundle.
func (b Bundles) wants(outcome verdict.Outcome) bool {
	switch outcome {
	case verdict.Hung, verdict.Crashed, verdict.Killed:
		return b != BundleNone
	case verdict.NotRun:
		return false // nothing of it could be seen again
	}
	return b == BundleAll && outcome.Red()
}

const (
	// maxBundles bounds how many bundles one run leaves: the failures of one cause are often many, and one is enough.
	maxBundles = 20
	// bundlesTimeout bounds how long a run takes to write them.
	bundlesTimeout = 2 * time.Minute
)

// bundler follows a run for what its bundles need. It is a reporter, so that what it keeps is what all others saw.
type bundler struct {
	which Bundles
	place func(group, name, shown string) string // of a file among the evidence, "" if there is none

	mutex     sync.Mutex
	placed    int
	leftOut   int
	recording bytes.Buffer // compressed
	packed    *gzip.Writer
	recorder  *report.Recorder
	begun     map[string][]string // by group, the node ids of its tests in the order of their starts
	wanted    []wanted
}

// wanted is a bundle to write.
type wanted struct {
	event  report.Event
	group  string
	file   string
	text   string   // the report
	before []string // the node ids of the tests that had begun
}

func newBundler(which Bundles, place func(group, name, shown string) string) *bundler {
	b := &bundler{which: which, place: place, begun: map[string][]string{}}
	b.packed, _ = gzip.NewWriterLevel(&b.recording, gzip.BestSpeed) // its only error is a wrong level
	b.recorder, _ = report.NewRecorder(b.packed, report.Version, nil)
	return b
}

// Place returns the file for the bundle of what a group reports, "" if it gets none.
func (b *bundler) Place(group, name string, outcome verdict.Outcome) string {
	if !b.which.wants(outcome) || !b.room() {
		return ""
	}
	return b.place(group, name, path.Base(name)+bundle.Extension) // without the lock: files may be copied meanwhile
}

// room takes one of the places for bundles, if there is one.
func (b *bundler) room() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.placed == maxBundles {
		b.leftOut++
		return false
	}
	b.placed++
	return true
}

// Report keeps an event.
func (b *bundler) Report(at time.Time, e report.Event, so *report.Tally) error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	var failed wanted
	switch e := e.(type) {
	case report.Session:
		if e.Isolation == string(InProcess) {
			b.begun[e.Group] = nil // a new process has nothing of what ran in another
		}
	case report.TestStarted:
		b.begun[e.Group] = append(b.begun[e.Group], e.NodeID)
	case report.TestEnded:
		failed = wanted{group: e.Group, file: e.Bundle, before: b.begun[e.Group]}
		if failed.file != "" {
			failed.text = e.Describe()
			for len(failed.before) > 0 && failed.before[len(failed.before)-1] != e.NodeID { // those that began after it
				failed.before = failed.before[:len(failed.before)-1]
			}
			failed.before = failed.before[:max(0, len(failed.before)-1)]
		}
	case report.FileFailed:
		failed = wanted{group: e.Group, file: e.Bundle, text: e.Text}
	case report.ExitFailed:
		failed = wanted{group: e.Group, file: e.Bundle, text: e.Text, before: b.begun[e.Group]}
	case report.Problem:
		failed = wanted{group: e.Group, file: e.Bundle, text: e.Text, before: b.begun[e.Group]}
	}
	if failed.file != "" {
		failed.event, failed.before = e, slices.Clone(failed.before)
		b.wanted = append(b.wanted, failed)
	}
	return b.recorder.Report(at, e, so)
}

// recorded returns the recording so far.
func (b *bundler) recorded() ([]byte, error) {
	if err := errors.Join(b.recorder.Err(), b.packed.Close()); err != nil {
		return nil, err
	}
	unpacked, err := gzip.NewReader(&b.recording)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(unpacked)
}

// writeBundles writes the bundles of a run, after its tests. A failure is reported, and changes no verdict.
func (r *run) writeBundles(ctx context.Context) {
	b := r.bundler
	if b.leftOut > 0 {
		r.note("no bundle for %s: a run writes at most %d", plural.Count(b.leftOut, "more failure"), maxBundles)
	}
	if len(b.wanted) == 0 {
		return
	}
	// What ends a run does not end this: the bundle may be all that is left of a hang.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(r.grace/2, bundlesTimeout))
	defer cancel()
	if err := r.tryBundles(ctx); err != nil {
		r.note("not all of the bundles named above could be written: %v", err)
	}
}

func (r *run) tryBundles(ctx context.Context) error {
	recording, err := r.bundler.recorded()
	if err != nil {
		return err
	}
	machine, err := r.engine.Machine(ctx)
	if err != nil {
		return err
	}
	network, err := image.HostNetwork()
	if err != nil {
		return err
	}
	host := bundle.Host{Architecture: machine.Architecture, Kernel: machine.Kernel, Processors: machine.Processors,
		Memory: machine.Memory, Engine: r.engine.Version}
	secrets, err := r.secrets(network)
	if err != nil {
		return err
	}
	common := bundle.NewWriter(secrets)
	err = common.Add(bundle.Recording, false, bytes.NewReader(recording))
	if err == nil {
		err = r.addSources(ctx, common)
	}
	if err == nil {
		err = extension.Built(ctx, r.engine, r.extension, func(name string, executable bool, content io.Reader) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return common.Add(bundle.Built+name, executable, content)
		})
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, each := range r.bundler.wanted {
		w := common.Clone()
		err := w.Add(bundle.Report, false, strings.NewReader(each.text))
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = w.Save(each.file, r.manifest(w, each, host))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("write %s: %w", each.file, err))
		}
	}
	return errors.Join(errs...)
}

// secrets returns the credentials that no bundle may have: of this host, of the Suite, and in files that are left out.
func (r *run) secrets(network image.Network) (bundle.Secrets, error) {
	var variables []string
	texts := network.Texts()
	for _, config := range r.configs {
		for name, value := range config.Env {
			variables = append(variables, name+"="+value)
		}
	}
	for _, file := range r.sources.tree.Files {
		if file.Link != "" || !(bundle.Secrets{}).Withholds(file.Name) {
			continue
		}
		data, err := content(file)
		if err != nil && data == nil {
			return bundle.Secrets{}, err
		}
		texts = append(texts, string(data)) // a file that has changed since may still hold what was there
	}
	return bundle.HostSecrets(variables, texts), nil
}

// content returns the content of a file, as it was tested.
func content(file project.File) ([]byte, error) {
	reader, err := file.Open()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	data, err := io.ReadAll(reader)
	if err == nil && project.Sum(string(data)) != file.Sum {
		err = fmt.Errorf("%s changed while the tests ran: run again without editing it", file.Name)
	}
	return data, err
}

// addSources adds the tree, as it was tested.
func (r *run) addSources(ctx context.Context, w *bundle.Writer) error {
	for _, file := range r.sources.tree.Files {
		if file.Link != "" {
			w.Link(file.Name, file.Link)
			continue
		}
		data, err := content(file)
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = w.Add(bundle.Sources+file.Name, file.Mode&0o100 != 0, bytes.NewReader(data))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// manifest describes the bundle of a test.
func (r *run) manifest(w *bundle.Writer, each wanted, host bundle.Host) bundle.Manifest {
	config, tree := r.configs[each.group], r.sources.tree
	test := bundle.Of(each.event, filepath.Join(tree.Root, filepath.FromSlash(tree.Crate)))
	test.Before, test.Ran, test.Failed = each.before, 1, 1
	build := bundle.Build{
		Python: r.tools.Python, Base: r.tools.Base, BaseID: r.tools.BaseID, Tools: r.tools.ID, Image: r.extension.Image,
		SystemPackages: r.suite.SystemPackages, Installed: r.extension.Packages(),
		Profile: r.suite.Profile, Features: r.suite.Features, NoDefaultFeatures: r.suite.NoDefaultFeatures,
		MaturinArgs: r.suite.MaturinArgs,
		CargoLock:   w.SHA256(bundle.Sources + path.Join(tree.Workspace, "Cargo.lock")),
	}
	for _, module := range r.extension.Modules {
		build.Modules = append(build.Modules, bundle.Module(module))
	}
	return bundle.Manifest{PyO3Test: report.Version, Test: test, Run: runOf(config, w), Build: build, Host: host}
}

// runOf describes how a group ran.
func runOf(c group.Config, w *bundle.Writer) bundle.Run {
	var pressure bundle.Pressure
	if c.Pressure != nil {
		pressure = repro.OnAll
		c.Budgets.Test /= 2 // which a test under pressure gets twice
	}
	return bundle.Run{
		Pressure: pressure, Name: c.Name, Project: c.Tree.Name, Crate: c.Tree.Crate, Workspace: c.Tree.Workspace,
		Tests: c.Tests, PytestArgs: c.PytestArgs, Env: w.Env(c.Env), Isolation: c.Isolation, Workers: c.Workers,
		Shuffle: c.Flags.Shuffle, Memory: c.Memory, CPUs: c.CPUs, Processes: c.Processes, Network: c.Network,
		StartTimeout: c.Budgets.Start, CollectTimeout: c.Budgets.Collect, TestTimeout: c.Budgets.Test,
		FinishTimeout: c.Budgets.Finish, ExitTimeout: c.Budgets.Exit, Unproved: c.NoDeadlockProof,
	}
}
