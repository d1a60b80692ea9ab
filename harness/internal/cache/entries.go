package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Entry is an item of the cache folder that can be removed on its own.
type Entry struct {
	Path    string
	Size    int64     // bytes
	Changed time.Time // when its newest file changed
}

// Entries lists the items in the folders of the cache folder. It leaves out locks: removing one that is held would let
// two processes hold it.
func Entries() (found []Entry, err error) {
	folder, err := Folder()
	if err != nil {
		return nil, err
	}
	return entries(filepath.Join(folder, "*", "*"))
}

// Prune removes the oldest entries of a folder while they are more than most, or larger together than a number of bytes;
// the newest always stays.
func Prune(folder string, most int, bytes int64) error {
	found, err := entries(filepath.Join(folder, "*"))
	if err != nil {
		return fmt.Errorf("remove what is old: %w", err)
	}
	slices.SortFunc(found, func(a, b Entry) int { return b.Changed.Compare(a.Changed) })
	var errs []error
	var total int64
	for i, entry := range found {
		total += entry.Size
		if i > 0 && (i >= most || total > bytes) {
			errs = append(errs, entry.Remove())
		}
	}
	return errors.Join(errs...)
}

// entries lists what matches a pattern.
func entries(pattern string) (found []Entry, err error) {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	for _, path := range names {
		if filepath.Base(filepath.Dir(path)) == "locks" {
			continue
		}
		entry := Entry{Path: path}
		err := filepath.WalkDir(path, func(_ string, file fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := file.Info()
			if errors.Is(err, fs.ErrNotExist) { // another process is cleaning up
				return nil
			}
			if err == nil && !file.IsDir() {
				entry.Size += info.Size()
			}
			if err == nil && info.ModTime().After(entry.Changed) {
				entry.Changed = info.ModTime()
			}
			return err
		})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, entry)
	}
	return found, nil
}

// Remove removes the entry. If it must, it first makes folders writable: pip and cargo leave read-only ones.
func (e Entry) Remove() error {
	err := os.RemoveAll(e.Path)
	if errors.Is(err, fs.ErrPermission) {
		_ = filepath.WalkDir(e.Path, func(path string, file fs.DirEntry, err error) error {
			if err == nil && file.IsDir() {
				_ = os.Chmod(path, 0o700)
			}
			return nil
		})
		err = os.RemoveAll(e.Path)
	}
	return err
}
