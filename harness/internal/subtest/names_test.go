package subtest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestName(t *testing.T) {
	for id, want := range map[string]string{
		"tests/test_a.py::TestB::test_c[x]": "tests/test_a.py/TestB/test_c[x]",
		"test_a.py::test_b":                 "test_a.py/test_b",
		"a.py::test[a::b/c]":                "a.py/test[a::b/c]",
		"a b.py::test[ \t\n]":               "a_b.py/test[___]",
		"a.py::test[\x1b\x00]":              `a.py/test[\x1b\x00]`,
		"a.py::test[数\u200d]":               `a.py/test[数\u200d]`,
		"a.py::test[##[error]x]":            `a.py/test[##\[error]x]`,
		"":                                  "_",
		"a.py::test[" + strings.Repeat("x", 10_000): "a.py/test[" + strings.Repeat("x", 10_000),
	} {
		require.Equal(t, want, Name(id))
	}
}

// hostile are node ids whose names collide in one way or another.
var hostile = []string{
	"a.py::t[a b]", "a.py::t[a_b]", "a.py::t[a\tb]", "a.py::t[a b]", "a.py::t#01", "a.py::t", "a.py::t", "a.py::t~2",
	"a.py::t#00", "a.py::t#1", "a.py::t#001",
	"a.py::t[#01]", "a.py::t[##[x]", `a.py::t[##\[x]`, "a.py/t", "a.py::t/", "a.py::t//", "a.py::t[x]#02", "a.py::t[x]",
	"a.py::t[x]", "", "", "/", ".", "..", "a.py::t[^$|()]", `a.py::t[\]`, "a.py::t[']",
}

func TestTableIsReversible(t *testing.T) {
	table := NewTable(hostile)
	seen := map[string]bool{}
	for i := range hostile {
		name := table.Name(i)
		require.False(t, seen[name], name)
		seen[name] = true
		back, ok := table.Index(name)
		require.True(t, ok)
		require.Equal(t, i, back)
	}
	_, ok := table.Index("none of these")
	require.False(t, ok)
}

// TestTestingKeepsTheNames asks testing itself: a table's names are what t.Name says.
func TestTestingKeepsTheNames(t *testing.T) {
	table := NewTable(hostile)
	for i := range hostile {
		t.Run(table.Name(i), func(inner *testing.T) {
			require.Equal(t, t.Name()+"/"+table.Name(i), inner.Name())
		})
	}
}

func TestPatternSelectsItsTestAlone(t *testing.T) {
	table := NewTable(hostile)
	for i := range hostile {
		matcher, err := NewMatcher(Pattern("TestX/"+table.Name(i)), "")
		require.NoError(t, err)
		for j := range hostile {
			selected := matcher.Match("TestX/" + table.Name(j))
			if i == j {
				require.True(t, selected, table.Name(i))
			} else if selected { // only what is above or below it in the tree of names
				a, b := table.Name(i)+"/", table.Name(j)+"/"
				require.True(t, strings.HasPrefix(a, b) || strings.HasPrefix(b, a), "%q selects %q", a, b)
			}
		}
	}
}

func TestShellQuote(t *testing.T) {
	require.Equal(t, `'^TestX$/^a b$'`, ShellQuote("^TestX$/^a b$"))
	require.Equal(t, `'it'\''s'`, ShellQuote("it's"))
	require.Equal(t, `$'a\x0ab\'\\'`, ShellQuote("a\nb'\\"))
	require.Equal(t, `$'é\xe2\x80\xae\xff\xc2\x9b'`, ShellQuote("é\u202e\xff\u009b"))
}

func TestPatternsAreAnchored(t *testing.T) {
	require.Equal(t, `^TestX$/^a\.py$/^t\[1\]$`, Pattern("TestX/a.py/t[1]"))
	for _, element := range strings.Split(Pattern("TestX/a.py/t[1]"), "/") {
		regexp.MustCompile(element)
	}
}

func ExampleName() {
	fmt.Println(Name("tests/test_map.py::TestMap::test_get[a key]"))
	// Output: tests/test_map.py/TestMap/test_get[a_key]
}
