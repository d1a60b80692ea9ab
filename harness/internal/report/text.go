package report

import (
	"fmt"
	"strings"

	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// lines joins texts, each with one line end and none empty.
func lines(texts ...string) string {
	var out strings.Builder
	for _, text := range texts {
		if text = strings.TrimRight(text, "\n"); text != "" {
			out.WriteString(text + "\n")
		}
	}
	return out.String()
}

// shortLine is how many characters of a message are shown in a line with other things.
const shortLine = 120

// firstLine returns the beginning of a text's first line.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if runes := []rune(line); len(runes) > shortLine {
		line = string(runes[:shortLine]) + "..."
	}
	return strings.TrimSuffix(line, ":")
}

// text returns what a test's verdict has to tell its reader, "" for a test that passed and printed nothing.
func (e TestEnded) text() string {
	var texts []string
	switch {
	case e.Outcome.Red():
		texts = append(texts, e.headline(), e.Text)
	case e.Outcome != verdict.Passed:
		texts = append(texts, strings.TrimSuffix(string(e.Outcome)+": "+e.Text, ": "))
	}
	for _, section := range e.Sections {
		if strings.TrimSpace(section[1]) != "" {
			texts = append(texts, "--- "+section[0]+" ---", section[1])
		}
	}
	return lines(texts...)
}

// Describe returns what a red test has to tell its reader, without the command that runs it again.
func (e TestEnded) Describe() string { return e.text() }

// Repro returns the line with the command that runs it again from its bundle, "" if it has none.
func (f Failure) Repro() string {
	if f.Bundle == "" {
		return ""
	}
	return "to run it again with the same build: pyo3test repro " + subtest.ShellQuote(f.Bundle) + "\n"
}

// headline returns the first line of a failure: its place, the outcome and the phase.
func (e TestEnded) headline() string {
	text := e.Place.String() + ": " + string(e.Outcome)
	if e.Phase != "" {
		text += " in " + e.Phase
	}
	if e.Outcome == verdict.NotRun && e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// textBelow returns the text of a problem below the progress of its phase, if that is shown.
func (e Problem) textBelow(progress bool) string {
	if !progress || e.Log == "" {
		return e.Text
	}
	return strings.Replace(e.Text, e.Log, "(its output is above)", 1)
}

func (e FileFailed) text() string {
	return lines(fmt.Sprintf("%v: pytest could not collect %s", e.Place, e.NodeID), e.Text)
}

func (e FileSkipped) text() string {
	return lines(fmt.Sprintf("%v: skipped as a whole: %s", e.Place, e.Text))
}

func (e Session) text() string {
	workers := "1 worker"
	if e.Workers != 1 {
		workers = fmt.Sprintf("%d workers", e.Workers)
	}
	return fmt.Sprintf("pytest %s, Python %s, %s, %s, up to %v a test\n", e.Pytest, e.Python, e.Isolation, workers,
		e.Budget)
}

func (e Stacks) text() string { return lines(e.What+": "+e.Why, e.Text) }
