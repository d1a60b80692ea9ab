package visible

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n\ttext é 数 👍🏽\n":                       "plain\n\ttext é 数 👍🏽\n",
		"\x1b[31mred\x1b[0m":                           `\x1b[31mred\x1b[0m`,
		"\x1b]52;c;aGk=\x07":                           `\x1b]52;c;aGk=\a`,
		"50 %\r100 %\r\nabc\b\b\bxyz\x7f":              "50 %\\r100 %\nabc\\b\\b\\bxyz\\x7f",
		"\u009b31m \x9b31m \xff":                       `\u009b31m \x9b31m \xff`,
		"a\u202eb\u2066c\u2069\u200f":                  `a\u202eb\u2066c\u2069\u200f`,
		"a\u2028::error::b":                            `a\u2028::error::b`,
		"\x16=== RUN   TestX":                          `\x16=== RUN   TestX`,
		"=== RUN   TestX\n    === CONT  TestX":         "\\=== RUN   TestX\n    \\=== CONT  TestX",
		"--- PASS: TestX (0.00s)\n\t--- FAIL: a":       "\\--- PASS: TestX (0.00s)\n\t\\--- FAIL: a",
		"=== FAILURES ===\n--- Captured call ---":      "=== FAILURES ===\n--- Captured call ---",
		"::error file=a::b\n \u00a0::stop-commands::x": "\\::error file=a::b\n \u00a0\\::stop-commands::x",
		"a.py::test":                                   "a.py::test",
		"x ##[error]y ##vso[a] ##teamcity[b]":          `x ##\[error]y ##vso\[a] ##teamcity\[b]`,
		"":                                             "",
	} {
		require.Equal(t, want, Text(text))
		var out bytes.Buffer
		n, err := Writer{&out}.Write([]byte(text))
		require.NoError(t, err)
		require.Equal(t, len(text), n)
		require.Equal(t, want, out.String())
	}
	require.Equal(t, "::error::x", Word("::error::x"))
	require.Equal(t, `##\[x]\x1b\n\t`, Word("##[x]\x1b\r\n\t"))
}

// FuzzText checks that nothing in the result would be obeyed, whatever the text, and that a second pass changes
// nothing.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"\x1b[0m::error::x", " ::\r\n=== RUN   T", "###[[a]", "\xff\u202e--- PASS: T",
		"::\x16--- FAIL: x\n\u2029::a::"} {
		f.Add(seed)
	}
	obeyed := regexp.MustCompile(`(?m)^\s*(::|--- PASS: |--- FAIL: |=== RUN  )|##\w*\[`)
	f.Fuzz(func(t *testing.T, text string) {
		got := Text(text)
		require.True(t, utf8.ValidString(got))
		require.Less(t, strings.IndexFunc(got, Control), 0)
		require.False(t, obeyed.MatchString(got), got)
		require.Equal(t, got, Text(got))
		if utf8.ValidString(text) {
			require.Equal(t, strings.Count(text, "\n"), strings.Count(got, "\n"))
		}
		require.LessOrEqual(t, strings.Count(Word(text), " "), strings.Count(text, " "))
	})
}
