// Package cache keeps what the harness has on the host beside the engine: locks between processes, and the evidence of
// failed runs.
package cache

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
)

// Folder is the harness's folder in the user's cache folder. It exists when the function returns.
func Folder() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache folder: %w: set XDG_CACHE_HOME or HOME", err)
	}
	return made(filepath.Join(base, "pyo3test"))
}

func made(folder string) (string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	return folder, nil
}

func lockFolder() (string, error) {
	folder, err := Folder()
	if err != nil {
		return "", err
	}
	return made(filepath.Join(folder, "locks"))
}

// poll is how often a lock that another process holds is tried again.
const poll = 50 * time.Millisecond

// Lock holds a lock of this host by name, so that of several processes that need one image a single one builds it. The
// kernel lets go of it when the process ends in whatever way. waiting is called once where another process holds it.
func Lock(ctx context.Context, name string, waiting func()) (unlock func(), err error) {
	folder, err := lockFolder()
	if err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(folder, name))
	ok, err := lock.TryLock()
	if err == nil && !ok {
		waiting()
		ok, err = lock.TryLockContext(ctx, poll)
	}
	if err != nil || !ok {
		return nil, fmt.Errorf("wait for the lock %s: %w", lock.Path(), err)
	}
	return func() { _ = lock.Unlock() }, nil
}

// Slot takes one of n slots that all processes of this user on this host share, and waits where all are taken.
func Slot(ctx context.Context, n int) (release func(), err error) {
	folder, err := lockFolder()
	if err != nil {
		return nil, err
	}
	for {
		for i := range n {
			lock := flock.New(filepath.Join(folder, "slot-"+strconv.Itoa(i)))
			ok, err := lock.TryLock()
			if err != nil {
				return nil, fmt.Errorf("take a slot: %w", err)
			}
			if ok {
				return func() { _ = lock.Unlock() }, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for one of %d slots: %w", n, context.Cause(ctx))
		case <-time.After(poll):
		}
	}
}
