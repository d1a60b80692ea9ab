package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/term"
	"github.com/spf13/cobra"

	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/scaffold"
)

// initFlags holds the flags of init.
type initFlags struct {
	goFolder                      string
	conftest, config, script, all bool
	yes                           bool
	packages                      []string // Debian's, that the build lacks
	ci                            string
}

func initCommand() *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:   "init [flags] [PATH]",
		Short: "Write into a crate what testing it takes",
		Long: `Writes a Go test that runs the crate's tests, and with flags what else the workaround for pytest and PyO3 is made of. It shows
the changes first and asks; a file that is there is never overwritten, and of a configuration addopts alone is edited.`,
		Example: `  pyo3test init                       the Go test, python_test.go, in the crate's folder
  pyo3test init --go internal/native ../rust/mycrate
  pyo3test init --conftest --config --script    for those who write no Go`,
		RunE: func(c *cobra.Command, args []string) error {
			path, err := onePath(args)
			if err != nil {
				return err
			}
			// A file that is asked for by name comes alone: a user who wants a conftest may have no Go.
			named := f.conftest || f.config || f.script || f.ci != ""
			return initialise(c.Context(), c.InOrStdin(), c.OutOrStdout(), path, f, !named || f.all ||
				c.Flags().Changed("go"))
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.goFolder, "go", "", "write the Go test into this `folder`; the default is the crate's")
	flags.BoolVar(&f.conftest, "conftest", false,
		"a conftest.py: one initialisation a session, gc.collect() after each test, no hidden ImportError")
	flags.BoolVar(&f.config, "config", false,
		"--forked in addopts of the project's own pytest configuration, and pytest-forked among its test requirements")
	flags.BoolVar(&f.script, "script", false, "scripts/test-python.sh: tests the crate without Docker and without Go")
	flags.Func("ci", "a workflow for `github`", oneOf(&f.ci, "github"))
	flags.BoolVar(&f.all, "all", false, "all of these")
	flags.BoolVarP(&f.yes, "yes", "y", false, "write without asking")
	return c
}

func initialise(ctx context.Context, in io.Reader, out io.Writer, path string, f initFlags, goTest bool) error {
	project, pyo3, err := readProject(path)
	if err != nil {
		return err
	}
	p := scaffold.Project{Project: project, Module: project.ModuleName(pyo3.Library)}
	folder := project.Folder
	if f.goFolder != "" {
		if folder, err = filepath.Abs(f.goFolder); err != nil {
			return err
		}
		if resolved, err := filepath.EvalSymlinks(folder); err == nil {
			folder = resolved // as the crate's is, or the path from one to the other would be wrong
		}
	}
	var plan scaffold.Plan
	for _, part := range []struct {
		wanted bool
		plan   func(*scaffold.Plan) error
	}{
		{goTest, func(plan *scaffold.Plan) error { return p.GoTest(plan, folder) }},
		{f.conftest || f.all, p.Conftest},
		{f.config || f.all, p.Config},
		{len(f.packages) > 0, func(plan *scaffold.Plan) error { return p.SystemPackages(plan, f.packages) }},
		{f.script || f.all, p.Script},
		{f.ci != "" || f.all, p.Workflow},
	} {
		if part.wanted {
			if err := part.plan(&plan); err != nil {
				return err
			}
		}
	}
	return carryOut(ctx, in, out, plan, project.Folder, f.yes)
}

// carryOut shows a plan, asks, and writes the files.
func carryOut(ctx context.Context, in io.Reader, out io.Writer, plan scaffold.Plan, crate string, yes bool) error {
	for _, change := range plan.Changes {
		fmt.Fprintln(out, change.Diff(crate))
	}
	for _, note := range plan.Notes {
		fmt.Fprintf(out, "note: %s\n", note)
	}
	if len(plan.Changes) == 0 {
		fmt.Fprintln(out, "nothing to write")
		return nil
	}
	if !yes {
		terminal, ok := in.(*os.File)
		if !ok || !term.IsTerminal(terminal.Fd()) {
			fmt.Fprintln(out, "nothing was written: add --yes")
			return nil
		}
		fmt.Fprintf(out, "write %s? [y/N] ", plural.Count(len(plan.Changes), "file"))
		answers := make(chan string, 1)
		go func() {
			answer, _ := bufio.NewReader(in).ReadString('\n')
			answers <- answer
		}()
		answer := ""
		select {
		case answer = <-answers:
		case <-ctx.Done(): // the goroutine that still reads ends with this process
			fmt.Fprintln(out)
		}
		if strings.ToLower(strings.TrimSpace(answer)) != "y" {
			fmt.Fprintln(out, "nothing was written")
			return context.Cause(ctx)
		}
	}
	for _, change := range plan.Changes {
		if err := change.Apply(); err != nil {
			return fmt.Errorf("write %s: %w", change.File, err)
		}
		fmt.Fprintf(out, "wrote %s\n", change.File)
	}
	return nil
}
