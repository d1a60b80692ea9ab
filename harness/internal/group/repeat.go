package group

import (
	"context"
	"time"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/report"
)

// Repeated runs the same tests again and again. Each run has a pytest of its own, from the start of its interpreter on.
// Green runs share a container, and so the files that they leave in it, such as pytest's cache. After a run that was not
// green, and after some number of runs, the next has a new container.
type Repeated struct {
	config    Config
	container *engine.Container
	runs      int         // in this container
	next      chan opened // the agent of the next run, which starts while this one runs; nil if there is none
}

// opened is an agent, or why there is none.
type opened struct {
	session *agent.Session
	err     error
}

// maxRepeats bounds how many runs share a container: what each leaves in it, such as temporary files, adds up.
const maxRepeats = 50

// NewRepeated returns a Repeated with which nothing has run yet. The configuration's Stream is not used.
func NewRepeated(config Config) *Repeated { return &Repeated{config: config} }

// Once runs the tests, and reports to a stream that has the group's start already. It does not run a culprit again for what
// that could show. If a test is under pressure, the seed is that of its delays, which are returned.
func (r *Repeated) Once(ctx context.Context, stream *report.Stream, seed uint32) protocol.Delays {
	config := r.config
	config.Stream = stream
	if config.Pressure != nil {
		under := *config.Pressure
		under.Seed = seed
		config.Pressure = &under
	}
	if r.container != nil {
		config.Extension.Modules = nil // the container's first run has imported them
	}
	g := newGroup(config, time.Now())
	g.container = r.container
	var err error
	if g.container == nil {
		err = g.start(ctx)
	} else {
		err = r.startNext(g)
	}
	if err == nil {
		r.open(context.WithoutCancel(ctx), g.container)
	}
	_ = g.follow(ctx, err) // which it has recorded
	end := context.WithoutCancel(ctx)
	g.advise(end)
	g.conclude(end)
	r.container, r.runs = g.container, r.runs+1
	if g.red() || r.runs >= maxRepeats || ctx.Err() != nil {
		if err := r.Close(end); err != nil && !(engine.Gone(err) && g.red()) {
			g.problem("%v", err)
		}
	}
	g.sayProblems()
	g.emit(g.ended())
	return g.delays
}

// open starts the agent of the next run.
func (r *Repeated) open(ctx context.Context, in *engine.Container) {
	next := make(chan opened, 1)
	r.next = next
	go func() {
		session, err := agent.Open(ctx, in)
		next <- opened{session, err}
	}()
}

// startNext makes the agent that was started meanwhile start pytest.
func (r *Repeated) startNext(g *group) error {
	next := <-r.next
	r.next = nil
	if next.err != nil {
		return next.err
	}
	return g.startPytest(next.session, nil)
}

// Close removes the container, if there is one.
func (r *Repeated) Close(ctx context.Context) error {
	if r.next != nil {
		if next := <-r.next; next.session != nil {
			next.session.Close()
		}
		r.next = nil
	}
	err := r.container.Remove(ctx)
	r.container, r.runs = nil, 0
	return err
}
