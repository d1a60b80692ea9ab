// Package visible makes text from tests, builds and file names safe to print. What a terminal, a CI system or a parser
// of go test's output would obey as a command is shown as text instead.
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

// Text returns whole lines of text with nothing in them that would be obeyed. Control characters are written as in Go
// strings, for example \x1b, and a backslash breaks up commands to CI systems and events of go test.
func Text(text string) string {
	return lineStart.ReplaceAllString(shown(text), `$1\$2`)
}

// Word is like Text for a name or a value within a line: it also shows line ends and tabs. It adds no white space.
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
			case r == '\r' && strings.HasPrefix(text[at+1:], "\n"): // a CRLF line end
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

// Control reports whether a character is a control character other than a newline or a tab: one of ASCII or Latin-1,
// one that changes the text direction, or a line or paragraph separator.
func Control(r rune) bool {
	return r != '\n' && r != '\t' && unicode.Is(unicode.Cc, r) ||
		unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}

var (
	// lineStart matches what has a meaning at the start of a line, after optional white space: commands of GitHub, and
	// the lines by which test2json and others recognize tests in the output of go test.
	lineStart = regexp.MustCompile(`(?m)^([\t\pZ]*)(::|=== (?:RUN|PAUSE|CONT|NAME|PASS|FAIL|SKIP|ATTR|ARTIFACTS)\b|--- (?:PASS|FAIL|SKIP|BENCH):)`)
	// command matches what has a meaning anywhere in a line: older commands of GitHub, and those of Azure and TeamCity.
	command = regexp.MustCompile(`##(\w*)\[`)
)

// Writer applies Text to what is written to it. Each write must consist of whole lines.
type Writer struct{ To io.Writer }

func (w Writer) Write(data []byte) (int, error) {
	if _, err := io.WriteString(w.To, Text(string(data))); err != nil {
		return 0, err
	}
	return len(data), nil
}

// Unwrap returns the writer below a Writer, or w itself. It is for code whose output is already safe.
func Unwrap(w io.Writer) io.Writer {
	if wrapped, ok := w.(Writer); ok {
		return wrapped.To
	}
	return w
}
