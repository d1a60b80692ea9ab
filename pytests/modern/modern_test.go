package modern

import (
	"testing"

	"pyo3test/harness"
)

func TestPython(t *testing.T) {
	harness.Run(t, harness.Suite{Crate: "."})
}
