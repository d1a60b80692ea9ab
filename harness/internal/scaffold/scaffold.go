// Package scaffold writes into a project what its tests need: a Go test, a conftest, pytest's configuration, the helper
// script, a workflow. It first shows what it would write, keeps what exists, and never overwrites a file.
package scaffold

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// Change is one file to be written.
type Change struct {
	File     string // absolute
	Old, New []byte // Old is nil if the file is new
	Mode     fs.FileMode
}

// Plan holds what is to be written, and notes on what is left to the user.
type Plan struct {
	Changes []Change
	Notes   []string
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// create plans a new file. It keeps an existing one, and notes whether it differs.
func (p *Plan) create(file string, content []byte, mode fs.FileMode) error {
	old, err := os.ReadFile(file)
	switch {
	case slices.ContainsFunc(p.Changes, func(c Change) bool { return c.File == file }): // already planned
	case errors.Is(err, fs.ErrNotExist):
		p.Changes = append(p.Changes, Change{File: file, New: content, Mode: mode})
		return nil
	case err != nil:
		return err
	case string(old) == string(content):
		p.note("%s exists already", file)
	case strings.Count(string(content), "\n") > longest || isBinary(content):
		p.note("%s exists and differs; it is left as it is: remove it to have it written again", file)
	default:
		p.note("%s exists and is left as it is; this would be written:\n\n%s", file, content)
	}
	return nil
}

// isBinary reports whether a file cannot be shown.
func isBinary(content []byte) bool { return bytes.IndexByte(content, 0) >= 0 }

// longest is the number of lines up to which a new file is shown.
const longest = 60

// Diff returns the change in the format of diff -u, with file names relative to a folder.
func (c Change) Diff(folder string) string {
	name, err := filepath.Rel(folder, c.File)
	if err != nil {
		name = c.File
	}
	from := "a/" + name
	if c.Old == nil {
		from = "/dev/null"
	}
	if isBinary(c.New) {
		return fmt.Sprintf("--- %s\n+++ b/%s\n(binary, %d bytes)\n", from, name, len(c.New))
	}
	if n := strings.Count(string(c.New), "\n"); c.Old == nil && n > longest {
		return fmt.Sprintf("--- /dev/null\n+++ b/%s\n(new, %d lines)\n", name, n)
	}
	return udiff.Unified(from, "b/"+name, string(c.Old), string(c.New))
}

// Apply writes the file: a new one only if none exists, an existing one atomically and only if it is unchanged.
func (c Change) Apply() (err error) {
	if c.Old == nil {
		if err := os.MkdirAll(filepath.Dir(c.File), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, c.Mode)
		if err != nil {
			return err
		}
		_, err = f.Write(c.New)
		return errors.Join(err, f.Close())
	}
	file, err := filepath.EvalSymlinks(c.File) // a symbolic link stays one
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	now, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if string(now) != string(c.Old) {
		return fmt.Errorf("%s has changed meanwhile: nothing was written to it", c.File)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".pyo3test-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // if it was not renamed
	_, err = f.Write(c.New)
	if err = errors.Join(err, f.Chmod(info.Mode()), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
