package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/bytecode"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/rate"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/repro"
)

// maxRepros bounds how many times Repro runs a test.
const maxRepros = 50

// Repro keeps the test of a bundle as a regression test: it builds the crate as it is now, and fails if the bundle's test
// fails. The crate is the one with the bundle's project name in the repository around the test's folder. The test is the
// bundle's, by its node id, with the bundle's settings, limits and order; its source is the crate's own. It runs as often as it
// takes to see the bundle's rate of failures with 95 % confidence, 50 times at most. A bundle knows its rate if
// `pyo3test repro -n 200 --save FILE` wrote it; one that a run has left has failed once in one run, and runs once.
func Repro(t *testing.T, file string) {
	t.Helper()
	b, err := bundle.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	crate, err := crateOf(b)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := t.Deadline()
	ctx, _, cancel := deadline(end)
	defer cancel()
	ctx, release := interruptible(ctx)
	defer release()
	e, err := engine.Connect(ctx)
	if err == nil {
		_, err = e.Sweep(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := Rebuild(ctx, e, b, crate, func(report.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	runs := min(rate.CleanRuns(float64(b.Test.Failed)/float64(b.Test.Ran)), maxRepros)
	var first *report.TestEnded
	result, err := p.Run(ctx, repro.Options{Runs: runs, UntilFailure: true, Jobs: 1, Each: func(_ []repro.Result, end report.TestEnded) {
		if first == nil && end.Outcome.Red() {
			first = &end
		}
	}})
	t.Logf("%s of %s: %s", b.Test.NodeID, filepath.Base(file), result.Text())
	switch {
	case err != nil:
		t.Fatal(err)
	case ctx.Err() != nil && result.Failed == 0:
		t.Fatalf("%d of %d runs, when this was ended: %v", result.Runs, runs, context.Cause(ctx))
	case result.Runs == 0:
		t.Fatal("the test was skipped, or has no verdict: nothing is known of it")
	case first != nil:
		testingT{T: t}.Output().Write([]byte(first.Describe()))
		t.Fail()
	case result.Undelayed():
		t.Fatal("the test passed, but in most runs no thread was delayed where it hung, so this proves nothing: has that code moved? " +
			"Make a new bundle")
	}
}

// crateOf finds the crate of a bundle's project in the repository around this folder.
func crateOf(b *bundle.Bundle) (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	root := folder
	for _, mark := range []string{".git", "go.work", "go.mod"} {
		if found := project.Above(folder, mark); found != "" {
			root = filepath.Dir(found)
			break
		}
	}
	manifests, err := project.Below(root, "pyproject.toml")
	if err != nil {
		return "", err
	}
	var found []string
	for _, crate := range manifests {
		if p, err := project.Read(crate); err == nil && project.IsMaturin(crate) && p.Metadata.Name == b.Run.Project {
			found = append(found, crate)
		}
	}
	if len(found) != 1 || b.Run.Project == "" {
		return "", fmt.Errorf("find the crate of the bundle, whose project is %q: below %s there are %d of that name: %s", b.Run.Project, root,
			len(found), strings.Join(found, ", "))
	}
	return found[0], nil
}

// Rebuild builds a crate as that of a bundle was built, on the same packages, and prepares the bundle's test to run with it,
// under the bundle's pressure.
// What the bundle brings runs none of its code where there is a network, and in no place that another build reads.
func Rebuild(ctx context.Context, e *engine.Engine, b *bundle.Bundle, crate string, emit report.Emit) (*repro.Prepared, error) {
	r := &run{
		suite: Suite{
			Crate: crate, Profile: b.Build.Profile, Features: b.Build.Features, NoDefaultFeatures: b.Build.NoDefaultFeatures,
			MaturinArgs: b.Build.MaturinArgs, Python: []string{b.Build.Series()},
		},
		stream: report.NewStream(passOn(emit)), bundler: newBundler(BundleNone, nil),
	}
	_ = r.stream.Emit(report.RunStarted{Crate: crate}) // passOn objects to nothing
	if err := r.configure(); err != nil {
		return nil, err
	}
	tools, network, packages, err := repro.Base(ctx, e, b, emit)
	if err != nil {
		return nil, err
	}
	recipe := r.suite.recipe(r.sources.dependencies)
	recipe.On, recipe.Hooks = packages, b.Run.Pressure.Code != ""
	recipe.Network = false // the bundle's packages run code whenever Python starts
	built, err := extension.Ensure(ctx, e, tools, network, r.sources.tree, recipe, emit)
	if err != nil {
		text := r.explain(ctx, err)
		if b.Full() {
			text += "\n\nthe bundle is a full one, so this was built without a network, from the crates that its own sources need: " +
				"to build with others, use the bundle that it was made from"
		}
		return nil, &rebuildError{text, err}
	}
	store, err := bytecode.Open("compare-"+b.Sum[:16]+extension.CrateID(r.sources.tree, tools), r.sources.tree)
	if err != nil {
		return nil, err
	}
	p, err := repro.On(ctx, e, b, r.sources.tree, built, store)
	if err == nil && recipe.Hooks {
		err = p.FindEdges(ctx, e)
	}
	if err != nil {
		return nil, err
	}
	pressure := b.Run.Pressure
	if pressure.Code == bundle.Lines { // which have moved
		pressure.Code = bundle.Functions
	}
	return p.Under(pressure)
}

// rebuildError is a failed build, explained.
type rebuildError struct {
	text string
	err  error
}

func (e *rebuildError) Error() string { return e.text }

// Unwrap returns the error of the build.
func (e *rebuildError) Unwrap() error { return e.err }

// passOn is a reporter that passes each event on.
type passOn report.Emit

// Report passes an event on.
func (p passOn) Report(_ time.Time, e report.Event, _ *report.Tally) error {
	p(e)
	return nil
}
