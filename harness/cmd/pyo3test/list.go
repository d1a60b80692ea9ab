package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"pyo3test/harness"
	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/visible"
)

func listCommand() *cobra.Command {
	var choice chosen
	asJSON := false
	c := &cobra.Command{
		Use:   "list [flags] [PATH] [-- pytest arguments]",
		Short: "Name a crate's tests, and run none",
		Long: `Builds the crate, lets pytest collect its tests, and names them, one a line. PATH and what follows -- are as in run. How many
there are, and what cannot be collected, goes to standard error.`,
		Example: `  pyo3test list
  pyo3test list tests/test_map.py -k insert
  pyo3test list --json | jq -r '.[].file'`,
		RunE: func(c *cobra.Command, args []string) error { return list(c, choice, asJSON, args) },
	}
	choice.add(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false,
		"one list of objects: the node id, the file and line, the group, and the name of the Go subtest")
	return c
}

func list(c *cobra.Command, choice chosen, asJSON bool, args []string) error {
	args, forPytest := splitArgs(c, args)
	path, err := onePath(args)
	if err != nil {
		return err
	}
	crate, tests, err := findOne(path)
	if err != nil {
		return err
	}
	out, errs := visible.Unwrap(c.OutOrStdout()), visible.Unwrap(c.ErrOrStderr())
	lister := &lister{}
	result := harness.Execute(harness.Suite{
		Crate: crate, Tests: tests, PytestArgs: choice.pytestArgs(forPytest),
		DependencyGroups: choice.groups, Extras: choice.extras, With: choice.with,
	}, harness.Options{
		Name: topName, Flags: subtest.Flags{List: true, Parallel: runtime.GOMAXPROCS(0)},
		Reporters: []report.Reporter{report.NewTerminal(report.Screen{Out: errs, Collects: true, Quiet: true}), lister},
	})
	if asJSON {
		err = lister.json(out)
	} else {
		lister.print(out)
	}
	fmt.Fprintf(errs, "%s in %s\n", plural.Count(len(lister.found), "test"), plural.Count(len(lister.files()), "file"))
	if code := exitCode(result); err == nil && code != exitPassed {
		err = status(code)
	}
	return err
}

// lister keeps the tests that a run names.
type lister struct{ found []report.ListedTest }

// Report takes an event.
func (l *lister) Report(_ time.Time, e report.Event, _ *report.Tally) error {
	if e, ok := e.(report.Listed); ok {
		l.found = append(l.found, e.Tests...)
	}
	return nil
}

func (l *lister) files() map[string]bool {
	files := map[string]bool{}
	for _, test := range l.found {
		files[test.Place.File] = true
	}
	return files
}

func (l *lister) print(out io.Writer) {
	for _, test := range l.found {
		fmt.Fprintln(out, visible.Word(test.NodeID))
	}
}

func (l *lister) json(out io.Writer) error {
	type entry struct {
		NodeID  string `json:"nodeid"`
		File    string `json:"file"`
		Line    int    `json:"line"`
		Group   string `json:"group"`
		Subtest string `json:"subtest"`
	}
	entries := []entry{}
	for _, test := range l.found {
		entries = append(entries, entry{test.NodeID, test.Place.File, test.Place.Line, test.Group, test.Group + "/" + test.Name})
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(entries)
}
