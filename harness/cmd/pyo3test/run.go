package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"pyo3test/harness"
	"pyo3test/harness/internal/console"
	"pyo3test/harness/internal/evidence"
	"pyo3test/harness/internal/subtest"
)

// runFlags are what the flags of run say.
type runFlags struct {
	isolation, junit string
	workers          int
	timeout          time.Duration
	json, quiet      bool
	leaky            bool
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
  pyo3test run . -- -k "map and not slow" -x
  gotestsum --raw-command -- pyo3test run --json`,
		RunE: func(c *cobra.Command, args []string) error { return run(c, f, args) },
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.Func("isolation", "what tests share: `forked` (a process each, the default) or inprocess (one for all)", oneOf(&f.isolation, harness.Forked, harness.InProcess))
	flags.Func("workers", "how many forked tests run at once (`N`); the default is the project's own -n, else 1", func(value string) (err error) {
		if f.workers, err = strconv.Atoi(value); err != nil || f.workers < 1 {
			return errors.New("it is a number, 1 or more")
		}
		return nil
	})
	flags.Func("timeout", "the `time` that one test may take, in seconds or such as 1m30s; the default is 1m", func(value string) (err error) {
		if seconds, err := strconv.ParseFloat(value, 64); err == nil {
			value = fmt.Sprintf("%fs", seconds)
		}
		if f.timeout, err = time.ParseDuration(value); err != nil || f.timeout <= 0 {
			return errors.New("it is a time above 0: 90, or 1m30s")
		}
		return nil
	})
	flags.StringVar(&f.junit, "junit", "", "write a JUnit report to this `file`")
	flags.BoolVar(&f.json, "json", false, "events of go test -json on stdout and nothing else, for gotestsum --raw-command")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "what did not pass, and the summary")
	flags.BoolVar(&f.leaky, "fail-leaky", false, "a test that leaves processes running is red")
	return c
}

// oneOf takes a flag's value that has to be one of several words.
func oneOf[W ~string](into *string, words ...W) func(string) error {
	return func(value string) error {
		if !slices.Contains(words, W(value)) {
			return fmt.Errorf("it is none of %q", words)
		}
		*into = value
		return nil
	}
}

func run(c *cobra.Command, f runFlags, args []string) error {
	var forPytest []string
	if at := c.ArgsLenAtDash(); at >= 0 {
		args, forPytest = args[:at], args[at:]
	}
	path, err := onePath(args)
	if err != nil {
		return err
	}
	crate, tests, err := find(path)
	if err != nil {
		return err
	}
	if f.junit != "" {
		if f.junit, err = filepath.Abs(f.junit); err == nil {
			err = os.Setenv(evidence.JUnitVariable, f.junit)
		}
		if err != nil {
			return fmt.Errorf("--junit: %w", err)
		}
	}
	again := func(nodeID string) string {
		return "pyo3test run " + subtest.ShellQuote(crate) + " -- " + subtest.ShellQuote(nodeID)
	}
	out := c.OutOrStdout()
	reporting, done := console.NewScreen(out, f.quiet, again)
	if f.json {
		done()
		reporting, done = console.NewEvents(out, filepath.Base(crate), again), func() {}
	}
	defer done()
	result := reporting.Run("pyo3test", func(t subtest.T) {
		harness.RunT(t, harness.Suite{
			Crate: crate, Tests: tests, PytestArgs: forPytest,
			Isolation: harness.Isolation(f.isolation), Workers: f.workers, TestTimeout: f.timeout, FailLeaky: f.leaky,
		})
	})
	if code := exitCode(result); code != exitPassed {
		return status(code)
	}
	return nil
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
