package hangs_test

import (
	"os"
	"testing"

	"pyo3test/harness"
)

// TestDemo is `make demo-hang`: three hangs between tests that pass, as a user meets them. It is red, as it should be.
func TestDemo(t *testing.T) {
	if os.Getenv("PYO3TEST_DEMO") == "" {
		t.Skip("red on purpose: make demo-hang runs it")
	}
	harness.Run(t, harness.Suite{Crate: "modern", TestTimeout: testTimeout, Tests: []string{
		"tests/test_locks.py::test_first", "tests/test_locks.py::test_gil_mutex", "tests/test_waits.py::test_spin",
		"tests/test_initialisers.py::test_lazy_gil", "tests/test_locks.py::test_last",
	}})
}
