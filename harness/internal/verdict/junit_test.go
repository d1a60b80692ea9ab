package verdict

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const good = `<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" tests="4">
<testcase classname="a" name="t[&quot;]" time="0.1"><properties><property name="failure" value="1"/></properties></testcase>
<testcase classname="a" name="f"><failure message="m">text &lt;error/&gt;</failure><system-out>error</system-out></testcase>
<testcase classname="a" name="s"><skipped type="pytest.skip" message="m"/></testcase>
<testcase classname="a" name="e"><skipped/><error/></testcase>
<testcase classname="" name="a.b"><error message="collection failure"/></testcase>
</testsuite></testsuites>`

func TestReadJUnit(t *testing.T) {
	cases, err := ReadJUnit(strings.NewReader(good), 1<<20)
	require.NoError(t, err)
	require.Equal(t, []Case{{"a", `t["]`, Neither}, {"a", "f", Red}, {"a", "s", Skip}, {"a", "e", Red},
		{"", "a.b", Red}}, cases)
}

func TestReadJUnitRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":               {"", "it holds no test suite"},
		"garbage":               {"\x00\x01\x02", "illegal character code"},
		"text":                  {"PASSED", "it holds no test suite"},
		"another document":      {"<html></html>", "it holds no test suite"},
		"a cut in an element":   {good[:200], "XML syntax error"},
		"a cut between":         {good[:strings.Index(good, "</testsuite>")], "unexpected EOF"},
		"an entity of its own":  {`<!DOCTYPE x [<!ENTITY a "b">]><testsuite name="&a;"/>`, "invalid character entity"},
		"bad UTF-8":             {"<testsuite name=\"\xff\"/>", "invalid UTF-8"},
		"too deep":              {strings.Repeat("<testsuite>", 100), "more than 32 deep"},
		"too long":              {good + strings.Repeat(" ", 1<<12), "longer than 4096 bytes"},
		"an unknown encoding":   {`<?xml version="1.0" encoding="utf-7"?><testsuite/>`, "encoding"},
		"two names of one kind": {`<testsuite></testcase>`, "XML syntax error"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadJUnit(strings.NewReader(c.text), 4096)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// FuzzReadJUnit: whatever is read ends with cases or an error, within its bounds; what is cut off is an error, and only
// what it names can agree with it.
func FuzzReadJUnit(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(good[:300]))
	f.Add([]byte(`<testsuite><testcase name="a"><testcase name="b"/></testcase></testsuite>`))
	f.Add([]byte(`<!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>`))
	f.Add([]byte("<testsuite><testcase/><testcase name='\xff'/></testsuite>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 16
		cases, err := ReadJUnit(bytes.NewReader(data), limit)
		require.LessOrEqual(t, len(cases), len(data)/len("<testcase"))
		if err != nil {
			require.Nil(t, cases)
			return
		}
		require.Contains(t, string(data), "testsuite")
		require.LessOrEqual(t, len(data), limit)
		end := bytes.LastIndexByte(data, '<')
		_, err = ReadJUnit(bytes.NewReader(data[:end+1]), limit)
		require.Error(t, err, "cut off in its last element")

		ran := Ran{}
		for _, c := range cases {
			reports := whole(report("call",
				map[State]string{Neither: "passed", Red: "failed", Skip: "skipped"}[c.State]))
			test := ended(reports...)
			test.Classname, test.Name = c.Classname, c.Name
			ran.Tests = append(ran.Tests, endsOf(test)...)
			if c.State == Red {
				ran.ExitStatus = 1
			}
		}
		require.Empty(t, Reconcile(ran, cases))
		ran.Tests = append(ran.Tests, endsOf(ended(whole(report("call", "passed"))...))...)
		require.NotEmpty(t, Reconcile(ran, cases), "one that the file does not have")
	})
}

// endsOf returns what is compared of tests.
func endsOf(tests ...Test) (ends []Ended) {
	for _, test := range tests {
		ends = append(ends, test.End(test.Verdict().Outcome))
	}
	return ends
}

func TestReconcile(t *testing.T) {
	failed := Report{When: "call", Outcome: "failed", Longrepr: "trace"}
	tornDown := Report{When: "teardown", Outcome: "failed", Longrepr: "trace"}
	strict := Report{When: "call", Outcome: "failed", WasXFail: ptr("")}
	pass, fail := ended(whole(report("call", "passed"))...), ended(whole(failed)...)
	twice := ended(report("setup", "passed"), failed, tornDown)
	skip := ended(Report{When: "setup", Outcome: "skipped"}, report("teardown", "passed"))
	attempt := func(outcome string) []Report { return whole(report("call", outcome)) }
	rerun := ended(append(attempt("rerun"), attempt("passed")...)...)
	flaky := ended(append([]Report{report("setup", "passed"), report("teardown", "passed")}, attempt("passed")...)...)
	again := ended(append(attempt("rerun"), report("setup", "passed"), failed, tornDown)...)
	at := func(state State) Case { return Case{"a", "t", state} }
	for name, c := range map[string]struct {
		ran  Ran
		file []Case
		want []string
	}{
		"agreement":               {Ran{Tests: endsOf(pass)}, []Case{at(Neither)}, nil},
		"a failure":               {Ran{Tests: endsOf(fail), ExitStatus: 1}, []Case{at(Red)}, nil},
		"two cases of one test":   {Ran{Tests: endsOf(twice), ExitStatus: 1}, []Case{at(Red), at(Red)}, nil},
		"an old strict xpass":     {Ran{Tests: endsOf(ended(whole(strict)...)), ExitStatus: 1}, []Case{at(Skip)}, nil},
		"a rerun":                 {Ran{Tests: endsOf(rerun)}, []Case{at(Neither), at(Neither)}, nil},
		"a rerun without reports": {Ran{Tests: endsOf(flaky)}, []Case{at(Neither), at(Neither)}, nil},
		"a rerun that fails": {Ran{Tests: endsOf(again), ExitStatus: 1}, []Case{at(Neither), at(Red), at(Red)},
			nil},
		"a rerun that is missing": {Ran{Tests: endsOf(rerun)}, []Case{at(Neither)},
			[]string{"a.py::t: seen passed 2 times, and pytest's JUnit file has it once"}},
		"two of one name":  {Ran{Tests: endsOf(pass, skip)}, []Case{at(Skip), at(Neither)}, nil},
		"no test selected": {Ran{ExitStatus: 5}, nil, nil},
		"a test that did not run": {Ran{Tests: endsOf(fail, Test{NodeID: "a.py::u"}), ExitStatus: 1}, []Case{at(Red)},
			nil},
		"collection": {Ran{CollectErrors: []CollectError{{NodeID: "b.py", Name: "b"}},
			CollectSkips: []CollectSkip{{NodeID: "c.py", Name: "c"}}, ExitStatus: 1},
			[]Case{{"", "b", Red}, {"", "c", Skip}}, nil},
		"a case is missing": {Ran{Tests: endsOf(pass)}, nil,
			[]string{"a.py::t: seen passed once, and pytest's JUnit file has it 0 times"}},
		"a case too much": {Ran{Tests: endsOf(pass)}, []Case{at(Neither), {"a", "u", Neither}},
			[]string{"a.u: seen passed 0 times, and pytest's JUnit file has it once"}},
		"a nameless case": {Ran{Tests: endsOf(pass)}, []Case{at(Neither), {State: Neither}},
			[]string{"a testcase without a name: seen passed 0 times, and pytest's JUnit file has it once"}},
		"a pass that is a skip": {Ran{Tests: endsOf(pass)}, []Case{at(Skip)},
			[]string{"a.py::t: seen passed once, and pytest's JUnit file has it 0 times",
				"a.t: seen skipped 0 times, and pytest's JUnit file has it once"}},
		"twice in the file": {Ran{Tests: endsOf(pass)}, []Case{at(Neither), at(Neither)},
			[]string{"a.py::t: seen passed once, and pytest's JUnit file has it 2 times"}},
		"a failure hushed up": {Ran{Tests: endsOf(fail), ExitStatus: 0}, []Case{at(Red)},
			[]string{"tests failed, and pytest's exit status is 0"}},
		"a status of a plugin": {Ran{Tests: endsOf(pass), ExitStatus: 1}, []Case{at(Neither)},
			[]string{"no test failed, and pytest's exit status is 1: a plugin makes the session fail, for example a " +
				"coverage below its limit"}},
		"an interrupted session": {Ran{Tests: endsOf(pass), ExitStatus: 2}, []Case{at(Neither)},
			[]string{"no test failed, and pytest's exit status is 2: the session was interrupted"}},
		"a status of nobody": {Ran{Tests: endsOf(pass), ExitStatus: 77}, []Case{at(Neither)},
			[]string{"no test failed, and pytest's exit status is 77: none of pytest's own, " +
				"a plugin or a test set it"}},
		"too many warnings": {Ran{Tests: endsOf(pass), ExitStatus: 6}, []Case{at(Neither)},
			[]string{"no test failed, and pytest's exit status is 6: more warnings than --max-warnings allows"}},
		"tests, and pytest has 5": {Ran{Tests: endsOf(pass), ExitStatus: 5}, []Case{at(Neither)},
			[]string{"no test failed, and pytest's exit status is 5: no tests were run"}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, Reconcile(c.ran, c.file)) })
	}
}

func TestReconcileIsBounded(t *testing.T) {
	var ran Ran
	for i := range 1000 {
		test := ended(whole(report("call", "passed"))...)
		test.NodeID, test.Name = fmt.Sprintf("a.py::t%d", i), fmt.Sprintf("t%d", i)
		ran.Tests = append(ran.Tests, endsOf(test)...)
	}
	problems := Reconcile(ran, nil)
	require.Len(t, problems, maxProblems+1)
	require.Equal(t, "and 980 more contradictions between what was seen and pytest's JUnit file", problems[maxProblems])
}
