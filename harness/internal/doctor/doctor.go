// Package doctor reports what in a project will break, or breaks when pytest runs without the harness. It claims only
// what it has seen: in the project's files, or by trying it in the tests' container.
package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pyo3test/harness/internal/project"
)

// Level is how much a finding matters.
type Level string

// The levels, the worst first.
const (
	Breaks Level = "breaks"  // it makes a run of the harness red, or will
	ByHand Level = "by hand" // it breaks `pytest --forked` without the harness
	Note   Level = "note"    // worth knowing
	Fine   Level = "ok"      // checked and in order
)

var levels = []Level{Breaks, ByHand, Note, Fine}

// Finding is one result of a check.
type Finding struct {
	Check string `json:"check"` // the check's name, for machines
	Level Level  `json:"level"`
	What  string `json:"what"`
	Why   string `json:"why,omitempty"`
	Fix   string `json:"fix,omitempty"`
	See   string `json:"see,omitempty"` // a URL
}

// Sort sorts the worst findings first and otherwise keeps the order.
func Sort(findings []Finding) {
	slices.SortStableFunc(findings,
		func(a, b Finding) int { return slices.Index(levels, a.Level) - slices.Index(levels, b.Level) })
}

// noModule matches Python's message about a requirement that is not installed.
var noModule = regexp.MustCompile(`No module named '([^']+)'`)

// Red returns the finding that a run fails before its first test. failed is why; with again, the finding repeats it,
// because the user has not seen it.
func Red(failed string, again bool) Finding {
	red := Finding{Check: "run", Level: Breaks, What: "a run is red before its first test",
		Why: "the output above says why"}
	if again {
		red.Why = failed
	}
	if match := noModule.FindStringSubmatch(failed); match != nil {
		red.Fix = fmt.Sprintf(`if a package that the tests need provides %s, the project does not say so where it is looked for: name it in requirements of [tool.pyo3test], or in a dependency group named test`, match[1])
	}
	return red
}

// Where users can read more.
const (
	seeForked     = "https://github.com/pytest-dev/pytest-forked"
	seeWatchdog   = "https://github.com/pytest-dev/pytest-forked/issues/49"
	seeCoverage   = "https://coverage.readthedocs.io/en/latest/config.html#run-patch"
	seeExtension  = "https://pyo3.rs/main/building-and-distribution#the-pyo3_build_extension_module-environment-variable"
	seeFeatures   = "https://pyo3.rs/main/features#auto-initialize"
	seeFork       = "https://docs.python.org/3/library/os.html#os.fork"
	seePtrace     = "https://www.kernel.org/doc/html/latest/admin-guide/LSM/Yama.html"
	seeRequires   = "https://packaging.python.org/en/latest/specifications/pyproject-toml/#requires-python"
	seeLock       = "https://doc.rust-lang.org/cargo/guide/cargo-toml-vs-cargo-lock.html"
	seeTimeout    = "https://github.com/pytest-dev/pytest-timeout"
	seeImportSkip = "https://docs.pytest.org/en/stable/how-to/skipping.html#skipping-on-a-missing-import-dependency"
)

// Static returns the findings from the project's files alone.
func Static(p project.Project, pyo3 project.PyO3) (found []Finding, err error) {
	if !pyo3.HasLock {
		found = append(found, Finding{Check: "lock", Level: Note, What: pyo3.Lock + " is missing",
			Why: "each fresh build takes the newest crates there are: what is green today may not build tomorrow " +
				"(the harness keeps the lock of its first build in the engine)",

			Fix: "cargo generate-lockfile, and commit it", See: seeLock})
	}
	found = append(found, ofPyO3(pyo3)...)
	files, err := readFiles(p.Folder)
	if err != nil {
		return nil, err
	}
	found = append(found, files.variables()...)
	found = append(found, files.modules()...)
	return found, nil
}

// deprecated is the first minor version of PyO3 for which a variable that maturin sets replaces the feature
// extension-module.
const deprecated = 26

func ofPyO3(pyo3 project.PyO3) (found []Finding) {
	version := pyo3.Locked
	if version == "" {
		version = pyo3.Wanted
	}
	has := func(feature string) bool { return slices.Contains(pyo3.Features, feature) }
	what := "PyO3 " + version
	if len(pyo3.Features) > 0 {
		what += ", features " + strings.Join(pyo3.Features, ", ")
	}
	if version == "" {
		what = pyo3.Manifest + " does not depend on PyO3 itself"
	}
	found = append(found, Finding{Check: "pyo3", Level: Fine, What: what})
	if has("auto-initialize") {
		found = append(found, Finding{Check: "auto-initialize", Level: Note,
			What: pyo3.Manifest + ": PyO3's feature auto-initialize, in an extension",
			Why: "it is for programs that embed Python: in a module that Python has imported it does nothing, and " +
				"it asks for a linkable libpython",

			Fix: "take it out of [dependencies]; cargo's own tests may have it by [dev-dependencies]",
			See: seeFeatures})
	}
	if has("extension-module") && minor(version) >= deprecated {
		found = append(found, Finding{Check: "extension-module", Level: Note,
			What: pyo3.Manifest + ": PyO3's feature extension-module, which is deprecated",
			Why: "it keeps cargo's own tests from being linked; maturin 1.9.4 and later say the same by " +
				"PYO3_BUILD_EXTENSION_MODULE, for the extension alone",

			Fix: `take it out, and have maturin>=1.9.4 in requires of [build-system]`, See: seeExtension})
	}
	return found
}

// minor returns the x of a PyO3 version 0.x, or 0 for any other version.
func minor(version string) int {
	parts := strings.Split(strings.TrimLeft(version, "^=~ "), ".")
	if len(parts) < 2 || parts[0] != "0" {
		return 0
	}
	n, _ := strconv.Atoi(parts[1])
	return n
}

// patchSetting matches coverage's setting for processes that end without a regular exit of the interpreter.
var patchSetting = regexp.MustCompile(`(?m)^\s*patch\s*=`)

// CoveragePatched reports whether a project's configuration of coverage has that setting.
func CoveragePatched(folder string) bool {
	for _, name := range []string{".coveragerc", "pyproject.toml", "setup.cfg", "tox.ini"} {
		if data, err := os.ReadFile(filepath.Join(folder, name)); err == nil && patchSetting.Match(data) {
			return true
		}
	}
	return false
}
