package evidence

import (
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"pyo3test/harness/internal/verdict"
)

// written holds the JUnit files that this process has written. Several runs may share one, which has the suites of
// each.
var written files

type files struct {
	mutex sync.Mutex
	runs  map[string]map[string][]verdict.Suite // by file and by the run's test
}

// write writes a file with the suites of a run, and those that other runs have written there.
func (f *files) write(name, test string, suites []verdict.Suite) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	full, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	if f.runs == nil {
		f.runs = map[string]map[string][]verdict.Suite{}
	}
	if f.runs[full] == nil {
		f.runs[full] = map[string][]verdict.Suite{}
	}
	f.runs[full][test] = suites
	var all []verdict.Suite
	for _, test := range slices.Sorted(maps.Keys(f.runs[full])) {
		all = append(all, f.runs[full][test]...)
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(verdict.WriteJUnit(writer, all)) }()
	err = writeFile(full, reader)
	reader.CloseWithError(errors.Join(errors.New("not written"), err)) // or the encoder would wait forever
	return err
}
