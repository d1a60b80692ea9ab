// Package visible makes text of tests, builds and file names safe to print: what a terminal, a CI system or a reader
// of go test's output would obey is shown instead.
package visible

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns a text of whole lines with nothing in it that is obeyed. Control characters are written as in Go's
// strings, \x1b for example, and a backslash breaks what would be a command to a CI system or an event of go test.
func Text(text string) string {
	return lineStart.ReplaceAllString(shown(text), `$1\$2`)
}

// Word is Text for a name or a value within a line: its own ends of lines are shown too. It adds no white space.
func Word(text string) string { return oneLine.Replace(shown(text)) }

var oneLine = strings.NewReplacer("\n", `\n`, "\t", `\t`)

func shown(text string) string {
	if !utf8.ValidString(text) || strings.IndexFunc(text, Control) >= 0 {
		var out strings.Builder
		for at, size := 0, 0; at < len(text); at += size {
			var r rune
			r, size = utf8.DecodeRuneInString(text[at:])
			switch {
			case r == utf8.RuneError && size == 1:
				fmt.Fprintf(&out, `\x%02x`, text[at])
			case r == '\r' && strings.HasPrefix(text[at+1:], "\n"): // the end of a line, as some write it
			case Control(r):
				quoted := strconv.QuoteRune(r)
				out.WriteString(quoted[1 : len(quoted)-1])
			default:
				out.WriteString(text[at : at+size])
			}
		}
		text = out.String()
	}
	return command.ReplaceAllString(text, `##$1\[`)
}

// Control reports whether a character is a control character other than a new line or a tab: one of ASCII or of
// Latin-1, one that changes the direction of what follows, or a separator of lines.
func Control(r rune) bool {
	return r != '\n' && r != '\t' && unicode.Is(unicode.Cc, r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}

var (
	// lineStart finds what counts at the start of a line, or behind white space there: commands of GitHub, and the
	// lines by which test2json and others know tests in the output of go test.
	lineStart = regexp.MustCompile(`(?m)^([\t\pZ]*)(::|=== (?:RUN|PAUSE|CONT|NAME|PASS|FAIL|SKIP|ATTR|ARTIFACTS)\b|--- (?:PASS|FAIL|SKIP|BENCH):)`)
	// command finds what counts anywhere in a line: older commands of GitHub, and those of Azure and TeamCity.
	command = regexp.MustCompile(`##(\w*)\[`)
)

// Writer makes what is written visible. Each write has to be of whole lines.
type Writer struct{ To io.Writer }

func (w Writer) Write(data []byte) (int, error) {
	if _, err := io.WriteString(w.To, Text(string(data))); err != nil {
		return 0, err
	}
	return len(data), nil
}

// Unwrap returns the writer below a Writer, or w itself: for who prints nothing but what is visible already.
func Unwrap(w io.Writer) io.Writer {
	if wrapped, ok := w.(Writer); ok {
		return wrapped.To
	}
	return w
}
