// Package bytecode keeps the bytecode that Python and pytest compile from a tree's files during collection, so that the
// next container need not compile it again. Bytecode is reused only if its source's content is unchanged.
package bytecode

import (
	"archive/tar"
	"compress/gzip"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
)

const (
	// maxSize bounds the bytecode kept for one tree, in bytes; a real project needs a few megabytes.
	maxSize = 64 << 20
	// keptTrees bounds the number of trees for which bytecode is kept.
	keptTrees = 20
)

// Store holds the bytecode of one tree's files.
type Store struct {
	file    string
	sources map[string]string // the tree's Python files: name -> sum

	mutex   sync.Mutex
	entries map[key]entry
	changed bool
}

// key holds a file's name below the tree and the settings that it was compiled under.
type key struct{ Settings, Name string }

// entry holds a file's content and the sum of the source that it was compiled from.
type entry struct {
	Source string
	Data   []byte
}

// Open returns the store kept under an id for a tree. If it cannot be read, it is empty and everything is compiled
// again.
func Open(id string, tree project.Tree) (*Store, error) {
	folder, err := cache.Folder()
	if err != nil {
		return nil, err
	}
	s := &Store{file: filepath.Join(folder, "bytecode", id), sources: map[string]string{}}
	for _, file := range tree.Files {
		if path.Ext(file.Name) == ".py" {
			s.sources[file.Name] = file.Sum
		}
	}
	if s.entries, err = read(s.file); err != nil {
		s.entries = map[key]entry{}
	}
	return s, nil
}

// read returns the entries of a file. It returns an error if a single byte has changed since it was written: Python
// would trust it.
func read(name string) (entries map[key]entry, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f) // for its checksum
	if err != nil {
		return nil, err
	}
	if err := gob.NewDecoder(unzipped).Decode(&entries); err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, unzipped)
	return entries, err
}

// source returns the Python file that a file of a __pycache__ folder was compiled from; name is below the tree.
func source(name string) (string, bool) {
	folder, file := path.Split(name)
	above, isCache := strings.CutSuffix(folder, "__pycache__/")
	stem, tag, tagged := strings.Cut(file, ".")
	return above + stem + ".py", isCache && tagged && strings.HasSuffix(tag, ".pyc") && path.Clean(name) == name &&
		!strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "../")
}

// Add adds what a container compiled under some settings; name is below the tree.
func (s *Store) Add(settings, name string, data []byte) {
	from, ok := source(name)
	sum := s.sources[from]
	if !ok || sum == "" {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.entries[key{settings, name}] = entry{sum, data}
	s.changed = true
}

// Pack writes to a tar stream what was compiled from the tree's current content under the settings, and returns the
// names. Python accepts it as up to date, because the files of a tree always have the same modification time.
func (s *Store) Pack(settings string, w *tar.Writer) (names []string, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	folders := map[string]bool{}
	for key, entry := range s.entries {
		from, _ := source(key.Name)
		if key.Settings != settings || entry.Source != s.sources[from] {
			continue
		}
		name := strings.TrimPrefix(path.Join(layout.Sources, key.Name), "/")
		if folder := path.Dir(name); !folders[folder] {
			folders[folder] = true
			err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755, Uid: 1000,
				Gid: 1000})
		}
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(entry.Data)), Uid: 1000,
				Gid: 1000})
		}
		if err == nil {
			_, err = w.Write(entry.Data)
		}
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", key.Name, err)
		}
		names = append(names, key.Name)
	}
	return names, nil
}

// Save writes the store to disk, without what was compiled from other content.
func (s *Store) Save() error { return cache.Failed(s.save()) }

func (s *Store) save() (err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.changed {
		return nil
	}
	size := 0
	for key, entry := range s.entries {
		from, _ := source(key.Name)
		if entry.Source != s.sources[from] || size+len(entry.Data) > maxSize {
			delete(s.entries, key)
			continue
		}
		size += len(entry.Data)
	}
	folder := filepath.Dir(s.file)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("keep bytecode: %w", err)
	}
	part, err := os.CreateTemp(folder, "part-")
	if err != nil {
		return fmt.Errorf("keep bytecode: %w", err)
	}
	defer func() { err = errors.Join(err, cache.Prune(folder, keptTrees, math.MaxInt64)) }()
	zipped, _ := gzip.NewWriterLevel(part, gzip.BestSpeed)
	err = errors.Join(gob.NewEncoder(zipped).Encode(s.entries), zipped.Close(), part.Close())
	if err == nil {
		err = os.Rename(part.Name(), s.file)
	}
	if err != nil {
		return fmt.Errorf("keep bytecode: %w", errors.Join(err, os.Remove(part.Name())))
	}
	return nil
}
