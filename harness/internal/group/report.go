package group

import (
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// Limits, in bytes, for the texts kept of ended tests: keptText for each until they total keptTexts, then keptLittle
// for each. A run of ten thousand tests must not need memory for all that they print.
const (
	keptText   = 64 << 10
	keptTexts  = 4 << 20
	keptLittle = 256
)

// openSubtest opens a test's subtest. If testing does not call the function of a selected test, the harness and testing
// disagree about -run, and the test would be lost: that is red.
func (g *group) openSubtest(test *test) {
	if test.open != nil {
		return // it runs again
	}
	test.open = subtest.Begin(g.t, test.name)
	if test.open == nil && !(g.redSeen && g.Flags.FailFast) {
		g.problem("%s was selected and testing did not run it: the harness and go test disagree about -run or -skip", test.name)
	}
}

// closeSubtest gives a test's subtest its verdict.
func (g *group) closeSubtest(test *test) {
	test.closed = true
	v := test.Verdict()
	g.redSeen = g.redSeen || v.Outcome.Red()
	if test.open != nil {
		test.open.End(func(t subtest.T) { g.report(t, test, v) })
		test.open = nil
	}
	// The reported texts are kept for the JUnit file at the end.
	limit := keptText
	if g.kept > keptTexts {
		limit = keptLittle
	}
	g.kept += test.Shrink(limit)
}

// reportCollection makes a subtest for each file that could not be collected or that skips itself. What -run selects in
// a file that could not be collected does not run, and must not be green because of that.
func (g *group) reportCollection() {
	if len(g.hungFiles)+len(g.collectErrors) > 0 {
		g.t.Attr(subtest.Cause, subtest.CauseCollection)
	}
	for _, e := range slices.Concat(g.hungFiles, g.collectErrors) {
		told := false
		g.t.Run(subtest.Name(e.NodeID)+"/(collection)", func(t subtest.T) {
			told = true
			t.Attr(subtest.NodeID, attributeValue(e.NodeID))
			t.Attr(subtest.Outcome, string(verdict.Error))
			g.sayCollectError(t, e)
			t.Fail()
		})
		if !told && g.matcher.Match(g.t.Name()+"/"+subtest.Name(e.NodeID)) {
			g.sayCollectError(g.t, e)
			g.t.Fail()
		}
	}
	for _, e := range g.collectSkips {
		g.t.Run(subtest.Name(e.NodeID)+"/(module)", func(t subtest.T) {
			t.Attr(subtest.NodeID, attributeValue(e.NodeID))
			t.Attr(subtest.Outcome, string(verdict.Skipped))
			fmt.Fprintf(t.Output(), "%s: skipped as a whole: %s\n", g.place(e.Path, e.Line), g.Tree.HostText(e.Reason))
			t.SkipNow()
		})
	}
	if g.stopping == "" && len(g.tests) > 0 && len(g.selected) == 0 && (g.Flags.Only == nil || len(g.Flags.Only) > 0) {
		fmt.Fprintln(g.t.Output(), "no tests to run: -run or -skip leave out all that were collected")
	}
}

// reportExit makes a subtest for an exit that went wrong after every test had its verdict.
func (g *group) reportExit() {
	if g.exitFault == "" {
		return
	}
	told := false
	say := func(t subtest.T) {
		told = true
		fmt.Fprintln(t.Output(), g.Tree.HostText(strings.TrimRight(g.exitFault, "\n")))
		t.Fail()
	}
	g.t.Run(exitName, func(t subtest.T) {
		t.Attr(subtest.Outcome, string(verdict.Error))
		say(t)
	})
	if !told { // -run leaves it out
		say(g.t)
	}
}

// exitName is the subtest of an interpreter that hung or died after its session.
const exitName = "(exit)"

func (g *group) sayCollectError(t subtest.T, e verdict.CollectError) {
	fmt.Fprintf(t.Output(), "%s: pytest could not collect %s\n", g.place(e.Path, e.Line), e.NodeID)
	g.writeText(t.Output(), e.Longrepr)
}

// report writes a test's verdict to its subtest. It does not return if that is a skip.
func (g *group) report(t subtest.T, test *test, v verdict.Verdict) {
	out := t.Output()
	for _, property := range v.Properties {
		t.Attr(attributeKey(property[0]), attributeValue(property[1]))
	}
	t.Attr(subtest.NodeID, attributeValue(test.NodeID))
	t.Attr(subtest.Outcome, string(v.Outcome))
	if len(test.Left) > 0 {
		t.Attr(subtest.Left, strconv.Itoa(len(test.Left)))
	}
	t.Attr(subtest.Seconds, strconv.FormatFloat(v.Duration, 'f', 6, 64)) // Go's own elapsed time has steps of 10 ms
	for _, sub := range v.Subtests {
		t.Run(subtest.Name(sub.Name), func(t subtest.T) {
			t.Attr(subtest.Subtest, attributeValue(sub.Name))
			t.Attr(subtest.Outcome, string(sub.Outcome))
			g.writeText(t.Output(), sub.Text)
			end(t, sub.Outcome)
		})
	}
	switch {
	case v.Outcome.Red():
		fmt.Fprintln(out, g.headline(test, v))
		g.writeText(out, v.Text)
	case v.Outcome != verdict.Passed:
		g.writeText(out, strings.TrimSuffix(string(v.Outcome)+": "+v.Text, ": "))
	}
	for _, section := range v.Sections {
		if strings.TrimSpace(section[1]) != "" {
			fmt.Fprintf(out, "--- %s ---\n", section[0])
			g.writeText(out, hang.FoldFatal(section[1]))
		}
	}
	if v.Outcome.Red() {
		again := "go test -run " + subtest.ShellQuote(subtest.Pattern(t.Name()))
		if own, ok := t.(subtest.Again); ok {
			again = own.Again(test.NodeID)
		}
		fmt.Fprintf(out, "again: %s\n       pytest %s\n", again, subtest.ShellQuote(test.NodeID))
	}
	end(t, v.Outcome)
}

// end fails or skips a subtest according to its outcome.
func end(t subtest.T, outcome verdict.Outcome) {
	switch {
	case outcome.Red():
		t.Fail()
	case outcome == verdict.Skipped || outcome == verdict.XFailed:
		t.SkipNow()
	}
}

// headline returns the first line of a failure: its place on the host, the outcome and the phase.
func (g *group) headline(test *test, v verdict.Verdict) string {
	text := string(v.Outcome)
	if v.Phase != "" {
		text += " in " + v.Phase
	}
	if v.Outcome == verdict.NotRun && test.Finish == nil {
		text += ": " + g.whyNotRun()
	}
	file, line := v.Path, v.Line
	if file == "" {
		file, line = test.Path, test.Line
	}
	return g.place(file, line) + ": " + text
}

// place returns a file and line as the user knows them.
func (g *group) place(file string, line int) string {
	if !path.IsAbs(file) {
		file = path.Join(layout.Sources, g.Tree.Crate, file)
	}
	if line == 0 {
		return g.Tree.HostPath(file)
	}
	return fmt.Sprintf("%s:%d", g.Tree.HostPath(file), line)
}

func (g *group) writeText(out io.Writer, text string) {
	if text = strings.TrimRight(text, "\n"); text != "" {
		fmt.Fprintln(out, g.Tree.HostText(text))
	}
}

// attributeKey makes a property's name one that testing accepts: white space in it would fail the test.
func attributeKey(name string) string {
	if name = strings.Join(strings.Fields(name), "_"); name == "" {
		return "_"
	}
	return name
}

// attributeValue makes a value a single line: a line break in it would fail the test.
func attributeValue(value string) string {
	if strings.ContainsAny(value, "\r\n") {
		return strconv.Quote(value)
	}
	return value
}

// exitWords describes how pytest's process ended.
func (g *group) exitWords() string {
	if g.exited == nil {
		return "its end was not reported"
	}
	words := verdict.ExitWords(g.exited.Exited.Exit, g.exited.Exited.Signal)
	if exit := g.exited.Exited.Exit; exit != nil && *exit == verdict.ExitUsage {
		words += " (" + g.statusWords(*exit) + ")"
	}
	if g.exited.Exited.Memory != "" {
		words += ", " + g.exited.Exited.Memory
	}
	if log := strings.TrimSpace(g.exited.Text); log != "" {
		words += "; the end of its output:\n" + log
	}
	return words
}

// statusWords returns what an exit status of pytest means and, for an unknown option or setting, what to do.
func (g *group) statusWords(status int) string {
	if status == verdict.ExitUsage {
		return usageWords(g.exited.Text)
	}
	return verdict.StatusMeaning(status)
}

// untoldWords returns what may have caused an exit that looks ordinary but was not reported.
func (g *group) untoldWords() string {
	if exit := g.exited.Exited.Exit; exit != nil && *exit != verdict.ExitUsage {
		return "\nit left with os._exit or SystemExit, or the descriptor by which it tells of its tests was closed (os.closerange, for example)"
	}
	return ""
}

// foreignWords describes an imported module that is not the built one.
func foreignWords(e agent.Event) string {
	return fmt.Sprintf("the tests import %s from %s, and what was built is %s: rename what is in its way, or keep its folder off sys.path", e.Module, e.File, e.Built)
}

// importWords explains an extension that cannot be imported.
func importWords(e agent.Event) string {
	return fmt.Sprintf("the built module %s cannot be imported, so no test was run: %s%s\n%s", e.Module, e.Problem, adviceOnImport(e.Problem), strings.TrimSpace(e.Traceback))
}

// importAdvice maps messages of Python and the dynamic linker about a failed import of a native module to fixes.
var importAdvice = []struct {
	said *regexp.Regexp
	fix  string
}{
	{regexp.MustCompile(`undefined symbol: _?Py`), "this Python does not have that symbol: the module was built for another Python, or uses an API that this one lacks (abi3 features of PyO3 name the oldest that is enough)"},
	{regexp.MustCompile(`undefined symbol: `), "a native library is missing at the link: name it in build.rs (cargo:rustc-link-lib), and its package in SystemPackages"},
	{regexp.MustCompile(`cannot open shared object file`), "that library is not in the container: name its Debian package in SystemPackages"},
	{regexp.MustCompile(`does not define module export function`), "the #[pymodule] function has to have the module's name: compare it with module-name in [tool.maturin] and [lib] name in Cargo.toml"},
	{regexp.MustCompile(`imported from .*, and what was built is `), "something else of that name comes first on sys.path: a folder or file beside the tests, or another version among the requirements"},
	{regexp.MustCompile(`No module named`), "it was built under another name, or misses a requirement: compare module-name in [tool.maturin], [lib] name in Cargo.toml, and dependencies in pyproject.toml"},
	{regexp.MustCompile(`(?i)wrong ELF class|invalid ELF header|exec format`), "it was built for another kind of machine"},
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

// saySession describes pytest's session in one line, then prints its notes.
func (g *group) saySession(e agent.Event) {
	fmt.Fprintf(g.t.Output(), "pytest %s, Python %s, %s, %s, up to %v a test\n", e.Pytest, e.Python, e.Isolation, plural.Count(e.Workers, "worker"), g.Budgets.Test)
	g.sayNotes(e.Notes)
}

// sayNotes prints what a user should know of the session, a line each.
func (g *group) sayNotes(notes []string) {
	for _, note := range notes {
		fmt.Fprintln(g.t.Output(), g.Tree.HostText(note))
	}
}
