package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/docker/client"
)

// DiskFull says what to do where the engine's disk takes no more.
const DiskFull = "the disk of the Docker engine is full: free space there (docker system prune, or make clean for what is ours)"

// Advice says what to do about a failure where the engine itself is the reason, by the words that it came with and by
// whether the engine still answers; "" where neither explains it.
func (e *Engine) Advice(ctx context.Context, words string) string {
	lower := strings.ToLower(words)
	if strings.Contains(lower, "no space left on device") || strings.Contains(lower, "disk quota exceeded") {
		return DiskFull
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	if _, err := e.cli.Ping(ctx); err != nil {
		return fmt.Sprintf("the Docker engine at %s answers no more (%v): look why it ended, start it, then run again", e.Host, shortDialError(err))
	}
	return ""
}

// Gone tells whether an error is that of an engine that cannot be reached.
func Gone(err error) bool { return client.IsErrConnectionFailed(err) }
