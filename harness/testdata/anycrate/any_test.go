// Package anycrate runs the crate that the environment names, for tests that need go test itself around it.
package anycrate

import (
	"os"
	"strings"
	"testing"

	"pyo3test/harness"
)

func TestPython(t *testing.T) {
	harness.Run(t, harness.Suite{
		Crate: os.Getenv("SELFTEST_CRATE"), Isolation: harness.Isolation(os.Getenv("SELFTEST_ISOLATION")),
		Requirements: strings.Fields(os.Getenv("SELFTEST_REQUIREMENTS")),
	})
}
