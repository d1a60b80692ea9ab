package verdict

import (
	"fmt"
	"slices"
	"strings"
)

// CollectError is a file, or another part of a suite, that could not be collected.
type CollectError struct {
	NodeID    string
	Longrepr  string
	Path      string
	Line      int
	Classname string // how pytest's JUnit file names it
	Name      string
}

// CollectSkip is a file that skipped itself while it was collected.
type CollectSkip struct {
	NodeID    string
	Reason    string
	Path      string
	Line      int
	Classname string
	Name      string
}

// Exit statuses of pytest.
const (
	exitOK          = 0
	exitTestsFailed = 1
	ExitUsage       = 4
	ExitNoTests     = 5 // none were collected, or none were left
	exitMaxWarnings = 6
)

// Ran holds all that was seen of a session that ended by itself.
type Ran struct {
	Tests         []Ended // those that were to run
	CollectErrors []CollectError
	CollectSkips  []CollectSkip
	ExitStatus    int // pytest's own
}

// Ended is what is compared of a test.
type Ended struct {
	NodeID    string
	Classname string // how pytest's JUnit file names it
	Name      string
	Outcome   Outcome
	states    []State // of the testcases that pytest writes for it
}

// End returns what is compared of the test, with its outcome.
func (t Test) End(outcome Outcome) Ended {
	return Ended{NodeID: t.NodeID, Classname: t.Classname, Name: t.Name, Outcome: outcome, states: t.states()}
}

// Reconcile compares what was seen of a session with pytest's own account of it. It returns a sentence for each
// contradiction; none means that both name the same tests with the same outcomes and that pytest's exit status agrees.
func Reconcile(ran Ran, junit []Case) (problems []string) {
	seen := map[Case]int{}
	nodes := map[Case]string{}
	add := func(c Case, nodeID string) {
		seen[c]++
		nodes[c] = nodeID
	}
	for _, test := range ran.Tests {
		for _, state := range test.states {
			add(Case{test.Classname, test.Name, state}, test.NodeID)
		}
	}
	for _, e := range ran.CollectErrors {
		add(Case{e.Classname, e.Name, Red}, e.NodeID)
	}
	for _, e := range ran.CollectSkips {
		add(Case{e.Classname, e.Name, Skip}, e.NodeID)
	}
	told := map[Case]int{}
	for _, c := range junit {
		told[c]++
	}
	var cases []Case
	for c := range seen {
		cases = append(cases, c)
	}
	for c := range told {
		if seen[c] == 0 {
			cases = append(cases, c)
		}
	}
	slices.SortFunc(cases, func(a,
		b Case) int {
		return strings.Compare(a.label()+string(a.State), b.label()+string(b.State))
	})
	for _, c := range cases {
		if seen[c] != told[c] {
			name := nodes[c]
			if name == "" {
				name = c.label()
			}
			problems = append(problems,
				fmt.Sprintf("%s: seen %s %s, and pytest's JUnit file has it %s", name, c.State, times(seen[c]),
					times(told[c])))
		}
	}
	if len(problems) > maxProblems {
		more := len(problems) - maxProblems
		problems = append(problems[:maxProblems],
			fmt.Sprintf("and %d more contradictions between what was seen and pytest's JUnit file", more))
	}
	if problem := ran.contradictsStatus(); problem != "" {
		problems = append(problems, problem)
	}
	return problems
}

// maxProblems bounds how many contradictions are listed: a lost file contradicts every test.
const maxProblems = 20

func (c Case) label() string {
	if c.Classname == "" && c.Name == "" {
		return "a testcase without a name"
	}
	return strings.TrimPrefix(c.Classname+"."+c.Name, ".")
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// states returns the states of the testcases that pytest writes for a test, by the rules of its junitxml plugin. Each
// teardown ends a testcase, so a plugin that reruns a test gets one for each attempt. A teardown that fails after a
// failed call has its own testcase.
func (t Test) states() (states []State) {
	state, open, failedCalls := Neither, false, 0
	end := func() { states, state, open = append(states, state), Neither, false }
	for _, r := range t.Reports {
		if r.Outcome == "failed" && r.When == "teardown" && failedCalls > 0 {
			end()
		}
		open = true
		switch {
		case r.Outcome == "failed" && r.WasXFail != nil: // written as a skip
			state = state.with("skipped")
		case r.Outcome == "failed":
			state = Red
		case r.Outcome == "skipped":
			state = state.with("skipped")
		}
		switch {
		case r.When == "call" && r.Outcome == "failed":
			failedCalls++
		case r.When == "teardown":
			failedCalls = max(failedCalls-1, 0)
			end()
		}
	}
	if open {
		end()
	}
	return states
}

// contradictsStatus returns how pytest's exit status contradicts what was seen, or "" if it does not.
func (r Ran) contradictsStatus() string {
	red := len(r.CollectErrors) > 0
	for _, test := range r.Tests {
		red = red || test.Outcome.Red() && test.Outcome != Leaky // which pytest does not know
	}
	switch {
	case red && (r.ExitStatus == exitOK || r.ExitStatus == ExitNoTests):
		return fmt.Sprintf("tests failed, and pytest's exit status is %d", r.ExitStatus)
	case !red && r.ExitStatus == exitTestsFailed:
		return "no test failed, and pytest's exit status is 1: a plugin makes the session fail, for example a " +
			"coverage below its limit"
	case !red && r.ExitStatus != exitOK && !(r.ExitStatus == ExitNoTests && len(r.Tests) == 0):
		return fmt.Sprintf("no test failed, and pytest's exit status is %d: %s", r.ExitStatus,
			StatusMeaning(r.ExitStatus))
	}
	return ""
}

// StatusMeaning returns pytest's own meaning of an exit status.
func StatusMeaning(status int) string {
	switch status {
	case 2:
		return "the session was interrupted"
	case 3:
		return "an internal error of pytest or of a plugin"
	case ExitUsage:
		return "a usage error"
	case ExitNoTests:
		return "no tests were run"
	case exitMaxWarnings:
		return "more warnings than --max-warnings allows"
	}
	return "none of pytest's own, a plugin or a test set it"
}
