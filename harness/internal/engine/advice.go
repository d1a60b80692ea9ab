package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/docker/client"
)

// DiskFull is the advice for when the engine's disk is full.
const DiskFull = "the disk of the Docker engine is full: free space there (docker system prune, or " +
	"make clean for what is ours)"

// Advice returns what to do about a failure that the engine itself caused, judging by the error text and by whether the
// engine still answers; it returns "" if neither explains the failure.
func (e *Engine) Advice(ctx context.Context, words string) string {
	lower := strings.ToLower(words)
	if strings.Contains(lower, "no space left on device") || strings.Contains(lower, "disk quota exceeded") {
		return DiskFull
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	if _, err := e.cli.Ping(ctx); err != nil {
		return fmt.Sprintf("the Docker engine at %s no longer answers (%v): find out why it ended, "+
			"start it, then run again",
			e.Host, shortDialError(err))
	}
	return ""
}

// Gone reports whether an error means that the engine cannot be reached.
func Gone(err error) bool { return client.IsErrConnectionFailed(err) }
