package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/console"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// memory holds how each of a crate's tests ended when it last ran, in a file of the user's cache folder.
type memory struct {
	crate, file string
	scope       scope
	id          string               // distinguishes this run from all others
	before      map[string]unsettled // what the run found at its start, and its own entry
	known       remembered
}

// remembered is the content of the file.
type remembered struct {
	Outcomes map[string]verdict.Outcome // by node id
	// Unsettled holds, by scope, the runs that ended without all verdicts, or have not ended.
	Unsettled map[string]unsettled
}

// unsettled is a run that may have left tests without a verdict, or that is red for more than its tests.
type unsettled struct {
	Run string // its id
	Why string
}

// cutOff is the reason recorded for a run that has not ended. It stays if the run is killed.
const cutOff = "it was cut off"

// scope is what a run was asked to run: all tests if both fields are empty.
type scope struct{ Tests, PytestArgs []string }

func (s scope) all() bool { return len(s.Tests) == 0 && len(s.PytestArgs) == 0 }

func (s scope) key() string {
	if s.all() {
		return ""
	}
	key, _ := json.Marshal(s) // strings always encode
	return string(key)
}

// covers reports whether a run of the scope runs all tests of a file or folder.
func (s scope) covers(file string) bool {
	return len(s.PytestArgs) == 0 && (len(s.Tests) == 0 || slices.ContainsFunc(s.Tests, func(name string) bool {
		return name == file || strings.HasPrefix(file, strings.TrimSuffix(name, "/")+"/")
	}))
}

func remember(crate string, asked scope) (*memory, error) {
	folder, err := cache.Folder()
	if err != nil {
		return nil, err
	}
	m := &memory{crate: crate, scope: asked, id: fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano())}
	m.file = filepath.Join(folder, "last", fmt.Sprintf("%x.json", sha256.Sum256([]byte(crate))))
	return m, m.read()
}

func (m *memory) read() error {
	m.known = remembered{}
	data, err := os.ReadFile(m.file)
	if err == nil {
		if err = json.Unmarshal(data, &m.known); err != nil {
			err = fmt.Errorf("%s: %w: remove it", m.file, err)
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return cache.Failed(fmt.Errorf("read what became of the tests last time: %w", err))
	}
	if m.known.Outcomes == nil {
		m.known.Outcomes = map[string]verdict.Outcome{}
	}
	if m.known.Unsettled == nil {
		m.known.Unsettled = map[string]unsettled{}
	}
	return nil
}

// notPassed returns the node ids of what did not pass. If a run left tests without a verdict, only is nil, which means
// all tests, and why is the reason.
func (m *memory) notPassed() (only map[string]bool, why string, err error) {
	if len(m.known.Unsettled) > 0 {
		first := slices.Sorted(maps.Keys(m.known.Unsettled))[0]
		return nil, m.known.Unsettled[first].Why, nil
	}
	if len(m.known.Outcomes) == 0 {
		return nil, "", fmt.Errorf("--failed: no run of %s is known: run it without, first", m.crate)
	}
	only = map[string]bool{}
	for id, outcome := range m.known.Outcomes {
		if outcome.Red() {
			only[id] = true
		}
	}
	return only, "", nil
}

// begin records that a run has begun, so that, if it is killed, an earlier run's results are not taken for its own.
func (m *memory) begin() error {
	return m.update(func() {
		m.known.Unsettled[m.scope.key()] = unsettled{m.id, cutOff}
		m.before = maps.Clone(m.known.Unsettled)
	})
}

// end records the outcomes of the run's tests, and keeps those of all others. all is false for a run of only what had
// not passed.
func (m *memory) end(result console.Result, all bool) error {
	return m.update(func() {
		m.take(result.Outcomes)
		switch {
		case result.Beside:
			m.known.Unsettled[m.scope.key()] = unsettled{m.id, whyUnsettled(result.Cause)}
		case all:
			maps.DeleteFunc(m.known.Unsettled, func(key string, u unsettled) bool {
				return (m.scope.all() || key == m.scope.key()) && m.before[key] == u
			})
		}
	})
}

// take records outcomes. It forgets that a file or folder could not be collected once one of its tests has an outcome
// in a run that was asked for all of them.
func (m *memory) take(outcomes map[string]verdict.Outcome) {
	for id := range outcomes {
		file, _, _ := strings.Cut(id, "::")
		for ; file != "." && file != "/"; file = path.Dir(file) {
			if m.scope.covers(file) {
				delete(m.known.Outcomes, file)
			}
		}
	}
	maps.Copy(m.known.Outcomes, outcomes)
}

// whyUnsettled returns what was wrong with a run besides its tests.
func whyUnsettled(cause string) string {
	switch cause {
	case subtest.CauseProject:
		return "this was no project that can be tested"
	case subtest.CauseSetup:
		return "the engine, an image or the network failed"
	case subtest.CauseBuild:
		return "the build failed"
	case subtest.CauseCollection:
		return "pytest could not collect, or found nothing"
	case subtest.CauseInterrupted:
		return "it was interrupted"
	}
	return "it was red for more than its tests"
}

// update changes the file, and keeps the runs of other processes out meanwhile.
func (m *memory) update(change func()) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	unlock, err := cache.Lock(ctx, "last", func() {})
	if err != nil {
		return err
	}
	defer unlock()
	if err := m.read(); err != nil {
		return err
	}
	change()
	return cache.Failed(m.write())
}

// write replaces the file in one step: a run that is killed must not leave half of it.
func (m *memory) write() error {
	data, err := json.Marshal(m.known)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.file), 0o755); err != nil {
		return err
	}
	written, err := os.CreateTemp(filepath.Dir(m.file), "new-*")
	if err != nil {
		return err
	}
	defer os.Remove(written.Name()) // if it was not renamed
	if _, err = written.Write(data); err == nil {
		err = written.Close()
	}
	if err == nil {
		err = os.Rename(written.Name(), m.file)
	}
	return err
}
