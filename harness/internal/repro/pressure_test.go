package repro

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/report"
)

// known are edges of a method, of what PyO3 generates around it, of another method, and of the standard library.
func known(t *testing.T) edges {
	t.Helper()
	var found edges
	for _, line := range []string{
		`[10, [["_ZN5races7Account8transfer17hb0c2614472528b5cE", "/src/pytests/races/src/lib.rs", 97]]]`,
		`[20, [["lock<i64>", "/rustc/0/library/std/src/sync/mutex.rs", 30], ["{closure#0}", "/src/pytests/races/src/lib.rs", 99], ["transfer", "/src/pytests/races/src/lib.rs", 90]]]`,
		`[30, [["_ZN5races7Account21__pymethod_transfer__17hb0c2614472528b5cE", "/src/pytests/races/src/lib.rs", 80]]]`,
		`[40, [["_RNvMNtC5races7AccountNtB2_7Account7balance", "/src/pytests/races/src/lib.rs", 105]]]`,
		`[50, [["transfer", "/src/other/src/bank.rs", 99]]]`,
		`[60, [["drop_in_place<i64>", "/rustc/0/library/core/src/ptr/mod.rs", 805]]]`,
		`[70, []]`,
	} {
		e, err := parseEdge([]byte(line))
		require.NoError(t, err)
		found = append(found, e)
	}
	return found
}

var blocked = []report.Frame{{Function: "races::Account::transfer::{closure}", Place: report.Place{File: "src/lib.rs", Line: 99}}}

func TestNear(t *testing.T) {
	es := known(t)
	assert.Equal(t, []uint32{10, 20, 30}, es.offsets(es.near(blocked, false)), "the functions, whoever calls them")
	assert.Equal(t, []uint32{10, 20}, es.offsets(es.near(blocked, true)), "the lines before the wait")
	assert.Empty(t, es.near(nil, false))
	var places []string
	for _, e := range es {
		places = append(places, e.where())
	}
	assert.Equal(t, []string{"pytests/races/src/lib.rs:97 (transfer)", "pytests/races/src/lib.rs:99 (a closure)",
		"pytests/races/src/lib.rs:80 (transfer)", "pytests/races/src/lib.rs:105 (balance)", "other/src/bank.rs:99 (transfer)",
		"mod.rs (drop_in_place)", "code without a name"}, places)
}

func TestParseEdge(t *testing.T) {
	for _, line := range []string{``, `7`, `{}`, `["x", []]`, `[1, [["f"]]`, `[-1, []]`} {
		_, err := parseEdge([]byte(line))
		assert.Error(t, err, line)
	}
}

func TestUnder(t *testing.T) {
	p := &Prepared{bundle: &bundle.Bundle{Manifest: bundle.Manifest{Test: bundle.Test{NodeID: "t.py::t", Blocked: blocked}}},
		edges: known(t), processors: 3}
	p.config.CPUs = 2
	assert.Nil(t, p.Under(bundle.Pressure{}).config.Pressure)
	for _, way := range Ways() {
		under := p.Under(way.Pressure)
		assert.NotEmpty(t, Words(way.Pressure), way.Name)
		switch settings := under.config.Pressure; way.Name {
		case "none":
			assert.Nil(t, settings)
		case "interpreter":
			assert.True(t, settings.Garbage)
			assert.Less(t, settings.SwitchInterval, 0.005)
		case "processor":
			assert.True(t, settings.OneProcessor)
		case "quota":
			assert.Less(t, under.config.CPUs, 1.0)
		case "load":
			assert.Equal(t, 6, settings.Load)
		case "calls":
			assert.Positive(t, settings.Calls)
			assert.Zero(t, settings.Code)
		case "crate":
			assert.Positive(t, settings.Calls)
			assert.Positive(t, settings.Code)
			assert.Positive(t, settings.Share)
			assert.Empty(t, settings.Directed)
		case "lines":
			assert.Equal(t, []uint32{10, 20}, settings.Directed)
		case "functions":
			assert.Equal(t, []uint32{10, 20, 30}, settings.Directed)
		default:
			t.Errorf("no expectation for %s", way.Name)
		}
	}
	assert.Nil(t, p.config.Pressure, "the original stays")
	assert.Equal(t, 2.0, p.config.CPUs)
}

func TestSites(t *testing.T) {
	p := &Prepared{bundle: &bundle.Bundle{Manifest: bundle.Manifest{Test: bundle.Test{Outcome: "hung", Blocked: blocked}}}, edges: known(t)}
	delays := protocol.Delays{Timed: 1, Sites: []protocol.DelayedSite{
		{Kind: "code", Module: "races.so", Offset: 20, Delays: 3, Slept: 0.5},
		{Kind: "code", Module: "races.so", Offset: 40, Delays: 9},
		{Kind: "futex", Module: "races.so", Offset: 40, Delays: 1},
		{Kind: "futex", Module: "races.so", Offset: 41, Delays: 1},
	}}
	under := p.Under(bundle.Pressure{Code: bundle.Functions})
	r := newResult(under)
	r.countDelays(under.sites(delays), delays.Timed)
	r.countDelays(under.sites(protocol.Delays{}), 0)
	assert.Equal(t, []Site{{"pytests/races/src/lib.rs:105 (balance)", false, 9, 0}, {"pytests/races/src/lib.rs:99 (a closure)", true, 3, 0.5},
		{"futex in races.so", false, 2, 0}}, r.Sites)
	assert.Equal(t, 1, r.Near)
	assert.Equal(t, 1, r.Timed)
	assert.Contains(t, r.Rates(), "under pressure (delays in the functions of the hang): 14 delays, most 9 at pytests/races/src/lib.rs:105 (balance), 3 at")
	assert.Contains(t, r.Rates(), "in 1 run the test waited with time limits of its own")

	under = p.Under(bundle.Pressure{Calls: true})
	r = newResult(under)
	r.countDelays(under.sites(protocol.Delays{Sites: delays.Sites[2:]}), 0)
	assert.Equal(t, 1, r.Near, "without hooks, each delay counts")
}

// TestNoDelayIsNoEvidence: under pressure, clean runs of a fixed crate count only if threads were delayed where it hung.
func TestNoDelayIsNoEvidence(t *testing.T) {
	p := &Prepared{bundle: &bundle.Bundle{Manifest: bundle.Manifest{Test: bundle.Test{Outcome: "hung"}}}}
	hung, clean := newResult(p.Under(bundle.Pressure{Calls: true})), newResult(p.Under(bundle.Pressure{Calls: true}))
	hung.Runs, hung.Failed, hung.Near, clean.Runs = 200, 100, 200, 200
	c := Compare(hung, clean)
	assert.False(t, c.Better())
	assert.Contains(t, c.Sentence(), "shows nothing")
	clean.Near = 200
	c = Compare(hung, clean)
	assert.True(t, c.Better())
	assert.Contains(t, c.Sentence(), "less often with the other crate")
}
