package harness_test

import (
	"testing"
	"time"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
)

// The three lines that most crates need.
func ExampleRun() {
	_ = func(t *testing.T) { harness.Run(t, harness.Suite{Crate: "../rust/mycrate"}) }
}

// Two groups, each in its own container, at the same time.
func ExampleRun_groups() {
	_ = func(t *testing.T) {
		harness.Run(t, harness.Suite{
			Crate:       "../rust/mycrate",
			TestTimeout: 20 * time.Second,
			Groups: []harness.Group{
				{Name: "fast", PytestArgs: []string{"-m", "not slow"}},
				{Name: "slow", PytestArgs: []string{"-m", "slow"}, Env: map[string]string{"RAYON_NUM_THREADS": "2"}},
			},
		})
	}
}

// A suite that is meant to fail is recorded and inspected.
func ExampleRunT() {
	_ = func(t *testing.T) {
		run := harnesstest.Record(t, harness.Suite{Crate: "testdata/broken"})
		if run.Outcome() != harnesstest.Failed {
			t.Error("the broken crate is green")
		}
	}
}
