// Command pyo3test runs the pytest suite of a PyO3 extension without a line of Go: the same containers, builds, isolation and
// reports as pyo3test/harness under go test.
//
//	pyo3test run                          the crate in this folder
//	pyo3test run ../rust/mycrate          another one
//	pyo3test run tests/test_map.py        one file of its tests; folders and node ids too
//	pyo3test run . -- -k "map and not slow" -x
//
// Flags stand before or after the path; what follows -- is pytest's. Options of [tool.pyo3test] in the crate's
// pyproject.toml hold, and flags go before them.
//
// The exit code says the cause:
//
//	0    all tests passed, or were skipped or expected to fail
//	1    a test failed, hung or crashed
//	2    wrong usage, or no crate that can be tested
//	3    the build failed
//	4    pytest could not collect, or found no tests
//	5    no engine, no image, no network
//	130  interrupted
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pyo3test/harness"
	"pyo3test/harness/internal/console"
	"pyo3test/harness/internal/evidence"
	"pyo3test/harness/internal/subtest"
)

// Exit codes.
const (
	exitPassed = iota
	exitFailed
	exitUsage
	exitBuild
	exitCollection
	exitSetup
	exitInterrupted = 130
)

const help = `pyo3test runs the pytest suite of a PyO3 extension: built by maturin in a pinned Python 3.11 container, each test in a
process of its own. A test that hangs or crashes is named, with its stacks and its cause, and costs no other its verdict.

  pyo3test run [flags] [PATH] [-- pytest arguments]

PATH is a crate's folder, or a file, folder or node id of its tests; this folder if it is left out.

  pyo3test run                              the crate in this folder
  pyo3test run tests/test_map.py --workers 2
  pyo3test run . -- -k "map and not slow" -x

Flags of run:
`

const codes = `
Exit codes: 0 passed, 1 a test failed, hung or crashed, 2 wrong usage or no crate, 3 the build failed, 4 pytest could not
collect or found nothing, 5 no engine, image or network, 130 interrupted.

More options stand in [tool.pyo3test] of the crate's pyproject.toml: test-timeout, system-packages, requirements, network,
and the other fields of harness.Suite.
`

func main() {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt) // the run ends in order by itself
	code := command(os.Args[1:], os.Stdout, os.Stderr)
	if len(interrupted) > 0 {
		code = exitInterrupted
	}
	os.Exit(code)
}

// command carries out one command line and returns the exit code.
func command(args []string, stdout, stderr io.Writer) int {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch name {
	case "run":
		return runCommand(args[1:], stdout, stderr)
	case "help", "-h", "-help", "--help":
		printHelp(stdout)
		return exitPassed
	case "":
		fmt.Fprintln(stderr, "pyo3test: no command: try `pyo3test run`, or `pyo3test help`")
	default:
		fmt.Fprintf(stderr, "pyo3test: unknown command %q: try `pyo3test run`, or `pyo3test help`\n", name)
	}
	return exitUsage
}

// settings are what the flags of run say.
type settings struct {
	isolation, junit string
	workers          int
	timeout          time.Duration
	json, quiet      bool
	leaky            bool
}

func options(s *settings) *flag.FlagSet {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are told by us
	flags.StringVar(&s.isolation, "isolation", "", "what tests share: `forked` (a process each, the default) or inprocess (one for all)")
	flags.IntVar(&s.workers, "workers", 0, "how many forked tests run at once (`N`); the default is the project's own -n, else 1")
	flags.Func("timeout", "the `time` that one test may take, in seconds or such as 1m30s; the default is 1m", func(value string) (err error) {
		if seconds, err := strconv.ParseFloat(value, 64); err == nil {
			value = fmt.Sprintf("%fs", seconds)
		}
		s.timeout, err = time.ParseDuration(value)
		return err
	})
	flags.StringVar(&s.junit, "junit", "", "write a JUnit report to this `file`")
	flags.BoolVar(&s.json, "json", false, "events of go test -json on stdout and nothing else, for gotestsum --raw-command")
	flags.BoolVar(&s.quiet, "quiet", false, "what did not pass, and the summary")
	flags.BoolVar(&s.leaky, "fail-leaky", false, "a test that leaves processes running is red")
	flags.Usage = func() {}
	return flags
}

func printHelp(out io.Writer) {
	fmt.Fprint(out, help)
	flags := options(new(settings))
	flags.SetOutput(out)
	flags.PrintDefaults()
	fmt.Fprint(out, codes)
}

func runCommand(args []string, stdout, stderr io.Writer) int {
	refuse := func(format string, args ...any) int {
		fmt.Fprintf(stderr, "pyo3test run: "+format+"\n", args...)
		return exitUsage
	}
	var s settings
	flags := options(&s)
	args, forPytest := cut(args)
	var paths []string
	for len(args) > 0 { // flags stand before or after the path
		switch err := flags.Parse(args); {
		case err == flag.ErrHelp:
			printHelp(stdout)
			return exitPassed
		case err != nil:
			return refuse("%v: see `pyo3test help`; arguments of pytest come after --", err)
		}
		if args = flags.Args(); len(args) > 0 {
			paths, args = append(paths, args[0]), args[1:]
		}
	}
	if len(paths) > 1 {
		return refuse("one path at a time, not %s: more of a crate's tests can be named after --", strings.Join(paths, " and "))
	}
	crate, tests, err := find(slices.Concat(paths, []string{"."})[0])
	if err != nil {
		return refuse("%v", err)
	}
	if s.junit != "" {
		if s.junit, err = filepath.Abs(s.junit); err == nil {
			err = os.Setenv(evidence.JUnitVariable, s.junit)
		}
		if err != nil {
			return refuse("--junit: %v", err)
		}
	}
	again := func(nodeID string) string {
		return "pyo3test run " + subtest.ShellQuote(crate) + " -- " + subtest.ShellQuote(nodeID)
	}
	reporting, done := console.NewScreen(stdout, s.quiet, again)
	if s.json {
		done()
		reporting, done = console.NewEvents(stdout, filepath.Base(crate), again), func() {}
	}
	defer done()
	result := reporting.Run("pyo3test", func(t subtest.T) {
		harness.RunT(t, harness.Suite{
			Crate: crate, Tests: tests, PytestArgs: forPytest,
			Isolation: harness.Isolation(s.isolation), Workers: s.workers, TestTimeout: s.timeout, FailLeaky: s.leaky,
		})
	})
	return exitCode(result)
}

// cut divides arguments at the first "--".
func cut(args []string) (ours, forPytest []string) {
	if at := slices.Index(args, "--"); at >= 0 {
		return args[:at], args[at+1:]
	}
	return args, nil
}

// find is the crate of a path, and what of its tests the path names, nothing where it is the crate itself.
func find(path string) (crate string, tests []string, err error) {
	file, rest, named := strings.Cut(path, "::")
	if file, err = filepath.Abs(file); err != nil {
		return "", nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", nil, err
	}
	resolved, err := filepath.EvalSymlinks(file)
	if err != nil {
		return "", nil, err
	}
	// First as it is written: a folder of tests may be a link to somewhere else.
	for _, from := range []string{file, resolved} {
		if crate = above(from); crate == "" {
			continue
		}
		inside, err := filepath.Rel(crate, from)
		if err == nil {
			crate, err = filepath.EvalSymlinks(crate)
		}
		switch inside = filepath.ToSlash(inside); {
		case err != nil:
			return "", nil, err
		case inside == ".":
			return crate, nil, nil
		case named:
			inside += "::" + rest
		}
		return crate, []string{inside}, nil
	}
	if info.IsDir() {
		return resolved, nil, nil // the run says what is missing there
	}
	return "", nil, fmt.Errorf("no pyproject.toml in a folder above %s: name a crate, or a file of its tests", file)
}

// above is the nearest folder with a pyproject.toml, the path itself included; "" where there is none.
func above(path string) string {
	for ; ; path = filepath.Dir(path) {
		if _, err := os.Stat(filepath.Join(path, "pyproject.toml")); err == nil {
			return path
		}
		if path == filepath.Dir(path) {
			return ""
		}
	}
}

func exitCode(result console.Result) int {
	switch {
	case !result.Failed:
		return exitPassed
	case result.Cause == subtest.CauseProject:
		return exitUsage
	case result.Cause == subtest.CauseBuild:
		return exitBuild
	case result.Cause == subtest.CauseSetup:
		return exitSetup
	case result.Cause == subtest.CauseCollection:
		return exitCollection
	}
	return exitFailed
}
