package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
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
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
	"pyo3test/harness/internal/visible"
)

// T is what a run needs from a test: a *testing.T through Run, a command line program or a recorder through RunT.
// Its methods do what testing.T's do.
type T = subtest.T

// Run builds the Suite's crate, runs its tests and makes each a subtest of t. It returns when everything is done and
// nothing is left running.
func Run(t *testing.T, suite Suite) {
	t.Helper()
	RunT(testingT{t, subtest.ReadFlags().JSON}, suite)
}

type testingT struct {
	*testing.T
	json bool
}

func (t testingT) Run(name string, f func(T)) bool {
	t.Helper()
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
// characters included, and must print nothing that a terminal or a CI system obeys.
func RunT(t T, suite Suite) {
	t.Helper()
	ctx, grace, cancel := deadline(t)
	defer cancel()
	ctx, release := interruptible(ctx)
	defer release()
	flags := subtest.FlagsOf(t)
	failed := t.Failed() // before the run
	run := &run{suite: suite, grace: grace, flags: flags, debug: os.Getenv(debugVariable) != "", out: newProgress(t), evidence: evidence.New(t, flags)}
	defer run.out.stop()
	run.evidence.Begin()
	if err := run.configure(); err != nil {
		run.refuse(t, subtest.CauseProject, fmt.Sprintf("harness.Suite: %v", err))
	}
	if err := run.prepare(ctx); err != nil {
		run.refuse(t, causeOf(ctx, err), run.explain(ctx, err))
	}
	defer run.engine.Close()
	if run.debug {
		run.tracker.uncacheable()
		if end, ok := t.Deadline(); ok {
			fmt.Fprintf(t.Output(), "%s: go test ends this in %v: add -timeout 0\n", debugVariable, time.Until(end).Round(time.Second))
		}
	}
	run.groups(ctx, t)
	run.finish(t, failed)
}

// refuse ends a run that did not get as far as its tests.
func (r *run) refuse(t T, cause, text string) {
	t.Helper()
	t.Attr(subtest.Cause, cause)
	fmt.Fprintln(t.Output(), text)
	r.evidence.Fault("("+cause+")", text)
	if words := r.evidence.Finish(true); words != "" {
		fmt.Fprintln(t.Output(), words)
	}
	t.FailNow()
}

// causeOf returns what kept a run from its tests.
func causeOf(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return subtest.CauseInterrupted
	}
	if failed := (*extension.Error)(nil); errors.As(err, &failed) && !failed.Unreached() {
		return subtest.CauseBuild
	}
	return subtest.CauseSetup
}

// deadline returns a context that ends before Go's own -timeout, whose panic would skip all cleanup. It reserves two
// graces of 5 % each: one to report what was running, one to remove everything.
func deadline(t T) (ctx context.Context, grace time.Duration, cancel context.CancelFunc) {
	end, ok := t.Deadline()
	if !ok {
		ctx, cancel = context.WithCancel(context.Background())
		return ctx, time.Minute, cancel
	}
	grace = max(time.Until(end)/20, time.Second)
	cause := fmt.Errorf("the deadline of go test (-timeout) is near")
	ctx, cancel = context.WithDeadlineCause(context.Background(), end.Add(-2*grace), cause)
	return ctx, grace, cancel
}

func fatal(t T, format string, args ...any) {
	t.Helper()
	fmt.Fprintf(t.Output(), format+"\n", args...)
	t.FailNow()
}

// debugVariable, set to anything, makes the one test that -run picks run in the foreground, for a debugger.
const debugVariable = "PYO3TEST_DEBUG"

// run is one call of Run in progress.
type run struct {
	suite     Suite
	grace     time.Duration
	flags     subtest.Flags
	debug     bool
	out       *progress
	engine    *engine.Engine
	tools     image.Image
	sources   sources
	extension extension.Extension
	bytecode  *bytecode.Store
	tracker   *tracker
	evidence  *evidence.Run
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
		r.out.line("config", fmt.Sprintf("[tool.pyo3test] has an unknown key %q", key))
	}
	if r.suite, err = r.suite.complete(); err != nil {
		return err
	}
	if r.sources, err = r.readSources(); err != nil {
		return err
	}
	for _, note := range r.sources.tree.Notes {
		r.out.line("tree", note)
	}
	return nil
}

// readSources reads what the user's folders hold now.
func (r *run) readSources() (s sources, err error) {
	if s.project, err = project.Read(r.suite.Crate); err != nil {
		return s, err
	}
	wanted := project.Wanted{Requirements: r.suite.Requirements, Extras: r.suite.Extras, Groups: r.suite.DependencyGroups}
	if s.dependencies, err = s.project.Dependencies(wanted, r.tracker.open); err != nil {
		return s, err
	}
	s.tree, err = s.project.Collect(project.Selection{
		Root: r.suite.Root, Include: r.suite.Include, Travel: s.dependencies.Travel, Tests: r.suite.testArguments(),
	}, r.tracker.open)
	return s, err
}

// prepare finds the engine and makes the images.
func (r *run) prepare(ctx context.Context) (err error) {
	r.out.enter("engine")
	if r.engine, err = engine.Connect(ctx); err != nil {
		return err
	}
	if _, err := r.engine.Sweep(ctx); err != nil {
		return err
	}
	r.out.done("engine", "Docker "+r.engine.Version+" at "+r.engine.Host)
	network, err := image.HostNetwork()
	if err != nil {
		return err
	}
	r.out.enter("image")
	if r.tools, err = r.ensureTools(ctx, network); err != nil {
		return err
	}
	r.out.done("image", fmt.Sprintf("Python %s on %s (%s)", r.tools.Python, r.tools.Base, shortID(r.tools.BaseID)))
	r.out.enter("build")
	recipe := r.suite.recipe(r.sources.dependencies)
	if r.extension, err = extension.Ensure(ctx, r.engine, r.tools, network, r.sources.tree, recipe, r.out.line); err != nil {
		return err
	}
	r.out.done("build", r.describeBuild())
	for _, note := range r.extension.Notes {
		r.out.line("build", r.sources.tree.HostText(note))
	}
	from := cmp.Or(r.sources.dependencies.From, "default: the project does not say what its tests need")
	r.out.line("tests", fmt.Sprintf("%d packages to test with, by %s", len(r.extension.Resolved), from))
	r.evidence.Keep("", "installed.txt", strings.NewReader(strings.Join(r.extension.Resolved, "\n")+"\n"))
	r.bytecode, err = bytecode.Open(extension.CrateID(r.sources.tree, r.tools), r.sources.tree)
	return err
}

// imageTimeout bounds getting the base and making the tools image, which takes one to five minutes.
const imageTimeout = 30 * time.Minute

func (r *run) ensureTools(ctx context.Context, network image.Network) (image.Image, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, imageTimeout, fmt.Errorf("no base and tools image within %v", imageTimeout))
	defer cancel()
	tools, err := image.Ensure(ctx, r.engine, network, agent.Programs(), r.suite.Python, r.out.line)
	if err == nil {
		tools, err = tools.WithPackages(ctx, r.engine, network, r.suite.SystemPackages, r.out.line)
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
		text = fmt.Sprintf("%s failed for %s: %s\n\n%s%s", failed.Phase, r.suite.Crate, failed.Text, failed.Log, failed.Advice())
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
func (r *run) groups(ctx context.Context, t T) {
	if r.flags.Shuffle != 0 {
		fmt.Fprintf(t.Output(), "shuffled: -shuffle=%d\n", r.flags.Shuffle)
	}
	slots := make(chan struct{}, r.flags.Parallel)
	var all sync.WaitGroup
	for _, g := range r.suite.groups(r.sources.project) {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t.Run(g.Name, func(t T) {
				release, err := cache.Slot(ctx, r.flags.Parallel)
				if err != nil {
					t.Attr(subtest.Cause, subtest.CauseSetup)
					r.evidence.Add(verdict.Suite{Name: t.Name(), Faults: []verdict.Fault{{Name: "(session)", Text: err.Error()}}})
					fatal(t, "%v", err)
				}
				defer release()
				group.Run(ctx, t, r.config(g))
			})
		})
	}
	all.Wait()
}

func (r *run) config(g Group) group.Config {
	s := r.suite
	if r.debug { // a breakpoint may be anywhere
		for _, budget := range []*time.Duration{&s.StartTimeout, &s.CollectTimeout, &s.TestTimeout, &s.FinishTimeout, &s.ExitTimeout} {
			*budget = 24 * time.Hour
		}
	}
	env := maps.Clone(s.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, g.Env)
	return group.Config{
		Engine: r.engine, Extension: r.extension, Tree: r.sources.tree, Bytecode: r.bytecode, Evidence: r.evidence, Flags: r.flags,
		Name: g.Name, Tests: g.Tests, PytestArgs: slices.Concat(s.PytestArgs, g.PytestArgs), Env: env,
		Isolation: string(s.Isolation), Workers: s.Workers,
		Budgets: group.Budgets{Start: s.StartTimeout, Collect: s.CollectTimeout, Test: s.TestTimeout, Finish: s.FinishTimeout, Exit: s.ExitTimeout},
		Memory:  s.Memory, CPUs: s.CPUs, Processes: s.Processes, Network: s.Network, Grace: r.grace,
		Debug: r.debug, NoDeadlockProof: s.NoDeadlockProof, FailLeaky: s.FailLeaky,
	}
}

// finish writes what is kept of the run and checks whether it may be cached. failed reports whether the test had failed
// before the run.
func (r *run) finish(t T, failed bool) {
	if n := len(r.flags.Only); n > 0 && !t.Failed() && r.evidence.Empty() {
		t.Attr(subtest.Cause, subtest.CauseCollection)
		text := fmt.Sprintf("none of the %d tests that did not pass when they ran last is there any more: run without --failed", n)
		r.evidence.Fault("("+subtest.CauseCollection+")", text)
		fmt.Fprintln(t.Output(), text)
		t.Fail()
	}
	now, err := r.readSources()
	if err != nil || !now.tree.Equal(r.sources.tree) || !reflect.DeepEqual(now.dependencies, r.sources.dependencies) {
		r.tracker.uncacheable()
		fmt.Fprintln(t.Output(), "the sources changed while the tests ran: these results are for what they were at the start, and are not cached")
	}
	if err := r.bytecode.Save(); err != nil { // the next run compiles again
		fmt.Fprintln(t.Output(), err)
	}
	if t.Failed() && !failed {
		r.evidence.MustBeRed()
	}
	if words := r.evidence.Finish(t.Failed()); words != "" {
		fmt.Fprintln(t.Output(), words)
	}
}
