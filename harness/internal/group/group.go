// Package group runs the tests of one container: it starts pytest there, lets it collect, chooses what runs, watches it to
// its end, and gives every test a verdict, live.
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
	"strconv"
	"strings"
	"time"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/bytecode"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/evidence"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// Config says what to run, where and within which limits.
type Config struct {
	Engine    *engine.Engine
	Extension extension.Extension
	Tree      project.Tree
	Bytecode  *bytecode.Store
	Evidence  *evidence.Run
	Flags     subtest.Flags

	Name       string
	Tests      []string // what pytest is asked to look at; none leaves it to the project's configuration
	PytestArgs []string
	Env        map[string]string // the user's
	Isolation  string            // the agent's word: "forked", "subprocess" or "inprocess"
	Workers    int
	Budgets    Budgets
	Memory     int64 // bytes
	CPUs       float64
	Processes  int64
	Network    bool
	Grace      time.Duration // how long a group that is ended early may take to look where it stands

	Debug           bool // one test, in the foreground, without a limit
	NoDeadlockProof bool // a deadlock sits out its test's budget
	FailLeaky       bool // a test that leaves processes running is red
}

// Budgets are how long each phase may take.
type Budgets struct {
	Start   time.Duration // the agent's start and the import of the extension
	Collect time.Duration
	Test    time.Duration // each, unless the project's own pytest-timeout settings say otherwise
	Finish  time.Duration // from the last test to the end of the session
	Exit    time.Duration // from there to the end of the interpreter
}

// session is the agent at work; tests have one without a container.
type session interface {
	Events() <-chan agent.Event
	Err() error
	Run(order []int) error
	Dump(pid int, id string) error
	Pace(pid int) error
	Kill(pid int, reason, message string) error
	Stop() error
	Close()
}

// group is one container's tests under way. All of it belongs to the goroutine of Run.
type group struct {
	Config
	attempt // the one under way
	t       subtest.T
	matcher *subtest.Matcher

	container *engine.Container

	phase    phase
	entered  time.Time             // when it began
	took     [phases]time.Duration // how long those before it took, restarts included
	phaseEnd time.Time             // when the phase's budget is over; zero is never
	pytest   int                   // pytest's pid once it runs, the importing process's before
	asked    int64                 // how many requests for stacks were answered

	selected    []*test                // in the order of running
	unfinished  int                    // how many of them have no end yet
	last        *test                  // the one that ended last
	before      []*test                // what the first attempt has collected
	hungFiles   []verdict.CollectError // at whose import pytest hung
	collectTook time.Duration          // from pytest's start to the end of the collection
	rootDir     string                 // pytest's, in the container
	isolation   string                 // what pytest made of Isolation and its own options
	standstills int                    // how often pytest's own process was killed among the tests
	lastEnd     time.Time              // when all is given up, whatever was said meanwhile; zero before there is an agent

	exitFault string   // what is wrong with the interpreter's end after a session that was in order, "" if nothing is
	fate      string   // how the container ended before it was to, "" if it did not
	problems  []string // what is no single test's fault; each makes the group red
	said      []string // those that were printed
	redSeen   bool     // a test failed
	warnings  int
	kept      int // bytes of the texts of tests that have ended
}

// attempt is one process of pytest, from its agent to its end: each is made anew, and what the next one needs is the group's.
type attempt struct {
	round   int // how many came before it
	session session

	tests         []*test // by collection index
	running       map[int]*test
	paces         map[int]*hang.Pace // what a process had done shortly before its budget was over, nil until it is reported
	imported      int                // how many of the built modules could be imported
	collecting    string             // the file that is being imported
	collectErrors []verdict.CollectError
	collectSkips  []verdict.CollectSkip
	collectBegan  time.Time // when pytest started
	chosen        bool      // the collection is complete and the choice made

	exitStatus *int         // pytest's own word at the end of its session
	exited     *agent.Event // the end of its process
	left       bool         // the interpreter ran to its own end
	junit      []byte       // pytest's own file
	cpu        float64      // seconds that the process under way had used at the last beat
	working    bool         // it used some between the last two beats

	again    bool           // pytest is to be started anew
	stopping string         // why the harness ended pytest, "" if it did not
	standing bool           // pytest is killed now because its own process stands still among the tests
	lastSeen string         // where pytest stood as it was ended
	stopAt   time.Time      // when a group that winds down is ended, whether its stacks are there or not
	grace    time.Time      // when a pytest that was told to end is given up
	quiet    quiet          // how long the agent says nothing
	dump     *dumpRequest   // the one under way
	waiting  []*dumpRequest // those that come after it
}

func newAttempt(round int) attempt {
	return attempt{round: round, running: map[int]*test{}, paces: map[int]*hang.Pace{}}
}

// test is one collected test.
type test struct {
	verdict.Test
	name     string // of the subtest, below the group's
	selected bool
	budget   time.Duration
	pid      int
	started  time.Time
	slow     bool      // half of its budget is over, and that was said
	expired  bool      // its budget is over, or a deadlock proved, and its end under way
	killed   time.Time // when the agent was told to kill it
	gone     bool      // its process has ended, and pytest has not told its end yet
	// reporting is since when pytest's own process has been reporting it, zero where it does not; own is how long it did before.
	reporting time.Time
	own       time.Duration
	still     bool      // pytest's own process stood still as it was to report it
	deadlock  *deadlock // the proof that it can never end
	fixtures  string    // all that it has asked for
	cause     hang.Key  // why it hung, "" where it did not
	after     *test     // the one that had ended last when this one began
	// parentThreads is how many threads pytest had when it forked the test's process.
	parentThreads int
	open          *subtest.Open
	closed        bool
	round         int // that it was to run in last
}

// Run runs a group as the test t, and returns when its container is gone.
func Run(ctx context.Context, t subtest.T, config Config) {
	g := &group{Config: config, t: t, attempt: newAttempt(0)}
	var err error
	if g.matcher, err = subtest.NewMatcher(config.Flags.Run, config.Flags.Skip); err == nil {
		err = g.start(ctx)
	}
	defer func() {
		err := g.container.Remove(context.WithoutCancel(ctx))
		if err != nil && !(engine.Gone(err) && t.Failed()) { // whose end was said already
			g.problem("%v", err)
			g.advise(context.WithoutCancel(ctx))
			g.sayProblems()
		}
		g.keepLedger()
	}()
	if config.Debug && err == nil {
		g.debug(ctx)
		return
	}
	for again := true; err == nil && again; {
		err = g.watch(ctx)
		if again = err == nil && g.again; again {
			err = g.restart(ctx)
		}
	}
	if err != nil {
		g.problem("%v", err)
	} else if ctx.Err() == nil && !config.Flags.FailFast {
		g.prove(ctx)
	}
	end := context.WithoutCancel(ctx)
	g.advise(end)
	g.conclude(end)
	g.show(ctx)
}

// What tells a group's container from others, and what its labels say of it.
const (
	Purpose   = "group"
	LabelName = "name" // the group's subtest
	LabelRoot = "root" // the folder of the host that its sources are from
)

// engineMargin is what a busy engine may take for a container and the sources, beside the start of what runs in it.
const engineMargin = time.Minute

// start makes the container, brings the sources, and starts the agent, which starts pytest.
func (g *group) start(ctx context.Context) (err error) {
	g.enterPhase(starting)
	life := lifetime(ctx)
	limit := g.Budgets.Start + engineMargin
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the engine has not started a container within %v: raise StartTimeout", limit))
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}()
	g.container, err = g.Engine.Start(ctx, engine.Spec{
		Image: g.Extension.Image, Purpose: Purpose, Labels: map[string]string{LabelName: g.t.Name(), LabelRoot: g.Tree.Root}, User: layout.User, Network: g.Network, Confined: true,
		Memory: g.Memory, CPUs: g.CPUs, PIDs: g.Processes, Lifetime: life,
	})
	if err != nil {
		return err
	}
	// The agent's own start and the upload take their time together.
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
	return g.begin(opened, compiled)
}

// begin lets an agent start pytest.
func (g *group) begin(session *agent.Session, compiled []string) error {
	g.session = session
	g.lastEnd = time.Now().Add(g.Budgets.Start + g.Budgets.Collect + lastMargin)
	return session.Start(g.startCommand(compiled))
}

func (g *group) startCommand(compiled []string) agent.Start {
	args := append([]string{}, g.PytestArgs...) // never null
	for _, hung := range g.hungFiles {
		args = append(args, "--ignore="+hung.Path)
	}
	return agent.Start{
		Python: layout.Venv + "/bin/python", Dir: g.dir(), Env: g.environment(),
		Args: append(args, g.Tests...), Isolation: g.Isolation, Workers: g.Workers, Unproved: g.NoDeadlockProof,
		Out: layout.Out, Imports: g.modules(), Restore: layout.BuiltTree, Into: layout.Sources, Compiled: compiled,
	}
}

// dir is where pytest is started.
func (g *group) dir() string { return path.Join(layout.Sources, g.Tree.Crate) }

// maxRounds bounds how often pytest is started in one group.
const maxRounds = 10

// canGoOn tells whether a new pytest could run what one that is killed, or has died, leaves.
func (g *group) canGoOn() bool {
	return g.chosen && g.round+1 < maxRounds && !g.Flags.FailFast && slices.ContainsFunc(g.selected, func(t *test) bool {
		return !t.closed && (g.running[t.Index] != t || g.isBystander(t))
	})
}

// restart starts pytest once more in the same container: without the files at whose import it hung, and for the tests that
// have no verdict yet.
func (g *group) restart(ctx context.Context) error {
	g.spareBystanders()
	g.closeRunning()
	if g.chosen && g.before == nil {
		g.before = g.tests
	}
	g.attempt = newAttempt(g.round + 1)
	g.enterPhase(starting)
	opened, err := agent.Open(context.WithoutCancel(ctx), g.container)
	if err != nil {
		return err
	}
	return g.begin(opened, nil)
}

// compileSettings is all beside a file's content that can change what pytest compiles it to, or what it says as it does.
func (g *group) compileSettings() string {
	settings := sha256.New()
	_ = json.NewEncoder(settings).Encode([]any{project.Modified, g.PytestArgs, g.Env, g.Tree.Configuration()})
	return hex.EncodeToString(settings.Sum(nil))
}

// lifetime is the fuse for a stream that dies without a word: the run's own deadline, or the engine's default.
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

// variables are the environment as programs take it.
func (g *group) variables() (env []string) {
	for key, value := range g.environment() {
		env = append(env, key+"="+value)
	}
	return env
}

func (g *group) modules() []agent.Module {
	modules := []agent.Module{}
	for _, module := range g.Extension.Modules {
		modules = append(modules, agent.Module{Name: module.Name, File: module.Path, SHA256: module.SHA256})
	}
	return modules
}

// collected chooses what runs: which of the collected tests the user selected, and in which order.
func (g *group) collected() error {
	g.chosen = true
	if g.before != nil {
		return g.collectedAgain()
	}
	ids := make([]string, len(g.tests))
	for i, test := range g.tests {
		ids[i] = test.NodeID
	}
	table := subtest.NewTable(ids)
	for i, test := range g.tests {
		test.name = table.Name(i)
		if g.matcher.Match(g.t.Name()+"/"+test.name) && g.Flags.Wants(test.NodeID) {
			test.selected = true
			g.selected = append(g.selected, test)
		}
	}
	if g.Flags.Shuffle != 0 {
		random := rand.New(rand.NewPCG(g.Flags.Shuffle, 0))
		random.Shuffle(len(g.selected), func(i, j int) { g.selected[i], g.selected[j] = g.selected[j], g.selected[i] })
	}
	files := map[string]bool{}
	for _, test := range g.selected {
		files[test.Path] = true
	}
	g.t.Attr(subtest.Files, strconv.Itoa(len(files)))
	g.t.Attr(subtest.Tests, strconv.Itoa(len(g.selected)))
	if g.Debug {
		g.stop("to debug")
		return nil
	}
	return g.runSelected()
}

// collectedAgain maps a new collection to the one before: by node id, and those of one id by their order.
func (g *group) collectedAgain() error {
	known := map[string][]*test{}
	for _, test := range g.before {
		test.Index = -1
		known[test.NodeID] = append(known[test.NodeID], test)
	}
	for i, test := range g.tests {
		if same := known[test.NodeID]; len(same) > 0 {
			same[0].Index, g.tests[i], known[test.NodeID] = i, same[0], same[1:]
		}
	}
	return g.runSelected()
}

// runSelected lets pytest run what is selected, is there, and has no verdict yet.
func (g *group) runSelected() error {
	order := []int{}
	for _, test := range g.selected {
		if !test.closed && test.Index >= 0 {
			test.round = g.round
			order = append(order, test.Index)
		}
	}
	g.unfinished = len(order)
	g.lastEnd = time.Now().Add(g.longest())
	g.enterPhase(inTests)
	if g.unfinished == 0 {
		g.enterPhase(finishing)
	}
	return g.session.Run(order)
}

// problem notes what makes the group red and is no single test's fault.
func (g *group) problem(format string, args ...any) {
	g.problems = append(g.problems, g.Tree.HostText(fmt.Sprintf(format, args...)))
}

// advise puts what to do before the problems where the engine is the reason of one.
func (g *group) advise(ctx context.Context) {
	if len(g.problems) == 0 {
		return
	}
	if fix := g.Engine.Advice(ctx, strings.Join(g.problems, "\n")); fix != "" {
		g.problems = slices.Insert(g.problems, 0, fix)
	}
}

// sayProblems makes the group red for its problems.
func (g *group) sayProblems() {
	for _, problem := range g.problems {
		fmt.Fprintln(g.t.Output(), problem)
		g.t.Fail()
	}
	g.said, g.problems = append(g.said, g.problems...), nil
}
