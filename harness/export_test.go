package harness

import (
	"testing"

	"pyo3test/harness/internal/evidence"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
)

// Prepared does what Run does before pytest, and returns what is copied and the image of the build. That is not always
// the crate's newest image: content that was built before is not built again, whatever was built since.
func Prepared(t *testing.T, suite Suite) (project.Tree, string, error) {
	junit := report.NewJUnit(t.Name())
	stream := report.NewStream(report.NewGoTest(testingT{T: t}, true))
	r := &run{suite: suite, stream: stream, evidence: evidence.New(t.Name(), "", junit)}
	r.emit(report.RunStarted{Name: t.Name(), Crate: suite.Crate})
	defer r.evidence.Finish(false)
	if err := r.configure(); err != nil {
		return project.Tree{}, "", err
	}
	if err := r.prepare(t.Context()); err != nil {
		return project.Tree{}, "", err
	}
	return r.sources.tree, r.extension.Image, r.engine.Close()
}
