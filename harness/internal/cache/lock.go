package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"
	"github.com/gofrs/flock"

	"pyo3test/harness/internal/plural"
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

// slotPatience is how long a wait for a slot is too short to be worth a word.
const slotPatience = 2 * time.Second

// holder is what the file of a slot says about the process that has it.
type holder struct {
	PID   int       `json:"pid"`
	What  string    `json:"what"`
	Since time.Time `json:"since"`
}

// Slot takes one of n slots that all processes of this user on this host share. It waits if all are taken. what
// describes the caller to others that wait; waiting, called after two seconds and then again and again, gets a sentence
// that says who holds the slots.
func Slot(ctx context.Context, n int, what string, waiting func(sentence string)) (release func(), err error) {
	folder, err := lockFolder()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for {
		for i := range n {
			path := slotFile(folder, i)
			release, err := tryLock(path)
			if err != nil {
				return nil, Failed(fmt.Errorf("take a slot: %w", err))
			}
			if release != nil {
				text, _ := json.Marshal(holder{os.Getpid(), what, time.Now()})
				_ = os.WriteFile(path, text, 0o644) // it only helps those who wait
				return sync.OnceFunc(release), nil
			}
		}
		if time.Since(began) > slotPatience {
			waiting(slotsHeld(folder, n))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for one of %d slots: %w", n, context.Cause(ctx))
		case <-time.After(poll):
		}
	}
}

func slotFile(folder string, i int) string { return filepath.Join(folder, "slot-"+strconv.Itoa(i)) }

// slotsHeld says which processes hold the slots.
func slotsHeld(folder string, n int) string {
	var holders []string
	for i := range n {
		var h holder
		data, err := os.ReadFile(slotFile(folder, i))
		if err == nil && json.Unmarshal(data, &h) == nil {
			age := units.HumanDuration(time.Since(h.Since))
			holders = append(holders, fmt.Sprintf("pid %d (%s, %s)", h.PID, h.What, strings.ToLower(age)))
		}
	}
	if len(holders) == 0 {
		return fmt.Sprintf("waiting for one of %s, held by other runs", plural.Count(n, "slot"))
	}
	return fmt.Sprintf("waiting for one of %s, held by %s", plural.Count(n, "slot"), strings.Join(holders, " and "))
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
