package project

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// never lists names that do not travel and that no test needs: the private files of version control and tools.
var never = []string{".git", ".hg", ".svn", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".DS_Store"}

// outputs are name patterns of folders that hold tools' output.
var outputs = []string{".hypothesis", ".tox", ".nox", "node_modules", "*.egg-info"}

// Ignored returns the patterns of folders that hold no sources: of version control, tools, builds and environments.
func Ignored() []string {
	return slices.Concat(never, outputs, []string{"target", "site-packages", "venv", ".venv", "build", "dist"})
}

// IsIgnored reports whether a folder of that name is one of Ignored.
func IsIgnored(name string) bool { return matchesAny(Ignored(), name) }

// native matches modules built on the host. They are for another Python or system, and the container builds its own.
var native = regexp.MustCompile(`\.(so|pyd|dylib)$`)

// goTest matches Go's tests. Beside a crate they run its tests, and an edit of one is no reason to build anew.
var goTest = regexp.MustCompile(`_test\.go$`)

// measured matches the data of coverage runs on the host.
var measured = regexp.MustCompile(`^\.coverage(\.|$)`)

// walker reads the folders that travel. It leaves out the output of tools, and follows a link only if the user or the
// project vouches for its target.
type walker struct {
	root     string   // the tree's
	folders  []string // taken whole
	single   []string // files outside them
	named    []string // folders that the project or the user names; they travel even inside a folder that is left out
	included []string // those of named and single that the user named
	outputs  string   // a folder for what tests write, which never travels
	vouched  []string // links may lead into these
	built    []string // names of the modules that the build creates
	tests    testFiles
	git      *git
	open     Open
	seen     map[string]bool // names of files
	visited  map[string]bool // folders
	files    []File
	left     []string // what was left out
	links    []string // links that were not followed
}

// place is a file or folder that a walker visits.
type place struct {
	name   string   // in the tree
	host   string   // where it is read; a different folder if a link was followed
	linked string   // the folder that a link was followed to, "" outside any
	output string   // the name of the folder that holds a tool's output, "" outside any
	tests  []string // the folders in there that hold tests
	whole  bool     // the user named it, or a folder above it, that would otherwise be left out
}

func (p place) below(entry string) place {
	p.name, p.host = filepath.Join(p.name, entry), filepath.Join(p.host, entry)
	return p
}

// onTheWay reports whether a folder is or contains a folder of tests.
func (p place) onTheWay(folder string) bool {
	return slices.ContainsFunc(p.tests, func(tests string) bool { return within(folder, tests) })
}

func (w *walker) all() error {
	for _, folder := range w.folders {
		if err := w.top(folder, false); err != nil {
			return err
		}
	}
	for _, folder := range w.named {
		if !w.visited[folder] { // it is in one that was left out
			if err := w.top(folder, slices.Contains(w.included, folder)); err != nil {
				return err
			}
		}
	}
	for _, file := range w.single {
		info, err := os.Lstat(file)
		if err != nil {
			return fmt.Errorf("read the sources: %w", err)
		}
		add := w.file
		if info.Mode()&fs.ModeSymlink != 0 {
			add = w.link
		}
		if err := add(place{name: file, host: file}); err != nil {
			return err
		}
	}
	return nil
}

// top reads a folder that the project or the user has named.
func (w *walker) top(folder string, whole bool) error {
	p := place{name: folder, host: resolved(folder), whole: whole}
	if kernels(p.host) {
		return fmt.Errorf("%s is in a file system of the kernel, which never travels", folder)
	}
	if p.host != folder {
		p.linked = p.host
	}
	return w.folder(p)
}

func (w *walker) folder(p place) error {
	if w.outputs != "" && p.host == w.outputs {
		return nil
	}
	listing, err := w.open(p.host) // by open, so that the test cache sees files come and go
	if err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	entries, err := listing.ReadDir(-1)
	if err = errors.Join(err, listing.Close()); err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	if p.output == "" && !p.whole && p.host != p.linked && isOutput(p.host, entries) {
		switch {
		case slices.Contains(w.included, p.name):
			p.whole = true
		case !slices.Contains(w.named, p.name):
			if p.tests, err = w.tests.folders(p.host, w.open); err != nil {
				return err
			}
			if len(p.tests) == 0 && !w.git.tracks(p.host) {
				w.leave(p.name)
				return nil
			}
			p.output = p.name
		}
	}
	if slices.Contains(p.tests, p.host) {
		p.output, p.tests = "", nil // what is beside or below tests belongs to them
	}
	if p.output == "" {
		w.visited[p.name] = true
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, entry := range entries {
		if err := w.entry(p.below(entry.Name()), entry); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(p place, entry fs.DirEntry) error {
	if entry.IsDir() {
		return w.subfolder(p, entry.Name())
	}
	link := entry.Type()&fs.ModeSymlink != 0
	if !link && !entry.Type().IsRegular() {
		return nil // sockets, pipes and devices are not sources
	}
	if !slices.Contains(w.included, p.name) && !w.wanted(p, entry.Name()) {
		return nil
	}
	if link {
		return w.link(p)
	}
	info, err := entry.Info()
	if err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	if info.Size() > largest && !p.whole && !slices.Contains(w.included, p.name) {
		w.leave(p.name)
		return nil
	}
	return w.file(p)
}

// largest is the size in bytes of the largest file that travels without the user naming it: a larger one is a core dump
// or a disk image, and reading it would take minutes.
const largest = 1 << 30

func (w *walker) subfolder(p place, name string) error {
	named := slices.Contains(w.named, p.name)
	switch {
	case named && p.output != "":
		return nil // all visits it later
	case slices.Contains(never, name) && !p.whole && !named:
		return nil
	case p.output != "" && !p.onTheWay(p.host) && !w.git.tracks(p.host):
		w.leave(p.output)
		return nil
	}
	return w.folder(p)
}

// wanted reports whether a file or link travels, and records those that the notes name.
func (w *walker) wanted(p place, name string) bool {
	switch {
	case isBuilt(w.built, name): // even if git tracks it
		w.leave(p.name)
		return false
	case p.whole:
		return true
	case slices.Contains(never, name), goTest.MatchString(name) && slices.Contains(w.folders, filepath.Dir(p.name)):
		return false
	case measured.MatchString(name):
		return w.git.tracks(p.host)
	case native.MatchString(name):
		if w.git.tracks(p.host) {
			return true
		}
		w.git.watch(p.host)
		w.leave(p.name)
		return false
	case p.output != "" && !p.onTheWay(filepath.Dir(p.host)) && !w.git.tracks(p.host):
		w.leave(p.output)
		return false
	}
	return true
}

func isFolder(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// isOutput reports whether a folder holds a build or an environment, by its name or by a file that the tool put there.
func isOutput(folder string, entries []fs.DirEntry) bool {
	return matchesAny(outputs, filepath.Base(folder)) ||
		hasAny(entries, "pyvenv.cfg", ".rustc_info.json", "CACHEDIR.TAG")
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		matches, _ := filepath.Match(pattern, name)
		return matches
	})
}

func hasAny(entries []fs.DirEntry, names ...string) bool {
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return slices.Contains(names, e.Name()) })
}

// isBuilt reports whether a file would be imported as a module that the build creates.
func isBuilt(built []string, name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	return native.MatchString(name) && slices.Contains(built, stem)
}

// link adds a link. If the link leads out of what travels and the user or the project vouches for its target, it adds
// the target instead. Any other link leads to whatever the container has there.
func (w *walker) link(p place) error {
	target, err := os.Readlink(p.host)
	if err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	at := target
	if !filepath.IsAbs(target) {
		at = filepath.Join(filepath.Dir(p.host), target)
		if p.linked == "" && w.travels(at) || p.linked != "" && within(p.linked, at) {
			return w.keep(p, target)
		}
	}
	destination, err := filepath.EvalSymlinks(p.host)
	if err != nil {
		return w.keep(p, target) // it leads nowhere on the host either
	}
	around := func(folder string) bool { return within(folder, p.name) && within(folder, destination) }
	if p.linked == "" && slices.ContainsFunc(w.folders, around) {
		inside, err := filepath.Rel(filepath.Dir(p.name), destination)
		if err != nil {
			return fmt.Errorf("read the sources: %w", err)
		}
		return w.keep(p, inside)
	}
	info, err := os.Stat(destination)
	follow := err == nil && w.vouches(p, destination) && (info.Mode().IsRegular() || info.IsDir() && p.linked == "")
	if !follow {
		w.git.watch(p.host)
		if !slices.Contains(w.links, p.name) {
			w.links = append(w.links, p.name)
		}
		return w.keep(p, target)
	}
	p.host = destination
	if info.Mode().IsRegular() {
		return w.file(p)
	}
	p.linked = destination
	if !w.leads(destination) {
		p.output = p.name // only what git tracks of it
	}
	return w.folder(p)
}

// vouches reports whether a link may be followed to a path: the user named it, it travels anyway, or it is part of the
// link's own repository. What the kernel exposes about this host and its processes is never read.
func (w *walker) vouches(p place, real string) bool {
	return !kernels(real) && (w.leads(real) || w.git.tracksWith(filepath.Dir(p.host), real))
}

// leads reports whether links may lead to a path because it travels anyway or the user has named it.
func (w *walker) leads(path string) bool {
	return w.travels(path) || inAny(w.vouched, path)
}

// travels reports whether a path is among the files and folders that travel. The tree's root itself need not be.
func (w *walker) travels(path string) bool {
	return slices.Contains(w.single, path) || inAny(w.folders, path)
}

// kernels reports whether a path is in a file system that exposes the kernel's state.
func kernels(path string) bool {
	return inAny([]string{"/proc", "/sys", "/dev"}, path)
}

func inAny(folders []string, path string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool { return within(folder, path) })
}

func (w *walker) keep(p place, target string) error {
	name := relative(w.root, p.name)
	w.add(File{Name: name, Mode: fs.ModeSymlink | 0o777, Link: filepath.ToSlash(target), Sum: Sum("link " + target)})
	return nil
}

func (w *walker) file(p place) error {
	if err := regular(p.host); err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	f, err := w.open(p.host)
	if err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	name, sum := relative(w.root, p.name), hex.EncodeToString(h.Sum(nil))
	w.add(File{Name: name, Mode: info.Mode().Perm(), Size: size, Sum: sum, host: p.host})
	return nil
}

func (w *walker) add(file File) {
	if !w.seen[file.Name] {
		w.seen[file.Name] = true
		w.files = append(w.files, file)
	}
}

func (w *walker) leave(name string) {
	if !slices.Contains(w.left, name) {
		w.left = append(w.left, name)
	}
}

// shown is the maximum number of names in a note.
const shown = 4

// notes returns what was left out, by paths relative to the crate.
func (w *walker) notes(crate string) (notes []string) {
	left := slices.DeleteFunc(w.left, func(path string) bool { return slices.Contains(w.included, path) })
	if len(left) > 0 {
		notes = append(notes, fmt.Sprintf("left out: %s; to bring one, name it in %s", list(crate, left), Setting("Include")))
	}
	if len(w.links) > 0 {
		const text = "links out of the sources, not followed: %s; to follow one, name it in %s"
		notes = append(notes, fmt.Sprintf(text, list(crate, w.links), Setting("Include")))
	}
	if w.git.problem != "" && len(left)+len(w.links) > 0 {
		notes = append(notes, w.git.problem)
	}
	return notes
}

// list returns the first few paths, relative to a folder, and how many more there are. Files come before folders, which
// are mostly build output.
func list(folder string, paths []string) string {
	slices.SortStableFunc(paths, func(a, b string) int {
		switch first, second := isFolder(a), isFolder(b); {
		case first == second:
			return strings.Compare(a, b)
		case first:
			return 1
		}
		return -1
	})
	var names []string
	for _, path := range paths[:min(len(paths), shown)] {
		names = append(names, relative(folder, path))
	}
	if more := len(paths) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
