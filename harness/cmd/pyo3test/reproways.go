package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/repro"
	"pyo3test/harness/internal/visible"
)

// search as a way of pressure means that the best is to be found.
const search = "search"

// wayNames returns the names of the kinds of pressure.
func wayNames() string {
	var names []string
	for _, way := range repro.Ways() {
		names = append(names, way.Name)
	}
	return strings.Join(names, ", ")
}

// press puts the test under the pressure that the user or the bundle asks for, and finds it first if it is to be found.
func (f reproFlags) press(ctx context.Context, e *engine.Engine, b *bundle.Bundle, p *repro.Prepared, screen *reproScreen) (*repro.Prepared, error) {
	if (f.pressure != "" || b.Run.Pressure != bundle.Pressure{}) && b.Test.Kind != "" {
		return nil, fmt.Errorf("only tests can be put under pressure, and the bundle is of %s", b.Test.NodeID)
	}
	twin := sync.OnceValues(func() (*repro.Prepared, error) {
		screen.line("%12s %s", "Building", "the sources once more, with hooks: the same sources, and other machine code")
		return p.Twin(ctx, e, f.limits, screen.prepare)
	})
	switch f.pressure {
	case "":
	case search:
		found, err := f.search(ctx, b, p, twin, screen)
		if err != nil {
			return nil, err
		}
		b.Run.Pressure = found
	default:
		way, _ := repro.Named(f.pressure) // split has checked it
		b.Run.Pressure = way.Pressure
	}
	if b.Run.Pressure.Code != "" {
		var err error
		if p, err = twin(); err != nil {
			return nil, err
		}
	}
	return p.Under(b.Run.Pressure)
}

// search finds the pressure under which the test fails most often, and shows what it tried.
func (f reproFlags) search(ctx context.Context, b *bundle.Bundle, p *repro.Prepared, twin func() (*repro.Prepared, error),
	screen *reproScreen) (bundle.Pressure, error) {
	o := repro.Options{Jobs: f.options.Jobs, Each: screen.each}
	chosen, trials, err := p.Search(ctx, repro.Applicable(b), o, twin, func(next repro.Way) { screen.trying = next.Name + ", " })
	screen.trying = ""
	title := "Tried"
	for _, trial := range trials {
		switch {
		case trial.Err != nil && ctx.Err() == nil:
			screen.line("%12s %-12s left out: %v", title, trial.Name, trial.Err)
		case trial.Runs > 0:
			screen.line("%12s %-12s %d of %d  %s", title, trial.Name, trial.Failed, trial.Runs, repro.Words(trial.Pressure))
		default:
			continue
		}
		title = ""
	}
	if err == nil {
		screen.line("%12s %s: only the runs from here on count", "Chosen", chosen.Name)
	}
	return chosen.Pressure, err
}

// leaveOut finds the earlier tests that the failure needs, leaves the others out of the bundle, and returns the results of fresh
// runs, and of those after all earlier tests.
func (f reproFlags) leaveOut(ctx context.Context, b *bundle.Bundle, p *repro.Prepared, screen *reproScreen) ([]repro.Result, error) {
	all := len(b.Test.Before)
	o := repro.Options{Jobs: f.options.Jobs, Each: screen.each}
	found, err := p.Minimise(ctx, o, func(tests int) { screen.trying = plural.Count(tests, "earlier test") + ", " })
	screen.trying = ""
	if found.All.Failed == 0 {
		if err == nil {
			err = fmt.Errorf("the test passed in %d runs after all %s, so nothing can be left out: --pressure may make it fail more often",
				found.All.Runs, plural.Count(all, "earlier test"))
		}
		return nil, err
	}
	screen.line("%12s %s", "After all", found.All.Sentence())
	needed := fmt.Sprintf("%d of %s, found in %d runs", len(found.Before), plural.Count(all, "earlier test"), found.Runs)
	switch {
	case err != nil:
		needed = "at most " + needed + ", when the search was ended"
	case found.Bounded:
		needed = "at most " + needed + ", which is the limit: fewer may suffice"
	case len(found.Before) == 0:
		needed += ": it fails alone"
	}
	screen.line("%12s %s", "Needed", needed)
	for _, nodeID := range found.Before {
		screen.line("%12s %s", "", visible.Word(nodeID))
	}
	if err != nil {
		return nil, err
	}
	b.Test.Before = found.Before
	f.options.Each, f.options.Seed = screen.each, finalSeed()
	fresh, err := p.After(found.Before).Run(ctx, f.options)
	if text := found.Compared(fresh); text != "" {
		screen.line("%12s %s", "Compared", text)
	}
	return []repro.Result{fresh, found.All}, err
}
