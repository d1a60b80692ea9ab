package verdict

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Suite holds the verdicts of one group, for the JUnit file that users keep.
type Suite struct {
	Name          string
	Tests         []Test
	CollectErrors []CollectError
	CollectSkips  []CollectSkip
	Faults        []Fault
	Host          func(text string) string // turns the container's paths in a text into the user's; nil leaves them
}

// Fault is what makes a group or a run red without being the fault of a single test.
type Fault struct {
	Name string // of its testcase: a word in parentheses, such as "(exit)"
	Text string
}

// Red reports whether the suite's element in the file has a failure or an error.
func (s Suite) Red() bool {
	return len(s.Faults) > 0 || len(s.CollectErrors) > 0 ||
		slices.ContainsFunc(s.Tests, func(t Test) bool { return t.Verdict().Outcome.Red() })
}

// The elements of the file. Attributes beyond the common ones are those of pytest's own "xunit1" family.
type (
	junitFile struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Classname  string           `xml:"classname,attr"`
		Name       string           `xml:"name,attr"`
		File       string           `xml:"file,attr,omitempty"`
		Line       int              `xml:"line,attr,omitempty"`
		Time       string           `xml:"time,attr"`
		Properties *junitProperties `xml:"properties"`
		Failure    *junitText       `xml:"failure"`
		Error      *junitText       `xml:"error"`
		Skipped    *junitText       `xml:"skipped"`
		Out        string           `xml:"system-out,omitempty"`
	}
	junitProperties struct {
		List []junitProperty `xml:"property"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitText struct {
		Type    string `xml:"type,attr,omitempty"`
		Message string `xml:"message,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes one JUnit file of all suites: a testcase for each test and for each file that could not be collected
// or skipped itself, whatever its outcome.
func WriteJUnit(w io.Writer, suites []Suite) error {
	var file junitFile
	for _, suite := range suites {
		file.Suites = append(file.Suites, suite.element())
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", " ")
	if err := encoder.Encode(file); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s Suite) element() junitSuite {
	host := s.Host
	if host == nil {
		host = func(text string) string { return text }
	}
	element := junitSuite{Name: s.Name}
	total := 0.0
	for _, e := range s.CollectErrors {
		element.add(junitCase{
			Classname: e.Classname, Name: legal(e.Name), File: host(e.Path), Line: e.Line, Time: seconds(0),
			Error: &junitText{Type: "collection", Message: "could not be collected", Text: legal(host(e.Longrepr))},
		})
	}
	for _, e := range s.CollectSkips {
		element.add(junitCase{
			Classname: e.Classname, Name: legal(e.Name), File: host(e.Path), Line: e.Line, Time: seconds(0),
			Skipped: &junitText{Type: "collection", Message: legal(host(e.Reason))},
		})
	}
	for _, fault := range s.Faults {
		first, _, _ := strings.Cut(host(fault.Text), "\n")
		element.add(junitCase{Classname: legal(s.Name), Name: legal(fault.Name), Time: seconds(0), Error: &junitText{
			Type: strings.Trim(fault.Name, "()"), Message: legal(first), Text: legal(host(fault.Text)),
		}})
	}
	for _, test := range s.Tests {
		v := test.Verdict()
		total += v.Duration
		element.add(test.element(v, host))
	}
	element.Time = seconds(total)
	return element
}

func (s *junitSuite) add(c junitCase) {
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

func (t Test) element(v Verdict, host func(string) string) junitCase {
	c := junitCase{Classname: legal(t.Classname), Name: legal(t.Name), File: legal(host(t.Path)), Line: t.Line, Time: seconds(v.Duration)}
	if len(v.Properties) > 0 {
		c.Properties = &junitProperties{}
		for _, property := range v.Properties {
			c.Properties.List = append(c.Properties.List, junitProperty{legal(property[0]), legal(property[1])})
		}
	}
	text := host(v.Text)
	first, _, _ := strings.Cut(text, "\n")
	told := &junitText{Type: strings.ReplaceAll(string(v.Outcome), " ", "-"), Message: legal(first), Text: legal(text)}
	switch {
	case v.Outcome == Failed:
		c.Failure = told
	case v.Outcome.Red():
		c.Error = told
	case v.Outcome == Skipped, v.Outcome == XFailed:
		c.Skipped = &junitText{Type: told.Type, Message: legal(text)}
	}
	var out strings.Builder
	for _, section := range v.Sections {
		fmt.Fprintf(&out, "--- %s ---\n%s\n", section[0], strings.TrimRight(section[1], "\n"))
	}
	c.Out = legal(host(out.String()))
	return c
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }

// legal writes characters that XML cannot hold as pytest does: #x1B.
func legal(text string) string {
	bad := func(r rune) bool {
		return r == utf8.RuneError || r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
	}
	if strings.IndexFunc(text, bad) < 0 {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		if bad(r) {
			fmt.Fprintf(&out, "#x%02X", r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}
