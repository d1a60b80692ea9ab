package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"pyo3test/harness"
	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/doctor"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/visible"
)

func doctorCommand() *cobra.Command {
	asJSON, fix, yes := false, false, false
	c := &cobra.Command{
		Use:   "doctor [flags] [PATH]",
		Short: "Say what of a crate will break, or breaks `pytest --forked` by hand",
		Long: `Looks at the crate's files, builds it, starts pytest without running a test, and tries in the tests' container what can only
be known by trying: whether this pytest and pytest-forked work together, what pytest makes of the project's settings, which
threads the import starts, which tests are not found; and whether builds reach the package indexes. Each finding says what,
why it matters and how to fix it:

  BREAKS    a run is red for it, or will be
  BY HAND   it breaks pytest --forked where the harness is not around
  NOTE      worth knowing

The exit code is 1 when something breaks, and 0 otherwise.`,
		RunE: func(c *cobra.Command, args []string) error {
			path, err := onePath(args)
			if err != nil {
				return err
			}
			packages, diagnosis := diagnose(c.Context(), c.OutOrStdout(), path, asJSON)
			if code := status(0); !fix || diagnosis != nil && !errors.As(diagnosis, &code) {
				return diagnosis
			}
			return errors.Join(initialise(c.Context(), c.InOrStdin(), c.OutOrStdout(), path,
				initFlags{conftest: true, config: true, packages: packages, yes: yes}, false), diagnosis)
		},
	}
	c.Flags().BoolVar(&fix, "fix", false,
		"then do what `pyo3test init --conftest --config` does, and name the packages of the system "+
			"that the build lacks: show a diff, and ask")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "with --fix: write without asking")
	c.Flags().BoolVar(&asJSON, "json", false, "the findings as a list of JSON on stdout, and nothing else")
	c.MarkFlagsMutuallyExclusive("json", "fix")
	return c
}

// diagnose prints the findings on the crate of a path, and returns the Debian packages that its build lacks.
func diagnose(ctx context.Context, out io.Writer, path string, asJSON bool) (packages []string, err error) {
	p, pyo3, err := readProject(path)
	if err != nil {
		return nil, err
	}
	shown := out
	if asJSON {
		shown = io.Discard
	}
	probed, built, failed, err := probe(shown, p, p.ModuleName(pyo3.Library))
	if err != nil {
		return nil, err
	}
	pyo3.Locked = cmp.Or(pyo3.Locked, built) // the first build locks what the project does not
	findings, err := doctor.Static(p, pyo3)
	if err != nil {
		return nil, fmt.Errorf("read the project: %w", err)
	}
	if findings = append(findings, probed...); len(failed.texts) > 0 {
		findings = append(findings, doctor.Red(strings.Join(failed.texts, "\n"), asJSON))
	}
	reached, err := reach(ctx, p, len(failed.texts) > 0)
	if err != nil {
		return nil, err
	}
	findings = append(findings, reached...)
	doctor.Sort(findings)
	for i := range findings {
		for _, text := range []*string{&findings[i].What, &findings[i].Why, &findings[i].Fix, &findings[i].See} {
			*text = visible.Text(*text)
		}
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(findings)
	} else {
		show(out, findings)
	}
	if err == nil && findings[0].Level == doctor.Breaks {
		err = status(exitFailed)
	}
	return failed.packages, err
}

// probe builds the crate, lets pytest collect, and checks the container in which the tests would run. It also returns the
// version of PyO3 that was built with, and why a run fails before its first test.
func probe(out io.Writer, p project.Project, module string) (found []doctor.Finding, pyo3 string, failed *failures,
	err error) {
	var once sync.Once // a project may have several groups
	visit := func(ctx context.Context, run subtest.InContainer, host func(string) string) {
		once.Do(func() {
			var facts doctor.Facts
			if facts, err = doctor.Probe(ctx, run, host, p, []string{module}); err == nil {
				found, pyo3 = facts.Findings(p, doctor.CoveragePatched(p.Folder)), facts.PyO3
			}
		})
	}
	why := &failures{}
	suites := (harness.Suite{Crate: p.Folder}).EachPython()
	harness.Execute(suites[0], harness.Options{
		Name:      topName,
		Flags:     subtest.Flags{Only: map[string]bool{}, Visit: visit, Parallel: runtime.GOMAXPROCS(0)},
		Reporters: []report.Reporter{report.NewTerminal(report.Screen{Out: out, Collects: true}), why},
	})
	if len(suites) > 1 {
		found = append(found, doctor.Finding{Check: "pythons", Level: doctor.Note,
			What: "only Python " + suites[0].Python[0] + " was tried, the first of python in [tool.pyo3test]"})
	}
	return found, pyo3, why, err
}

// failures collects why a run without tests fails.
type failures struct {
	texts    []string
	packages []string // Debian packages that the build lacks
}

// Report takes an event.
func (f *failures) Report(_ time.Time, e report.Event, _ *report.Tally) error {
	switch e := e.(type) {
	case report.Problem:
		f.texts, f.packages = append(f.texts, e.Text), append(f.packages, e.Packages...)
	case report.FileFailed:
		f.texts = append(f.texts, e.Text)
	case report.ExitFailed:
		f.texts = append(f.texts, e.Text)
	}
	return nil
}

// reach checks whether builds reach the package indexes, in the tools image that the run used, if it got that far.
func reach(ctx context.Context, p project.Project, red bool) ([]doctor.Finding, error) {
	e, err := engine.Connect(ctx)
	if err != nil {
		return nil, nil // the run reported it
	}
	defer e.Close()
	python, _ := p.Option("Python").(string)
	tools, ok, err := image.Find(ctx, e, agent.Programs(), python)
	if err != nil || !ok {
		return nil, err
	}
	return doctor.Network(ctx, e, tools.ID, red)
}

// show writes findings for people.
func show(out io.Writer, findings []doctor.Finding) {
	counts := map[doctor.Level]int{}
	for _, finding := range findings {
		counts[finding.Level]++
		fmt.Fprintf(out, "%12s %s\n", word(finding.Level), finding.What)
		for _, line := range [][2]string{{"why", finding.Why}, {"fix", finding.Fix}, {"see", finding.See}} {
			if line[1] != "" {
				fmt.Fprintf(out, "%12s %-4s %s\n", "", line[0], line[1])
			}
		}
	}
	fmt.Fprintf(out, "%12s %d break, %d break by hand, %d notes, %d in order\n", "Findings", counts[doctor.Breaks],
		counts[doctor.ByHand], counts[doctor.Note], counts[doctor.Fine])
}

func word(level doctor.Level) string {
	if level == doctor.Fine {
		return string(level)
	}
	return strings.ToUpper(string(level))
}
