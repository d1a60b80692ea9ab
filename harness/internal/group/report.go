package group

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// testOf names a test for reporters.
func (g *group) testOf(test *test) report.Test {
	return report.Test{Group: g.Name, Name: test.name, NodeID: test.NodeID}
}

// reportStart reports that a test has started. If testing does not run a selected test, the harness and testing disagree
// about -run, and the test would be lost: that is red.
func (g *group) reportStart(test *test) {
	if test.begun {
		return // it runs again
	}
	test.begun = true
	g.emitTest(test, report.TestStarted{Test: g.testOf(test)})
}

// emitTest reports an event of a test that go test may exclude.
func (g *group) emitTest(test *test, e report.Event) {
	switch err := g.Stream.Emit(e); {
	case err == nil:
	case !report.Excluded(err):
		g.problem("%v", err)
	case !(g.redSeen && g.Flags.FailFast):
		g.problem("%s was selected and testing did not run it: the harness and go test disagree about -run or -skip",
			test.name)
	}
}

// reportEnd gives a test its verdict and reports it.
func (g *group) reportEnd(test *test) {
	v := test.Verdict()
	test.closed, test.end = true, test.End(v.Outcome)
	g.emitTest(test, g.endOf(test, v))
	g.redSeen = g.redSeen || v.Outcome.Red()
	if reason := strings.TrimSpace(g.Tree.HostText(v.Text)); v.Outcome == verdict.Skipped && len(g.reasons) < maxReasons &&
		!slices.Contains(g.reasons, reason) {
		g.reasons = append(g.reasons, reason)
	}
	// Ten thousand tests must not need memory for all that they print.
	test.Reports, test.Seen = nil, ""
	if test.Finish != nil {
		test.Finish.Stdout, test.Finish.Stderr = "", ""
	}
}

// maxReasons bounds how many reasons of skipped tests are kept.
const maxReasons = 5

// endOf describes the end of a test for reporters.
func (g *group) endOf(test *test, v verdict.Verdict) report.TestEnded {
	end := report.TestEnded{
		Test: g.testOf(test),
		JUnit: report.JUnitName{Classname: test.Classname, Name: test.Name, File: g.Tree.HostText(test.Path),
			Line: test.Line},
		Outcome: v.Outcome, Seconds: v.Duration, Phase: v.Phase, Place: g.place(v.Path, v.Line),
		Message: g.Tree.HostText(v.Message),
		Text:    g.Tree.HostText(v.Text), Properties: v.Properties, Left: len(test.Left),
	}
	if v.Path == "" {
		end.Place = g.place(test.Path, test.Line)
	}
	if v.Outcome == verdict.NotRun && test.Finish == nil {
		end.Message = g.whyNotRun()
	}
	if test.Finish != nil && test.Finish.Signal != nil && v.Outcome == verdict.Crashed {
		end.Signal, _, _ = strings.Cut(verdict.SignalName(*test.Finish.Signal), " (")
	}
	if end.Failure = test.failure; v.Outcome != verdict.Hung {
		end.Failure = report.Failure{Signature: g.signature(test, v)}
	}
	for _, section := range v.Sections {
		end.Sections = append(end.Sections, [2]string{section[0], g.Tree.HostText(hang.FoldFatal(section[1]))})
	}
	for _, sub := range v.Subtests {
		end.Subtests = append(end.Subtests,
			report.SubtestEnd{Name: sub.Name, Outcome: sub.Outcome, Text: g.Tree.HostText(sub.Text)})
	}
	end.Bundle = g.bundle(test.name, v.Outcome)
	return end
}

// bundle returns the file for the bundle of a test or a phase, "" if it gets none.
func (g *group) bundle(name string, outcome verdict.Outcome) string {
	if g.Bundle == nil {
		return ""
	}
	return g.Bundle(g.Name, name, outcome)
}

// withRepro adds the command that runs a bundle to a text, if there is one.
func withRepro(text string, f report.Failure) string {
	if f.Bundle == "" {
		return text
	}
	return strings.TrimRight(text, "\n") + "\n" + strings.TrimRight(f.Repro(), "\n")
}

// failure describes a hang for reporters.
func (g *group) failure(seen hang.Report) report.Failure {
	f := report.Failure{Hang: string(seen.Cause.Key), Signature: seen.Signature()}
	if seen.Cause.File != "" {
		f.HangPlace = g.place(seen.Cause.File, seen.Cause.Line)
	}
	for _, frame := range seen.Blocked() {
		f.Blocked = append(f.Blocked, report.Frame{Function: frame.Function, Place: g.place(frame.File, frame.Line)})
	}
	return f
}

// signature returns what is equal for two ends of a test in the same place, "" for one that is no failure or hung.
func (g *group) signature(test *test, v verdict.Verdict) string {
	if !v.Outcome.Red() {
		return ""
	}
	if v.Outcome != verdict.Crashed && v.Outcome != verdict.Killed {
		return hang.FailureSignature(string(v.Outcome), v.Phase, v.Path)
	}
	died, stderr := string(v.Outcome)+" in "+v.Phase, ""
	if test.Finish != nil && test.Finish.Signal != nil {
		died += fmt.Sprint(" by ", *test.Finish.Signal)
	}
	for _, section := range v.Sections {
		stderr += section[1] + "\n"
	}
	return hang.CrashSignature(died, stderr)
}

// reportCollection reports each file that could not be collected or that skips itself. What -run selects in a file that
// could not be collected does not run, and must not be green because of that.
func (g *group) reportCollection() {
	files := slices.Clone(g.hungFiles)
	for _, e := range g.ledger.collectErrors {
		files = append(files, hungFile{CollectError: e})
	}
	for _, e := range files {
		if name := subtest.Name(e.NodeID); g.Matcher.Match(g.TestName + "/" + name) {
			failure := e.failure
			if failure.Hang != "" {
				failure.Bundle = g.bundle("collection of "+name, verdict.Hung)
			}
			g.emit(report.FileFailed{
				Test: report.Test{Group: g.Name, Name: name + "/(collection)", NodeID: e.NodeID},
				JUnit: report.JUnitName{Classname: e.Classname, Name: e.Name, File: g.Tree.HostText(e.Path),
					Line: e.Line},
				Place: g.place(e.Path, e.Line), Failure: failure,
				Text: withRepro(g.Tree.HostText(e.Longrepr)+g.providerText(e.Longrepr), failure),
			})
		}
	}
	for _, e := range g.ledger.collectSkips {
		if name := subtest.Name(e.NodeID); g.Matcher.Match(g.TestName + "/" + name) {
			g.emit(report.FileSkipped{
				Test: report.Test{Group: g.Name, Name: name + "/(module)", NodeID: e.NodeID},
				JUnit: report.JUnitName{Classname: e.Classname, Name: e.Name, File: g.Tree.HostText(e.Path),
					Line: e.Line},
				Place: g.place(e.Path, e.Line), Text: g.Tree.HostText(e.Reason),
			})
		}
	}
	if g.stopping == "" && len(g.ledger.tests) > 0 && len(g.selected) == 0 &&
		(g.Flags.Only == nil || len(g.Flags.Only) > 0) {
		g.note("no tests to run: -run or -skip exclude all tests that were collected")
	}
}

// reportExit reports an exit that went wrong after every test had its verdict.
func (g *group) reportExit() {
	if g.exitFault != "" {
		if g.exitFailure.Hang != "" {
			g.exitFailure.Bundle = g.bundle("exit", verdict.Hung)
		}
		text := withRepro(g.Tree.HostText(strings.TrimRight(g.exitFault, "\n")), g.exitFailure)
		g.emit(report.ExitFailed{Group: g.Name, Failure: g.exitFailure, Text: text})
	}
}

// ended returns the group's last event.
func (g *group) ended() report.GroupEnded {
	end := report.GroupEnded{Group: g.Name, Warnings: g.warnings + g.ledger.warnings}
	for p := starting; p < phases; p++ {
		end.Phases = append(end.Phases, report.PhaseTime{Phase: p.short(), Took: g.clock.took[p]})
	}
	return end
}

// place returns a file and line as the user knows them.
func (g *group) place(file string, line int) report.Place {
	if !path.IsAbs(file) {
		file = path.Join(layout.Sources, g.Tree.Crate, file)
	}
	return report.Place{File: g.Tree.HostPath(file), Line: line}
}

// exitText describes how pytest's process ended.
func (g *group) exitText() string {
	if g.ledger.exited == nil {
		return "its end was not reported"
	}
	text := verdict.ExitText(g.ledger.exited.Exit, g.ledger.exited.Signal)
	if exit := g.ledger.exited.Exit; exit != nil && *exit == verdict.ExitUsage {
		text += " (" + g.statusText(*exit) + ")"
	}
	if g.ledger.exited.Memory != "" {
		text += ", " + g.ledger.exited.Memory
	}
	if log := strings.TrimSpace(g.ledger.exited.Text); log != "" {
		text += "\nthe end of its output:\n" + log + g.providerText(log)
	}
	return text
}

// noModule matches Python's message about a module that is not installed.
var noModule = regexp.MustCompile(`No module named '(\w+)'`)

// providerText names the dependency group or extra that has a module which an import lacks, "" if there is none.
func (g *group) providerText(log string) string {
	found := noModule.FindStringSubmatch(log)
	if found == nil || g.Provider == nil {
		return ""
	}
	kind, name := g.Provider(found[1])
	if kind == "" {
		return fmt.Sprintf("\n\npyproject.toml does not list %s: if a package of that name has it, run with --with %[1]s, "+
			"or set with = [%[1]q] in [tool.pyo3test] (With of a Suite)", found[1])
	}
	return fmt.Sprintf("\n\n%s %q of pyproject.toml has %s: run with --%s %[2]s beside what else the tests need, or with "+
		"--with %[3]s", kind, name, found[1], kind)
}

// statusText returns what an exit status of pytest means and, for an unknown option or setting, what to do.
func (g *group) statusText(status int) string {
	if status == verdict.ExitUsage {
		return usageText(g.ledger.exited.Text)
	}
	return verdict.StatusMeaning(status)
}

// exitCause returns what kept the tests from running if pytest ended before it had collected them, "" otherwise.
func (g *group) exitCause() report.Cause {
	switch exit := g.ledger.exited.Exit; {
	case g.ledger.collected || len(g.problems) > 0: // the first problem is why
		return ""
	case exit != nil && *exit == verdict.ExitUsage && notFound.MatchString(g.ledger.exited.Text):
		return report.CauseArguments
	case exit != nil && *exit == verdict.ExitUsage && !inConftest(g.ledger.exited.Text):
		return report.CauseProject
	}
	return report.CauseCollection
}

// missingText describes an argument that names no test.
func missingText(e protocol.Missing) string {
	file, name, found := strings.Cut(e.Argument, "::")
	text := "pytest finds no tests in " + file
	if found {
		text = fmt.Sprintf("no test named %s in %s", name, file)
	}
	if len(e.Near) > 0 {
		text += ": did you mean " + strings.Join(e.Near, " or ") + "?"
	}
	return text
}

// untoldText returns what may have caused an exit that looks ordinary but was not reported.
func (g *group) untoldText() string {
	if exit := g.ledger.exited.Exit; exit != nil && *exit != verdict.ExitUsage {
		return "\nit left with os._exit or SystemExit, or the descriptor through which it reports its tests was " +
			"closed (os.closerange, for example)"
	}
	return ""
}

// foreignText describes an imported module that is not the built one.
func foreignText(e protocol.Foreign) string {
	return fmt.Sprintf("the tests import %s from %s, and what was built is %s: rename what is in its way, or "+
		"keep its folder off sys.path",
		e.Module, e.File, e.Built)
}

// importText explains an extension that cannot be imported.
func importText(e protocol.Import) string {
	return fmt.Sprintf("the built module %s cannot be imported, so no test was run: %s%s\n%s", e.Module, e.Problem,
		adviceOnImport(e.Problem), strings.TrimSpace(e.Traceback))
}

// importAdvice maps messages of Python and the dynamic linker about a failed import of a native module to fixes.
var importAdvice = []struct {
	said *regexp.Regexp
	fix  string
}{
	{regexp.MustCompile(`undefined symbol: _?Py`),
		"this Python does not have that symbol: the module was built for another Python, or uses an API that this " +
			"one lacks (abi3 features of PyO3 name the oldest that is enough)"},
	{regexp.MustCompile(`undefined symbol: `),
		"a native library is missing at the link: name it in build.rs (cargo:rustc-link-lib), and its " +
			"package in " + project.Setting("SystemPackages")},
	{regexp.MustCompile(`cannot open shared object file`),
		"that library is not in the container: name its Debian package in " + project.Setting("SystemPackages")},
	{regexp.MustCompile(`does not define module export function`),
		"the #[pymodule] function has to have the module's name: compare it with module-name in [tool.maturin] and " +
			"[lib] name in Cargo.toml"},
	{regexp.MustCompile(`imported from .*, and what was built is `),
		"something else of that name comes first on sys.path: a folder or file beside the tests, or another " +
			"version among the requirements"},
	{regexp.MustCompile(`No module named`),
		"it was built under another name, or misses a requirement: compare module-name in [tool.maturin], [lib] name " +
			"in Cargo.toml, and dependencies in pyproject.toml"},
	{regexp.MustCompile(`(?i)wrong ELF class|invalid ELF header|exec format`),
		"it was built for another kind of machine"},
}

// adviceOnImport returns what to do about a failed import, if that is known.
func adviceOnImport(problem string) string {
	for _, known := range importAdvice {
		if known.said.MatchString(problem) {
			return "\nwhat helps: " + known.fix
		}
	}
	return ""
}

// reportSession describes pytest's session, then reports its notes.
func (g *group) reportSession(e protocol.Session) {
	g.emit(report.Session{
		Group: g.Name, Pytest: e.Pytest, Python: e.Python, Isolation: e.Isolation, Workers: e.Workers,
		Budget: g.Budgets.Test,
	})
	g.reportNotes(e.Notes)
}

// reportNotes reports what a user should know of the session.
func (g *group) reportNotes(notes []string) {
	for _, note := range notes {
		g.note("%s", note)
	}
}
