package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/term"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyo3test/harness"
	"pyo3test/harness/internal/evidence"
	"pyo3test/harness/internal/group"
	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/visible"
)

// runFlags holds the flags of run.
type runFlags struct {
	isolation, junit string
	workers          int
	timeout          time.Duration
	json, quiet      bool
	verbose          bool
	leaky, pressure  bool
	failed           bool
	shell, keep      bool
	all              bool
	outputs          string
	each, output     bool // pytest's -v and -s, which are about the screen
	chosen
}

// chosen holds the flags that choose tests and what they need.
type chosen struct {
	keyword, mark        *string // nil if they are not given: an empty one replaces the project's own
	first                bool
	groups, extras, with []string
	pythons              []string
}

func (c *chosen) add(flags *pflag.FlagSet) {
	into := func(to **string) func(string) error {
		return func(value string) error { *to = &value; return nil }
	}
	flags.VarPF(funcValue(into(&c.keyword)), "keyword", "k", "only the tests whose names match this `expression`, as pytest's -k")
	flags.VarPF(funcValue(into(&c.mark)), "mark", "m", "only the tests whose marks match this `expression`, as pytest's -m")
	flags.StringArrayVar(&c.groups, "group", nil, "install this dependency `group` of the project for the tests, not what would be chosen")
	flags.StringArrayVar(&c.extras, "extra", nil, "install this `extra` of the project for the tests, not what would be chosen")
	flags.StringArrayVar(&c.pythons, "python", nil, "run on this `version` of Python; repeat it for several, one after the other")
	flags.StringArrayVar(&c.with, "with", nil, "install this `requirement` beside what is chosen")
}

// needs returns the flags that say what the tests need, each with a space after it: without them a test that is run again
// meets another environment.
func (c *chosen) needs() (text string) {
	for _, each := range []struct {
		flag   string
		values []string
	}{{"--python", c.pythons}, {"--group", c.groups}, {"--extra", c.extras}, {"--with", c.with}} {
		for _, value := range each.values {
			text += each.flag + " " + subtest.ShellQuote(value) + " "
		}
	}
	return text
}

// funcValue is a flag whose value goes to a function.
type funcValue func(string) error

func (f funcValue) Set(value string) error { return f(value) }
func (f funcValue) String() string         { return "" }
func (f funcValue) Type() string           { return "expression" }

// pytestArgs returns pytest's arguments: those that flags stand for, and those after --.
func (c *chosen) pytestArgs(given []string) (args []string) {
	if c.keyword != nil {
		args = append(args, "-k", *c.keyword)
	}
	if c.mark != nil {
		args = append(args, "-m", *c.mark)
	}
	if c.first {
		args = append(args, "-x")
	}
	return append(args, given...)
}

func runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run [flags] [PATH] [-- pytest arguments]",
		Short: "Build a crate and run its tests",
		Long: `Builds the crate and runs its tests. PATH is a crate's folder, or a file, folder or node id of its tests; this folder if it is
left out. What follows -- is pytest's. More options stand in [tool.pyo3test] of the crate's pyproject.toml: test-timeout,
system-packages, requirements, network, and the other fields of harness.Suite; flags go before them.`,
		Example: `  pyo3test run                              the crate in this folder
  pyo3test run tests/test_map.py --workers 2
  pyo3test run -k "map and not slow" -x
  pyo3test run --failed --shell             what did not pass last time, and a shell where it fails again
  gotestsum --raw-command -- pyo3test run --json

In a terminal, t shows the stacks of what runs; so does SIGQUIT (Ctrl-\) anywhere. They stop nothing.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.setJUnit(); err != nil {
				return err
			}
			err := run(c, f, args)
			if code := status(0); err != nil && !errors.As(err, &code) { // no run began
				err = errors.Join(err, evidence.Refused(topName, err))
			}
			return err
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	f.add(flags)
	flags.BoolVarP(&f.first, "exitfirst", "x", false, "end after the first test that does not pass")
	flags.Func("isolation", "what tests share: `forked` (a process each, the default), subprocess (a fresh "+
		"interpreter each) or inprocess (one for all)",
		oneOf(&f.isolation, harness.Forked, harness.Subprocess, harness.InProcess))
	flags.Func("workers", "how many forked tests run at once (`N`); the default is the project's own -n, else 1",
		func(value string) (err error) {
			if f.workers, err = strconv.Atoi(value); err != nil || f.workers < 1 {
				return errors.New("it is a number, 1 or more")
			}
			return nil
		})
	flags.Func("timeout", "the `time` that one test may take, in seconds or such as 1m30s; the default is 1m",
		func(value string) (err error) {
			if seconds, err := strconv.ParseFloat(value, 64); err == nil {
				value = fmt.Sprintf("%fs", seconds)
			}
			if f.timeout, err = time.ParseDuration(value); err != nil || f.timeout <= 0 {
				return errors.New("it is a time above 0: 90, or 1m30s")
			}
			return nil
		})
	flags.BoolVar(&f.all, "all", false, "all crates below PATH, one after the other")
	flags.BoolVar(&f.failed, "failed", false,
		"only the tests that did not pass when they ran last; all after a run that left some without a verdict")
	flags.BoolVar(&f.shell, "shell", false, "a shell in the container of a test that did not pass, before it is gone")
	flags.BoolVar(&f.keep, "keep", false, "keep what the container holds at the end, as an image to look into")
	flags.StringVar(&f.outputs, "coverage", "", "copy reports of coverage, and the other outputs, to this `folder`")
	flags.StringVar(&f.junit, "junit", "", "write a JUnit report to this `file`")
	flags.BoolVar(&f.json, "json", false,
		"events of go test -json on stdout and nothing else, for gotestsum --raw-command")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "what did not pass, and the summary")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "what cargo and the other tools print while they build, too")
	flags.BoolVar(&f.pressure, "pressure", false, "delay threads of all tests where they synchronise: a test that hangs rarely hangs sooner")
	flags.BoolVar(&f.leaky, "fail-leaky", false, "a test that leaves processes running is red")
	return c
}

// oneOf returns a function that sets a flag whose value has to be one of several words.
func oneOf[W ~string](into *string, words ...W) func(string) error {
	return func(value string) error {
		if !slices.Contains(words, W(value)) {
			return fmt.Errorf("it must be one of %q", words)
		}
		*into = value
		return nil
	}
}

// topName is the name of the test that is the whole run.
const topName = "pyo3test"

// setJUnit makes the run write its JUnit file where --junit says.
func (f runFlags) setJUnit() error {
	if f.junit == "" {
		return nil
	}
	name, err := filepath.Abs(f.junit)
	if strings.HasSuffix(f.junit, "/") { // a folder
		name += "/"
	}
	if err == nil {
		err = os.Setenv(evidence.JUnitVariable, name)
	}
	if err != nil {
		return fmt.Errorf("--junit: %w", err)
	}
	return nil
}

// splitArgs splits a command's arguments at --.
func splitArgs(c *cobra.Command, args []string) (own, forPytest []string) {
	if at := c.ArgsLenAtDash(); at >= 0 {
		return args[:at], args[at:]
	}
	return args, nil
}

// forScreen takes pytest's -v and -s as what they mean on this screen, and returns what pytest gets. It gets -v too, for
// the details of assertions, but not -s: what forked tests print at the same time has to be kept apart.
func (f *runFlags) forScreen(args []string) (rest []string) {
	for _, arg := range args {
		switch {
		case arg == "-s" || arg == "--capture=no":
			f.output = true
			continue
		case arg == "--verbose" || strings.HasPrefix(arg, "-v") && strings.Trim(arg[1:], "v") == "":
			f.each = true
		}
		rest = append(rest, arg)
	}
	return rest
}

func run(c *cobra.Command, f runFlags, args []string) error {
	args, forPytest := splitArgs(c, args)
	forPytest = f.pytestArgs(f.forScreen(forPytest))
	path, err := onePath(args)
	if err != nil {
		return err
	}
	if f.all {
		return f.runAll(c, path, forPytest)
	}
	crate, tests, err := find(path)
	if err != nil {
		return err
	}
	if err := noneOfSeveral(crate, tests); err != nil {
		return fmt.Errorf("%w, or run them all with --all", err)
	}
	return f.runOne(c, topName, crate, tests, forPytest)
}

// runAll runs the crates below a folder, one after the other, each with a name and a folder for outputs of its own. It
// returns the status of the first one that is red.
func (f runFlags) runAll(c *cobra.Command, folder string, forPytest []string) (first error) {
	folder, crates, err := cratesToRun(folder)
	if err != nil {
		return err
	}
	var passed, reds []string
	outputs := f.outputs
	for _, crate := range crates {
		below, err := filepath.Rel(folder, crate)
		if err != nil {
			return err
		}
		if outputs != "" {
			f.outputs = filepath.Join(outputs, below)
		}
		name := topName + "-" + strings.ReplaceAll(filepath.ToSlash(below), "/", "-")
		if err := f.runOne(c, name, crate, nil, forPytest); err == nil {
			passed = append(passed, crate)
		} else {
			reds = append(reds, crate)
			first = cmp.Or(first, toStatus(c, crate, err))
		}
		if c.Context().Err() != nil { // interrupted
			break
		}
	}
	text := fmt.Sprintf("%s: %d passed", plural.Count(len(crates), "crate"), len(passed))
	if len(reds) > 0 {
		text += ", these did not: " + strings.Join(reds, ", ")
	}
	if left := len(crates) - len(passed) - len(reds); left > 0 {
		text += fmt.Sprintf(", %d not run", left)
	}
	fmt.Fprintln(c.ErrOrStderr(), text)
	return first
}

// toStatus returns an error as the status of one of several runs. It prints an error that is not a status yet, which no
// run has shown.
func toStatus(c *cobra.Command, what string, err error) error {
	if code := status(0); err == nil || errors.As(err, &code) {
		return err
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s: %v\n", what, err)
	return status(exitUsage)
}

// runOne runs a crate's tests on each version of Python that is named, and returns the status of the first that is red.
func (f runFlags) runOne(c *cobra.Command, name, crate string, tests, forPytest []string) (first error) {
	suite := f.suite(crate, tests, forPytest)
	suite.Isolation, suite.Workers, suite.TestTimeout = harness.Isolation(f.isolation), f.workers, f.timeout
	suite.FailLeaky, suite.Pressure, suite.OutputFolder = f.leaky, f.pressure, f.outputs
	suites := suite.EachPython()
	for _, each := range suites {
		itsName, known := name, crate
		if len(each.Python) == 1 {
			known += " on Python " + each.Python[0]
		}
		if len(suites) > 1 {
			itsName += "-" + each.Python[0]
			f.pythons = each.Python // to run a test again
		}
		err := f.runSuite(c, itsName, known, each)
		if len(suites) > 1 { // the first is all that is returned
			err = toStatus(c, "Python "+each.Python[0], err)
		}
		first = cmp.Or(first, err)
		if c.Context().Err() != nil { // interrupted
			break
		}
	}
	return first
}

// suite returns the Suite that the flags choose, for run and list.
func (c *chosen) suite(crate string, tests, forPytest []string) harness.Suite {
	return harness.Suite{
		Crate: crate, Tests: tests, PytestArgs: forPytest, Python: c.pythons,
		DependencyGroups: c.groups, Extras: c.extras, With: c.with,
	}
}

// runSuite runs a Suite. What is known of its tests is kept under a name: that of the crate, and the version of Python if
// one is named.
func (f runFlags) runSuite(c *cobra.Command, name, known string, suite harness.Suite) error {
	crate := suite.Crate
	last, err := remember(known)
	if err != nil {
		return err
	}
	options := harness.Options{Name: name,
		Flags: subtest.Flags{Shell: f.shell, Keep: f.keep, Parallel: runtime.GOMAXPROCS(0)}}
	if f.failed {
		only, why, err := last.notPassed()
		switch {
		case err != nil:
			return err
		case why != "":
			fmt.Fprintf(c.ErrOrStderr(),
				"a run of %s left tests without a verdict (%s): all run, not only what did not pass\n", known, why)
		case len(only) == 0:
			fmt.Fprintf(c.ErrOrStderr(), "all tests of %s passed when they ran last: nothing to run\n", known)
			return nil
		}
		options.Flags.Only = only
	}
	reporter, done, err := f.reporter(visible.Unwrap(c.OutOrStdout()), crate)
	if err != nil {
		return err
	}
	recording, err := last.record(asked{Tests: suite.Tests, PytestArgs: suite.PytestArgs, Failed: options.Flags.Only != nil})
	if err == nil {
		options.Reporters = append(options.Reporters, recording)
	}
	f.noteRecording(c, err)
	options.Reporters = append(options.Reporters, reporter)
	result := harness.Execute(suite, options)
	done()
	if recording != nil {
		f.noteRecording(c, recording.Close())
	}
	if code := exitCode(result); code != exitPassed {
		return status(code)
	}
	return nil
}

// noteRecording reports that a run could not be recorded, which does not change its result.
func (f runFlags) noteRecording(c *cobra.Command, err error) {
	if err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "--failed will not know of this run: %v\n", err)
	}
}

// reporter returns what shows the run, and a function that closes it.
func (f runFlags) reporter(out io.Writer, crate string) (report.Reporter, func(), error) {
	again := func(nodeID string) string {
		return "pyo3test run " + f.needs() + subtest.ShellQuote(crate) + " -- " + subtest.ShellQuote(nodeID)
	}
	if f.json {
		return report.NewTest2JSON(out, filepath.Base(crate), again), func() {}, nil
	}
	screen := report.Screen{
		Out: out, Quiet: f.quiet, Verbose: f.verbose, Each: f.each, Output: f.output, Title: fmt.Sprintf("%12s %s  %s", "pyo3test", report.Version, crate),
		Again: again, Failed: "pyo3test run --failed " + f.needs() + subtest.ShellQuote(crate),
	}
	done := func() {}
	if file, ok := out.(*os.File); ok && term.IsTerminal(file.Fd()) && os.Getenv("TERM") != "dumb" {
		screen.Terminal = file
		screen.Colour = os.Getenv("NO_COLOR") == "" // https://no-color.org
		if !f.shell {                               // the shell needs the keys
			if stop := watchKeys(os.Stdin, group.AskForStacks); stop != nil {
				done, screen.Keys = stop, "; t: stacks"
			}
		}
	}
	if f.shell && screen.Terminal == nil {
		return nil, nil, errors.New("--shell: standard output is not a terminal")
	}
	if os.Getenv("GITHUB_ACTIONS") == "true" {
		screen.GitHub = os.Getenv("GITHUB_WORKSPACE")
	}
	return report.NewTerminal(screen), done, nil
}

func exitCode(result report.Result) int {
	switch {
	case !result.Red:
		return exitPassed
	case result.Cause == report.CauseProject:
		return exitUsage
	case result.Cause == report.CauseBuild:
		return exitBuild
	case result.Cause == report.CauseSetup:
		return exitSetup
	case result.Cause == report.CauseCollection, result.Cause == report.CauseArguments:
		return exitCollection
	}
	return exitFailed
}
