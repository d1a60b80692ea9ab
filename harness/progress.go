package harness

import (
	"fmt"
	"sync"
	"time"

	"pyo3test/harness/internal/subtest"
)

// heartbeat is how long a phase may be silent before a line reports that it is still at work.
const heartbeat = 30 * time.Second

// progress reports what a run is doing, one line at a time: the time since its start, the phase, a message.
type progress struct {
	t       T
	start   time.Time
	ended   chan struct{}
	beating sync.WaitGroup

	mutex   sync.Mutex
	phase   string
	entered time.Time
	spoke   time.Time
}

// newProgress returns a progress whose heartbeat runs: after a long silence it names the phase, to show what a job
// waits for.
func newProgress(t T) *progress {
	p := &progress{t: t, start: time.Now(), ended: make(chan struct{})}
	p.beating.Go(p.beat)
	return p
}

func (p *progress) beat() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-tick.C:
		}
		p.mutex.Lock()
		phase, entered, silent := p.phase, p.entered, time.Since(p.spoke)
		p.mutex.Unlock()
		if phase != "" && silent > heartbeat {
			p.line(phase, fmt.Sprintf("still at work after %.0f s", time.Since(entered).Seconds()))
		}
	}
}

// stop ends the heartbeat; nothing is printed after it.
func (p *progress) stop() {
	close(p.ended)
	p.beating.Wait()
}

// enter begins a phase. It prints nothing until there is something to report.
func (p *progress) enter(phase string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.phase, p.entered, p.spoke = phase, time.Now(), time.Now()
}

// done ends a phase with one line and how long it took.
func (p *progress) done(phase, text string) {
	p.mutex.Lock()
	took := time.Since(p.entered)
	p.phase = ""
	p.mutex.Unlock()
	if screen, ok := p.t.(subtest.Screen); ok {
		screen.Phase(phase, text, took)
		return
	}
	p.line(phase, fmt.Sprintf("%s [%.1fs]", text, took.Seconds()))
}

// line prints one line of a phase.
func (p *progress) line(phase, text string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.spoke = time.Now()
	if screen, ok := p.t.(subtest.Screen); ok {
		screen.Phase(phase, text, 0)
		return
	}
	fmt.Fprintf(p.t.Output(), "%6.1fs %-6s %s\n", time.Since(p.start).Seconds(), phase, text)
}
