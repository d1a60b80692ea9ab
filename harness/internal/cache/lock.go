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
	// poll is how often a lock that another process holds is tried again.
	poll = 50 * time.Millisecond
	// staleAfter is how old the file of a lock is when it is removed as that of a process that was killed, if it is
	// free.
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

// Lock holds a lock of this host by name, so that of several processes that need one image a single one builds it. The
// kernel releases it when the process ends in whatever way. waiting is called once where another process holds it.
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

// Slot takes one of n slots that all processes of this user on this host share, and waits where all are taken.
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

// tryLock takes the lock that a file is; unlock is nil where another process holds it. The holder removes the file as
// it unlocks, so a lock counts only while its file is still the one of that name.
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
		if ok, _ := isNamed(lock); ok { // somebody may have cleared the folder meanwhile
			_ = os.Remove(path) // which Windows refuses: there the file stays
		}
		_ = lock.Unlock()
	}, nil
}

// isNamed reports whether the file that a lock holds is the one of its name.
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
