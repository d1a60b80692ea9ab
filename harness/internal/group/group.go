// Package group runs the tests of one container. It starts pytest there, lets it collect, chooses which tests run,
// watches pytest until it ends, and gives every test a verdict, live.
package group

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/bytecode"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/evidence"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// Config holds what to run, where, and within which limits.
type Config struct {
	Engine    *engine.Engine
	Extension extension.Extension
	Tree      project.Tree
	Bytecode  *bytecode.Store
	Evidence  *evidence.Run
	Stream    *report.Stream
	Flags     subtest.Flags
	Matcher   *subtest.Matcher

	Name         string
	TestName     string   // the full name of the group's test
	Tests        []string // what pytest collects; if empty, the project's configuration decides
	PytestArgs   []string
	Env          map[string]string // the user's
	Isolation    string            // the agent's term: "forked", "subprocess" or "inprocess"
	Workers      int
	Budgets      Budgets
	Memory       int64 // bytes
	CPUs         float64
	Processes    int64
	Network      bool
	Outputs      []string      // patterns of files that leave the container, relative to the crate
	OutputsTo    string        // the host's folder for them, "" for the evidence alone
	OutputsBelow string        // the folder in there for this group, "" if it is the only one
	Grace        time.Duration // how long a group that is ended early may take to dump stacks

	Debug           bool // one test, in the foreground, without a limit
	NoDeadlockProof bool // a deadlocked test uses up its budget
	// Hung, unless it is nil, is called with a test that hangs, before it is killed. Deadlines stand still meanwhile.
	Hung func(Hung)
	// Pressure, unless it is nil, makes a rare failure of one test, or of all, frequent.
	Pressure  *protocol.Pressure
	FailLeaky bool // a test that leaves processes running is red

	// Provider returns "group" or "extra" and the name of the one that requires a package.
	Provider func(pkg string) (kind, name string)
	Tested   func() // called when the tests have ended and a person takes over
	// Bundle, unless it is nil, returns the file for the bundle of what a group reports, "" if it gets none. The name is that of
	// a test, or of a phase.
	Bundle func(group, name string, outcome verdict.Outcome) string
}

// Budgets are how long each phase may take.
type Budgets struct {
	Start   time.Duration // the agent's start and the import of the extension
	Collect time.Duration
	Test    time.Duration // each, unless the project's own pytest-timeout settings say otherwise
	Finish  time.Duration // from the last test to the end of the session
	Exit    time.Duration // from there to the end of the interpreter
}

// session is a running agent; tests use one without a container.
type session interface {
	Events() <-chan protocol.Event
	Err() error
	Send(c protocol.Command) error
	Close()
}

// group is the state of one container's running tests. Only the goroutine of Run uses it.
type group struct {
	Config
	attempt   // the current one
	clock     clock
	container *engine.Container
	asked     int64 // how many requests for stacks were answered

	reasons     []string      // why tests were skipped
	selected    []*test       // in the order in which they run
	before      []*test       // what the first attempt collected
	hungFiles   []hungFile    // files whose import hung pytest
	collectTook time.Duration // from pytest's start to the end of the collection
	standstills int           // how often pytest's own process was killed between tests

	exitFailure report.Failure   // of an interpreter that hung
	exitFault   string           // what is wrong with the interpreter's exit after a session in order, "" if nothing is
	fate        string           // how the container ended too early, "" if it did not
	problems    []report.Problem // that are not reported yet
	redSeen     bool             // a test failed
	delays      protocol.Delays  // of the test under pressure
	visited     time.Duration    // how long a hang was shown to the user since the last tick
	warnings    int              // of the earlier attempts
}

// hungFile is a file whose import hung pytest.
type hungFile struct {
	verdict.CollectError
	failure report.Failure
}

// attempt is the state of one pytest process, from the start of its agent to its end. Each attempt starts from scratch;
// what must outlive it is in group.
type attempt struct {
	round   int // how many attempts came before
	session session
	ledger  ledger
	dumps   dumpQueue

	again    bool   // pytest is to be restarted
	stopping string // why the harness ended pytest, "" if it did not
	standing bool   // pytest is being killed because its own process is stuck between tests
	lastSeen string // pytest's stacks when it was ended
}

// newGroup returns a group before its first attempt.
func newGroup(config Config, now time.Time) *group {
	g := &group{Config: config, clock: clock{budgets: config.Budgets, now: now}}
	g.begin(0)
	return g
}

// begin begins an attempt.
func (g *group) begin(round int) {
	g.attempt = attempt{round: round, ledger: newLedger(g.Budgets.Test, g.FailLeaky), dumps: newDumpQueue()}
	g.clock.deadlines = deadlines{quiet: quiet{heard: g.clock.now}}
	g.clock.enter(starting)
}

// Run runs a group, from the first event after its start to its end, and returns when its container is gone.
func Run(ctx context.Context, config Config) {
	g := newGroup(config, time.Now())
	err := g.start(ctx)
	defer func() {
		err := g.container.Remove(context.WithoutCancel(ctx))
		if err != nil && !(engine.Gone(err) && g.red()) { // its end is already reported
			g.problem("%v", err)
			g.advise(context.WithoutCancel(ctx))
		}
		g.sayProblems()
		g.emit(g.ended())
	}()
	if config.Debug && err == nil {
		g.debug(ctx)
		return
	}
	if err = g.follow(ctx, err); err == nil && ctx.Err() == nil && !config.Flags.FailFast {
		g.prove(ctx)
	}
	end := context.WithoutCancel(ctx)
	g.advise(end)
	g.conclude(end)
	g.show(ctx)
}

// follow watches each pytest that the group needs, unless the first could not be started, and returns the error that ended
// the group early.
func (g *group) follow(ctx context.Context, err error) error {
	for again := true; err == nil && again; {
		err = g.watch(ctx)
		if again = err == nil && g.again; again {
			err = g.restart(ctx)
		}
	}
	if err != nil {
		g.problem("%v", err)
	}
	return err
}

// The purpose and the labels that identify a group's container.
const (
	Purpose   = "group"
	LabelName = "name" // the group's subtest
	LabelRoot = "root" // the host folder that its sources are from
)

// engineMargin is how long a busy engine may take to start a container and upload the sources, on top of Budgets.Start.
const engineMargin = time.Minute

// start creates the container, uploads the sources, and starts the agent, which starts pytest.
func (g *group) start(ctx context.Context) (err error) {
	life := lifetime(ctx)
	limit := g.Budgets.Start + engineMargin
	ctx, cancel := context.WithTimeoutCause(ctx, limit,
		fmt.Errorf("the engine has not started a container within %v: raise %s", limit,
			project.Setting("StartTimeout")))
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}()
	g.container, err = g.Engine.Start(ctx, engine.Spec{
		Image: g.Extension.Image, Purpose: Purpose,
		Labels: map[string]string{LabelName: g.TestName, LabelRoot: g.Tree.Root}, User: layout.User, Network: g.Network,
		Confined: true,
		Memory:   g.Memory, CPUs: g.CPUs, PIDs: g.Processes, Lifetime: life,
	})
	if err != nil {
		return err
	}
	// The agent starts while the sources are uploaded.
	uploaded := make(chan error, 1)
	var compiled []string
	go func() {
		uploaded <- g.container.UploadTar(ctx, "/", func(w *tar.Writer) (err error) {
			if err = g.Tree.Pack(w); err == nil {
				compiled, err = g.Bytecode.Pack(g.compileSettings(), w)
			}
			return err
		})
	}()
	opened, err := agent.Open(context.WithoutCancel(ctx), g.container)
	if err := errors.Join(err, <-uploaded); err != nil {
		return err
	}
	return g.startPytest(opened, compiled)
}

// startPytest makes an agent start pytest.
func (g *group) startPytest(session *agent.Session, compiled []string) error {
	g.session = session
	g.clock.now = time.Now()
	g.clock.lastEnd = g.clock.now.Add(g.Budgets.Start + g.Budgets.Collect + lastMargin)
	return session.Send(g.startCommand(compiled))
}

func (g *group) startCommand(compiled []string) protocol.Start {
	args := append([]string{}, g.PytestArgs...) // never null
	for _, hung := range g.hungFiles {
		args = append(args, "--ignore="+hung.Path)
	}
	return protocol.Start{
		Python: layout.Venv + "/bin/python", Dir: g.dir(), Env: g.environment(),
		Args: append(args, g.Tests...), Isolation: g.Isolation, Workers: g.Workers, Unproved: g.NoDeadlockProof,
		Out: layout.Out, Imports: g.modules(), Restore: layout.BuiltTree, Into: layout.Sources,
		Compiled: append([]string{}, compiled...), Outputs: append([]string{}, g.Outputs...), Pressure: g.Pressure,
	}
}

// dir returns the folder in which pytest starts.
func (g *group) dir() string { return path.Join(layout.Sources, g.Tree.Crate) }

// maxRounds bounds how often pytest is started in one group.
const maxRounds = 10

// canGoOn reports whether a new pytest could run the tests that a killed or dead one left.
func (g *group) canGoOn() bool {
	return g.ledger.collected && g.round+1 < maxRounds && !g.Flags.FailFast &&
		slices.ContainsFunc(g.selected, func(t *test) bool {
			return !t.closed && (g.ledger.running[t.Index] != t || g.isBystander(t))
		})
}

// restart starts pytest again in the same container, without the files whose import hung, to run the tests that have no
// verdict yet.
func (g *group) restart(ctx context.Context) error {
	g.spareBystanders()
	g.closeRunning()
	if g.ledger.collected && g.before == nil {
		g.before = g.ledger.tests
	}
	g.warnings += g.ledger.warnings
	g.begin(g.round + 1)
	return g.startAgain(ctx)
}

// startAgain starts pytest in a container that had one before.
func (g *group) startAgain(ctx context.Context) error {
	opened, err := agent.Open(context.WithoutCancel(ctx), g.container)
	if err != nil {
		return err
	}
	return g.startPytest(opened, nil)
}

// compileSettings returns a hash of everything except a file's content that can change what pytest compiles it to, or
// what it prints while compiling.
func (g *group) compileSettings() string {
	settings := sha256.New()
	_ = json.NewEncoder(settings).Encode([]any{project.Modified, g.PytestArgs, g.Env, g.Tree.Configuration()})
	return hex.EncodeToString(settings.Sum(nil))
}

// lifetime returns how long the container may live, in case the stream breaks unnoticed: a minute beyond the run's
// deadline, or 0 for the engine's default.
func lifetime(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return max(time.Until(end), 0) + time.Minute
	}
	return 0
}

func (g *group) environment() map[string]string {
	env := extension.Environment(nil)
	env["HOME"] = "/home/pyo3test"
	maps.Copy(env, g.Env)
	return env
}

// variables returns the environment as a list of key=value strings.
func (g *group) variables() (env []string) {
	for key, value := range g.environment() {
		env = append(env, key+"="+value)
	}
	return env
}

func (g *group) modules() []protocol.Module {
	modules := []protocol.Module{}
	for _, module := range g.Extension.Modules {
		modules = append(modules, protocol.Module{Name: module.Name, File: module.Path, SHA256: module.SHA256})
	}
	return modules
}

// choose chooses which of the collected tests run, and in which order.
func (g *group) choose() error {
	if g.before != nil {
		return g.collectedAgain()
	}
	ids := make([]string, len(g.ledger.tests))
	for i, test := range g.ledger.tests {
		ids[i] = test.NodeID
	}
	table := subtest.NewTable(ids)
	for i, test := range g.ledger.tests {
		test.name = table.Name(i)
		if g.Matcher.Match(g.TestName+"/"+test.name) && g.Flags.Wants(test.NodeID) {
			test.selected = true
			g.selected = append(g.selected, test)
		}
	}
	if g.Flags.List {
		g.list()
	}
	if g.Flags.Shuffle != 0 {
		random := rand.New(rand.NewPCG(g.Flags.Shuffle, 0))
		random.Shuffle(len(g.selected), func(i, j int) { g.selected[i], g.selected[j] = g.selected[j], g.selected[i] })
	}
	files := map[string]bool{}
	for _, test := range g.selected {
		files[test.Path] = true
	}
	if order := g.Flags.Order; order != nil {
		place := map[string]int{}
		for i, nodeID := range order {
			place[nodeID] = i
		}
		slices.SortStableFunc(g.selected, func(a, b *test) int { return place[a.NodeID] - place[b.NodeID] })
	}
	g.emit(report.Selected{Group: g.Name, Tests: len(g.selected), Files: len(files), Collected: len(g.ledger.tests)})
	if g.Debug {
		g.stop("to debug")
		return nil
	}
	return g.runSelected()
}

// list names the selected tests, and selects none.
func (g *group) list() {
	listed := report.Listed{Group: g.Name}
	for _, test := range g.selected {
		test.selected = false
		listed.Tests = append(listed.Tests, report.ListedTest{Test: g.testOf(test), Place: g.place(test.Path, test.Line)})
	}
	g.selected = nil
	g.emit(listed)
}

// collectedAgain matches a new collection to the first one: by node id, and by order if tests share an id.
func (g *group) collectedAgain() error {
	known := map[string][]*test{}
	for _, test := range g.before {
		test.Index = -1
		known[test.NodeID] = append(known[test.NodeID], test)
	}
	for i, test := range g.ledger.tests {
		if same := known[test.NodeID]; len(same) > 0 {
			same[0].Index, g.ledger.tests[i], known[test.NodeID] = i, same[0], same[1:]
		}
	}
	return g.runSelected()
}

// runSelected makes pytest run the selected tests that exist and have no verdict yet.
func (g *group) runSelected() error {
	order := []int{}
	for _, test := range g.selected {
		if !test.closed && test.Index >= 0 {
			order = append(order, test.Index)
		}
	}
	g.ledger.expect(order)
	g.clock.lastEnd = g.clock.now.Add(g.longest())
	g.enter(inTests)
	if len(order) == 0 {
		g.enter(finishing)
	}
	return g.session.Send(protocol.Run{Order: order})
}

// emit reports an event. What a reporter objects to makes the group red.
func (g *group) emit(e report.Event) {
	if err := g.Stream.Emit(e); err != nil {
		g.problem("%v", err)
	}
}

// note reports what the reader of the group should know.
func (g *group) note(format string, args ...any) {
	g.emit(report.Note{Group: g.Name, Text: g.Tree.HostText(fmt.Sprintf(format, args...))})
}

// red reports whether the group has failed so far.
func (g *group) red() bool {
	return g.redSeen || len(g.problems) > 0 || g.exitFault != "" || g.Stream.Red(g.Name)
}

// problem records what makes the group red and is no single test's fault.
func (g *group) problem(format string, args ...any) { g.problemBecause("", format, args...) }

// problemBecause is problem, with what kept the tests from running.
func (g *group) problemBecause(cause report.Cause, format string, args ...any) {
	g.problems = append(g.problems,
		report.Problem{Group: g.Name, Cause: cause, Text: g.Tree.HostText(fmt.Sprintf(format, args...))})
}

// advise inserts a fix before the problems if the engine caused one of them.
func (g *group) advise(ctx context.Context) {
	if len(g.problems) == 0 {
		return
	}
	var texts []string
	for _, problem := range g.problems {
		texts = append(texts, problem.Text)
	}
	if fix := g.Engine.Advice(ctx, strings.Join(texts, "\n")); fix != "" {
		g.problems = slices.Insert(g.problems, 0, report.Problem{Group: g.Name, Text: fix})
	}
}

// sayProblems reports the problems that are not reported yet.
func (g *group) sayProblems() {
	for _, problem := range g.problems {
		if problem.Hang != "" {
			problem.Bundle = g.bundle(problem.Phase, verdict.Hung)
			problem.Text = withRepro(problem.Text, problem.Failure)
		}
		_ = g.Stream.Emit(problem) // the group is red already
	}
	g.problems = nil
}
