package project

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// addAbove adds the configuration in and above the crate that pytest, cargo and rustup would find, each by its own
// rule. It searches no higher than top, unless that is "".
func (c *closure) addAbove(crate, top string, open Open) error {
	configured, toolchain := false, false
	var conftests []string
	for folder := crate; ; folder = filepath.Dir(folder) {
		if !configured {
			if folder != crate {
				conftests = append(conftests, filepath.Join(folder, "conftest.py"))
			}
			file, err := pytestConfiguration(folder, open)
			if err != nil {
				return err
			}
			if configured = file != ""; configured {
				// pytest loads no conftest from above the folder of its configuration.
				for _, name := range append(conftests, file) {
					if err := c.addIfThere(name, open); err != nil {
						return err
					}
				}
			}
		}
		if !toolchain {
			for _, name := range []string{"rust-toolchain", "rust-toolchain.toml"} {
				before := len(c.files)
				if err := c.addIfThere(filepath.Join(folder, name), open); err != nil {
					return err
				}
				toolchain = toolchain || len(c.files) > before
			}
		}
		if err := c.addCargoConfiguration(folder, open); err != nil {
			return err
		}
		if folder == top || folder == filepath.Dir(folder) {
			return nil
		}
	}
}

// PytestFile is a file that may configure pytest.
type PytestFile struct {
	Name    string
	Section string   // of an INI file
	Tables  []string // of a TOML file: the dotted names of the tables that may hold the options
	Always  bool     // it counts even without the section or table
}

// PytestFiles holds the files in the order in which pytest looks for them:
// https://docs.pytest.org/en/stable/reference/customize.html#finding-the-rootdir
var PytestFiles = []PytestFile{
	{Name: "pytest.toml", Tables: []string{"pytest"}, Always: true},
	{Name: ".pytest.toml", Tables: []string{"pytest"}, Always: true},
	{Name: "pytest.ini", Section: "pytest", Always: true},
	{Name: ".pytest.ini", Section: "pytest", Always: true},
	{Name: "pyproject.toml", Tables: []string{"tool.pytest.ini_options", "tool.pytest"}},
	{Name: "tox.ini", Section: "pytest"},
	{Name: "setup.cfg", Section: "tool:pytest"},
}

// Counts reports whether pytest uses a file with this text.
func (f PytestFile) Counts(text []byte) bool {
	if f.Section != "" && regexp.MustCompile(`(?m)^\[`+f.Section+`\]`).Match(text) {
		return true
	}
	return f.Always || slices.ContainsFunc(f.Tables, func(name string) bool {
		var tables map[string]any
		_ = toml.Unmarshal(text, &tables) // one that cannot be read has no tables
		var value any = tables
		for _, key := range strings.Split(name, ".") {
			within, _ := value.(map[string]any)
			value = within[key]
		}
		return value != nil
	})
}

// Configuration returns the names and sums of all files of the tree that may configure pytest.
func (t Tree) Configuration() (sums []string) {
	for _, file := range t.Files {
		if slices.ContainsFunc(PytestFiles, func(f PytestFile) bool { return f.Name == path.Base(file.Name) }) {
			sums = append(sums, file.Name, file.Sum)
		}
	}
	return sums
}

// pytestConfiguration returns the file of a folder that pytest would use as its configuration, "" if there is none.
func pytestConfiguration(folder string, open Open) (string, error) {
	for _, f := range PytestFiles {
		file := filepath.Join(folder, f.Name)
		data, ok, err := readIfThere(file, open)
		if err != nil {
			return "", err
		}
		if ok && f.Counts(data) {
			return file, nil
		}
	}
	return "", nil
}

// addCargoConfiguration adds a folder's .cargo/config.toml and the folders of sources that it names. The user's own, in
// CARGO_HOME, is about this host and does not travel.
func (c *closure) addCargoConfiguration(folder string, open Open) error {
	if home, err := os.UserHomeDir(); err == nil && folder == home ||
		filepath.Join(folder, ".cargo") == os.Getenv("CARGO_HOME") {
		return nil
	}
	for _, name := range []string{"config", "config.toml"} {
		path := filepath.Join(folder, ".cargo", name)
		data, ok, err := readIfThere(path, open)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		c.addFile(path)
		var config struct {
			Source map[string]struct {
				Directory     string
				LocalRegistry string `toml:"local-registry"`
			}
		}
		if err := toml.Unmarshal(data, &config); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		for _, source := range config.Source {
			for _, at := range []string{source.Directory, source.LocalRegistry} {
				if at != "" && !filepath.IsAbs(at) {
					c.addFolder(filepath.Join(folder, at))
				}
			}
		}
	}
	return nil
}

// addIfThere adds a file if it exists. In either case the test cache sees that the tree depends on it.
func (c *closure) addIfThere(path string, open Open) error {
	_, ok, err := readIfThere(path, open)
	if ok {
		c.addFile(path)
	}
	return err
}

// readIfThere reads a file; ok is false if it does not exist or cannot be read.
func readIfThere(path string, open Open) (data []byte, ok bool, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, false, nil // a folder of that name is not configuration, and opening a pipe would wait for a writer
	}
	f, err := open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the sources: %w", err)
	}
	defer f.Close()
	if data, err = io.ReadAll(f); err != nil {
		return nil, false, fmt.Errorf("read %s: %w", path, err)
	}
	return data, true, nil
}
