package repro

import (
	"testing"
	"time"

	"github.com/BurntSushi/toml"
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
		`[50, [["transfer", "/src/other/src/lib.rs", 99]]]`,
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

// prepared returns a test whose threads wait in a method of the crate pytests/races, with those edges.
func prepared(t *testing.T) *Prepared {
	t.Helper()
	p := &Prepared{bundle: &bundle.Bundle{Manifest: bundle.Manifest{Test: bundle.Test{NodeID: "t.py::t", Outcome: "hung", Blocked: blocked}}},
		edges: known(t), processors: 3}
	p.config.Tree.Crate = "pytests/races"
	p.config.Budgets.Test = time.Minute
	return p
}

// under puts a test under pressure.
func under(t *testing.T, p *Prepared, pressure bundle.Pressure) *Prepared {
	t.Helper()
	put, err := p.Under(pressure)
	require.NoError(t, err)
	return put
}

func TestNear(t *testing.T) {
	p := prepared(t)
	es := p.edges
	assert.Equal(t, []uint32{10, 20, 30}, es.offsets(p.near(false)), "the functions, whoever calls them, and not those of another crate")
	assert.Equal(t, []uint32{10, 20}, es.offsets(p.near(true)), "the lines before the wait")
	inner, err := parseEdge([]byte(`[80, [["_ZN5races7Account8transfer4make17hb0c2614472528b5cE", "/src/pytests/races/src/lib.rs", 12]]]`))
	require.NoError(t, err)
	p.edges = append(p.edges, inner)
	assert.Equal(t, []uint32{10, 20, 30, 80}, p.edges.offsets(p.near(false)), "what is defined in a function, too")
	p.bundle.Test.Blocked = []report.Frame{{Function: "mine::{closure}", Place: report.Place{File: "src/lib.rs", Line: 99}}}
	assert.Empty(t, p.near(false), "closures are all alike")
	p.bundle.Test.Blocked = []report.Frame{{Function: "transfer", Place: report.Place{File: "../../other/src/lib.rs", Line: 99}}}
	assert.Equal(t, []uint32{50}, es.offsets(p.near(false)), "of another crate of the workspace")
	p.bundle.Test.Blocked = nil
	assert.Empty(t, p.near(false))
	var places []string
	for _, e := range es {
		places = append(places, e.where())
	}
	assert.Equal(t, []string{"pytests/races/src/lib.rs:97 (transfer)", "pytests/races/src/lib.rs:99 (a closure)",
		"pytests/races/src/lib.rs:80 (transfer)", "pytests/races/src/lib.rs:105 (balance)", "other/src/lib.rs:99 (transfer)",
		"mod.rs (drop_in_place)", "code without a name"}, places)
}

func TestParseEdge(t *testing.T) {
	for _, line := range []string{``, `7`, `{}`, `["x", []]`, `[1, [["f"]]`, `[-1, []]`} {
		_, err := parseEdge([]byte(line))
		assert.Error(t, err, line)
	}
}

func TestUnder(t *testing.T) {
	p := prepared(t)
	assert.Nil(t, under(t, p, bundle.Pressure{}).config.Pressure)
	for _, way := range Ways() {
		put := under(t, p, way.Pressure)
		assert.NotEmpty(t, Words(way.Pressure), way.Name)
		switch settings := put.config.Pressure; way.Name {
		case "none":
			assert.Nil(t, settings)
			assert.Equal(t, time.Minute, put.config.Budgets.Test)
			continue
		case "interpreter":
			assert.True(t, settings.Garbage)
			assert.Less(t, settings.SwitchInterval, 0.005)
		case "processor":
			assert.True(t, settings.OneProcessor)
		case "quota":
			assert.Equal(t, 0.5, put.config.CPUs)
		case "load":
			assert.Equal(t, 6, settings.Load)
		case "memory":
			assert.True(t, settings.Memory)
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
		assert.Equal(t, 2*time.Minute, put.config.Budgets.Test, "slower is not hung")
	}
	assert.Nil(t, p.config.Pressure, "the original stays")

	p.config.CPUs = 0.25 // of which the container has more to fear than of the machine
	assert.Equal(t, 0.25, under(t, p, bundle.Pressure{Quota: true}).config.CPUs)
	assert.Equal(t, 2, under(t, p, bundle.Pressure{Load: true}).config.Pressure.Load)

	p.edges = p.edges[3:]
	_, err := p.Under(bundle.Pressure{Code: bundle.Functions})
	assert.ErrorContains(t, err, "none of the functions where the test hung")
}

func TestSites(t *testing.T) {
	p := prepared(t)
	delays := protocol.Delays{Timed: 1, Sites: []protocol.DelayedSite{
		{Kind: "code", Module: "races.so", Offset: 20, Delays: 3, Slept: 0.5},
		{Kind: "code", Module: "races.so", Offset: 40, Delays: 9},
		{Kind: "futex", Module: "races.so", Offset: 40, Delays: 1},
		{Kind: "futex", Module: "races.so", Offset: 41, Delays: 1},
	}}
	put := under(t, p, bundle.Pressure{Code: bundle.Functions})
	r := newResult(put)
	r.Runs = 2
	r.countDelays(put.sites(delays), delays.Timed, false)
	r.countDelays(put.sites(protocol.Delays{}), 0, false)
	assert.Equal(t, []Site{{"pytests/races/src/lib.rs:105 (balance)", false, 9, 0}, {"pytests/races/src/lib.rs:99 (a closure)", true, 3, 0.5},
		{"futex in races.so", false, 2, 0}}, r.Sites)
	assert.Equal(t, 1, r.Near)
	assert.Equal(t, 1, r.Timed)
	assert.False(t, r.Undelayed())
	assert.Contains(t, r.Rates(), "under pressure (delays in the functions of the hang): 14 delays, most 9 at pytests/races/src/lib.rs:105 (balance), 3 at")
	assert.Contains(t, r.Rates(), "in 1 run the test waited with time limits of its own")

	put = under(t, p, bundle.Pressure{Calls: true})
	r = newResult(put)
	r.countDelays(put.sites(protocol.Delays{Sites: delays.Sites[2:]}), 0, false)
	assert.Equal(t, 1, r.Near, "without hooks, each delay counts")

	r = newResult(under(t, p, bundle.Pressure{Memory: true}))
	r.Runs = 3
	r.countDelays(nil, 0, true)
	r.countDelays(nil, 0, false)
	assert.Equal(t, 1, r.Near)
	assert.True(t, r.Undelayed(), "in most runs, the memory was not filled to the end")
	assert.Contains(t, r.Rates(), "under pressure (little memory)\nin 2 runs the memory did not stay full to the end")
}

// TestNoDelayIsNoEvidence: of a fixed crate, only those clean runs count in which a thread was delayed where it hung.
func TestNoDelayIsNoEvidence(t *testing.T) {
	p := prepared(t)
	results := func(pressure bundle.Pressure) (hung, clean Result) {
		hung, clean = newResult(under(t, p, pressure)), newResult(under(t, p, pressure))
		hung.Runs, hung.Failed, hung.Near, clean.Runs = 200, 100, 200, 200
		return hung, clean
	}
	hung, clean := results(bundle.Pressure{Code: bundle.Functions})
	c := Compare(hung, clean)
	assert.False(t, c.Better())
	assert.Contains(t, c.Sentence(), "shows nothing")
	assert.True(t, clean.Undelayed())
	clean.Near = 3
	assert.False(t, Compare(hung, clean).Better(), "three runs are too few")
	clean.Near = 200
	c = Compare(hung, clean)
	assert.True(t, c.Better())
	assert.Contains(t, c.Sentence(), "less often with the other crate")

	hung, clean = results(bundle.Pressure{Load: true})
	assert.True(t, Compare(hung, clean).Better(), "conditions delay nothing")
	p.bundle.Test.Blocked = nil
	hung, clean = results(bundle.Pressure{Code: bundle.Crate})
	assert.True(t, Compare(hung, clean).Better(), "where it hung is not known")

	p = prepared(t)
	hung, clean = results(bundle.Pressure{Code: bundle.Functions})
	hung.Failed, clean.Failed, clean.Near = 20, 4, 10
	assert.False(t, Compare(hung, clean).Better(), "4 of 10 is more than 20 of 200")
}

func TestFetchesElsewhere(t *testing.T) {
	for name, texts := range map[string]map[string]bool{
		"Cargo.toml": {
			"[dependencies]\npyo3 = \"0.30\"\nx = { version = \"1\", path = \"../x\" }": false,
			"[features]\ngit = []\n[package]\nname = \"registry\"":                      false,
			"[source.crates-io]\nreplace-with = \"x\"":                                  false, // cargo does not read it there
			"[dependencies]\nx = { git = \"https://x\" }":                               true,
			"[dependencies]\nx.git = \"https://x\"":                                     true,
			"[dependencies.x]\n'git' = \"https://x\"":                                   true,
			"[build-dependencies]\nx = { registry = \"corp\", version = \"1\" }":        true,
			"[dev_dependencies]\nx = { registry-index = \"https://x\" }":                true,
			"[target.'cfg(unix)'.dependencies]\nx = { \"\\u0067it\" = \"https://x\" }":  true,
			"[target.package.dependencies]\nx = { git = \"https://x\" }":                true,
			"[target.dependencies.dependencies]\nx = { git = \"https://x\" }":           true,
			"[workspace.dependencies]\nx = { git = \"https://x\" }":                     true,
			"patch.crates-io.x.path = \"x\"":                                            true,
			"[ \"replace\" ]\n\"x:1.0.0\" = { git = \"https://x\" }":                    true,
		},
		"Cargo.lock": {
			"version = 4": false,
			"[[package]]\nname = \"x\"\nsource = \"" + cratesIO + "\"":   false,
			"[[package]]\nname = \"x\"\nsource = \"git+https://x#1\"":    true,
			"package = [{ name = \"x\", source = \"git+https://x#1\" }]": true,
		},
		"config.toml": {
			"[target.x86_64-apple-darwin]\nrustflags = [\"-C\", \"link-arg=-undefined\"]": false,
			"[source.crates-io]\nreplace-with = \"x\"":                                    true,
			"registries.corp.index = \"https://x\"":                                       true,
			"[net]\nretry = 2":                                                            true,
			"include = [\"other.toml\"]":                                                  true,
		},
	} {
		for text, want := range texts {
			settings := map[string]any{}
			require.NoError(t, toml.Unmarshal([]byte(text), &settings), text)
			assert.Equal(t, want, fetchesElsewhere(name, settings), text)
		}
	}
	for _, name := range []string{"Cargo.toml", "a/Cargo.lock", ".cargo/config", "a/.cargo/config.toml"} {
		assert.True(t, forCargo(name), name)
	}
	assert.False(t, forCargo("cargo/config.toml"))
}
