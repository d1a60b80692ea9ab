package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"pyo3test/harness/internal/cache"
)

func cleanCommand() *cobra.Command {
	dry, older := false, time.Duration(0)
	c := &cobra.Command{
		Use:   "clean [flags]",
		Short: "Remove what runs have left in the engine and in the cache folder",
		Long: `Removes the images, volumes and containers that the harness has made in the Docker engine, and what it keeps in the user's cache
folder: reports of failures, bytecode, the helper script's builds. What a run needs now stays. The next run makes again what
it needs, which takes minutes.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if older < 0 {
				return errors.New("--older-than: it is negative")
			}
			return clean(c.Context(), c.OutOrStdout(), dry, older)
		},
	}
	c.Flags().BoolVarP(&dry, "dry-run", "n", false, "say what would be removed, with age and size, and remove nothing")
	c.Flags().Func("older-than", "only what is older than this `time`: 12h, or 30d; the default is all",
		func(value string) (err error) {
			if days, ok := strings.CutSuffix(value, "d"); ok {
				var n float64
				if _, err := fmt.Sscanf(days+"\n", "%g\n", &n); err != nil {
					return errors.New("it is a time: 12h, or 30d")
				}
				older = time.Duration(n * 24 * float64(time.Hour))
				return nil
			}
			older, err = time.ParseDuration(value)
			return err
		})
	return c
}

// cleaned holds the totals that are printed at the end.
type cleaned struct {
	count int
	size  int64
}

func clean(ctx context.Context, out io.Writer, dry bool, older time.Duration) error {
	before := time.Now().Add(-older)
	var done cleaned
	tell := func(word, kind, name string, size int64, since time.Time) {
		fmt.Fprintf(out, "%12s %-9s %9s  %-14s %s\n", word, kind, units.HumanSize(float64(size)),
			units.HumanDuration(time.Since(since)), name)
	}
	word := "removed"
	if dry {
		word = "to remove"
	}
	entries, err := cache.Entries()
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Changed.After(before) {
			continue
		}
		if !dry {
			if err := entry.Remove(); err != nil {
				return err
			}
		}
		tell(word, "cache", entry.Path, entry.Size, entry.Changed)
		done.count, done.size = done.count+1, done.size+entry.Size
	}
	e, objects, err := connect(ctx, out)
	if err != nil {
		return err
	}
	defer e.Close()
	// An image goes only after those made from it: as long as a round removes something, the next may remove more.
	for progress := true; progress; {
		progress = false
		stay := objects[:0:0]
		for _, o := range objects {
			gone := !o.Busy && o.Created.Before(before)
			if gone && !dry {
				if gone, err = e.RemoveObject(ctx, o); err != nil {
					return err
				}
			}
			if !gone {
				stay = append(stay, o)
				continue
			}
			progress = true
			tell(word, o.Kind, o.Name, o.Size, o.Created)
			done.count, done.size = done.count+1, done.size+o.Size
		}
		objects = stay
	}
	for _, o := range objects {
		if o.Busy || o.Created.Before(before) {
			tell("in use", o.Kind, o.Name, o.Size, o.Created)
		}
	}
	fmt.Fprintf(out, "%12s %d, %s\n", word, done.count, units.HumanSize(float64(done.size)))
	return nil
}
