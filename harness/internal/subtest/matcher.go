package subtest

import (
	"fmt"
	"regexp"
	"strings"
)

// Matcher reports which tests the patterns of -run and -skip select. testing's own matcher cannot be asked before a
// test runs; this one follows its rules, and a fuzz test compares the two.
type Matcher struct {
	run, skip alternatives
}

// alternatives are the parts of a pattern between its outermost bars. Each is a list of expressions, one per element.
type alternatives [][]*regexp.Regexp

// NewMatcher parses the patterns, in the form of go test's flags. "" selects everything and skips nothing.
func NewMatcher(run, skip string) (*Matcher, error) {
	m := &Matcher{}
	var err error
	if m.run, err = parse(run); err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	if skip == "" {
		return m, nil
	}
	if m.skip, err = parse(skip); err != nil {
		return nil, fmt.Errorf("-skip: %w", err)
	}
	return m, nil
}

// Match reports whether the test with a full name is selected, either itself or because of what may be below it.
func (m *Matcher) Match(fullName string) bool {
	elements := strings.Split(fullName, "/")
	if ok, _ := m.run.match(elements); !ok {
		return false
	}
	skipped, partial := m.skip.match(elements)
	return !skipped || partial
}

// match reports whether all elements match their expressions; partial reports whether there are more expressions than
// elements.
func (a alternatives) match(elements []string) (ok, partial bool) {
	for _, expressions := range a {
		matches := true
		for i, element := range elements[:min(len(elements), len(expressions))] {
			matches = matches && expressions[i].MatchString(element)
		}
		if matches {
			return true, len(elements) < len(expressions)
		}
	}
	return false, false
}

func parse(pattern string) (alternatives, error) {
	var all alternatives
	var one []*regexp.Regexp
	for _, part := range split(pattern) {
		expression, err := regexp.Compile(rewrite(part.text))
		if err != nil {
			return nil, err
		}
		if one = append(one, expression); part.end != '/' {
			all, one = append(all, one), nil
		}
	}
	return all, nil
}

// part is a piece of a pattern and what ends it: a slash, a bar, or 0 for the pattern's end.
type part struct {
	text string
	end  byte
}

// split cuts a pattern at the slashes and bars that are not in brackets or parentheses and not after a backslash.
func split(pattern string) (parts []part) {
	brackets, parentheses, start := 0, 0, 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '[':
			brackets++
		case c == ']':
			brackets = max(brackets-1, 0)
		case c == '(' && brackets == 0:
			parentheses++
		case c == ')' && brackets == 0:
			parentheses--
		case c == '\\':
			i++
		case (c == '/' || c == '|') && brackets == 0 && parentheses == 0:
			parts = append(parts, part{pattern[start:i], c})
			start = i + 1
		}
	}
	return append(parts, part{pattern[start:], 0})
}
