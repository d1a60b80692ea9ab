package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/group"
	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
)

func dumpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "dump",
		Short: "Show the stacks of everything that runs now",
		Long: `Shows where every pytest in the engine stands, and every test that runs in a process of its own: the cause where the stacks show
one, and all stacks. Whatever started them, go test or pyo3test run, goes on undisturbed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return dump(c.Context(), c.OutOrStdout()) },
	}
}

// dumpTimeout bounds the dump of one container; a process takes up to a second.
const dumpTimeout = 2 * time.Minute

func dump(ctx context.Context, out io.Writer) error {
	e, objects, err := connect(ctx, out)
	if err != nil {
		return err
	}
	defer e.Close()
	looked := 0
	for _, o := range objects {
		if o.Kind != "container" || o.Labels[engine.Label] != group.Purpose {
			continue
		}
		looked++
		fmt.Fprintf(out, "%s  container %.12s, for %v\n", o.Labels[engine.Label+"."+group.LabelName], o.ID,
			time.Since(o.Created).Round(time.Second))
		if err := dumpContainer(ctx, out, e.Container(o),
			project.Tree{Root: o.Labels[engine.Label+"."+group.LabelRoot]}); err != nil {
			fmt.Fprintf(out, "    %v\n", err) // it may have ended meanwhile
		}
	}
	if looked == 0 {
		fmt.Fprintln(out, "nothing runs")
	}
	return nil
}

func dumpContainer(ctx context.Context, out io.Writer, c *engine.Container, tree project.Tree) error {
	ctx, cancel := context.WithTimeout(ctx, dumpTimeout)
	defer cancel()
	dumps, err := agent.DumpAll(ctx, c)
	if err != nil {
		return err
	}
	for _, e := range dumps {
		seen := e.Seen(layout.Sources)
		report := hang.Report{Dump: seen, Cause: seen.Diagnose(hang.Circumstances{}), Facts: e.Facts, Parent: e.Parent,
			Now: e.Pace}
		what := fmt.Sprintf("process %d", e.PID)
		if e.Test != "" {
			what += ", " + e.Test
		}
		fmt.Fprintf(out, "%s\n%s\n", what, tree.HostText(report.Short(tree.ReadSource)+"\n"+report.Stacks()))
	}
	return nil
}
