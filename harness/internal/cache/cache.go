// Package cache manages what the harness keeps on the host outside the engine: locks between processes, and the
// evidence of failed runs.
package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Error is a failure of the cache folder, which is on this host: not of the engine's disk or of a command line.
type Error struct {
	Folder string
	Err    error
}

func (e *Error) Error() string {
	format := "use the cache folder %s: %v: make it a folder that this user can write to, or set XDG_CACHE_HOME to one"
	const elsewhere = "or set XDG_CACHE_HOME to a folder on another disk: %v"
	switch {
	case errors.Is(e.Err, syscall.ENOSPC) && inodesUsed(e.Folder):
		format = "the disk of the cache folder %s has no free inodes: remove files there, " + elsewhere
	case errors.Is(e.Err, syscall.ENOSPC):
		format = "the disk of the cache folder %s is full: free space there, " + elsewhere
	case errors.Is(e.Err, syscall.EDQUOT):
		format = "the quota on the disk of the cache folder %s is used up: free space there, " + elsewhere
	}
	return fmt.Sprintf(format, e.Folder, e.Err)
}

// Unwrap returns the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// Failed wraps an error about something in the cache folder in an [Error]; nil stays nil.
func Failed(err error) error {
	if err == nil {
		return nil
	}
	folder, unknown := path()
	if unknown != nil {
		return unknown
	}
	return &Error{folder, err}
}

// Folder returns the harness's folder in the user's cache folder, and creates it if it does not exist.
func Folder() (string, error) {
	folder, err := path()
	if err != nil {
		return "", err
	}
	return folder, Failed(os.MkdirAll(folder, 0o755))
}

func path() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", &Error{"of this user", err}
	}
	return filepath.Join(base, "pyo3test"), nil
}

// existing returns the folder, or the nearest one above it that exists.
func existing(folder string) string {
	for {
		_, err := os.Stat(folder)
		if above := filepath.Dir(folder); errors.Is(err, fs.ErrNotExist) && above != folder {
			folder = above
			continue
		}
		return folder
	}
}
