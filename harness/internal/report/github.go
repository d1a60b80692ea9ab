package report

import (
	"fmt"
	"path/filepath"
	"strings"

	"pyo3test/harness/internal/visible"
)

// annotate reports what is red to GitHub:
// https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
func (t *Terminal) annotate(status, name string, place Place, text string) {
	if t.GitHub == "" {
		return
	}
	where := ""
	if file, err := filepath.Rel(t.GitHub, place.File); err == nil && filepath.IsLocal(file) && place.File != "" {
		where = "file=" + escapeProperty.Replace(visible.Word(filepath.ToSlash(file))) + ","
		if place.Line > 0 {
			where += fmt.Sprintf("line=%d,", place.Line)
		}
	}
	t.print("::error %stitle=%s::%s", ours(where), ours(escapeProperty.Replace(visible.Word(status+" "+name))),
		ours(escapeMessage.Replace(strings.TrimSpace(visible.Text(text)))))
}

var (
	escapeMessage  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	escapeProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)
