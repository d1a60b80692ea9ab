package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/verdict"
)

// memory is what became of a crate's tests when each ran last, in a file of the user's cache folder.
type memory struct {
	crate, file string
	outcomes    map[string]verdict.Outcome // by node id
}

func remember(crate string) (memory, error) {
	folder, err := cache.Folder()
	if err != nil {
		return memory{}, err
	}
	m := memory{crate: crate, file: filepath.Join(folder, "last", fmt.Sprintf("%x.json", sha256.Sum256([]byte(crate))))}
	data, err := os.ReadFile(m.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, nil
	case err != nil:
		return m, cache.Failed(fmt.Errorf("read what became of the tests last time: %w", err))
	}
	if err := json.Unmarshal(data, &m.outcomes); err != nil {
		return m, fmt.Errorf("read what became of the tests last time: %s: %w: remove it", m.file, err)
	}
	return m, nil
}

// notPassed are the node ids of what did not pass.
func (m memory) notPassed() (map[string]bool, error) {
	if m.outcomes == nil {
		return nil, fmt.Errorf("--failed: no run of %s is known: run it without, first", m.crate)
	}
	only := map[string]bool{}
	for id, outcome := range m.outcomes {
		if outcome.Red() {
			only[id] = true
		}
	}
	return only, nil
}

// add takes what became of some tests, beside what is known of the others. A file that could not be collected is
// forgotten as soon as one of its tests is heard of.
func (m memory) add(outcomes map[string]verdict.Outcome) error {
	return cache.Failed(m.write(outcomes))
}

func (m memory) write(outcomes map[string]verdict.Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	if m.outcomes == nil {
		m.outcomes = map[string]verdict.Outcome{}
	}
	for id, outcome := range outcomes {
		file, _, _ := strings.Cut(id, "::")
		delete(m.outcomes, file)
		m.outcomes[id] = outcome
	}
	data, err := json.Marshal(m.outcomes)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.file), 0o755); err != nil {
		return err
	}
	// In one step: two runs may end at a time.
	written, err := os.CreateTemp(filepath.Dir(m.file), "new-*")
	if err != nil {
		return err
	}
	defer os.Remove(written.Name()) // where it was not renamed
	if _, err = written.Write(data); err == nil {
		err = written.Close()
	}
	if err == nil {
		err = os.Rename(written.Name(), m.file)
	}
	return err
}
