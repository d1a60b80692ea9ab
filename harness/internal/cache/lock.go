package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
)

const (
	// poll is the interval between attempts to take a lock that another process holds.
	poll = 50 * time.Millisecond
	// staleAfter is the age from which a free lock's file is removed, as left behind by a killed process.
	staleAfter = time.Hour
)

func lockFolder() (string, error) {
	folder, err := Folder()
	if err != nil {
		return "", err
	}
	folder = filepath.Join(folder, "locks")
	return folder, Failed(os.MkdirAll(folder, 0o755))
}

// Lock takes a named lock of this host, so that only one of several processes that need an image builds it. The kernel
// releases the lock when the process ends in any way. Lock calls waiting once if another process holds the lock.
func Lock(ctx context.Context, name string, waiting func()) (unlock func(), err error) {
	folder, err := lockFolder()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, name)
	for waited := false; ; waited = true {
		unlock, err := tryLock(path)
		switch {
		case err != nil:
			return nil, Failed(fmt.Errorf("take the lock %s: %w", path, err))
		case unlock != nil:
			return func() { unlock(); removeStale(folder) }, nil
		case !waited:
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock %s: %w", path, context.Cause(ctx))
		case <-time.After(poll):
		}
	}
}

// Slot takes one of n slots that all processes of this user on this host share. It waits if all are taken.
func Slot(ctx context.Context, n int) (release func(), err error) {
	folder, err := lockFolder()
	if err != nil {
		return nil, err
	}
	for {
		for i := range n {
			release, err := tryLock(filepath.Join(folder, "slot-"+strconv.Itoa(i)))
			if err != nil {
				return nil, Failed(fmt.Errorf("take a slot: %w", err))
			}
			if release != nil {
				return release, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for one of %d slots: %w", n, context.Cause(ctx))
		case <-time.After(poll):
		}
	}
}

// tryLock takes the lock on a file; unlock is nil if another process holds it. The holder removes the file as it
// unlocks, so a lock counts only while its file is still the one at that path.
func tryLock(path string) (unlock func(), err error) {
	lock := flock.New(path)
	ok, err := lock.TryLock()
	if err != nil || !ok {
		return nil, err
	}
	if ok, err := isNamed(lock); err != nil || !ok {
		return nil, errors.Join(err, lock.Unlock())
	}
	return func() {
		if ok, _ := isNamed(lock); ok { // another process may have cleared the folder meanwhile
			_ = os.Remove(path) // Windows refuses this: there the file stays
		}
		_ = lock.Unlock()
	}, nil
}

// isNamed reports whether the file that a lock holds is still the one at its path.
func isNamed(lock *flock.Flock) (bool, error) {
	held, err := lock.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(lock.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(held, named), err
}

// removeStale removes the files of locks whose processes were killed.
func removeStale(folder string) {
	entries, _ := os.ReadDir(folder)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > staleAfter {
			if unlock, err := tryLock(filepath.Join(folder, entry.Name())); err == nil && unlock != nil {
				unlock()
			}
		}
	}
}
