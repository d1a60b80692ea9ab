package outcomes

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
)

// want is what expected.json says of a test; src/lib.rs explains it.
type want struct {
	Outcome  string
	Phase    string
	Contains []string
	Count    int
	Subtests []struct{ Name, Outcome string }
}

// TestPython records the suite's run, because most of it is red on purpose, and compares it with expected.json.
func TestPython(t *testing.T) {
	data, err := os.ReadFile("expected.json")
	require.NoError(t, err)
	var expected map[string]want
	require.NoError(t, json.Unmarshal(data, &expected))

	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir()) // nobody looks for these failures
	run := harnesstest.Record(t, harness.Suite{Crate: ".", TestTimeout: 3 * time.Second, Workers: 2})
	require.Equal(t, harnesstest.Failed, run.Outcome())
	group := run.Sub("outcomes")
	require.NotNil(t, group)

	found := map[string][]*harnesstest.Recorder{}
	for _, test := range group.Subs() {
		id := test.Attrs()["pytest.nodeid"]
		require.NotEmpty(t, id, test.Name())
		found[id] = append(found[id], test)
	}
	for id, want := range expected {
		id = oneLine(id)
		tests := found[id]
		delete(found, id)
		assert.Len(t, tests, max(want.Count, 1), "%.200q", id)
		for _, test := range tests {
			compare(t, want, test)
		}
	}
	assert.Empty(t, found, "tests that expected.json does not have")
}

func compare(t *testing.T, want want, test *harnesstest.Recorder) {
	name := test.Attrs()["pytest.nodeid"]
	assert.Equal(t, want.Outcome, test.Attrs()["pytest.outcome"], "%.200q\n%s", name, test.Text())
	colour := map[string]harnesstest.Outcome{
		"passed": harnesstest.Passed, "xpassed": harnesstest.Passed, "skipped": harnesstest.Skipped,
		"xfailed": harnesstest.Skipped,
	}[want.Outcome]
	if colour == "" {
		colour = harnesstest.Failed
	}
	assert.Equal(t, colour, test.Outcome(), "%.200q", name)
	if colour == harnesstest.Failed && want.Phase != "collect" {
		assert.Contains(t, test.Text(), want.Outcome+" in "+want.Phase, "%.200q", name)
		assert.Contains(t, test.Text(), "again: go test ./pytests/outcomes -run ", "%.200q", name)
	}
	for _, piece := range want.Contains {
		assert.Contains(t, test.Text(), piece, "%.200q", name)
	}
	var expected, subtests []string
	for _, sub := range want.Subtests {
		expected = append(expected, oneLine(sub.Name)+" "+sub.Outcome)
	}
	for _, sub := range test.Subs() {
		subtests = append(subtests, sub.Attrs()["pytest.subtest"]+" "+sub.Attrs()["pytest.outcome"])
	}
	assert.Equal(t, expected, subtests, "%.200q", name)
}

// oneLine is a text as an attribute has it.
func oneLine(text string) string {
	if strings.ContainsAny(text, "\r\n") {
		return strconv.Quote(text)
	}
	return text
}
