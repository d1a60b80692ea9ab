package harness

import (
	"context"
	"errors"
	"testing"

	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/report"
)

// TestInterruptedSetUpIsNoFailure checks that a run that a signal ended does not blame the engine or the build.
func TestInterruptedSetUpIsNoFailure(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	build := &extension.Error{Phase: "build"}
	for _, check := range []struct {
		ctx  context.Context
		err  error
		want report.Cause
	}{
		{t.Context(), errors.New("no engine"), report.CauseSetup},
		{t.Context(), build, report.CauseBuild},
		{interrupted, errors.New("no engine"), report.CauseInterrupted},
		{interrupted, build, report.CauseInterrupted},
	} {
		if got := causeOf(check.ctx, check.err); got != check.want {
			t.Errorf("causeOf(%v, %v) = %q, want %q", check.ctx.Err(), check.err, got, check.want)
		}
	}
}
