package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
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
	var f listFlags
	c := &cobra.Command{
		Use:   "list [flags] [PATH] [-- pytest arguments]",
		Short: "Name a crate's tests, and run none",
		Long: `Builds the crate, lets pytest collect its tests, and names them, one a line. PATH and what follows -- are as in run. How many
there are, and what cannot be collected, goes to standard error. If the crate names several versions of Python, the first one
is used.`,
		Example: `  pyo3test list
  pyo3test list --all                       of all crates below this folder
  pyo3test list tests/test_map.py -k insert
  pyo3test list --json | jq -r '.[].file'`,
		RunE: func(c *cobra.Command, args []string) error { return f.list(c, args) },
	}
	f.add(c.Flags())
	c.Flags().BoolVar(&f.all, "all", false, "all crates below PATH; each name begins with the crate's folder")
	c.Flags().BoolVar(&f.json, "json", false,
		"one list of objects: the node id, the file and line, the group, and the name of the Go subtest")
	return c
}

// listFlags holds the flags of list.
type listFlags struct {
	all, json bool
	chosen
}

func (f listFlags) list(c *cobra.Command, args []string) error {
	args, forPytest := splitArgs(c, args)
	path, err := onePath(args)
	if err != nil {
		return err
	}
	errs := visible.Unwrap(c.ErrOrStderr())
	lister := &lister{}
	red := exitPassed // the code of the first crate that is red
	collect := func(crate string, tests []string) {
		suite := f.suite(crate, tests, f.pytestArgs(forPytest))
		result := harness.Execute(suite.EachPython()[0], harness.Options{
			Name: topName, Flags: subtest.Flags{List: true, Parallel: runtime.GOMAXPROCS(0)},
			Reporters: []report.Reporter{report.NewTerminal(report.Screen{Out: errs, Collects: true, Quiet: true}), lister},
		})
		red = cmp.Or(red, exitCode(result))
	}
	if f.all {
		folder, crates, err := cratesToRun(path)
		if err != nil {
			return err
		}
		for _, crate := range crates {
			if lister.below, err = filepath.Rel(folder, crate); err != nil {
				return err
			}
			if collect(crate, nil); c.Context().Err() != nil { // interrupted
				break
			}
		}
	} else {
		crate, tests, err := findOne(path)
		if err != nil {
			return err
		}
		collect(crate, tests)
	}
	if out := visible.Unwrap(c.OutOrStdout()); f.json {
		err = lister.json(out)
	} else {
		lister.print(out)
	}
	fmt.Fprintf(errs, "%s in %s\n", plural.Count(len(lister.found), "test"), plural.Count(len(lister.files()), "file"))
	if err == nil && red != exitPassed {
		err = status(red)
	}
	return err
}

// lister keeps the tests that runs name.
type lister struct {
	below string // the folder before the next names, "" for none
	found []report.ListedTest
}

// Report takes an event.
func (l *lister) Report(_ time.Time, e report.Event, _ *report.Tally) error {
	if e, ok := e.(report.Listed); ok {
		for _, test := range e.Tests {
			if l.below != "" {
				test.NodeID = filepath.ToSlash(l.below) + "/" + test.NodeID
			}
			l.found = append(l.found, test)
		}
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
