package evidence

import (
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"pyo3test/harness/internal/report"
)

// written holds the JUnit files that this process has written. Several runs may share one, which has the suites of
// each.
var written files

type files struct {
	mutex sync.Mutex
	runs  map[string]map[string][]*report.JUnitSuite // by file and by the run's test
}

// write writes a file with the suites of a run, and those that other runs have written there.
func (f *files) write(name, test string, suites []*report.JUnitSuite) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	full, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	if f.runs == nil {
		f.runs = map[string]map[string][]*report.JUnitSuite{}
	}
	if f.runs[full] == nil {
		f.runs[full] = map[string][]*report.JUnitSuite{}
	}
	f.runs[full][test] = suites
	var all []*report.JUnitSuite
	for _, test := range slices.Sorted(maps.Keys(f.runs[full])) {
		all = append(all, f.runs[full][test]...)
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(report.WriteJUnit(writer, all)) }()
	err = writeFile(full, reader)
	reader.CloseWithError(errors.Join(errors.New("not written"), err)) // or the encoder would wait forever
	return err
}
