// Package evidence keeps what a run leaves for its reader: JUnit, pytest's terminal output, reports of what went wrong.
// A failure to write it never changes a verdict; it is reported once.
package evidence

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/report"
)

// Variables that say where evidence goes.
const (
	ArtifactsVariable = "PYO3TEST_ARTIFACTS" // a folder in which each run has its own
	// JUnitVariable names a file for the JUnit report. If it is a folder, or ends with a slash, each run has its own
	// file in it.
	JUnitVariable = "PYO3TEST_JUNIT"
)

// Run is the evidence of one run.
type Run struct {
	test   string // the full name of the run's test
	name   string
	folder string // "" if there can be none
	lent   bool   // the folder is the user's, and is kept whatever the result
	mutex  sync.Mutex
	junit  *report.JUnit
	errs   []error

	limits  limits
	names   names
	size    int64 // bytes of the files that are kept
	files   int
	leftOut int // files that the limits left no room for
}

// New chooses the folder for the run of a test: artifacts if that is set, which is the test's folder under -artifacts,
// else PYO3TEST_ARTIFACTS, else Bazel's outputs, else the user's cache folder, which keeps only failures. The JUnit file
// will hold what junit has.
func New(test, artifacts string, junit *report.JUnit) *Run {
	r := &Run{test: test, name: runName(test), junit: junit, limits: defaults, names: newNames()}
	switch {
	case artifacts != "":
		r.folder, r.lent = artifacts, true
	case os.Getenv(ArtifactsVariable) != "":
		r.folder, r.lent = filepath.Join(os.Getenv(ArtifactsVariable), packageName()+"-"+r.name), true
	case os.Getenv("TEST_UNDECLARED_OUTPUTS_DIR") != "":
		r.folder, r.lent = filepath.Join(os.Getenv("TEST_UNDECLARED_OUTPUTS_DIR"), r.name), true
	default:
		folder, err := cache.Folder()
		if err != nil {
			r.errs = append(r.errs, err)
			break
		}
		r.folder = filepath.Join(folder, "failures",
			time.Now().UTC().Format("20060102T150405.000")+"-"+packageName()+"-"+r.name)
	}
	return r
}

// packageName returns a name that tells the runs of several packages apart: go test runs each in its own folder.
func packageName() string {
	folder, err := os.Getwd()
	if err != nil {
		return "test"
	}
	return runName(filepath.Base(folder))
}

// Keep writes one file of a group, or of the run if group is "", within the limits of a file and of a run. The name may
// be any text.
func (e *Run) Keep(group, name string, data io.Reader) { e.keepOne(group, name, data, true) }

func (e *Run) keepOne(group, name string, data io.Reader, own bool) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.folder == "" || errors.Join(e.errs...) != nil { // the next file would only repeat the error
		return
	}
	if err := e.keep(group, name, data, own); err != nil {
		e.errs = append(e.errs, e.explained(err))
	}
}

// explained adds to an error that it is about the cache folder, if it is.
func (e *Run) explained(err error) error {
	if e.lent {
		return err
	}
	return cache.Failed(err)
}

// Place returns the absolute path of a file of a group that the caller writes, "" if there is no folder. It is of the one thing
// with that name; what is shown of the name may be any text.
func (e *Run) Place(group, name, shown string) string {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.folder == "" {
		return ""
	}
	folder, err := filepath.Abs(e.folder)
	if err != nil {
		return ""
	}
	return filepath.Join(folder, e.names.unique("", group), e.names.uniqueAs(group+"/", "bundle of "+name, shown))
}

func writeFile(name string, data io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, data)
	return errors.Join(err, f.Close())
}

// Wanted reports whether there is a folder for what a group leaves: one for failures, or one where everything is kept.
func (e *Run) Wanted(failed bool) bool { return e.folder != "" && (failed || e.lent) }

// KeepTar writes the files in the tar stream of a folder.
func (e *Run) KeepTar(group string, stream io.Reader) error {
	for archive := tar.NewReader(stream); ; {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read what the group left: %w", err)
		case header.Typeflag == tar.TypeReg:
			_, name, _ := strings.Cut(header.Name, "/")
			if name == "junit.xml" {
				name = "pytest-junit.xml" // the run's own is beside it
			}
			e.keepOne(group, name, archive, slices.Contains(logs, name))
		}
	}
}

// logs are the files that every group leaves; its tests have written the rest.
var logs = []string{"import.log", "pytest.log", "pytest-junit.xml"}

// Begin replaces an earlier run's JUnit file with a red one: a run that is killed leaves no other.
func (e *Run) Begin() {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	before := e.errs
	suites := []*report.JUnitSuite{report.FailedRun(e.test, "the run has not ended: it is under way, or was killed")}
	if e.lent {
		e.writeJUnit(filepath.Join(e.folder, "junit.xml"), suites)
	}
	e.writeUsersJUnit(suites)
	e.errs = before // Finish tries again, and reports errors
}

// Finish writes the JUnit file of the run, removes old runs, and returns a message on where the files are, or what
// could not be written. A run without a group leaves nothing in the cache folder: it would replace one that has more to
// show.
func (e *Run) Finish(failed bool) string {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	suites := e.junit.Suites()
	keep := failed && e.junit.HasGroups() || e.lent
	if e.folder != "" && keep {
		e.writeJUnit(filepath.Join(e.folder, "junit.xml"), suites)
	}
	e.writeUsersJUnit(suites)
	if e.folder != "" && !e.lent {
		if !keep {
			e.errs = append(e.errs, os.RemoveAll(e.folder))
		}
		e.errs = append(e.errs, e.explained(cache.Prune(filepath.Dir(e.folder), e.limits.runs, e.limits.all)))
	}
	if err := errors.Join(e.errs...); err != nil {
		return fmt.Sprintf("evidence could not be written: %v", err)
	}
	if failed && keep && e.folder != "" {
		text := "JUnit, pytest's output and reports: " + e.folder
		if e.leftOut > 0 {
			text += fmt.Sprintf(" (%s left out: one run keeps %d MiB and %d files)",
				plural.Count(e.leftOut, "file"), e.limits.run>>20, e.limits.files)
		}
		return text
	}
	return ""
}

// writeUsersJUnit writes the file that JUnitVariable names.
func (e *Run) writeUsersJUnit(suites []*report.JUnitSuite) {
	name := os.Getenv(JUnitVariable)
	if name == "" {
		return
	}
	if info, err := os.Stat(name); strings.HasSuffix(name, "/") || err == nil && info.IsDir() {
		name = filepath.Join(name, packageName()+"-"+e.name+".xml")
	}
	e.writeJUnit(name, suites)
}

// Refused writes a red JUnit file where JUnitVariable says, for a command that cannot begin its run.
func Refused(test string, why error) error {
	refused := &Run{test: test, name: runName(test)}
	refused.writeUsersJUnit([]*report.JUnitSuite{report.FailedRun(test, why.Error())})
	return errors.Join(refused.errs...)
}

func (e *Run) writeJUnit(name string, suites []*report.JUnitSuite) {
	e.errs = append(e.errs, written.write(name, e.test, suites))
}
