package cache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Entry is something that the cache folder keeps, which can be removed alone.
type Entry struct {
	Path    string
	Size    int64     // bytes
	Changed time.Time // the newest of its files
}

// Entries lists what the cache folder keeps: what lies in its folders, one by one. Locks are none of it: who removes one
// that is held lets two processes hold it.
func Entries() (found []Entry, err error) {
	folder, err := Folder()
	if err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(folder, "*", "*"))
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
			if errors.Is(err, fs.ErrNotExist) { // another process tidies up
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

// Remove removes it. Folders are made removable first: pip and cargo leave some that nobody may write to.
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
