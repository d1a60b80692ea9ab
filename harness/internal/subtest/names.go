// Package subtest gives pytest's tests the names by which go test knows them, and reports which of them go test's -run
// and -skip select before any of them runs.
package subtest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"pyo3test/harness/internal/visible"
)

// Table maps the tests of a session to their names and back.
type Table struct {
	names  []string
	byName map[string]int
}

// NewTable names the tests with the node ids, in pytest's order of collection. The names are unique, so testing changes
// none of them: it would add "#01" to one of two equal names, and -run would decide to which one.
func NewTable(nodeIDs []string) *Table {
	t := &Table{byName: map[string]int{}}
	for i, id := range nodeIDs {
		base := Name(id)
		if numbered.MatchString(base) {
			base += "~" // testing would take the end for a number of its own
		}
		name := base
		for n := 2; ; n++ {
			if _, taken := t.byName[name]; !taken {
				break
			}
			name = fmt.Sprintf("%s~%d", base, n)
		}
		t.byName[name] = i
		t.names = append(t.names, name)
	}
	return t
}

// numbered matches names that end like those that testing gives to duplicates.
var numbered = regexp.MustCompile(`#\d+$`)

// Name returns the name of the test whose node id has the index.
func (t *Table) Name(index int) string { return t.names[index] }

// Index returns the index of the node id with a name; ok is false if no test has that name.
func (t *Table) Index(name string) (index int, ok bool) {
	index, ok = t.byName[name]
	return index, ok
}

// Name turns a node id into a subtest's name: "tests/test_a.py::TestB::test_c[x]" is "tests/test_a.py/TestB/test_c[x]",
// with white space and unprintable characters written as testing writes them. It need not be unique.
func Name(nodeID string) string {
	place, parameters, found := strings.Cut(nodeID, "[")
	name := strings.ReplaceAll(place, "::", "/")
	if found {
		name += "[" + parameters
	}
	if name = rewrite(name); name == "" {
		return "_"
	}
	return visible.Word(name)
}

// rewrite replaces white space and what is unprintable in a name as testing does.
func rewrite(name string) string {
	var out strings.Builder
	for _, r := range name {
		switch {
		case isSpace(r):
			out.WriteByte('_')
		case !strconv.IsPrint(r):
			quoted := strconv.QuoteRune(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// isSpace is testing's own notion of white space, which is not quite Unicode's.
func isSpace(r rune) bool {
	switch {
	case r >= '\t' && r <= '\r', r == ' ', r == 0x85, r == 0xA0, r == 0x1680:
		return true
	case r >= 0x2000 && r <= 0x200a, r == 0x2028, r == 0x2029, r == 0x202f, r == 0x205f, r == 0x3000:
		return true
	}
	return false
}

// Pattern returns the -run pattern that selects the test with a full name, and what is below it.
func Pattern(fullName string) string {
	elements := strings.Split(fullName, "/")
	for i, element := range elements {
		elements[i] = "^" + regexp.QuoteMeta(element) + "$"
	}
	return strings.Join(elements, "/")
}

// plainWord matches a text that means itself to a shell: https://docs.python.org/3/library/shlex.html#shlex.quote
var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// ShellQuote returns a text as one word for a POSIX shell, or for bash if it has control characters.
func ShellQuote(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	special := func(r rune) bool { return r < 0x20 || visible.Control(r) || r == utf8.RuneError }
	if strings.IndexFunc(text, special) >= 0 {
		var out strings.Builder
		for at, size := 0, 0; at < len(text); at += size {
			var r rune
			r, size = utf8.DecodeRuneInString(text[at:])
			switch {
			case special(r):
				for _, b := range []byte(text[at : at+size]) {
					fmt.Fprintf(&out, `\x%02x`, b)
				}
			case r == '\'' || r == '\\':
				out.WriteString(`\` + string(r))
			default:
				out.WriteString(text[at : at+size])
			}
		}
		return "$'" + out.String() + "'"
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
