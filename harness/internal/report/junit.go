package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"pyo3test/harness/internal/verdict"
)

// The elements of a JUnit file. Attributes beyond the common ones are those of pytest's own "xunit1" family.
type (
	junitFile struct {
		XMLName xml.Name      `xml:"testsuites"`
		Suites  []*JUnitSuite `xml:"testsuite"`
	}
	// JUnitSuite is the element of a group, or of what made a run fail besides its groups.
	JUnitSuite struct {
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Cases    []*junitCase `xml:"testcase"`

		seconds float64
		kept    textBudget
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

// JUnit keeps what a JUnit file of the run holds: a testcase for each test, for each file that could not be collected or
// skipped itself, and for what made the run fail besides.
type JUnit struct {
	name   string // of the run's test
	run    *JUnitSuite
	groups map[string]*JUnitSuite
	cases  map[Test]*junitCase // what failed, by test, for what is found out later
}

// NewJUnit returns a reporter that has seen nothing of the run with a name.
func NewJUnit(name string) *JUnit {
	return &JUnit{name: name, run: &JUnitSuite{Name: name}, groups: map[string]*JUnitSuite{},
		cases: map[Test]*junitCase{}}
}

// Suites returns the file's elements so far.
func (j *JUnit) Suites() (suites []*JUnitSuite) {
	if len(j.run.Cases) > 0 {
		suites = append(suites, j.run)
	}
	for _, group := range slices.Sorted(maps.Keys(j.groups)) {
		suites = append(suites, j.groups[group])
	}
	for _, suite := range suites {
		suite.Time = seconds(suite.seconds)
	}
	return suites
}

// HasGroups reports whether a group has started.
func (j *JUnit) HasGroups() bool { return len(j.groups) > 0 }

// wholeRun is the testcase of what is wrong with a run as a whole.
const wholeRun = "(run)"

// FailedRun returns the suite of a run that failed as a whole.
func FailedRun(name, text string) *JUnitSuite {
	s := &JUnitSuite{Name: name, Time: seconds(0)}
	s.fault(wholeRun, text)
	return s
}

// Report keeps an event.
func (j *JUnit) Report(_ time.Time, e Event, _ *Tally) error {
	switch e := e.(type) {
	case GroupStarted:
		if j.groups[e.Group] == nil {
			j.groups[e.Group] = &JUnitSuite{Name: j.name + "/" + e.Group}
		}
	case Problem:
		name := "(session)"
		if e.Group == "" {
			if name = wholeRun; e.Cause != "" {
				name = "(" + string(e.Cause) + ")"
			}
		}
		j.suite(e.Group).fault(name, e.Text)
	case ExitFailed:
		j.suite(e.Group).fault(ExitName, e.Text)
	case FileFailed:
		c := e.JUnit.testcase(0)
		c.Error = &junitText{Type: "collection", Message: "could not be collected", Text: legal(e.Text)}
		j.suite(e.Group).add(c)
	case FileSkipped:
		c := e.JUnit.testcase(0)
		c.Skipped = &junitText{Type: "collection", Message: legal(e.Text)}
		j.suite(e.Group).add(c)
	case TestEnded:
		c := e.testcase(&j.suite(e.Group).kept)
		if e.Outcome.Red() {
			j.cases[e.Test] = c
		}
		j.suite(e.Group).add(c)
		j.suite(e.Group).seconds += e.Seconds
	case Proof:
		if c := j.cases[e.Test]; c != nil {
			for _, told := range []*junitText{c.Failure, c.Error} {
				if told != nil {
					told.Text += legal("\n\n" + verdict.Clip(e.Text, keptText))
				}
			}
		}
	}
	return nil
}

func (j *JUnit) suite(group string) *JUnitSuite {
	if s := j.groups[group]; s != nil {
		return s
	}
	return j.run
}

// WriteJUnit writes a JUnit file.
func WriteJUnit(w io.Writer, suites []*JUnitSuite) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", " ")
	if err := encoder.Encode(junitFile{Suites: suites}); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	return nil
}

func (s *JUnitSuite) add(c *junitCase) {
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

// fault adds what is no single test's fault. Problems of one kind share a testcase.
func (s *JUnitSuite) fault(name, text string) {
	for _, c := range s.Cases {
		if c.Name == name && c.Classname == legal(s.Name) && c.Error != nil {
			c.Error.Text += legal("\n" + text)
			return
		}
	}
	first, _, _ := strings.Cut(text, "\n")
	s.add(&junitCase{Classname: legal(s.Name), Name: legal(name), Time: seconds(0), Error: &junitText{
		Type: strings.Trim(name, "()"), Message: legal(first), Text: legal(text),
	}})
}

func (n JUnitName) testcase(took float64) *junitCase {
	return &junitCase{Classname: legal(n.Classname), Name: legal(n.Name), File: legal(n.File), Line: n.Line,
		Time: seconds(took)}
}

func (e TestEnded) testcase(kept *textBudget) *junitCase {
	c := e.JUnit.testcase(e.Seconds)
	e = kept.shrink(e)
	if len(e.Properties) > 0 {
		c.Properties = &junitProperties{}
		for _, property := range e.Properties {
			c.Properties.List = append(c.Properties.List, junitProperty{legal(property[0]), legal(property[1])})
		}
	}
	first, _, _ := strings.Cut(e.Text, "\n")
	told := &junitText{Type: strings.ReplaceAll(string(e.Outcome), " ", "-"), Message: legal(first),
		Text: legal(e.Text)}
	switch {
	case e.Outcome == verdict.Failed:
		c.Failure = told
	case e.Outcome.Red():
		c.Error = told
	case e.Outcome == verdict.Skipped, e.Outcome == verdict.XFailed:
		c.Skipped = &junitText{Type: told.Type, Message: legal(e.Text)}
	}
	var out strings.Builder
	for _, section := range e.Sections {
		fmt.Fprintf(&out, "--- %s ---\n%s\n", section[0], strings.TrimRight(section[1], "\n"))
	}
	c.Out = legal(out.String())
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
