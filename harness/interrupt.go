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
	// askAgain is how soon a second SIGQUIT gets Go's own dump.
	askAgain = 2 * time.Second
	// lastWords is how long testing has to report what was interrupted, before the signal does what it always does.
	lastWords = 2 * time.Second
)

// underWay are the runs of this process, and the signal that has ended them, nil as long as none has.
var underWay struct {
	sync.Mutex
	runs  int
	ended os.Signal
}

// interruptible ends a context when SIGINT or SIGTERM comes, or when who started this process is gone. The signal takes its
// usual effect when the last run has wound down; a second one does at once. SIGQUIT asks for stacks meanwhile.
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
