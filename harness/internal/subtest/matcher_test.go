package subtest

import (
	"flag"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzMatcher holds the matcher against testing's own: of the same patterns and names, both select the same.
func FuzzMatcher(f *testing.F) {
	for _, seed := range [][3]string{
		{"", "", "a/b"}, {"TestX/a", "", "a"}, {"TestX/a", "", "b"}, {"TestX/a/b", "", "a"}, {"TestX/a/b", "", "a/c"},
		{"TestX", "TestX/a", "a/b"},
		{"TestX", "TestX/a/b", "a"}, {"TestX/a|TestX/b", "", "b"}, {"TestX/(a|b)", "", "b"}, {"TestX/[a|/]", "", "a"},
		{"TestX/a b", "", "a b"},
		{`TestX/^t\[a/b\]$`, "", "t[a/b]"}, {"TestX/a]/b", "", "a]/b"}, {"TestX/a)|b(", "", "a"}, {"|", "", "a"},
		{"TestX//", "", "/"}, {"TestX/", "|", ""},
		{`TestX/\`, "", "a"}, {"TestX/(", "", "a"}, {"Y", "", "a"}, {"TestX/\x1b", "", "\x1b"},
		{"TestX/.", `TestX/^a$/^b$|c`, "a/b"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, run, skip, name string) {
		if strings.ContainsRune(run+skip+name, 0xFFFD) || numbered.MatchString(name) {
			return // no text, or a name that a table does not give
		}
		ours, err := NewMatcher(run, skip)
		if err != nil {
			return // testing ends the whole process
		}
		table := NewTable([]string{name})
		require.Equal(t, asTesting(t, run, skip, table.Name(0)), ours.Match("TestX") &&
			ours.Match("TestX/"+table.Name(0)), "%q %q %q", run, skip, name)
	})
}

// asTesting asks testing whether it calls the function of a subtest of TestX.
func asTesting(t *testing.T, run, skip, name string) (called bool) {
	for flagName, value := range map[string]string{"test.run": run, "test.skip": skip} {
		f := flag.Lookup(flagName)
		before := f.Value.String()
		require.NoError(t, f.Value.Set(value))
		defer func() { require.NoError(t, f.Value.Set(before)) }()
	}
	testing.RunTests(regexp.MatchString, []testing.InternalTest{{Name: "TestX", F: func(t *testing.T) {
		t.Run(name, func(*testing.T) { called = true })
	}}})
	return called
}

func TestMatcherRefusesWhatIsNoPattern(t *testing.T) {
	_, err := NewMatcher("a/(", "")
	require.ErrorContains(t, err, "-run: error parsing regexp")
	_, err = NewMatcher("", "[")
	require.ErrorContains(t, err, "-skip: error parsing regexp")
}
