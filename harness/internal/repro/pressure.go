package repro

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/protocol"
)

// The pressure on a test. The probability and the longest delay are those that made most hangs frequent in measurements on a
// crate with three races; so is the share, which was 12 to 30 %.
const (
	chance  = 0.5   // of a delay at a point
	share   = 0.2   // of the edges that are active in a run, if they are anywhere in the crate
	longest = 0.010 // seconds
	budget  = 2.0   // seconds of delays, beside a quarter of the test's time
	// interval is Python's switch interval, in seconds; its own is 0.005.
	interval = 1e-5
	// quota is the fraction of a processor.
	quota = 0.5
)

// Ways returns the kinds of pressure by name, the cheapest first.
func Ways() []Way {
	return []Way{
		{"none", bundle.Pressure{}},
		{"interpreter", bundle.Pressure{Interpreter: true}},
		{"processor", bundle.Pressure{OneProcessor: true}},
		{"quota", bundle.Pressure{Quota: true}},
		{"load", bundle.Pressure{Load: true}},
		{"memory", bundle.Pressure{Memory: true}},
		{"calls", bundle.Pressure{Calls: true}},
		{"crate", bundle.Pressure{Calls: true, Code: bundle.Crate}},
		{"lines", bundle.Pressure{Code: bundle.Lines}},
		{"functions", bundle.Pressure{Code: bundle.Functions}},
	}
}

// Way is a kind of pressure and its name.
type Way struct {
	Name     string
	Pressure bundle.Pressure
}

// Named returns the kind of pressure of a name.
func Named(name string) (_ Way, ok bool) {
	ways := Ways()
	at := slices.IndexFunc(ways, func(w Way) bool { return w.Name == name })
	if at < 0 {
		return Way{}, false
	}
	return ways[at], true
}

// Words describes pressure in a few words.
func Words(p bundle.Pressure) string {
	var parts []string
	add := func(is bool, words string) {
		if is {
			parts = append(parts, words)
		}
	}
	add(p.Calls, "delays where threads synchronise")
	add(p.Code == bundle.Lines, "delays near the lines of the hang")
	add(p.Code == bundle.Functions, "delays in the functions of the hang")
	add(p.Code == bundle.Crate, "delays anywhere in the crate")
	add(p.OneProcessor, "one processor")
	add(p.Quota, "half the time of one processor")
	add(p.Load, "other processes that compute")
	add(p.Memory, "little memory")
	add(p.Interpreter, "Python that switches threads and collects garbage as often as it can")
	return cmp.Or(strings.Join(parts, " and "), "no pressure")
}

// Under returns the same test under pressure. Delays in the crate's code need a preparation that [Prepared.Twin] returned; it is
// an error if there is nothing to delay in it. The test may take twice its budget: pressure makes it slower.
func (p *Prepared) Under(pressure bundle.Pressure) (*Prepared, error) {
	under := *p
	under.pressure = pressure
	if pressure == (bundle.Pressure{}) {
		return &under, nil
	}
	under.config.Budgets.Test *= 2
	functions := p.edges.offsets(p.near(false))
	under.nearby = map[uint32]bool{}
	for _, offset := range functions {
		under.nearby[offset] = true
	}
	settings := settings(pressure, p.bundle.Test.NodeID)
	switch pressure.Code {
	case bundle.Crate:
		settings.Code, settings.Share = chance, share
	case bundle.Lines:
		settings.Code, settings.Directed = chance, p.edges.offsets(p.near(true))
	case bundle.Functions:
		settings.Code, settings.Directed = chance, functions
	}
	if pressure.Code != "" && pressure.Code != bundle.Crate && len(settings.Directed) == 0 {
		return nil, unusable("this crate's code has none of the %s where the test hung, so there is nothing to delay", pressure.Code)
	}
	if pressure.Load {
		settings.Load = 2 * max(1, int(math.Ceil(p.available())))
	}
	if pressure.Quota {
		under.config.CPUs = min(quota, p.available())
	}
	under.config.Pressure = &settings
	return &under, nil
}

// settings returns those that need nothing of the machine and of the crate.
func settings(pressure bundle.Pressure, test string) protocol.Pressure {
	s := protocol.Pressure{
		Test: test, Longest: longest, Budget: budget, Directed: []uint32{},
		Garbage: pressure.Interpreter, OneProcessor: pressure.OneProcessor, Memory: pressure.Memory,
	}
	if pressure.Calls {
		s.Calls = chance
	}
	if pressure.Interpreter {
		s.SwitchInterval = interval
	}
	return s
}

// OnAll is the pressure on all tests of a run, as a bundle of it says it.
var OnAll = bundle.Pressure{Calls: true}

// All returns the settings of [OnAll], with a seed of the delays.
func All(seed uint32) *protocol.Pressure {
	s := settings(OnAll, "")
	s.Seed = seed
	return &s
}

// available returns how many processors the test has.
func (p *Prepared) available() float64 {
	if p.config.CPUs > 0 {
		return p.config.CPUs
	}
	return float64(p.processors)
}

// Site is a place where threads were delayed.
type Site struct {
	Where  string  `json:"where"`
	Near   bool    `json:"near"` // where the threads of the hang wait, or in a call that synchronises threads
	Delays int     `json:"delays"`
	Slept  float64 `json:"slept"` // seconds
}

// sites translates what a run reports. Of calls, nothing says which are those of the hang.
func (p *Prepared) sites(delays protocol.Delays) (sites []Site) {
	for _, s := range delays.Sites {
		site := Site{Where: s.Kind + " in " + s.Module, Near: p.pressure.Code == "", Delays: s.Delays, Slept: s.Slept}
		if s.Kind == "code" {
			offset := uint32(s.Offset)
			at, ok := slices.BinarySearchFunc(p.edges, offset, func(e edge, offset uint32) int { return cmp.Compare(e.offset, offset) })
			site.Near = p.nearby[offset]
			if ok {
				site.Where = p.edges[at].where()
			}
		}
		sites = append(sites, site)
	}
	return sites
}
