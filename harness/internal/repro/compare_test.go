package repro

import (
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/bundle"
)

func TestComparison(t *testing.T) {
	for _, c := range []struct {
		failed, runs, otherFailed, otherRuns int
		better                               bool
		want                                 string
	}{
		{31, 200, 0, 200, true, "p = 2.64e-10: the test hung less often with the other crate, which is unlikely to be chance"},
		{6, 200, 0, 200, true, "p = 0.0301: the test hung less often with the other crate, which is unlikely to be chance"},
		{5, 200, 0, 200, false, "p = 0.0609: the rates cannot be told apart yet; after 1 more run of the other crate they could, if all pass"},
		{0, 200, 6, 200, false, "p = 0.0301: the test hung more often with the other crate, which is unlikely to be chance"},
		{5, 10, 4, 10, false, "p = 1: the rates cannot be told apart: run both more often"},
		{0, 10, 0, 10, false, "neither hung, so nothing is known of the difference: run more often"},
		{0, 0, 0, 0, false, "there is nothing to compare yet"},
	} {
		result := func(failed, runs int) Result {
			r := resultOf(bundle.Test{Outcome: "hung"}, "/crate")
			r.Failed, r.Runs = failed, runs
			return r
		}
		got := Compare(result(c.failed, c.runs), result(c.otherFailed, c.otherRuns))
		require.Equal(t, c.want, got.Sentence())
		require.Equal(t, c.better, got.Better())
	}
}
