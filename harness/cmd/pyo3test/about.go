package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/report"
	"pyo3test/images"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which version this is, and what it pins",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			revision := ""
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, setting := range info.Settings {
					if setting.Key == "vcs.revision" {
						revision = " " + setting.Value
					}
				}
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "pyo3test %s%s, %s %s/%s\n", report.Version, revision, runtime.Version(), runtime.GOOS,
				runtime.GOARCH)
			fmt.Fprintf(out, "base image %s, Rust of %s\n", images.Pins()["PYTHON_IMAGE"], images.Pins()["RUST_IMAGE"])
			return nil
		},
	}
}

func imageCommand() *cobra.Command {
	c := &cobra.Command{Use: "image", Short: "The images that runs are made of"}
	c.AddCommand(&cobra.Command{
		Use:   "info",
		Short: "Say which tools images the engine has, on which base, with which Python",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return imageInfo(c, c.OutOrStdout()) },
	})
	return c
}

func imageInfo(c *cobra.Command, out io.Writer) error {
	e, objects, err := connect(c.Context(), out)
	if err != nil {
		return err
	}
	defer e.Close()
	fmt.Fprintf(out, "engine      Docker %s at %s\n", e.Version, e.Host)
	for _, variable := range []string{image.BaseVariable, image.MirrorVariable} {
		if value := os.Getenv(variable); value != "" {
			fmt.Fprintf(out, "%s=%s\n", variable, value)
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	found := false
	for _, o := range objects {
		if base, python, is := image.ToolsOf(o); is {
			found = true
			fmt.Fprintf(table, "tools image\t%s\tPython %s\ton %s\t%s\t%s old\n", o.Name, python, base,
				units.HumanSize(float64(o.Size)), units.HumanDuration(time.Since(o.Created)))
		}
	}
	if !found {
		fmt.Fprintln(table, "no tools image yet: the first run makes it")
	}
	return table.Flush()
}

// connect finds the engine and lists the harness's objects in it. If there is no engine, connect prints why and returns
// the exit code as the error.
func connect(ctx context.Context, out io.Writer) (*engine.Engine, []engine.Object, error) {
	e, err := engine.Connect(ctx)
	if err != nil {
		fmt.Fprintln(out, err)
		return nil, nil, status(exitSetup)
	}
	objects, err := e.Objects(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, e.Close())
	}
	return e, objects, nil
}
