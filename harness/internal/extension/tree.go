package extension

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Sources is the folder of the container below which a tree is unpacked.
const Sources = "/src"

// Tree is what travels to the container: the crate, its path dependencies, its workspace and what the user adds. It
// is never written to.
type Tree struct {
	Root      string // the host's folder that becomes Sources
	Name      string // the project's, "" where pyproject.toml has none
	Crate     string // the crate below Root, with slashes; "." is Root itself
	Workspace string // the folder that cargo works in, below Root, with slashes
	Files     []File // sorted by name
}

// File is one file or symbolic link of a tree.
type File struct {
	Name string // below Root, with slashes
	Mode fs.FileMode
	Size int64
	Link string // where a link leads
	Sum  string // of the content
	host string
}

// Open opens a file of the host for reading. The harness opens by a name that lets Go's test cache see it.
type Open func(path string) (*os.File, error)

// left are names of folders that never travel: they are another tool's output or a version control system's own.
var left = []string{".git", ".hg", ".svn", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", "node_modules"}

// native matches modules built on the host. They are for another Python or another system; the container builds its own.
var native = regexp.MustCompile(`\.(so|pyd|dylib)$`)

// Collect reads the tree that building and testing the crate needs. Root, where it is not "", has to hold all of it;
// include names further files and folders.
func (p Project) Collect(root string, include []string, open Open) (Tree, error) {
	if root != "" {
		absolute, err := filepath.Abs(root)
		if err != nil {
			return Tree{}, FieldError("Root", "%w", err)
		}
		if root = absolute; !within(root, p.Folder) {
			return Tree{}, FieldError("Root", "%s does not hold %s", root, p.Folder)
		}
	}
	needed, err := resolve(p, root, open)
	if err != nil {
		return Tree{}, err
	}
	for _, name := range include {
		if !filepath.IsAbs(name) {
			name = filepath.Join(p.Folder, name)
		}
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return Tree{}, FieldError("Include", "no file or folder %s", name)
		case info.IsDir():
			needed.addFolder(filepath.Clean(name))
		default:
			needed.addFile(filepath.Clean(name))
		}
	}
	folders, common := needed.roots()
	if root != "" {
		if !within(root, common) {
			return Tree{}, FieldError("Root", "%s does not hold %s, which the crate needs", root, common)
		}
		common = root
	}
	t := Tree{Root: common, Name: p.Metadata.Name, Crate: relative(common, p.Folder), Workspace: relative(common, needed.workspace)}
	w := walker{root: common, folders: folders, single: needed.files, open: open, seen: map[string]bool{}}
	for _, folder := range folders {
		if err := w.folder(folder, nil); err != nil {
			return Tree{}, err
		}
	}
	for _, file := range needed.files {
		if err := w.file(file, file); err != nil {
			return Tree{}, err
		}
	}
	t.Files = w.files
	sort.Slice(t.Files, func(i, j int) bool { return t.Files[i].Name < t.Files[j].Name })
	return t, nil
}

// FieldError says what is wrong with a field of the user's Suite.
func FieldError(field, format string, args ...any) error {
	return fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...))
}

func relative(root, path string) string {
	name, err := filepath.Rel(root, path)
	if err != nil {
		panic(err) // both are absolute and one is above the other
	}
	return filepath.ToSlash(name)
}

type walker struct {
	root    string
	folders []string // taken whole
	single  []string // files beside them
	open    Open
	seen    map[string]bool
	files   []File
}

// folder adds what is in a folder; above are the real folders on the way to it, for links that lead in circles.
func (w *walker) folder(folder string, above []string) error {
	real, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	if slices.Contains(above, real) {
		return nil
	}
	listing, err := w.open(folder) // by open, so that the test cache sees files come and go
	if err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	entries, err := listing.ReadDir(-1)
	if err = errors.Join(err, listing.Close()); err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	if len(above) > 0 && isOutput(entries) {
		return nil
	}
	for _, entry := range entries {
		if err := w.entry(filepath.Join(folder, entry.Name()), entry, append(slices.Clone(above), real)); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(name string, entry fs.DirEntry, above []string) error {
	switch {
	case entry.IsDir():
		if slices.Contains(left, entry.Name()) || strings.HasSuffix(entry.Name(), ".egg-info") {
			return nil
		}
		return w.folder(name, above)
	case native.MatchString(entry.Name()), entry.Name() == ".coverage", strings.HasPrefix(entry.Name(), ".coverage."), entry.Name() == ".DS_Store":
		return nil
	case entry.Type()&fs.ModeSymlink != 0:
		return w.link(name, above)
	case entry.Type().IsRegular():
		return w.file(name, name)
	}
	return nil // sockets, pipes and devices are no sources
}

// link keeps a link that stays within the tree, and takes what it leads to where it does not.
func (w *walker) link(name string, above []string) error {
	target, err := os.Readlink(name)
	if err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	if !filepath.IsAbs(target) && w.travels(filepath.Join(filepath.Dir(name), target)) {
		w.add(File{Name: relative(w.root, name), Mode: fs.ModeSymlink | 0o777, Link: filepath.ToSlash(target), Sum: sum("link " + target)})
		return nil
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil //nolint:nilerr // a link that leads nowhere is the user's own, and builds by hand too
	}
	info, err := os.Stat(real)
	if err != nil {
		return fmt.Errorf("read the sources: %w", err)
	}
	if info.IsDir() {
		return w.folder(name, above)
	}
	return w.file(name, real)
}

// travels tells whether a path is among what is taken; the folder above them all is not.
func (w *walker) travels(path string) bool {
	return slices.Contains(w.single, path) || slices.ContainsFunc(w.folders, func(folder string) bool { return within(folder, path) })
}

func (w *walker) file(name, host string) error {
	f, err := w.open(host)
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
	w.add(File{Name: relative(w.root, name), Mode: info.Mode().Perm(), Size: size, Sum: hex.EncodeToString(h.Sum(nil)), host: host})
	return nil
}

func (w *walker) add(file File) {
	if !w.seen[file.Name] {
		w.seen[file.Name] = true
		w.files = append(w.files, file)
	}
}

// isOutput tells a build's or an environment's folder by what its tool put there, whatever its name is.
func isOutput(entries []fs.DirEntry) bool {
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		switch e.Name() {
		case "pyvenv.cfg", ".rustc_info.json", "CACHEDIR.TAG":
			return true
		}
		return false
	})
}

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// Pack writes the tree to a tar stream that is unpacked at the container's root folder, owned by the user who builds
// and tests. A file that changed since Collect read it is an error: what is tested has to be what was hashed.
func (t Tree) Pack(w *tar.Writer) error {
	made := map[string]bool{}
	for _, file := range t.Files {
		if err := packFolders(w, path.Dir(path.Join(Sources, file.Name)), made); err != nil {
			return err
		}
		if err := file.pack(w); err != nil {
			return fmt.Errorf("pack %s: %w", file.Name, err)
		}
	}
	return packFolders(w, path.Join(Sources, t.Crate), made)
}

func packFolders(w *tar.Writer, folder string, made map[string]bool) error {
	if folder == "/" || made[folder] {
		return nil
	}
	if err := packFolders(w, path.Dir(folder), made); err != nil {
		return err
	}
	made[folder] = true
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(folder, "/") + "/", Mode: 0o755, Uid: 1000, Gid: 1000})
}

func (f File) pack(w *tar.Writer) error {
	name := strings.TrimPrefix(path.Join(Sources, f.Name), "/")
	if f.Link != "" {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: f.Link, Mode: 0o777, Uid: 1000, Gid: 1000})
	}
	in, err := os.Open(f.host)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: int64(f.Mode | 0o600), Size: f.Size, Uid: 1000, Gid: 1000}); err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.CopyN(io.MultiWriter(w, h), in, f.Size)
	if err != nil || hex.EncodeToString(h.Sum(nil)) != f.Sum {
		return fmt.Errorf("%s changed while it was read: run again", f.host)
	}
	return nil
}

// Equal tells whether two trees are the same place with the same content.
func (t Tree) Equal(other Tree) bool {
	return t.Root == other.Root && t.Crate == other.Crate && slices.Equal(t.Files, other.Files)
}

// HostPath turns a path of the container into the host's, where it lies in the sources.
func (t Tree) HostPath(name string) string {
	if name == Sources {
		return t.Root
	}
	if below, ok := strings.CutPrefix(name, Sources+"/"); ok {
		return filepath.Join(t.Root, filepath.FromSlash(below))
	}
	return name
}

// containerPath finds paths of the sources in text.
var containerPath = regexp.MustCompile(`(^|[^\w/.-])/src(/[^\s:'",)\]]*|\b)`)

// HostText replaces the container's source paths in text by the host's.
func (t Tree) HostText(text string) string {
	return containerPath.ReplaceAllStringFunc(text, func(found string) string {
		at := strings.Index(found, Sources)
		return found[:at] + t.HostPath(found[at:])
	})
}
