package harness

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/group"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/project"
)

// Isolation is what the tests of a group share.
type Isolation string

const (
	// Forked runs each test in a forked child of the collected pytest, as `pytest --forked` means it. It is the default.
	Forked Isolation = "forked"
	// Subprocess runs each test in a fresh interpreter, forked from a process with one thread that has imported pytest
	// and nothing of the project: there are no threads, locks or runtimes of a parent that a fork could break. Each
	// test imports the extension for itself, and collects its own file.
	Subprocess Isolation = "subprocess"
	// InProcess runs all tests of a group in one process, as plain pytest does.
	InProcess Isolation = "inprocess"
)

// Defaults of a Suite. They bound what goes wrong; what goes right should not come near them.
const (
	DefaultTestTimeout    = time.Minute
	DefaultBuildTimeout   = 30 * time.Minute
	DefaultStartTimeout   = time.Minute
	DefaultCollectTimeout = 2 * time.Minute
	DefaultFinishTimeout  = 2 * time.Minute
	DefaultExitTimeout    = 2 * time.Second
	DefaultMemory         = 2 << 30
	DefaultProcesses      = 2048
)

// Suite is one crate and its tests. Only Crate has to be set.
type Suite struct {
	// Crate is the folder with the crate's pyproject.toml, relative to the test's own folder.
	Crate string
	// Tests are the files, folders or node ids to run, relative to Crate; the default is what pytest itself would find there.
	Tests []string
	// Groups divides the tests among containers that run in parallel; the default is one group, named after the crate,
	// with Tests.
	Groups []Group
	// Isolation is Forked if it is empty.
	Isolation Isolation
	// Workers is how many tests of a group run at the same time, each in its own process; 0 means the project's own -n,
	// else 1.
	Workers int

	// TestTimeout is the budget of one test from setup to teardown; a pytest-timeout marker or setting of the project
	// takes precedence. The default is DefaultTestTimeout.
	TestTimeout time.Duration
	// NoDeadlockProof lets a deadlocked test use up its budget. Otherwise its stacks are taken and it is ended, about
	// two seconds after it is certain that none of its threads can ever run again.
	NoDeadlockProof bool
	// Pressure delays threads of the tests, a little and at random, where they call the C library to synchronise, as
	// `pyo3test repro --pressure=calls` does, and gives each test twice its budget. A race that makes a test hang once in a
	// thousand runs may do so within a few; what hangs with it can hang without it. For a nightly run, say.
	Pressure bool
	// FailLeaky fails each test that leaves processes running. The processes are named and killed in any case.
	FailLeaky bool
	// BuildTimeout bounds installing the requirements and building; the default is DefaultBuildTimeout.
	BuildTimeout time.Duration
	// StartTimeout bounds starting the container's Python and importing the extension; the default is DefaultStartTimeout.
	StartTimeout time.Duration
	// CollectTimeout bounds pytest's start and collection; the default is DefaultCollectTimeout.
	CollectTimeout time.Duration
	// FinishTimeout bounds the end of the session after the last test, coverage reports included. It also bounds what
	// pytest itself does between two tests: each hook that plugins have there. The default is DefaultFinishTimeout.
	FinishTimeout time.Duration
	// ExitTimeout bounds the end of the interpreter after the session. An interpreter that is still working gets ten
	// times as long. The default is DefaultExitTimeout.
	ExitTimeout time.Duration

	// Profile is cargo's profile; the default is "release", with as much debug information as stacks need for names and lines.
	Profile string
	// Features are the crate's features to switch on, besides those that pyproject.toml names.
	Features []string
	// NoDefaultFeatures switches the crate's default features off.
	NoDefaultFeatures bool
	// MaturinArgs are further arguments of maturin's build.
	MaturinArgs []string
	// BuildNetwork lets build scripts and procedural macros reach the network. By default they have none: what cargo
	// downloads is fetched beforehand, in a container that runs no code of the project.
	BuildNetwork bool

	// Requirements are what the tests need: requirements in pip's form ("numpy>=2") or requirements files, relative to
	// Crate. If none of Requirements, Extras and DependencyGroups is set, the first of these that exists is used:
	// uv.lock at the crate or above it; pylock.toml; a dependency group, else an extra, named test, tests, testing or
	// dev or beginning with one of these, of which one that names pytest comes first, whatever its name; a requirements
	// file with a usual name, such as requirements-test.txt. The run prints which one it was. If it
	// names pytest, it replaces the default test environment, which is pytest, pytest-forked, pytest-cov, coverage and
	// pytest-xdist, locked; otherwise it is added to that. The project's own dependencies are always installed.
	Requirements []string
	// Extras are the optional dependencies of the project to install.
	Extras []string
	// DependencyGroups are the groups of [dependency-groups] to install.
	DependencyGroups []string
	// With are requirements in pip's form that the tests need beside those.
	With []string
	// SystemPackages are Debian packages that the build or the tests need ("libssl-dev").
	SystemPackages []string
	// Python is the version of Python to build for and to test with; the default is that of the base image, which is
	// 3.11 for the pinned one. For another, such as "3.13", the newest image of that version is pulled if a registry
	// answers; otherwise one is made from Debian's packages, as for 3.11, if Debian has that version: 3.13, 3.14 and 3.15.
	// A free-threaded one, "3.13t" to "3.15t", is compiled from CPython's source, once, in some minutes.
	// PYO3TEST_BASE_IMAGE can name an image that has any version. Several versions make a subtest each, of that name,
	// around the groups: TestPython/3.14/words/tests/test_map.py/test_insert. Each has a build of its own.
	Python []string
	// Env is set for the build and for the tests.
	Env map[string]string
	// PytestArgs are further arguments of pytest.
	PytestArgs []string

	// Memory is a group's limit in bytes, CPUs its share of processors, Processes its limit of processes and threads.
	// The defaults are DefaultMemory, all, and DefaultProcesses.
	Memory    int64
	CPUs      float64
	Processes int64
	// Outputs are patterns of files that the tests write and that leave the container, relative to Crate: "report.html",
	// "snapshots/**". Reports of coverage with their usual names always do. They are kept with the other evidence of a
	// run, and in OutputFolder.
	Outputs []string
	// Bundles says which tests leave a bundle, a file from which `pyo3test repro` runs the test again on any machine; the
	// default is BundleHangs. A run keeps them with its other evidence.
	Bundles Bundles
	// OutputFolder is a folder of the host for what the tests write, relative to the test's own folder. It gets a folder
	// for each group if there are several. It has to be new, empty, or one that an earlier run has made, which a .gitignore
	// in it shows: no file of yours is overwritten.
	OutputFolder string
	// Network lets the tests reach the network; by default they have none.
	Network bool

	// Root is the folder that becomes the root of the sources in the container; the default is the nearest one that
	// holds the crate, its path dependencies and its workspace. Links to what it holds are followed.
	Root string
	// Include are further files and folders that the build or the tests need, relative to Crate. What would be left out
	// is copied if Include names it, and a link out of the sources is followed if Include names it or its target.
	Include []string
}

// Group is the tests that share one container.
type Group struct {
	// Name is the name of the group's subtest; it has to be unique in the Suite.
	Name string
	// Tests are as in Suite; the default is all tests.
	Tests []string
	// Env is added to the Suite's, for the tests only.
	Env map[string]string
	// PytestArgs are added to the Suite's.
	PytestArgs []string
}

var (
	groupName     = regexp.MustCompile(`^[\w.+-]+$`)
	pythonVersion = regexp.MustCompile(`^3\.\d+t?$`)
)

// complete fills in the defaults, or returns an error that says what is wrong with which field.
func (s Suite) complete() (Suite, error) {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.Crate == "" {
		refuse("Crate: not set: name the folder of a crate")
	}
	switch s.Isolation {
	case "":
		s.Isolation = Forked
	case Forked, Subprocess, InProcess:
	default:
		refuse("Isolation: %q is not one of %q, %q and %q", s.Isolation, Forked, Subprocess, InProcess)
	}
	switch s.Bundles {
	case "":
		s.Bundles = BundleHangs
	case BundleHangs, BundleAll, BundleNone:
	default:
		refuse("Bundles: %q is not one of %q, %q and %q", s.Bundles, BundleHangs, BundleAll, BundleNone)
	}
	if s.Isolation == InProcess && s.Workers > 1 {
		refuse("Workers: %d with Isolation %q: one process runs one test at a time; use groups", s.Workers, InProcess)
	}
	for _, field := range []struct {
		name  string
		value float64
	}{
		{"Workers", float64(s.Workers)}, {"TestTimeout", float64(s.TestTimeout)},
		{"BuildTimeout", float64(s.BuildTimeout)},
		{"StartTimeout", float64(s.StartTimeout)}, {"CollectTimeout", float64(s.CollectTimeout)},
		{"FinishTimeout", float64(s.FinishTimeout)}, {"ExitTimeout", float64(s.ExitTimeout)},
		{"Memory", float64(s.Memory)}, {"CPUs", s.CPUs}, {"Processes", float64(s.Processes)},
	} {
		if field.value < 0 {
			refuse("%s: it is negative", field.name)
		}
	}
	if s.Memory != 0 && s.Memory < 32<<20 {
		refuse("Memory: %d bytes cannot hold a Python with pytest: at least 32 MiB", s.Memory)
	}
	setDefault(&s.TestTimeout, DefaultTestTimeout)
	setDefault(&s.BuildTimeout, DefaultBuildTimeout)
	setDefault(&s.StartTimeout, DefaultStartTimeout)
	setDefault(&s.CollectTimeout, DefaultCollectTimeout)
	setDefault(&s.FinishTimeout, DefaultFinishTimeout)
	setDefault(&s.ExitTimeout, DefaultExitTimeout)
	setDefault(&s.Profile, "release")
	setDefault(&s.Memory, DefaultMemory)
	setDefault(&s.Processes, DefaultProcesses)
	if s.OutputFolder != "" {
		folder, err := group.OutputFolder(s.OutputFolder)
		if err != nil {
			refuse("OutputFolder: %w", err)
		}
		s.OutputFolder = folder
	}
	for _, wrong := range wrongPythons(s.Python) {
		refuse("Python: %s", wrong)
	}
	for _, name := range s.SystemPackages {
		if !image.IsPackage(name) {
			refuse("SystemPackages: %q is not the name of a Debian package", name)
		}
	}
	if len(s.Groups) > 0 && len(s.Tests) > 0 {
		refuse("Tests: set together with Groups: say in each group which tests are its own")
	}
	names := map[string]bool{}
	for i, group := range s.Groups {
		switch {
		case !groupName.MatchString(group.Name):
			refuse("Groups[%d].Name: %q: use letters, digits and ._+-", i, group.Name)
		case names[group.Name]:
			refuse("Groups[%d].Name: %q is used twice", i, group.Name)
		}
		names[group.Name] = true
	}
	for _, args := range append([][]string{s.PytestArgs}, groupArgs(s.Groups)...) {
		for _, arg := range args {
			if name, _, _ := strings.Cut(arg, "="); slices.Contains(ours, name) {
				refuse("PytestArgs: %s is the harness's own: %s", arg, instead[name])
			}
		}
	}
	return s, errors.Join(errs...)
}

// ours are arguments of pytest that the harness sets itself; the map instead has what to use in their place.
var ours = []string{"--forked", "--junitxml", "--junit-xml", "--collect-only", "--co"}

var instead = map[string]string{
	"--forked":       "set Isolation",
	"--junitxml":     "set the variable PYO3TEST_JUNIT to a path",
	"--junit-xml":    "set the variable PYO3TEST_JUNIT to a path",
	"--collect-only": "use go test -run with a pattern that matches nothing",
	"--co":           "use go test -run with a pattern that matches nothing",
}

func groupArgs(groups []Group) (args [][]string) {
	for _, group := range groups {
		args = append(args, group.PytestArgs)
	}
	return args
}

// testArguments returns what pytest is to run, and its further arguments.
func (s Suite) testArguments() []string {
	all := slices.Concat(s.Tests, s.PytestArgs)
	for _, group := range s.Groups {
		all = slices.Concat(all, group.Tests, group.PytestArgs)
	}
	return all
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// groups returns the Suite's groups, or one with the crate's name.
func (s Suite) groups(p project.Project) []Group {
	if len(s.Groups) > 0 {
		return s.Groups
	}
	name := cmp.Or(p.Metadata.Name, filepath.Base(p.Folder))
	return []Group{{Name: regexp.MustCompile(`[^\w.+-]`).ReplaceAllString(name, "_"), Tests: s.Tests}}
}

// coverageReports are the usual names of what pytest-cov writes.
var coverageReports = []string{".coverage", "coverage.xml", "coverage.json", "coverage.lcov", "lcov.info", "htmlcov"}

// outputsBelow returns the folder of a group below OutputFolder, "" if there is only one group.
func (s Suite) outputsBelow(g Group) string {
	if len(s.Groups) < 2 {
		return ""
	}
	return g.Name
}

// recipe returns what to build and what to install with it.
func (s Suite) recipe(dependencies project.Dependencies) extension.Recipe {
	return extension.Recipe{
		Profile: s.Profile, Features: s.Features, NoDefaultFeatures: s.NoDefaultFeatures, MaturinArgs: s.MaturinArgs,
		Network: s.BuildNetwork, Dependencies: dependencies, Env: maps.Clone(s.Env), Timeout: s.BuildTimeout,
	}
}
