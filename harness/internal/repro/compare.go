package repro

import (
	"context"
	"fmt"
	"strconv"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/bytecode"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/rate"
)

// On returns the bundle's test, to run with another build of its crate. It may have the limits
// that it asks for: check them before, unless the bundle is one's own.
func On(ctx context.Context, e *engine.Engine, b *bundle.Bundle, tree project.Tree, built extension.Extension,
	store *bytecode.Store) (*Prepared, error) {
	machine, err := e.Machine(ctx)
	if err != nil {
		return nil, err
	}
	p := &Prepared{bundle: b, processors: machine.Processors}
	p.config, err = p.configuration(e, built, tree, store)
	return p, err
}

// Comparison is what runs of a bundle's test have shown with the bundle's crate, and with another.
type Comparison struct {
	Bundle Result  `json:"bundle"`
	Other  Result  `json:"other"`
	P      float64 `json:"p"` // how likely so large a difference is by chance, if there is none
}

// Compare compares the results of two crates.
func Compare(bundle, other Result) Comparison {
	return Comparison{bundle, other, rate.Fisher(bundle.Failed, bundle.evidence(), other.Failed, other.evidence())}
}

// Better reports whether the other crate's test fails less often, which is unlikely to be chance, and fails in no other way.
// Where delays are aimed at the failure, only runs in which a thread was delayed there count as clean.
func (c Comparison) Better() bool {
	return c.separates() && c.less() && c.Other.Other == 0
}

func (c Comparison) separates() bool { return c.P < rate.Significance }

func (c Comparison) less() bool {
	return c.Other.Failed*c.Bundle.evidence() < c.Bundle.Failed*c.Other.evidence()
}

// Sentence says what the numbers allow to say, and how many runs would say more.
func (c Comparison) Sentence() string {
	what := did(c.Bundle.outcome)
	chance := "p = " + strconv.FormatFloat(c.P, 'g', 3, 64)
	switch {
	case c.Bundle.Runs == 0 || c.Other.Runs == 0:
		return "there is nothing to compare yet"
	case c.Other.Other > 0:
		return fmt.Sprintf("the other crate failed in another way in %s: nothing is known of this one", plural.Count(c.Other.Other, "run"))
	case c.Bundle.Failed == 0 && c.Other.Failed == 0:
		return fmt.Sprintf("neither %s, so nothing is known of the difference: run more often", what)
	case c.Other.aimed && c.Other.Near == 0 && c.Other.Failed == 0:
		return "no thread was delayed where the hang was, with the other crate: that it passed shows nothing"
	case c.separates() && c.less():
		return chance + ": the test " + what + " less often with the other crate, which is unlikely to be chance"
	case c.separates():
		return chance + ": the test " + what + " more often with the other crate, which is unlikely to be chance"
	case c.Other.Failed > 0:
		return chance + ": the rates cannot be told apart: run both more often"
	}
	need := rate.RunsToSeparate(c.Bundle.Failed, c.Bundle.evidence())
	if need == 0 {
		return chance + ": the rates cannot be told apart yet: run both more often"
	}
	lacking := max(1, need-c.Other.evidence())
	more := plural.Count((lacking*c.Other.Runs+c.Other.evidence()-1)/c.Other.evidence(), "more run")
	return fmt.Sprintf("%s: the rates cannot be told apart yet; after %s of the other crate they could, if all pass", chance, more)
}
