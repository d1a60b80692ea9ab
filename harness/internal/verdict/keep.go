package verdict

import (
	"fmt"
	"slices"
	"strings"
)

// textLimit is how many bytes of text one test may report in full, in a loop of subtests for example. Further reports
// are shortened.
const textLimit = 4 << 20

// AddReport adds a report. Its sections include those of the reports before it, which are kept only once.
func (t *Test) AddReport(r Report) {
	for i := range t.Reports {
		if len(t.Reports[i].Sections) <= len(r.Sections) {
			t.Reports[i].Sections = nil
		}
	}
	if t.texts += r.texts(); t.texts > textLimit {
		r.shrink(1 << 10)
	}
	t.Reports = append(t.Reports, r)
}

func (r *Report) texts() int {
	size := len(r.Longrepr) + len(r.Message)
	for _, pair := range slices.Concat(r.Sections, r.Properties) {
		size += len(pair[0]) + len(pair[1])
	}
	return size
}

func (r *Report) shrink(limit int) {
	r.Longrepr, r.Message = Clip(r.Longrepr, limit), Clip(r.Message, limit)
	for _, pairs := range [][][2]string{r.Sections, r.Properties} {
		for i := range pairs {
			pairs[i][1] = Clip(pairs[i][1], limit)
		}
	}
}

// Clip returns the head and tail of a text, or all of it if it is within the limit.
func Clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	head, tail := strings.ToValidUTF8(text[:limit/2], ""), strings.ToValidUTF8(text[len(text)-limit/2:], "")
	return fmt.Sprintf("%s\n[... %d bytes left out ...]\n%s", head, len(text)-len(head)-len(tail), tail)
}
