package verdict

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// Case is one testcase element of pytest's JUnit file.
type Case struct {
	Classname string
	Name      string
	State     State
}

// State is all that a testcase element shows of an outcome.
type State string

// The states: an element that holds a failure or an error, one that holds a skip, one that holds neither.
const (
	Red     State = "failed"
	Neither State = "passed"
	Skip    State = "skipped"
)

// maxDepth bounds how deep elements are nested; pytest's are five deep.
const maxDepth = 32

// ReadJUnit returns the testcases of pytest's JUnit file in order. A file that is cut off, not XML, longer than limit
// bytes or without any test suite is an error. So is an entity that is not one of XML's own five.
func ReadJUnit(file io.Reader, limit int64) ([]Case, error) {
	bounded := &io.LimitedReader{R: file, N: limit + 1}
	decoder := xml.NewDecoder(bounded)
	var cases []Case
	suites, depth, inside := 0, 0, -1 // inside is the depth of the open testcase
	for {
		token, err := decoder.Token()
		switch {
		case errors.Is(err, io.EOF) && bounded.N > 0 && suites > 0:
			return cases, nil
		case bounded.N <= 0:
			return nil, fmt.Errorf("read JUnit: longer than %d bytes", limit)
		case errors.Is(err, io.EOF):
			return nil, errors.New("read JUnit: it holds no test suite")
		case err != nil:
			return nil, fmt.Errorf("read JUnit: %w", err)
		}
		switch element := token.(type) {
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return nil, fmt.Errorf("read JUnit: elements more than %d deep", maxDepth)
			}
			switch name := element.Name.Local; {
			case name == "testsuite":
				suites++
			case name == "testcase" && inside < 0:
				inside = depth
				cases = append(cases, newCase(element))
			case inside >= 0 && depth == inside+1:
				last := &cases[len(cases)-1]
				last.State = last.State.with(name)
			}
		case xml.EndElement:
			if depth == inside {
				inside = -1
			}
			depth--
		}
	}
}

func newCase(element xml.StartElement) Case {
	c := Case{State: Neither}
	for _, attribute := range element.Attr {
		switch attribute.Name.Local {
		case "classname":
			c.Classname = attribute.Value
		case "name":
			c.Name = attribute.Value
		}
	}
	return c
}

// with returns the state after one more child element.
func (s State) with(child string) State {
	switch {
	case child == "failure" || child == "error":
		return Red
	case child == "skipped" && s == Neither:
		return Skip
	}
	return s
}
