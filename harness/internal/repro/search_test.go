package repro

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/report"
)

func TestSortTrials(t *testing.T) {
	trial := func(name string, failed, runs int) Trial { return Trial{Way{Name: name}, runs, failed} }
	trials := []Trial{trial("none", 0, 20), trial("calls", 5, 20), trial("unbuilt", 0, 0), trial("crate", 0, 20), trial("lines", 10, 40),
		trial("functions", 6, 20)}
	sortTrials(trials)
	var order []string
	for _, each := range trials {
		order = append(order, each.Name)
	}
	assert.Equal(t, []string{"functions", "lines", "calls", "crate", "none", "unbuilt"}, order)
}

func TestApplicable(t *testing.T) {
	names := func(b bundle.Test) (names []string) {
		for _, way := range Applicable(&bundle.Bundle{Manifest: bundle.Manifest{Test: b}}) {
			names = append(names, way.Name)
		}
		return names
	}
	assert.NotContains(t, names(bundle.Test{}), "functions", "nobody knows in which")
	assert.Contains(t, names(bundle.Test{}), "crate")
	assert.Contains(t, names(bundle.Test{Blocked: []report.Frame{{Function: "f"}}}), "functions")
}
