package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/group"
	"pyo3test/harness/internal/verdict"
)

// canVisit returns an error for what --shell and --core cannot show.
func canVisit(test bundle.Test) error {
	switch {
	case test.Kind != "":
		return fmt.Errorf("--shell and --core are for tests that hang, and the bundle is of %s", test.NodeID)
	case test.Outcome != string(verdict.Hung):
		return fmt.Errorf("--shell and --core are for tests that hang, and the bundle's is %s: -v shows the report of its failure",
			test.Outcome)
	}
	return nil
}

// visit returns what to do with a hang before it is killed: with the first one, what the user asks for.
func (f reproFlags) visit(ctx context.Context, screen *reproScreen) func(group.Hung) {
	var once sync.Once
	return func(hung group.Hung) {
		once.Do(func() {
			if f.core != "" {
				screen.progress("writing a core")
				if err := writeCore(ctx, hung, f.core); err != nil {
					screen.line("%12s %v", "No core", err)
				} else {
					screen.line("%12s %s: unpack it, then: gdb -nx -iex 'set auto-load off' -iex 'set sysroot root' program core", "Core", f.core)
				}
			}
			if f.shell {
				screen.line("%12s beside process %d, which hangs until the shell ends: py-spy dump --pid $PYO3TEST_PID, gdb -p $PYO3TEST_PID",
					"Shell", hung.PID)
				if err := hung.Shell(ctx); err != nil {
					screen.line("%12s %v", "No shell", err)
				}
			}
		})
	}
}

// writeCore writes a core to a file, whole or not at all.
func writeCore(ctx context.Context, hung group.Hung, file string) (err error) {
	part, err := os.CreateTemp(filepath.Dir(file), ".core-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	if err := errors.Join(hung.Core(ctx, part), part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), file)
}
