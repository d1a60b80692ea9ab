package project

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Above returns the nearest file or folder with a name, in a folder or one above it, "" if there is none.
func Above(folder, name string) string {
	for ; ; folder = filepath.Dir(folder) {
		file := filepath.Join(folder, name)
		if _, err := os.Stat(file); err == nil {
			return file
		}
		if folder == filepath.Dir(folder) {
			return ""
		}
	}
}

// Below returns the folders with a file of a name, in a folder and below it, sorted. It passes over hidden folders, those
// that are ignored, and what cannot be read.
func Below(folder, name string) (found []string, err error) {
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && path == folder:
			return err
		case err != nil:
			return nil
		case entry.IsDir() && path != folder && (IsIgnored(entry.Name()) || strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case entry.Name() == name:
			found = append(found, filepath.Dir(path))
		}
		return nil
	})
	return found, err
}
