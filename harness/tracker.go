package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tracker opens the sources by names that Go's test cache recognizes. The go command records what a test opens, but
// compares names with the module's root as text: a file outside it has to be opened by a name that begins with the
// root.
type tracker struct {
	module string // the root of the main module; "" outside any module, when nothing is cached
	up     string // from there to the root folder, "/../.."
}

func newTracker() (*tracker, error) {
	folder, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	for ; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			depth := strings.Count(filepath.ToSlash(folder), "/")
			return &tracker{module: folder, up: strings.Repeat(string(filepath.Separator)+"..", depth)}, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("find the module: %w", err)
		}
		if folder == filepath.Dir(folder) {
			return &tracker{}, nil
		}
	}
}

func (t *tracker) open(path string) (*os.File, error) {
	return os.Open(t.name(path))
}

func (t *tracker) name(path string) string {
	inside, err := filepath.Rel(t.module, path)
	if t.module == "" || filepath.VolumeName(path) != "" || err == nil && filepath.IsLocal(inside) {
		return path
	}
	return t.module + t.up + path
}

// uncacheable makes go test run the package again next time: it opens a file that differs each time.
func (t *tracker) uncacheable() {
	if f, err := os.Open(t.name("/proc/self/stat")); err == nil {
		_ = f.Close()
	}
}
