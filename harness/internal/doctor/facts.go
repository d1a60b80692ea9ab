package doctor

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/subtest"
)

//go:embed probe.py
var probe string

// Facts holds what the probe found out in the tests' container.
type Facts struct {
	Python   string            `json:"python"`
	Unfit    map[string]string `json:"unfit"`    // the version here of each unmet requirement
	Versions map[string]string `json:"versions"` // of the installed distributions
	PyO3     string            `json:"pyo3"`     // the version that was built with, "" if it is not known
	Session  struct {          // pytest's, without the harness
		Status   int            `json:"status"`
		Said     string         `json:"said"`
		IniFile  string         `json:"inifile"`
		Settings map[string]any `json:"settings"`
		Forked   bool           `json:"forked"`
		Workers  string         `json:"workers"`
		Coverage bool           `json:"coverage"`
		Warnings []string       `json:"warnings"`
		Files    []string       `json:"files"`
		Tests    int            `json:"tests"`
		// OneProcess holds what needs all tests in one process, each with the reason.
		OneProcess [][2]string `json:"oneprocess"`
	} `json:"session"`
	Pair struct { // whether pytest-forked works with this pytest
		Broken           string `json:"broken"`
		BrokenByWarnings string `json:"broken_by_warnings"`
	} `json:"pair"`
	Threads map[string][]string `json:"threads"` // that are running after a module's import
	Sources struct {
		Hidden  []hiddenImport `json:"hidden"`  // of what was built
		Missing []hiddenImport `json:"missing"` // of what is not installed
		Unfound []struct {
			File  string `json:"file"`
			Tests int    `json:"tests"`
			First string `json:"first"`
		} `json:"unfound"`
	} `json:"sources"`
	Machine struct {
		PtraceScope int               `json:"ptrace_scope"`
		DiskFree    int64             `json:"disk_free"`
		Tools       map[string]string `json:"tools"`
	} `json:"machine"`
}

// hiddenImport is a line that hides that an import fails.
type hiddenImport struct {
	File  string `json:"file"`
	Line  int    `json:"line"`
	Words string `json:"words"`
}

// Probe finds out what only the tests' container can show.
func Probe(ctx context.Context, run subtest.InContainer, host func(string) string, p project.Project,
	modules []string) (facts Facts, err error) {
	requires := map[string]string{}
	if p.Metadata.Python != "" {
		requires["python"] = p.Metadata.Python
	}
	for _, each := range p.BuildSystem.Requires {
		if match := maturin.FindStringSubmatch(each); match != nil {
			requires["maturin"] = match[1]
		}
	}
	const file, oneProcess = "/tmp/pyo3test_probe.py", "/tmp/pyo3test_oneprocess.py"
	questions, err := json.Marshal(map[string]any{"modules": modules, "requires": requires, "oneprocess": oneProcess,
		"ignored": project.Ignored()})
	if err != nil {
		return facts, err
	}
	var said bytes.Buffer
	err = run(ctx, []string{"sh", "-c", "cat > " + oneProcess},
		bytes.NewReader(agent.Plugin()["pyo3test_plugin/oneprocess.py"]), &said)
	if err == nil {
		err = run(ctx, []string{"sh", "-c", "cat > " + file}, strings.NewReader(probe), &said)
	}
	if err == nil {
		// -P keeps the probe's own folder off sys.path: its other files must not be imported.
		err = run(ctx, []string{layout.Venv + "/bin/python", "-P", file, ".", string(questions)}, nil, &said)
	}
	if err != nil {
		return facts, fmt.Errorf("inspect the project in the container: %w: %s", err, said.String())
	}
	if err := json.Unmarshal(said.Bytes(), &facts); err != nil {
		return facts, fmt.Errorf("inspect the project in the container: %w: %.500s", err, said.String())
	}
	facts.Session.IniFile, facts.Session.Said = host(facts.Session.IniFile), host(facts.Session.Said)
	for i := range facts.Session.OneProcess {
		facts.Session.OneProcess[i][0] = host(facts.Session.OneProcess[i][0])
	}
	return facts, nil
}

// maturin matches a build requirement on maturin and captures its versions.
var maturin = regexp.MustCompile(`^maturin(?:\[[^\]]*\])?\s*([<>=!~][^;]*)`)

// Findings returns the findings that follow from the facts. patched reports whether coverage is set to save its data at
// the end of a forked process.
func (f Facts) Findings(p project.Project, patched bool) (found []Finding) {
	add := func(check string, level Level, what, why, fix, see string) {
		found = append(found, Finding{Check: check, Level: level, What: what, Why: why, Fix: fix, See: see})
	}
	pyproject := path.Join(p.Folder, "pyproject.toml")
	if version, unfit := f.Unfit["python"]; unfit {
		add("requires-python", Breaks,
			fmt.Sprintf("%s: requires-python is %q, and the tests run on Python %s", pyproject, p.Metadata.Python,
				version),
			"what is tested is not what users can install",
			`name a version that fits: python = "3.12" in [tool.pyo3test], or Python in the Suite`, seeRequires)
	} else {
		add("python", Fine, "Python "+f.Python+"; PYO3_PYTHON names it for the build and the tests", "", "", "")
	}
	if version, unfit := f.Unfit["maturin"]; unfit {
		add("maturin", Note, fmt.Sprintf("%s: [build-system] requires another maturin than the %s that builds here",
			pyproject, version),
			"the harness builds by its own maturin, pip by the one that is required: the two may differ",
			"widen the bound", "")
	} else {
		add("maturin", Fine, f.Machine.Tools["maturin"]+", "+f.Machine.Tools["rustc"], "", "", "")
	}
	found = append(found, f.ofForked()...)
	found = append(found, f.ofSettings(patched)...)
	found = append(found, f.ofSources(p)...)
	found = append(found, f.ofOneProcess(p)...)
	for module, threads := range f.Threads {
		add("threads", Note, fmt.Sprintf("the import of %s starts %s (%s)", module,
			plural.Count(len(threads), "thread"), strings.Join(slices.Compact(slices.Clone(threads)), ", ")),
			"a fork copies the thread that forks alone: what waits for one of these in a forked test waits forever",
			"start them at the first use, or test with isolation = \"subprocess\"", seeFork)
	}
	if scope := f.Machine.PtraceScope; scope >= 2 {
		add("ptrace", Note, fmt.Sprintf("kernel.yama.ptrace_scope is %d", scope),
			"the kernel does not let unprivileged users inspect a process: a hung test's report has Python's "+
				"stacks alone, no native ones",

			"sysctl kernel.yama.ptrace_scope=1 on the engine's machine", seePtrace)
	}
	const little = 2 << 30
	if free := f.Machine.DiskFree; free < little {
		add("disk", Note, fmt.Sprintf("the engine's disk has %d MiB left", free>>20),
			"a build of a crate with debug information takes a few hundred MiB",
			"pyo3test clean, or docker system prune", "")
	} else {
		add("disk", Fine, fmt.Sprintf("%d GiB left on the engine's disk", free>>30), "", "", "")
	}
	return found
}

// ofForked returns the findings about pytest-forked itself.
func (f Facts) ofForked() (found []Finding) {
	pytest, forked := f.Versions["pytest"], f.Versions["pytest-forked"]
	switch {
	case forked == "":
		found = append(found, Finding{Check: "pytest-forked", Level: Note,
			What: "pytest-forked is not among what the tests need",
			Why:  "by hand, `pytest --forked` is an unknown option; the harness has a fork runner of its own",
			Fix:  "nothing, or name pytest-forked with the other requirements", See: seeForked})
		if newerThanForked.MatchString(pytest) {
			found = append(found, Finding{Check: "pair", Level: ByHand,
				What: fmt.Sprintf("pytest %s does not work with pytest-forked up to %s", pytest, newestForked),
				Why:  "its reports cannot be passed between processes: every test is red",
				Fix:  "run by the harness, whose fork runner works with it; by hand: pytest<9.2", See: seeForked})
		} else if f.warningsAreErrors() {
			found = append(found, f.warningsFinding(newestForked, ""))
		}
	case f.Pair.Broken != "":
		found = append(found, Finding{Check: "pair", Level: ByHand,
			What: fmt.Sprintf("pytest %s and pytest-forked %s do not work together", pytest, forked),
			Why:  "a test that passes does not, tried here: " + f.Pair.Broken,
			Fix:  "run by the harness, whose fork runner works with both; by hand: pytest<9.2", See: seeForked})
	default:
		found = append(found, Finding{Check: "pair", Level: Fine,
			What: fmt.Sprintf("pytest %s, with which pytest-forked %s works", pytest, forked)})
		if f.Pair.BrokenByWarnings != "" && f.warningsAreErrors() {
			found = append(found, f.warningsFinding(forked,
				": a test that passes does not, tried here: "+f.Pair.BrokenByWarnings))
		}
	}
	switch {
	case f.Session.Settings == nil: // pytest did not get that far
	case f.Session.Forked:
		found = append(found, Finding{Check: "forked", Level: Fine,
			What: "--forked is among the project's own options"})
	default:
		found = append(found, Finding{Check: "forked", Level: Note,
			What: "--forked is not among the project's own options",
			Why:  "plain pytest runs all tests in one process: one that crashes or hangs takes the others with it",
			Fix:  "pyo3test init --config adds it to addopts; the harness forks in any case"})
	}
	return found
}

// What is known about pytest-forked if it is not installed and cannot be tried; this program's tests verify it.
const newestForked = "1.7.5"

var newerThanForked = regexp.MustCompile(`^(9\.([2-9]|\d\d)|\d\d+\.)`)

func (f Facts) warningsFinding(forked, shown string) Finding {
	return Finding{Check: "filterwarnings", Level: ByHand, What: f.setting("filterwarnings", "error"),
		Why: "pytest-forked " + forked + " leaves files open, and the warning about them is an error then" + shown,
		Fix: "run by the harness; by hand: ignore::ResourceWarning after it", See: seeForked}
}

func (f Facts) warningsAreErrors() bool {
	return slices.ContainsFunc(f.Session.Warnings, func(line string) bool {
		action, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		return action == "error" && strings.Trim(rest, ":") == ""
	})
}

// setting returns a line of the configuration, as its reader knows it.
func (f Facts) setting(name, value string) string {
	file := f.Session.IniFile
	if file == "" {
		file = "the configuration of pytest"
	}
	return file + ": " + name + " = " + value
}

// ofSettings returns the settings of the project that clash with forked tests.
func (f Facts) ofSettings(patched bool) (found []Finding) {
	s := f.Session
	switch {
	case s.Status == 4:
		found = append(found, Finding{Check: "options", Level: Breaks,
			What: "pytest does not take the project's own options: " + lastLine(s.Said),
			Why:  "no test runs", Fix: "name the plugin that the option belongs to among the test requirements"})
	case s.Settings == nil:
		found = append(found, Finding{Check: "collection", Level: ByHand,
			What: fmt.Sprintf("plain pytest fails as it collects, with status %d: %s", s.Status, lastLine(s.Said)),
			Why:  "what depends on its settings and its tests was not checked",
			Fix:  "run `pytest --collect-only` to see all of it"})
	}
	if value := text(s.Settings["faulthandler_timeout"]); strings.Trim(value, "0. ") != "" {
		found = append(found, Finding{Check: "faulthandler_timeout", Level: ByHand,
			What: f.setting("faulthandler_timeout", value),
			Why:  "with pytest-forked, a test that fails hangs forever",
			Fix: "take it out: the harness has budgets, and stacks for what uses them up; " +
				"pyo3test run switches it off",
			See: seeWatchdog})
	}
	addopts := text(s.Settings["addopts"])
	if value := text(s.Settings["timeout"]); f.Versions["pytest-timeout"] != "" &&
		(value != "" || strings.Contains(addopts, "--timeout")) {
		what := f.setting("timeout", value)
		if value == "" {
			what = f.setting("addopts", addopts)
		}
		found = append(found, Finding{Check: "timeout", Level: ByHand, What: what,
			Why: "pytest-timeout's alarm goes off in the process that waits for the forked one: pytest dies of it, " +
				"and the hung test lives on",
			Fix: "run by the harness, which takes the limit over as the test's budget", See: seeTimeout})
	}
	if s.Workers != "" && s.Workers != "0" {
		found = append(found, Finding{Check: "workers", Level: Note,
			What: fmt.Sprintf("-n %s is among the project's own options", s.Workers),
			Why: "by hand it takes pytest-xdist, which collects in each of its workers and runs its tests there; " +
				"the harness runs so many forked tests at a time. With -n 1 all that changes is that a worker, not " +
				"pytest itself, is hung or dead"})
	}
	if s.Coverage && !patched {
		found = append(found, Finding{Check: "coverage", Level: ByHand, What: f.setting("addopts", addopts),
			Why: "a process forked by pytest-forked ends by os._exit, and coverage loses what it has " +
				"seen: the body of every test",
			Fix: `patch = ["fork", "_exit"] in [tool.coverage.run], with coverage 7.10 or later; the harness needs none`, See: seeCoverage})
	}
	return found
}

// ofSources returns the findings about the project's Python files.
func (f Facts) ofSources(p project.Project) (found []Finding) {
	for _, each := range f.Sources.Hidden {
		found = append(found, Finding{Check: "hidden-import", Level: ByHand,
			What: fmt.Sprintf("%s:%d: %s", path.Join(p.Folder, each.File), each.Line, each.Words),
			Why: "where the extension is not built, or not importable, the tests are skipped or run " +
				"without it, and pytest is green",
			Fix: "import it outright, and let the failure end the run; the harness is red before any " +
				"test where the import fails",
			See: seeImportSkip})
	}
	for _, each := range f.Sources.Missing {
		found = append(found, Finding{Check: "missing-import", Level: Note,
			What: fmt.Sprintf("%s:%d: %s, and the test environment does not have it",
				path.Join(p.Folder, each.File), each.Line, each.Words),
			Why: "what depends on it is skipped or runs without it, in every run, and pytest is green",
			Fix: "correct the name, or name the package among the test requirements", See: seeImportSkip})
	}
	files, tests := 0, 0
	first := ""
	for _, each := range f.Sources.Unfound {
		if f.Session.Status == 4 || f.Session.Settings == nil {
			break // pytest collected nothing
		}
		if first == "" {
			first = path.Join(p.Folder, each.File) + ": " + each.First
		}
		files, tests = files+1, tests+each.Tests
	}
	if files > 0 {
		found = append(found, Finding{Check: "unfound", Level: Note,
			What: fmt.Sprintf("%s in %s that pytest does not look into, the first %s",
				plural.Count(tests, "test function"), plural.Count(files, "file"), first),
			Why: "they never run",
			Fix: "if they should: name their folder in testpaths, or their names in python_files"})
	}
	if f.Session.Tests > 0 {
		found = append(found, Finding{Check: "tests", Level: Fine,
			What: fmt.Sprintf("%s in %s", plural.Count(f.Session.Tests, "test"),
				plural.Count(len(f.Session.Files), "file"))})
	}
	return found
}

// ofOneProcess returns what cannot work if each test has its own process.
func (f Facts) ofOneProcess(p project.Project) (found []Finding) {
	if p.Option("Isolation") == "inprocess" {
		return nil
	}
	for _, each := range f.Session.OneProcess {
		found = append(found, Finding{Check: "one-process", Level: Note, What: each[0], Why: each[1],
			Fix: `isolation = "inprocess" in [tool.pyo3test], or --isolation inprocess, for the tests that need it`})
	}
	return found
}

// text returns a setting as it is written, with blanks between the items of a list.
func text(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case []any:
		var parts []string
		for _, each := range value {
			parts = append(parts, text(each))
		}
		return strings.Join(parts, " ")
	}
	return strings.TrimSpace(fmt.Sprint(value))
}

func lastLine(said string) string {
	for _, line := range slices.Backward(strings.Split(strings.TrimSpace(said), "\n")) {
		if strings.Contains(line, "error") {
			return strings.TrimSpace(line)
		}
	}
	return strings.TrimSpace(said)
}
