package report

import (
	"slices"

	"pyo3test/harness/internal/verdict"
)

// Limits, in bytes, for the texts kept of ended tests: keptText for each until they total keptTexts, then keptLittle
// for each. A run of ten thousand tests must not need memory, or disk, for all that they print.
const (
	keptText   = 64 << 10
	keptTexts  = 4 << 20
	keptLittle = 256
)

// textBudget shortens the texts of tests to these limits.
type textBudget struct{ kept int }

func (b *textBudget) clip(text string) string {
	limit := keptText
	if b.kept > keptTexts {
		limit = keptLittle
	}
	text = verdict.Clip(text, limit)
	b.kept += len(text)
	return text
}

func (b *textBudget) shrink(e TestEnded) TestEnded {
	e.Text = b.clip(e.Text)
	for _, pairs := range []*[][2]string{&e.Sections, &e.Properties} {
		*pairs = slices.Clone(*pairs)
		for i := range *pairs {
			(*pairs)[i][1] = b.clip((*pairs)[i][1])
		}
	}
	e.Subtests = slices.Clone(e.Subtests)
	for i := range e.Subtests {
		e.Subtests[i].Text = b.clip(e.Subtests[i].Text)
	}
	return e
}
