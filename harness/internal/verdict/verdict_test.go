package verdict

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func ptr[T any](value T) *T { return &value }

// ended is a test whose process ended well, with these reports.
func ended(reports ...Report) Test {
	return Test{NodeID: "a.py::t", Classname: "a", Name: "t", Started: true, Phase: "teardown", Reports: reports,
		Finish: &Finish{Exit: ptr(0), Complete: true, Duration: 0.5}}
}

func report(when, outcome string) Report { return Report{When: when, Outcome: outcome} }

// whole are the reports of a test whose call came to that.
func whole(call Report) []Report {
	return []Report{report("setup", "passed"), call, report("teardown", "passed")}
}

func TestVerdict(t *testing.T) {
	passed := whole(report("call", "passed"))
	subtest := func(outcome string) Report {
		r := report("call", outcome)
		r.Subtest = &struct {
			Description string `json:"description"`
		}{"[x]"}
		return r
	}
	killed := func(why string) Test {
		test := ended(report("setup", "passed"), Report{When: "call", Outcome: "failed", Longrepr: "words"},
			report("teardown", "passed"))
		test.Phase, test.Finish = "call", &Finish{Signal: ptr(9), Killed: &why}
		return test
	}
	leaky := func(red bool) Test {
		test := ended(passed...)
		test.Left, test.FailLeaky = []string{"7: sleep"}, red
		return test
	}
	for name, c := range map[string]struct {
		test    Test
		outcome Outcome
		phase   string
		text    string
	}{
		"passed": {ended(passed...), Passed, "", ""},
		"failed": {ended(whole(Report{When: "call", Outcome: "failed", Longrepr: "trace"})...),
			Failed, "call", "trace"},
		"setup error": {ended(Report{When: "setup", Outcome: "failed", Longrepr: "trace"},
			report("teardown", "passed")), Error, "setup", "trace"},
		"teardown error": {ended(report("setup", "passed"), report("call", "passed"),
			Report{When: "teardown", Outcome: "failed", Longrepr: "trace"}), Error, "teardown", "trace"},
		"failed twice": {ended(report("setup", "passed"),
			Report{When: "call", Outcome: "failed", Longrepr: "a"},
			Report{When: "teardown", Outcome: "failed", Longrepr: "b"}), Failed, "call",
			"in call:\na\n\nin teardown:\nb"},
		"skipped, then an error": {ended(report("setup", "passed"),
			Report{When: "call", Outcome: "skipped", Message: "why"},
			Report{When: "teardown", Outcome: "failed", Longrepr: "b"}), Error, "teardown", "b"},
		"skipped": {ended(Report{When: "setup", Outcome: "skipped", Message: "why"},
			report("teardown", "passed")), Skipped, "setup", "why"},
		"xfailed": {ended(whole(Report{When: "call", Outcome: "skipped",
			WasXFail: ptr("reason: known"), Message: "assert 0"})...), XFailed, "call", "known\nassert 0"},
		"xfailed without a reason": {ended(whole(Report{When: "call", Outcome: "skipped", WasXFail: ptr("")})...),
			XFailed, "call", ""},
		"xpassed": {ended(whole(Report{When: "call", Outcome: "passed",
			WasXFail: ptr("known")})...), XPassed, "call", "known"},
		"rerun, then passed": {ended(append(whole(Report{When: "call", Outcome: "rerun", Longrepr: "trace"}),
			passed...)...), Passed, "", ""},
		"rerun with a subtest": {ended(append(append([]Report{subtest("failed")},
			whole(report("call", "rerun"))...), passed...)...), Passed, "", ""},
		"subtest failed alone": {ended(report("setup", "passed"), subtest("failed"), report("call", "passed"),
			report("teardown", "passed")), Failed, "call", "subtest [x] failed"},
		"subtest skipped": {ended(report("setup", "passed"), subtest("skipped"), report("call", "passed"),
			report("teardown", "passed")), Passed, "", ""},
		"never begun": {Test{NodeID: "a.py::t"}, NotRun, "", ""},
		"without an end": {Test{NodeID: "a.py::t", Started: true, Phase: "call"}, NotRun, "call",
			"it was running when its group was ended"},
		"leaky": {leaky(false), Passed, "", ""},
		"leaky and red": {leaky(true), Leaky, "",
			"the test left processes running: end them in it, or in the tear-down of the fixture that starts them"},
		"without a report": {ended(), NotRun, "", "pytest gave no report of it"},
		"only set up": {ended(report("setup", "passed"), report("teardown", "passed")), NotRun, "",
			"pytest set it up and did not call it: is --setup-only or --setup-plan among its options?"},
		"hung":                   {killed(KilledHung), Hung, "call", "words"},
		"killed for memory":      {killed(KilledMemory), Killed, "call", "words"},
		"ended with its session": {killed("stopped"), NotRun, "call", "it was ended with its session (stopped)"},
		"interrupted": {Test{Started: true, Phase: "call",
			Finish: &Finish{Exit: ptr(0), Interrupt: "KeyboardInterrupt: "}}, Failed, "call",
			"the test stopped the whole session: KeyboardInterrupt: "},
		"crashed without reports": {Test{Started: true, Phase: "call", Finish: &Finish{Signal: ptr(11)}}, Crashed,
			"call", "its process ended: SIGSEGV (11)"},
		"passed, then died": {Test{Started: true, Phase: "teardown", Reports: passed,
			Finish: &Finish{Exit: ptr(1), Complete: true}}, Crashed, "teardown", "its process ended: exit status 1"},
		"passed, never complete": {Test{Started: true, Phase: "teardown", Reports: passed,
			Finish: &Finish{Exit: ptr(0)}}, Crashed, "teardown", "its process ended: exit status 0"},
		"an end that nothing explains": {Test{Started: true, Phase: "teardown", Reports: passed,
			Finish: &Finish{Complete: true}}, Crashed, "teardown", "its process ended: how is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			v := c.test.Verdict()
			require.Equal(t, []string{string(c.outcome), c.phase, c.text}, []string{string(v.Outcome), v.Phase, v.Text})
		})
	}
}

func TestOnlyFourOutcomesAreGreen(t *testing.T) {
	green := map[Outcome]bool{Passed: true, Skipped: true, XFailed: true, XPassed: true}
	for _, outcome := range append([]Outcome{"", "what is not known"}, Outcomes...) {
		require.Equal(t, !green[outcome], outcome.Red(), outcome)
	}
}

func TestSignalName(t *testing.T) {
	require.Equal(t, "SIGSEGV (11)", SignalName(11))
	require.Equal(t, "signal 48", SignalName(48))
}

// TestTextsAreBounded: a test that reports without end keeps its outcomes and not all of its texts.
func TestTextsAreBounded(t *testing.T) {
	test := ended()
	text := strings.Repeat("x", 1<<20)
	test.AddReport(Report{When: "setup", Outcome: "passed", Sections: [][2]string{{"a", text}}})
	test.AddReport(Report{When: "call", Outcome: "passed", Sections: [][2]string{{"a", text}, {"b", text}}})
	require.Len(t, test.Verdict().Sections, 2)
	require.Nil(t, test.Reports[0].Sections)
	for range 1000 {
		test.AddReport(Report{When: "call", Outcome: "failed", Longrepr: text})
	}
	require.Len(t, test.Reports, 1002)
	require.Equal(t, Failed, test.Verdict().Outcome)
	size := 0
	for _, r := range test.Reports {
		size += r.texts()
	}
	require.Less(t, size, 6<<20)
	require.Equal(t, "é\n[... 9996 bytes left out ...]\né", Clip(strings.Repeat("é", 5000), 5))
}
