package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pyo3test/harness"
	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/repro"
	"pyo3test/harness/internal/visible"
)

func reproCommand() *cobra.Command {
	var f reproFlags
	c := &cobra.Command{
		Use:   "repro [flags] BUNDLE [PATH]",
		Short: "Run the test of a bundle again, and say how often it fails",
		Long: `Runs one test as it ran when it hung, crashed or ran out of memory: with that extension, those packages, limits and
settings, without a network. The bundle is the file that the failed test names; it can come from another machine. It is
checked before any of it is used, and its test is confined as all tests are. For each run it says whether the test passed,
failed in the same place, failed in another place, or failed in another way. Ctrl-C ends the runs, and shows what is known by then.

With --pressure, the test runs with its threads delayed here and there, and under other conditions in which races show more
often. It tries each kind 20 times, and then runs the test 200 times under the one that made it fail most often, which it
keeps as a bundle. What fails under pressure can fail without it. Delays in the crate's code need its sources to be built once more.
--pressure=WAY is one of none, interpreter, processor, quota, load, memory, calls, crate, lines and functions.

With --compare, the same test runs in turn with the bundle's crate and with the one in PATH, this folder if it is left out, built
in the same way beside the same packages; the exit code is 0 if it fails less often there, and chance is an unlikely explanation.

With --minimise, if all tests of the run shared one process, the test runs after fewer and fewer of the earlier ones, up to 2000
times, to find the fewest that its failure needs. They are listed, and a bundle with only them is kept, with the rate of 20 fresh
runs.

With --full, it writes the bundle to a file with the image and the crates that the test needs, and runs nothing. On a machine
with a Docker engine and no network, that file does all that is described here; --compare, with a crate that needs the same crates.

Without --compare the exit code is 0 if the test passed every time, or the full bundle is written, and 1 if it failed or never had
a verdict. It is 2 if the bundle cannot be used.`,
		Example: `  pyo3test repro test_once.pyo3test
  pyo3test repro -n 200 -j 2 test_once.pyo3test         how often does it hang?
  pyo3test repro --until-failure --for 10m test_once.pyo3test
  pyo3test repro --pressure test_once.pyo3test          make it hang more often
  pyo3test repro --shell test_once.pyo3test             look at the process that hangs
  pyo3test repro --compare -n 100 test_once.pyo3test    is it fixed in this folder?
  pyo3test repro --minimise test_once.pyo3test          which earlier tests does it need?
  pyo3test repro --full f.pyo3test test_once.pyo3test   for a machine without a network`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error { return f.repro(c, args) },
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.IntVarP(&f.options.Runs, "runs", "n", 0, "run the test `N` times; the default is once, or without a bound with --for or --until-failure")
	flags.IntVarP(&f.options.Jobs, "jobs", "j", 1, "how many run at the same time (`N`), each in a container of its own")
	flags.BoolVar(&f.options.UntilFailure, "until-failure", false, "end with the first run that fails as the bundle's test did")
	flags.DurationVar(&f.options.For, "for", 0, "begin no run after this `time`, such as 10m")
	flags.StringVar(&f.pressure, "pressure", "", "make the failure frequent, in the best way that is found or in this `way`")
	flags.Lookup("pressure").NoOptDefVal = search
	flags.BoolVar(&f.compare, "compare", false, "compare the bundle's crate with the one in PATH")
	flags.BoolVar(&f.shell, "shell", false, "open a shell beside the first process that hangs, before it is killed")
	flags.StringVar(&f.core, "core", "", "write a core of the first hang, and what a debugger needs for it, to this `file`, such as core.tar.gz")
	flags.BoolVar(&f.minimise, "minimise", false, "find the fewest earlier tests that the failure needs")
	flags.StringVar(&f.save, "save", "", "also write the bundle to this `file`, with the rate that was measured, from which harness.Repro decides how often to run the test")
	flags.StringVar(&f.full, "full", "", "write the bundle to this `file` with all that it needs from elsewhere, and run nothing")
	flags.BoolVar(&f.limits, "limits", false, "allow the bundle more memory, processes and time for a test than the defaults, and a larger image")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "the report of the first failure in each place")
	flags.BoolVar(&f.json, "json", false, "the result, if there is one, as one object on stdout, and nothing else there")
	return c
}

// reproFlags holds the flags of repro.
type reproFlags struct {
	options               repro.Options
	limits, verbose, json bool
	compare, minimise     bool
	pressure              string // the name of a way, or search; "" is the bundle's own
	shell                 bool
	core, save, full      string
}

// pressureRuns is how often a test runs under pressure if nothing else is asked for.
const pressureRuns = 200

// ownLimits are those that a bundle may ask for if it is trusted.
var ownLimits = repro.Limits{Memory: 1 << 50, Processes: 1 << 22, Time: 1000 * time.Hour, Image: 1 << 50}

func (f reproFlags) repro(c *cobra.Command, args []string) (err error) {
	if f.options.Runs < 0 || f.options.Jobs < 1 || f.options.For < 0 {
		return errors.New("-n and --for are 0 or more, and -j is 1 or more")
	}
	file, crate, err := f.split(args)
	if err != nil {
		return err
	}
	if f.options.Runs == 0 && f.options.For == 0 && !f.options.UntilFailure {
		switch {
		case f.minimise:
			f.options.Runs = repro.FixedRuns
		case f.pressure != "":
			f.options.Runs = pressureRuns
		default:
			f.options.Runs = 1
		}
	}
	b, err := bundle.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if f.minimise {
		if err := repro.CheckMinimise(b); err != nil {
			return err
		}
	}
	if f.full != "" {
		if err := f.canSave(b); err != nil {
			return err
		}
	}
	if f.shell || f.core != "" {
		if err := canVisit(b.Test); err != nil {
			return err
		}
	}
	screen := newReproScreen(visible.Unwrap(c.OutOrStdout()), f)
	if f.json {
		screen = newReproScreen(visible.Unwrap(c.ErrOrStderr()), f)
	}
	screen.line("%12s %s  %s", "pyo3test", report.Version, filepath.Base(file))
	screen.line("%12s %s  %s", "Test", visible.Word(b.Test.NodeID), visible.Word(b.Test.What()))
	if f.save == "" {
		f.save = f.place(file)
	}
	results, err := f.run(c.Context(), b, crate, screen)
	screen.clear()
	passed := f.full != "" && err == nil
	if len(results) > 0 {
		passed, err = f.conclude(c, screen, results, crate, err)
	}
	if f.save != "" && err == nil && len(results) > 0 {
		err = f.saveRate(b, results[0], screen)
	}
	var unusable repro.UnusableError
	var none *repro.NotFoundError
	var failed *extension.Error
	if errors.As(err, &unusable) {
		return err
	}
	if errors.As(err, &none) {
		screen.line("%12s %v", "Summary", none)
		if none.Other == 0 {
			return nil
		}
		return status(exitFailed)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(c.ErrOrStderr(), "%s: %v\n", c.CommandPath(), err)
	}
	switch {
	case c.Context().Err() != nil: // main knows the code
		return status(exitFailed)
	case errors.As(err, &failed):
		return status(exitBuild)
	case err != nil:
		return status(exitSetup)
	case !passed:
		return status(exitFailed)
	}
	return nil
}

// place returns where the bundle is kept if the user names no file, "" if it is not.
func (f reproFlags) place(file string) string {
	base := strings.TrimSuffix(file, bundle.Extension)
	switch {
	case f.minimise:
		return base + ".minimal" + bundle.Extension
	case f.pressure == search && !f.options.UntilFailure: // whose rate is too high to be kept
		return base + ".pressure" + bundle.Extension
	}
	return ""
}

// split returns the bundle and, if they are compared, the crate.
func (f reproFlags) split(args []string) (file, crate string, err error) {
	file = args[0]
	_, isWay := repro.Named(f.pressure)
	switch {
	case f.pressure != "" && f.pressure != search && !isWay:
		return "", "", fmt.Errorf("--pressure=%s: there is no such way; it is one of %s", f.pressure, wayNames())
	case f.full != "" && (f.minimise || f.compare || f.shell || f.json || f.core != "" || f.save != "" || f.pressure != "" ||
		f.verbose || f.options.UntilFailure || f.options.Runs > 0 || f.options.For > 0 || f.options.Jobs > 1):
		return "", "", errors.New("--full runs nothing: of the other flags it takes --limits alone")
	case f.minimise && (f.shell || f.core != ""):
		return "", "", errors.New("--shell and --core show a hang, and --minimise has many: leave them out")
	case f.minimise && (f.compare || f.json || f.options.UntilFailure || f.options.Runs > 0 || f.options.For > 0):
		return "", "", errors.New("--minimise decides how often the test runs, and its result is a bundle: " +
			"leave out -n, --for, --until-failure, --compare and --json")
	case f.options.UntilFailure && f.options.Jobs > 1:
		return "", "", errors.New("--until-failure needs -j 1: with several jobs, quick passes would be counted before slow failures, " +
			"and the rate would come out too low")
	case f.shell && (f.options.Jobs > 1 || f.json):
		return "", "", errors.New("--shell needs the terminal: it goes with neither -j nor --json")
	case f.options.UntilFailure && f.save != "":
		return "", "", errors.New("--save needs a fixed number of runs: with --until-failure the rate comes out too high")
	case !f.compare && len(args) > 1:
		return "", "", errors.New("repro takes one bundle; add --compare to name a crate's folder too")
	case !f.compare:
		return file, "", nil
	case f.options.UntilFailure:
		return "", "", errors.New("--compare compares rates, which --until-failure would distort: use -n or --for")
	case len(args) == 1:
		args = append(args, ".")
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		file, args[1] = args[1], file
	}
	crate, _, err = findOne(args[1])
	return file, crate, err
}

// conclude shows the results, and reports whether they are what the user hopes for: no failure, or a better crate.
func (f reproFlags) conclude(c *cobra.Command, screen *reproScreen, results []repro.Result, crate string, err error) (passed bool, _ error) {
	show := func(title, text string) {
		screen.line("%12s %s", title, strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", 13)))
	}
	result := any(results[0])
	passed = !slices.ContainsFunc(results, func(r repro.Result) bool { return r.Runs == 0 || r.Failed+r.Other > 0 })
	switch {
	case err != nil && results[0].Runs == 0: // the error says all
	case crate == "":
		show("Summary", results[0].Text())
	default:
		compared := repro.Compare(results[0], results[1])
		result, passed = compared, compared.Better()
		show("Bundle", results[0].Rates())
		show("Other", results[1].Rates()+"\n"+crate)
		show("Summary", compared.Sentence())
	}
	if f.json {
		err = errors.Join(err, json.NewEncoder(c.OutOrStdout()).Encode(result))
	}
	return passed, err
}

// saveRate writes the bundle with what is known of its rate now.
func (f reproFlags) saveRate(b *bundle.Bundle, r repro.Result, screen *reproScreen) error {
	ran, failures := r.Runs, r.Failed
	switch {
	case failures == 0 && f.minimise: // it failed in the search
		ran, failures = b.Test.Ran, b.Test.Failed
	case failures == 0:
		screen.line("%12s %s", "Not saved", "the test never failed, so there is no rate to keep")
		return nil
	}
	if err := b.SaveRate(f.save, ran, failures); err != nil {
		return fmt.Errorf("keep the bundle with its rate: %w", err)
	}
	screen.line("%12s %s", "Kept", f.save)
	return nil
}

// run prepares the bundle's test, and that of the crate to compare with if there is one, and runs them.
func (f reproFlags) run(ctx context.Context, b *bundle.Bundle, crate string, screen *reproScreen) ([]repro.Result, error) {
	e, err := engine.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	if _, err := e.Sweep(ctx); err != nil {
		return nil, err
	}
	most := repro.Limits{Memory: harness.DefaultMemory, Processes: harness.DefaultProcesses, Time: time.Hour, Image: defaultImage}
	if f.limits {
		most = ownLimits
	}
	prepared, err := repro.Prepare(ctx, e, b, most, screen.prepare)
	if err != nil {
		return nil, err
	}
	for _, difference := range prepared.Differences {
		screen.line("%12s %s", "Differs", visible.Word(difference))
	}
	if f.full != "" {
		return nil, f.saveFull(ctx, e, prepared, screen)
	}
	if prepared, err = f.press(ctx, e, b, prepared, screen); err != nil {
		return nil, err
	}
	if f.minimise {
		return f.leaveOut(ctx, b, prepared, screen)
	}
	if f.shell || f.core != "" {
		prepared = prepared.Visit(f.visit(ctx, screen))
	}
	sides := []*repro.Prepared{prepared}
	if crate != "" {
		other, err := harness.Rebuild(ctx, e, b, crate, screen.prepare)
		if err != nil {
			return nil, err
		}
		sides = append(sides, other)
	}
	f.options.Each = screen.each
	f.options.Seed = finalSeed()
	return repro.Run(ctx, f.options, sides...)
}

// defaultImage is how many bytes the image of a bundle may have.
const defaultImage = 8 << 30

// canSave returns an error if there is no full bundle to write, or no place for it.
func (f reproFlags) canSave(b *bundle.Bundle) error {
	if b.Full() {
		return errors.New("--full: the bundle has its image already")
	}
	if info, err := os.Stat(f.full); err == nil && info.IsDir() {
		return fmt.Errorf("--full takes the name of a file, and %s is a folder", f.full)
	}
	return nil
}

// saveFull writes the bundle with all that it needs from elsewhere.
func (f reproFlags) saveFull(ctx context.Context, e *engine.Engine, p *repro.Prepared, screen *reproScreen) error {
	if err := p.SaveFull(ctx, e, f.full, f.limits, screen.prepare); err != nil {
		return fmt.Errorf("write the full bundle %s: %w", f.full, err)
	}
	info, err := os.Stat(f.full)
	if err != nil {
		return err
	}
	screen.line("%12s %s (%d MiB)", "Kept", f.full, info.Size()>>20)
	return nil
}

// finalSeed returns the seed of the first run that counts. Those of a search are smaller, and two measurements have others, or they
// would be one.
func finalSeed() uint32 { return 1<<20 + rand.Uint32N(1<<30) }
