package extension

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
)

// TestSurplus checks that the builds of those crates are removed first that were used least recently, no more than the
// budget asks for, and none that are in use or were just now.
func TestSurplus(t *testing.T) {
	now := time.Now()
	ago := func(hours time.Duration) time.Time { return now.Add(-hours * time.Hour) }
	used := map[string]time.Time{"new": ago(0), "old": ago(48), "older": ago(72), "busy": ago(100), "crates": ago(60)}
	objects := []engine.Object{
		{Kind: "container", Name: "pyo3test-x", Size: 1},
		{Kind: "image", Name: "tools", Size: 1000},
		{Kind: "image", Name: "e1", Size: 30, Labels: map[string]string{environmentLabel: "old"}},
		{Kind: "image", Name: "x1", Size: 10, Labels: map[string]string{crateLabel: "old", environmentLabel: ""}},
		{Kind: "volume", Name: "pyo3test-target-old", Size: 20},
		{Kind: "volume", Name: "pyo3test-target-older", Size: 40},
		{Kind: "volume", Name: "pyo3test-target-busy", Size: 40, Busy: true},
		{Kind: "volume", Name: "pyo3test-target-new", Size: 40},
		{Kind: "volume", Name: "pyo3test-crates-crates", Size: 5},
		{Kind: "volume", Name: "pyo3test-target-another's", Size: 500},
	}
	all, total := buildsOf(objects, func(crate string) time.Time { return used[crate] })
	require.EqualValues(t, 185, total)
	for budget, want := range map[int64][]string{
		200: nil, 185: nil, 184: {"older"}, 150: {"older"}, 144: {"older", "crates"}, 100: {"older", "crates", "old"},
		1: {"older", "crates", "old"},
	} {
		var names []string
		for _, each := range surplus(all, total, budget, now) {
			names = append(names, each.crate)
		}
		require.Equal(t, want, names, budget)
	}
}

func TestBudgetBytes(t *testing.T) {
	for text, want := range map[string]int64{"": 20e9, "50GB": 50e9, "0": 0} {
		t.Setenv(BudgetVariable, text)
		got, err := BudgetBytes()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.NoError(t, os.Setenv(BudgetVariable, "much"))
	_, err := BudgetBytes()
	require.EqualError(t, err, "PYO3TEST_BUDGET=much: it is a size such as 50GB, or 0 for no budget")
}
