package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/bytecode"
	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/evidence"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/group"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/repro"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/visible"
)

// T is what RunT needs from a test: a *testing.T through Run, or a recorder. Its methods do what testing.T's do.
type T = report.T

// Run builds the Suite's crate, runs its tests and makes each a subtest of t. It returns when everything is done and
// nothing is left running.
func Run(t *testing.T, suite Suite) {
	t.Helper()
	flags := subtest.ReadFlags()
	runT(testingT{t, flags.JSON}, suite, flags.Verbose)
}

type testingT struct {
	*testing.T
	json bool
}

func (t testingT) Run(name string, f func(T)) bool {
	return t.T.Run(name, func(inner *testing.T) { f(testingT{inner, t.json}) })
}

// Attr passes on the harness's own attributes only under -json: with -v they would add three lines to each test.
func (t testingT) Attr(key, value string) {
	if t.json || !strings.HasPrefix(key, "pytest.") {
		t.T.Attr(visible.Word(key), visible.Word(value))
	}
}

// Output returns a writer that escapes what could be taken for go test's own output, or for a command.
func (t testingT) Output() io.Writer { return visible.Writer{To: t.T.Output()} }

// RunT is like Run, for other implementations of T. They receive texts and attributes as the tests wrote them, control
// characters included, and must print nothing that a terminal or a CI system obeys. They also receive what cargo and other
// tools print, which Run shows under -v only.
func RunT(t T, suite Suite) { runT(t, suite, true) }

func runT(t T, suite Suite, verbose bool) {
	if suites := suite.EachPython(); len(suites) > 1 {
		for _, each := range suites {
			t.Run(each.python(), func(t T) { runT(t, each, verbose) })
		}
		return
	}
	flags := subtest.ReadFlags()
	reporter := report.NewGoTest(t, verbose, runAgain(crateFolder(suite.Crate)))
	options := Options{Name: t.Name(), Flags: flags, Reporters: []report.Reporter{reporter}}
	options.Deadline, _ = t.Deadline()
	if flags.Artifacts {
		options.Artifacts = t.ArtifactDir()
	}
	if Execute(suite, options).Refused {
		t.FailNow()
	}
}

// Options are what a caller of Execute decides: the pyo3test command, and RunT.
type Options struct {
	Name      string // of the run's test
	Flags     subtest.Flags
	Deadline  time.Time // when the caller ends; zero means never
	Artifacts string    // a folder for what the run leaves; "" chooses one
	Reporters []report.Reporter
	// Prepared, unless it is nil, is called before the tests with what travels into a container and the image of the
	// build.
	Prepared func(tree project.Tree, image string)
}

// Execute builds the Suite's crate, runs its tests and reports what happens. It returns when everything is done and
// nothing is left running. The Suite has one version of Python at most: see [Suite.EachPython].
func Execute(suite Suite, o Options) report.Result {
	ctx, grace, cancel := deadline(o.Deadline)
	defer cancel()
	ctx, release := interruptible(ctx)
	defer release()
	junit := report.NewJUnit(o.Name)
	stream := report.NewStream(append([]report.Reporter{junit}, o.Reporters...)...)
	run := &run{
		suite: suite, grace: grace, Options: o, debug: os.Getenv(debugVariable) != "", stream: stream,
		evidence: evidence.New(o.Name, o.Artifacts, junit), configs: map[string]group.Config{},
	}
	run.bundler = newBundler(suite.Bundles, run.evidence.Place)
	stream.Add(run.bundler)
	run.evidence.Begin()
	run.emit(report.RunStarted{Name: o.Name, Crate: crateFolder(suite.Crate)})
	stopTicking := stream.Ticking()
	run.all(ctx)
	stopTicking() // nothing is drawn below the summary
	if err := stream.End(); err != nil {
		run.emit(report.Problem{Text: err.Error()})
		_ = stream.End() // red now
	}
	return stream.Result()
}

// crateFolder returns the absolute folder of a crate.
func crateFolder(crate string) string {
	if folder, err := filepath.Abs(crate); err == nil && crate != "" {
		return folder
	}
	return crate
}

// all does everything between the first event of a run and the last.
func (r *run) all(ctx context.Context) {
	defer r.keep()
	if err := r.configure(); err != nil {
		r.emit(report.Problem{Cause: report.CauseProject, Text: err.Error()})
		return
	}
	if err := r.prepare(ctx); err != nil {
		problem := report.Problem{Cause: causeOf(ctx, err), Text: r.explain(ctx, err)}
		if failed := (*extension.Error)(nil); errors.As(err, &failed) {
			problem.Log, problem.Packages = failed.Log, failed.Packages()
		}
		r.emit(problem)
		return
	}
	defer r.engine.Close()
	if r.Prepared != nil {
		r.Prepared(r.sources.tree, r.extension.Image)
	}
	if r.debug {
		r.tracker.uncacheable()
		if !r.Deadline.IsZero() {
			r.note("%s: go test ends this in %v: add -timeout 0", debugVariable,
				time.Until(r.Deadline).Round(time.Second))
		}
	}
	r.groups(ctx)
	r.writeBundles(ctx)
	r.finish()
}

// keep finishes what is kept of the run, and reports where that is.
func (r *run) keep() {
	if text := r.evidence.Finish(r.stream.Red("")); text != "" {
		r.note("%s", text)
	}
}

// emit reports an event. What a reporter objects to makes the run red.
func (r *run) emit(e report.Event) {
	if err := r.stream.Emit(e); err != nil {
		_ = r.stream.Emit(report.Problem{Text: err.Error()}) // which no reporter objects to
	}
}

func (r *run) note(format string, args ...any) {
	r.emit(report.Note{Text: fmt.Sprintf(format, args...)})
}

// topic reports a line about what happens before the tests.
func (r *run) topic(name, format string, args ...any) {
	r.emit(report.Note{Topic: name, Text: fmt.Sprintf(format, args...)})
}

// phase runs a phase, which returns a line about its result.
func (r *run) phase(name string, do func() (string, error)) error {
	r.emit(report.PhaseStarted{Phase: name})
	began := time.Now()
	text, err := do()
	if err == nil {
		r.emit(report.PhaseEnded{Phase: name, Text: text, Took: time.Since(began)})
	}
	return err
}

// causeOf returns what kept a run from its tests.
func causeOf(ctx context.Context, err error) report.Cause {
	if ctx.Err() != nil {
		return report.CauseInterrupted
	}
	if failed := (*extension.Error)(nil); errors.As(err, &failed) && !failed.Unreached() {
		return report.CauseBuild
	}
	return report.CauseSetup
}

// deadline returns a context that ends before its caller does, such as by Go's own -timeout, whose panic would skip all
// cleanup. It reserves two graces of 5 % each: one to report what was running, one to remove everything.
func deadline(end time.Time) (ctx context.Context, grace time.Duration, cancel context.CancelFunc) {
	if end.IsZero() {
		ctx, cancel = context.WithCancel(context.Background())
		return ctx, time.Minute, cancel
	}
	grace = max(time.Until(end)/20, time.Second)
	cause := fmt.Errorf("the deadline of go test (-timeout) is near")
	ctx, cancel = context.WithDeadlineCause(context.Background(), end.Add(-2*grace), cause)
	return ctx, grace, cancel
}

// debugVariable, set to anything, makes the one test that -run picks run in the foreground, for a debugger.
const debugVariable = "PYO3TEST_DEBUG"

// run is one call of Run in progress.
type run struct {
	Options
	suite     Suite
	grace     time.Duration
	debug     bool
	stream    *report.Stream
	engine    *engine.Engine
	tools     image.Image
	sources   sources
	extension extension.Extension
	bytecode  *bytecode.Store
	tracker   *tracker
	evidence  *evidence.Run
	bundler   *bundler
	configs   map[string]group.Config // by the names of their groups
}

// sources is what the user's folders hold.
type sources struct {
	project      project.Project
	dependencies project.Dependencies
	tree         project.Tree
}

// configure reads the project and its sources, and completes the Suite.
func (r *run) configure() (err error) {
	if r.tracker, err = newTracker(); err != nil {
		return err
	}
	if _, err := extension.BudgetBytes(); err != nil {
		return err
	}
	if r.suite.Crate == "" {
		return project.FieldError("Crate", "not set: name the folder of a crate")
	}
	p, err := project.Read(r.suite.Crate)
	if err != nil {
		return err
	}
	var unknown []string
	if r.suite, unknown, err = r.suite.withOptions(p); err != nil {
		return err
	}
	for _, key := range unknown {
		r.topic("config", "[tool.pyo3test] has an unknown key %q", key)
	}
	if r.suite, err = r.suite.complete(); err != nil {
		return err
	}
	if r.sources, err = r.readSources(); err != nil {
		return err
	}
	for _, note := range r.sources.tree.Notes {
		r.topic("tree", "%s", note)
	}
	r.bundler.which = r.suite.Bundles
	return nil
}

// readSources reads what the user's folders hold now.
func (r *run) readSources() (s sources, err error) {
	if s.project, err = project.Read(r.suite.Crate); err != nil {
		return s, err
	}
	wanted := project.Wanted{Requirements: r.suite.Requirements, Extras: r.suite.Extras,
		Groups: r.suite.DependencyGroups, With: r.suite.With}
	if s.dependencies, err = s.project.Dependencies(wanted, r.tracker.open); err != nil {
		return s, err
	}
	s.tree, err = s.project.Collect(project.Selection{
		Root: r.suite.Root, Include: r.suite.Include, Travel: s.dependencies.Travel, Tests: r.suite.testArguments(),
		Outputs: r.suite.OutputFolder,
	}, r.tracker.open)
	return s, err
}

// prepare finds the engine and makes the images.
func (r *run) prepare(ctx context.Context) (err error) {
	if err := r.phase("engine", func() (string, error) { return r.connect(ctx) }); err != nil {
		return err
	}
	network, err := image.HostNetwork()
	if err != nil {
		return err
	}
	err = r.phase("image", func() (_ string, err error) {
		r.tools, err = r.ensureTools(ctx, network)
		return fmt.Sprintf("Python %s on %s (%s)", r.tools.Python, r.tools.Base, shortID(r.tools.BaseID)), err
	})
	if err != nil {
		return err
	}
	err = r.phase("build", func() (_ string, err error) {
		recipe := r.suite.recipe(r.sources.dependencies)
		r.extension, err = extension.Ensure(ctx, r.engine, r.tools, network, r.sources.tree, recipe, r.emit)
		return r.describeBuild(), err
	})
	if err != nil {
		return err
	}
	switch removed, err := extension.Trim(ctx, r.engine); {
	case err != nil: // which is no fault of this run
		r.topic("build", "the size of all builds was not checked: %v", err)
	case removed != "":
		r.topic("build", "%s", removed)
	}
	for _, note := range r.extension.Notes {
		r.topic("build", "%s", r.sources.tree.HostText(note))
	}
	from := cmp.Or(r.sources.dependencies.From, "default: the project does not say what its tests need")
	r.topic("tests", "%d packages to test with, by %s", len(r.extension.Resolved), from)
	r.evidence.Keep("", "installed.txt", strings.NewReader(strings.Join(r.extension.Resolved, "\n")+"\n"))
	r.bytecode, err = bytecode.Open(extension.CrateID(r.sources.tree, r.tools), r.sources.tree)
	return err
}

// connect finds the engine and removes what runs that are gone have left in it.
func (r *run) connect(ctx context.Context) (_ string, err error) {
	if r.engine, err = engine.Connect(ctx); err != nil {
		return "", err
	}
	if _, err := r.engine.Sweep(ctx); err != nil {
		return "", err
	}
	return "Docker " + r.engine.Version + " at " + r.engine.Host, nil
}

// imageTimeout bounds getting the base and making the tools image, which takes one to five minutes.
const imageTimeout = 30 * time.Minute

func (r *run) ensureTools(ctx context.Context, network image.Network) (image.Image, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, imageTimeout,
		fmt.Errorf("no base and tools image within %v", imageTimeout))
	defer cancel()
	tools, err := image.Ensure(ctx, r.engine, network, agent.Programs(), r.suite.python(), r.emit)
	if err == nil {
		tools, err = tools.WithPackages(ctx, r.engine, network, r.suite.SystemPackages, r.emit)
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return tools, err
}

func (r *run) describeBuild() string {
	var names []string
	for _, module := range r.extension.Modules {
		names = append(names, module.Name)
	}
	if len(names) > 3 {
		names = append(names[:3], fmt.Sprintf("and %d more", len(names)-3))
	}
	text := "built " + strings.Join(names, ", ")
	if r.extension.Reused {
		text = "unchanged: " + strings.Join(names, ", ")
	}
	if r.extension.NoLock {
		text += "; the crate has no Cargo.lock: that of its first build is kept in the engine"
	}
	return text
}

func shortID(id string) string {
	if len(id) > 19 {
		return id[:19]
	}
	return id
}

// explain adds to an error what its reader needs: what to do if the engine is the cause, and the compiler's own output.
func (r *run) explain(ctx context.Context, err error) string {
	text := err.Error()
	var failed *extension.Error
	if errors.As(err, &failed) {
		text = fmt.Sprintf("%s failed for %s: %s\n\n%s%s", failed.Phase, r.suite.Crate, failed.Text, failed.Log,
			failed.Advice())
	}
	if unusable := (*cache.Error)(nil); r.engine != nil && !errors.As(err, &unusable) {
		if fix := r.engine.Advice(ctx, text); fix != "" {
			text = fix + "\n" + text
		}
	}
	return text
}

// groups runs each group in its own container: at most -parallel of them at a time, counting those of this user's other
// test processes too. They are not parallel tests, because Run would then return before they had begun.
func (r *run) groups(ctx context.Context) {
	matcher, err := subtest.NewMatcher(r.Flags.Run, r.Flags.Skip)
	if err != nil {
		r.emit(report.Problem{Cause: report.CauseProject, Text: err.Error()})
		return
	}
	if r.Flags.Shuffle != 0 {
		r.note("shuffled: -shuffle=%d", r.Flags.Shuffle)
	}
	slots := make(chan struct{}, r.Flags.Parallel)
	var all sync.WaitGroup
	groups := r.suite.groups(r.sources.project)
	for _, g := range groups {
		r.configs[g.Name] = r.config(g)
	}
	for _, g := range groups {
		if matcher.Match(r.Name + "/" + g.Name) {
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				r.group(ctx, g, matcher)
			})
		}
	}
	all.Wait()
}

// group runs one group, unless go test excludes it.
func (r *run) group(ctx context.Context, g Group, matcher *subtest.Matcher) {
	config := r.configs[g.Name]
	config.Matcher, config.Bundle = matcher, r.bundler.Place
	if err := r.stream.Emit(report.GroupStarted{Group: g.Name}); err != nil {
		if report.Excluded(err) && r.Flags.FailFast {
			_ = r.stream.Emit(report.GroupEnded{Group: g.Name})
			return
		}
		r.emit(report.Problem{Group: g.Name, Text: fmt.Sprintf("group %s: %v", g.Name, err)})
	}
	if !r.debug { // a person takes longer than others can wait
		release, err := r.slot(ctx, g.Name)
		if err != nil {
			r.emit(report.Problem{Group: g.Name, Cause: report.CauseSetup, Text: err.Error()})
			r.emit(report.GroupEnded{Group: g.Name})
			return
		}
		defer release()
		config.Tested = release
	}
	group.Run(ctx, config)
}

// slot waits for one of this user's slots, and says so: after a moment, and when stacks are asked for.
func (r *run) slot(ctx context.Context, name string) (release func(), err error) {
	said, answered := "", group.Asked()
	what := fmt.Sprintf("%s/%s in %s", r.Name, name, crateFolder(r.suite.Crate))
	return cache.Slot(ctx, r.Flags.Parallel, what, func(sentence string) {
		if asked := group.Asked(); said == "" || asked != answered {
			said, answered = sentence, asked
			r.emit(report.Waiting{Group: name, Text: sentence})
		}
	})
}

func (r *run) config(g Group) group.Config {
	s := r.suite
	if r.debug { // a breakpoint may be anywhere
		for _, budget := range []*time.Duration{&s.StartTimeout, &s.CollectTimeout, &s.TestTimeout, &s.FinishTimeout,
			&s.ExitTimeout} {
			*budget = 24 * time.Hour
		}
	}
	env := maps.Clone(s.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, g.Env)
	var pressure *protocol.Pressure
	if s.Pressure {
		pressure = repro.All(rand.Uint32() >> 1)
		s.TestTimeout *= 2 // slower is not hung
	}
	return group.Config{
		Engine: r.engine, Extension: r.extension, Tree: r.sources.tree, Bytecode: r.bytecode, Evidence: r.evidence,
		Stream: r.stream, Flags: r.Flags,
		Name: g.Name, TestName: r.Name + "/" + g.Name, Tests: g.Tests,
		PytestArgs: slices.Concat(s.PytestArgs, g.PytestArgs), Env: env,
		Isolation: string(s.Isolation), Workers: s.Workers,
		Budgets: group.Budgets{Start: s.StartTimeout, Collect: s.CollectTimeout, Test: s.TestTimeout,
			Finish: s.FinishTimeout, Exit: s.ExitTimeout},
		Memory: s.Memory, CPUs: s.CPUs, Processes: s.Processes, Network: s.Network, Grace: r.grace,
		Outputs: slices.Concat(coverageReports, s.Outputs), OutputsTo: s.OutputFolder, OutputsBelow: s.outputsBelow(g),
		Provider: r.sources.project.Provider,
		Debug:    r.debug, NoDeadlockProof: s.NoDeadlockProof, FailLeaky: s.FailLeaky, Pressure: pressure,
	}
}

// finish checks whether the run may be cached, and whether --failed found its tests.
func (r *run) finish() {
	if n := len(r.Flags.Only); n > 0 && r.stream.Result().Tests == 0 && !r.stream.Red("") {
		r.emit(report.Problem{Cause: report.CauseCollection, Text: fmt.Sprintf(
			"none of the %d tests that did not pass in their last run exists any more: run without --failed", n)})
	}
	now, err := r.readSources()
	if err != nil || !now.tree.Equal(r.sources.tree) || !reflect.DeepEqual(now.dependencies, r.sources.dependencies) {
		r.tracker.uncacheable()
		r.note("the sources changed while the tests ran: these results are for what they were at the " +
			"start, and are not cached")
	}
	if err := r.bytecode.Save(); err != nil { // the next run compiles again
		r.note("%v", err)
	}
}
