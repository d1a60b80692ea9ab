package console

import (
	"path/filepath"
	"regexp"
	"strings"

	"pyo3test/harness/internal/visible"
)

// place matches the file and line at the beginning of a report.
var place = regexp.MustCompile(`^(.+):(\d+): `)

// annotate reports a red test to GitHub:
// https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
func (s *screen) annotate(status, name, text string) {
	if s.GitHub == "" {
		return
	}
	where := ""
	if match := place.FindStringSubmatch(text); match != nil {
		if file, err := filepath.Rel(s.GitHub, match[1]); err == nil && filepath.IsLocal(file) {
			where = "file=" + escapeProperty.Replace(filepath.ToSlash(file)) + ",line=" + match[2] + ","
		}
	}
	s.print("::error %stitle=%s::%s", where, escapeProperty.Replace(status+" "+name), escapeMessage.Replace(strings.TrimSpace(visible.Text(text))))
}

var (
	escapeMessage  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	escapeProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)
