package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// pytestOptions holds what the project's configuration says about where its tests are.
type pytestOptions struct {
	Files []string // file name patterns
	Paths []string // where pytest looks for tests, relative to the crate
}

// pytestOptions reads pytest's configuration in the crate or above it.
func (p Project) pytestOptions(open Open) (pytestOptions, error) {
	for folder := p.Folder; ; folder = filepath.Dir(folder) {
		file, err := pytestConfiguration(folder, open)
		if err != nil || file == "" && folder == filepath.Dir(folder) {
			return pytestOptions{}, err
		}
		if file == "" {
			continue
		}
		data, _, err := readIfThere(file, open)
		if err != nil {
			return pytestOptions{}, err
		}
		o := pytestOptions{Files: option(file, data, "python_files")}
		if folder == p.Folder { // pytest reads this one only if it starts in the folder of the configuration
			o.Paths = option(file, data, "testpaths")
		}
		return o, nil
	}
}

// option returns the value of one of pytest's options, split into words.
func option(file string, data []byte, name string) []string {
	if filepath.Ext(file) != ".toml" {
		section := `pytest`
		if filepath.Base(file) == "setup.cfg" {
			section = `tool:pytest`
		}
		value := `\n` + name + `[ \t]*[=:](.*(?:\n[ \t]+.*)*)`
		found := regexp.MustCompile(`(?m)^\[` + section + `\](?:\n[^\[\n].*|\n)*?` + value).
			FindSubmatch([]byte(strings.ReplaceAll(string(data), "\r\n", "\n")))
		if found == nil {
			return nil
		}
		return strings.Fields(string(found[1]))
	}
	var read struct {
		Pytest map[string]any
		Tool   struct{ Pytest map[string]any }
	}
	if toml.Unmarshal(data, &read) != nil {
		return nil // pytest reports it better
	}
	value := read.Pytest[name]
	if options, ok := read.Tool.Pytest["ini_options"].(map[string]any); ok {
		value = options[name]
	} else if read.Tool.Pytest != nil {
		value = read.Tool.Pytest[name]
	}
	switch value := value.(type) {
	case string:
		return strings.Fields(value)
	case []any:
		var words []string
		for _, word := range value {
			words = append(words, fmt.Sprint(word))
		}
		return words
	}
	return nil
}

// testFiles determines which files of the crate pytest takes for tests.
type testFiles struct {
	patterns []*regexp.Regexp
	named    []string // files and folders that the arguments or testpaths name
	looks    []string // where pytest looks for tests
}

// newTestFiles reads the arguments of pytest: node ids, and options, which are not paths.
func newTestFiles(crate string, o pytestOptions, arguments []string) testFiles {
	t := testFiles{}
	if len(o.Files) == 0 {
		o.Files = []string{"test_*.py", "*_test.py"}
	}
	for _, pattern := range o.Files {
		t.patterns = append(t.patterns, fnmatch(pattern))
	}
	for _, argument := range arguments {
		path, _, _ := strings.Cut(argument, "::")
		if path == "" || strings.HasPrefix(path, "-") {
			continue
		}
		if path = filepath.Join(crate, filepath.FromSlash(path)); within(crate, path) && path != crate {
			if _, err := os.Stat(path); err == nil {
				t.named = append(t.named, path)
			}
		}
	}
	t.looks = slices.Clone(t.named)
	for _, pattern := range o.Paths {
		found, _ := filepath.Glob(filepath.Join(crate, pattern))
		t.looks = append(t.looks, found...)
		t.named = append(t.named, found...)
	}
	if len(o.Paths) == 0 {
		t.looks = append(t.looks, crate)
	}
	return t
}

// fnmatch compiles a pattern of Python's fnmatch. It matches the end of a path, so that a pattern with a slash works as
// in pytest.
func fnmatch(pattern string) *regexp.Regexp {
	text := regexp.QuoteMeta(pattern)
	text = strings.NewReplacer(`\*`, `.*`, `\?`, `.`, `\[!`, `[^`, `\[`, `[`, `\]`, `]`).Replace(text)
	compiled, err := regexp.Compile(`(^|/)` + text + `$`)
	if err != nil { // an unclosed bracket is literal
		return regexp.MustCompile(`(^|/)` + regexp.QuoteMeta(pattern) + `$`)
	}
	return compiled
}

// unvisited matches the folders that pytest does not enter by itself:
// https://docs.pytest.org/en/stable/reference/reference.html#confval-norecursedirs
var unvisited = regexp.MustCompile(`^(\..*|.*\.egg|_darcs|build|CVS|dist|node_modules|venv|\{arch\}|__pycache__)$`)

// folders returns those folders, among the given one and all below it, in which pytest finds test files.
func (t testFiles) folders(folder string, open Open) (found []string, err error) {
	looked := func(at string) bool { return within(at, folder) || within(folder, at) }
	if !slices.ContainsFunc(t.looks, looked) || unvisited.MatchString(filepath.Base(folder)) {
		return nil, nil
	}
	listing, err := open(folder)
	if err != nil {
		return nil, fmt.Errorf("read the sources: %w", err)
	}
	entries, err := listing.ReadDir(-1)
	if err = errors.Join(err, listing.Close()); err != nil {
		return nil, fmt.Errorf("read the sources: %w", err)
	}
	// An environment's tests are its packages' own; cargo's output can be gigabytes and holds none.
	if hasAny(entries, "pyvenv.cfg", "conda-meta", ".cargo-lock", ".fingerprint") {
		return nil, nil
	}
	test := func(e fs.DirEntry) bool { return !e.IsDir() && t.isTest(filepath.Join(folder, e.Name())) }
	if slices.ContainsFunc(entries, test) {
		found = append(found, folder)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			below, err := t.folders(filepath.Join(folder, entry.Name()), open)
			if err != nil {
				return nil, err
			}
			found = append(found, below...)
		}
	}
	return found, nil
}

func (t testFiles) isTest(path string) bool {
	path = filepath.ToSlash(path)
	return slices.ContainsFunc(t.patterns, func(pattern *regexp.Regexp) bool { return pattern.MatchString(path) })
}
