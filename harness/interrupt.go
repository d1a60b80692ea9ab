package harness

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"pyo3test/harness/internal/group"
)

const (
	// askAgain is the time within which a second SIGQUIT gets Go's own dump.
	askAgain = 2 * time.Second
	// lastWords is how long testing has to report what was interrupted before the signal takes its usual effect.
	lastWords = 2 * time.Second
)

// underWay holds the number of runs in this process, and the signal that ended them, or nil if none did.
var underWay struct {
	sync.Mutex
	runs  int
	ended os.Signal
}

// interruptible returns a context that ends on SIGINT or SIGTERM, or when the process that started this one is gone.
// The signal takes its usual effect once the last run has wound down; a second one takes it at once. Until then,
// SIGQUIT asks for stacks.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	end, stacks := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	signal.Notify(stacks, syscall.SIGQUIT)
	underWay.Lock()
	underWay.runs++
	underWay.Unlock()
	go func() {
		defer signal.Stop(end)
		defer signal.Stop(stacks)
		parent := os.Getppid()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var again <-chan time.Time
		interrupt := func(by os.Signal, why string) {
			underWay.Lock()
			defer underWay.Unlock()
			underWay.ended = by
			cancel(fmt.Errorf("%s", why))
		}
		for {
			select {
			case <-ctx.Done():
				return
			case got := <-end:
				interrupt(got, "interrupted by a signal: "+got.String())
				return
			case <-tick.C:
				if os.Getppid() != parent {
					interrupt(syscall.SIGTERM, "the process that started the tests is gone")
					return
				}
			case <-stacks:
				group.AskForStacks()
				signal.Stop(stacks)
				again = time.After(askAgain)
			case <-again:
				signal.Notify(stacks, syscall.SIGQUIT)
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		underWay.Lock()
		defer underWay.Unlock()
		if underWay.runs--; underWay.runs == 0 && underWay.ended != nil {
			by := underWay.ended
			time.AfterFunc(lastWords, func() {
				if self, err := os.FindProcess(os.Getpid()); err == nil {
					_ = self.Signal(by)
				}
			})
		}
	}
}
