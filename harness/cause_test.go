package harness

import (
	"context"
	"errors"
	"testing"

	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/subtest"
)

// TestInterruptedSetUpIsNoFailure checks that a run that a signal ended does not blame the engine or the build.
func TestInterruptedSetUpIsNoFailure(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	build := &extension.Error{Phase: "build"}
	for _, check := range []struct {
		ctx  context.Context
		err  error
		want string
	}{
		{t.Context(), errors.New("no engine"), subtest.CauseSetup},
		{t.Context(), build, subtest.CauseBuild},
		{interrupted, errors.New("no engine"), subtest.CauseInterrupted},
		{interrupted, build, subtest.CauseInterrupted},
	} {
		if got := causeOf(check.ctx, check.err); got != check.want {
			t.Errorf("causeOf(%v, %v) = %q, want %q", check.ctx.Err(), check.err, got, check.want)
		}
	}
}
