package group

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/verdict"
)

// reduce feeds a ledger lines of an agent, one each second, and returns the first error. The tests of three run.
func reduce(t *testing.T, lines []string) (ledger, error) {
	t.Helper()
	l, now := newLedger(time.Minute, false), morning
	for _, line := range lines {
		e, err := protocol.Decode([]byte(line))
		if err != nil {
			return l, err
		}
		if _, err := l.take(e, now); err != nil {
			return l, err
		}
		if _, ok := e.(protocol.Collected); ok {
			l.expect([]int{0, 1, 2})
		}
		now = now.Add(time.Second)
	}
	return l, nil
}

// TestLedger: events become tests with verdicts, without a container, a clock or a go test.
func TestLedger(t *testing.T) {
	l, err := reduce(t, goodSession())
	require.NoError(t, err)
	var outcomes []verdict.Outcome
	for _, test := range l.tests {
		outcomes = append(outcomes, test.Verdict().Outcome)
	}
	require.Equal(t, []verdict.Outcome{verdict.Passed, verdict.Skipped, verdict.Passed}, outcomes)
	require.Equal(t, 8, l.pid)
	require.Equal(t, 1, l.imported)
	require.Zero(t, l.unfinished)
	require.True(t, l.left)
	require.Equal(t, 0, *l.exitStatus)
	require.NotNil(t, l.exited)
	require.Nil(t, l.tests[0].after)
	require.Equal(t, l.tests[1], l.tests[2].after)
	require.Equal(t, goodJUnit, string(l.junit))
}

// TestLedgerOfAnInterruptedStream: whatever was seen of a stream that ends too early, no test that did not end passes.
func TestLedgerOfAnInterruptedStream(t *testing.T) {
	lines := goodSession()
	for end := range lines {
		l, err := reduce(t, lines[:end])
		require.NoError(t, err, "a beginning does not contradict itself")
		for _, test := range l.tests {
			if test.Finish == nil {
				require.True(t, test.Verdict().Outcome.Red(), strings.Join(lines[:end], "\n"))
			}
		}
		open := slices.DeleteFunc(slices.Clone(l.tests), func(t *test) bool { return t.Finish != nil })
		require.True(t, !l.collected || l.unfinished == len(open))
	}
}

// TestLedgerOfContradictions: events that cannot follow each other are refused.
func TestLedgerOfContradictions(t *testing.T) {
	lines := goodSession()
	at := func(part string) int {
		return slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, part) })
	}
	twice := func(part string) []string { return slices.Insert(slices.Clone(lines), at(part), lines[at(part)]) }
	without := func(part string) []string { return slices.Delete(slices.Clone(lines), at(part), at(part)+1) }
	swapped := func(one, other string) []string {
		edited := slices.Clone(lines)
		edited[at(one)], edited[at(other)] = edited[at(other)], edited[at(one)]
		return edited
	}
	start, finish := `"start","index":1`, `"finish","index":1`
	for want, edited := range map[string][]string{
		"item 0 came where 1 was due":                 twice(`"item","index":0`),
		"item 2 came where 1 was due":                 without(`"item","index":1`),
		"pytest collected 3 tests and named 2":        without(`"item","index":2`),
		`"collected" after the end of the collection`: twice(`"collected"`),
		`"start" before the end of the collection`:    swapped(`"collected"`, `"start","index":0`),
		"a start event of a.py::t1 out of its order":  twice(start),
		"a report event of a.py::t1 out of its order": without(start),
		"a finish event of a.py::t1 out of its order": twice(finish),
		`"finished" while a test runs`:                without(finish),
		"a finish event of a.py::t1 out of":           swapped(start, finish),
		`"finished" after the end of the session`:     twice(`"finished"`),
		`"leave" after the end of pytest`:             twice(`"leave"`),
		`"report" after the end of the session`:       swapped(`"finished"`, `"start","index":2`),
		`"exit" after the end of pytest`:              twice(`"ev":"exit"`),
		`"started" after the start`:                   twice(`"started"`),
		"an event of test 7, which was not to run": slices.Insert(slices.Clone(lines), at(start),
			`{"ev":"start","index":7}`),
		"pytest's JUnit file is longer than 64 MiB": slices.Insert(slices.Clone(lines), at(`"junit"`),
			slices.Repeat([]string{junitLine(strings.Repeat("x", 8<<20))}, 9)...),
		"pytest's stream of events contradicts itself: a": swapped(`"session"`, `"ev":"exit"`),
	} {
		_, err := reduce(t, edited)
		require.ErrorContains(t, err, want)
	}
}

// TestTestThatRunsAgain: of a test that is to run again, nothing of its first run is left.
func TestTestThatRunsAgain(t *testing.T) {
	lines := goodSession()
	l, err := reduce(t, lines[:slices.IndexFunc(lines,
		func(line string) bool { return strings.Contains(line, `"finish","index":2`) })])
	require.NoError(t, err)
	test := l.tests[2]
	require.True(t, test.Started)
	require.NotEmpty(t, test.Reports)
	test.Left, test.expired, test.deadlock = []string{"1: sleep"}, true, &deadlock{}
	delete(l.running, 2)
	test.forget()
	fresh, err := reduce(t, lines[:slices.IndexFunc(lines,
		func(line string) bool { return strings.Contains(line, `"start"`) })])
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%+v", fresh.tests[2]), fmt.Sprintf("%+v", test))
}
