package project

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
	"pyo3test/harness/internal/layout"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

// Tree holds what travels to the container: the crate, its path dependencies, its workspace and what the user adds. The
// host's files are never written to.
type Tree struct {
	Root      string   // the host's folder that becomes layout.Sources
	Name      string   // the project's, "" if pyproject.toml has none
	Crate     string   // the crate below Root, with slashes; "." is Root itself
	Data      string   // the folder that maturin copies to the wheel, below Root, with slashes; "" if none
	Workspace string   // the folder that cargo works in, below Root, with slashes
	Files     []File   // sorted by name
	Notes     []string // what was left out, for the user
}

// File is one file or symbolic link of a tree.
type File struct {
	Name string // below Root, with slashes
	Mode fs.FileMode
	Size int64
	Link string // the target of a link
	Sum  string // of the content
	host string
	stub *string // the content, if it is not the host's
}

// Open opens a file of the host for reading, by a name that lets Go's test cache see it.
type Open func(path string) (*os.File, error)

// Selection holds what a Suite adds to what a crate's own manifests name.
type Selection struct {
	Root    string   // must contain all that travels; "" means the nearest folder that does
	Include []string // further files and folders, relative to the crate
	Travel  []string // files and folders needed to install the dependencies
	Tests   []string // arguments of pytest; those that are paths travel
	Outputs string   // a folder for what tests write, which does not travel
}

// Collect returns the tree needed to build and test the crate.
func (p Project) Collect(s Selection, open Open) (Tree, error) {
	root := s.Root
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
	options, err := p.pytestOptions(open)
	if err != nil {
		return Tree{}, err
	}
	tests := newTestFiles(p.Folder, options, s.Tests)
	for _, path := range tests.named {
		needed.add(path)
	}
	var included, vouched []string
	for _, name := range slices.Concat(s.Include, s.Travel) {
		place, destination, err := p.include(name)
		if err != nil {
			return Tree{}, err
		}
		included, vouched = append(included, place), append(vouched, destination)
		if isFolder(destination) {
			needed.folders = append(needed.folders, place)
		} else {
			needed.files = append(needed.files, place)
		}
	}
	folders, common := needed.roots()
	if root != "" {
		if !within(root, common) {
			return Tree{}, FieldError("Root", "%s does not hold %s, which the crate needs", root, common)
		}
		vouched = append(vouched, root)
		common = root
	}
	w := walker{
		root: common, folders: folders, single: needed.files, named: needed.folders, included: included,
		vouched: vouched, outputs: s.Outputs,
		built: p.moduleNames(), tests: tests, git: newGit(folders, open), open: open,
		seen: map[string]bool{}, visited: map[string]bool{},
	}
	if err := w.all(); err != nil {
		return Tree{}, err
	}
	t := Tree{
		Root: common, Name: p.Metadata.Name, Crate: relative(common, p.Folder),
		Workspace: relative(common, needed.workspace),
		Files:     w.files, Notes: w.notes(p.Folder),
	}
	if data := p.data(); data != "" {
		t.Data = relative(common, data)
	}
	sort.Slice(t.Files, func(i, j int) bool { return t.Files[i].Name < t.Files[j].Name })
	return t, nil
}

// include returns the path of a file or folder that the user names, and the path with all links resolved.
func (p Project) include(name string) (place, real string, err error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(p.Folder, name)
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(name))
	if err == nil {
		place = filepath.Join(folder, filepath.Base(name))
		real, err = filepath.EvalSymlinks(place)
	}
	if err != nil {
		return "", "", FieldError("Include", "no file or folder %s", name)
	}
	info, err := os.Stat(real)
	switch {
	case err != nil:
		return "", "", FieldError("Include", "%w", err)
	case kernels(real):
		return "", "", FieldError("Include", "%s is in a file system of the kernel, which never travels", name)
	case !info.IsDir() && !info.Mode().IsRegular():
		return "", "", FieldError("Include", "%s is neither a file nor a folder", name)
	case !info.IsDir() && isBuilt(p.moduleNames(), filepath.Base(name)):
		return "", "", FieldError("Include", "%s would be imported instead of the module that the build makes", name)
	}
	return place, real, nil
}

// FieldError returns an error about a field of the user's Suite.
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

// IsData reports whether maturin copies a file to the wheel's data.
func (t Tree) IsData(name string) bool {
	return t.Data != "" && strings.HasPrefix(name, strings.TrimPrefix(t.Data+"/", "./"))
}

// Sum returns the SHA-256 of a text in hexadecimal, the form of File.Sum.
func Sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// Modified is the modification time of every file of a tree in a container, so that equal content gives equal files. It
// is not before 1980, which zip files cannot represent.
var Modified = time.Unix(1_000_000_000, 0)

// Pack writes the tree to a tar stream to unpack at the container's root folder, owned by the user that builds and
// tests. It returns an error if a file changed since Collect read it: what is tested must be what was hashed.
func (t Tree) Pack(w *tar.Writer) error {
	made := map[string]bool{}
	for _, file := range t.Files {
		if err := packFolders(w, path.Dir(path.Join(layout.Sources, file.Name)), made); err != nil {
			return err
		}
		if err := file.pack(w); err != nil {
			return fmt.Errorf("pack %s: %w", file.Name, err)
		}
	}
	return packFolders(w, path.Join(layout.Sources, t.Crate), made)
}

func packFolders(w *tar.Writer, folder string, made map[string]bool) error {
	if folder == "/" || made[folder] {
		return nil
	}
	if err := packFolders(w, path.Dir(folder), made); err != nil {
		return err
	}
	made[folder] = true
	return w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeDir, Name: strings.TrimPrefix(folder, "/") + "/", Mode: 0o755, ModTime: Modified, Uid: 1000,
		Gid: 1000,
	})
}

func (f File) pack(w *tar.Writer) error {
	name := strings.TrimPrefix(path.Join(layout.Sources, f.Name), "/")
	if f.Link != "" {
		return w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeSymlink, Name: name, Linkname: f.Link, Mode: 0o777, ModTime: Modified, Uid: 1000,
			Gid: 1000,
		})
	}
	if f.stub != nil {
		return packStub(w, name, *f.stub)
	}
	in, err := os.Open(f.host)
	if err != nil {
		return err
	}
	defer in.Close()
	header := tar.Header{Name: name, Mode: int64(f.Mode | 0o600), Size: f.Size, ModTime: Modified, Uid: 1000, Gid: 1000}
	if err := w.WriteHeader(&header); err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.CopyN(io.MultiWriter(w, h), in, f.Size)
	if err != nil || hex.EncodeToString(h.Sum(nil)) != f.Sum {
		return fmt.Errorf("%s changed while it was read: run again", f.host)
	}
	return nil
}

// Open opens a file of the host for reading.
func (f File) Open() (io.ReadCloser, error) { return os.Open(f.host) }

// Unpacked returns the tree of a folder that holds one that has travelled before, and all of it.
func Unpacked(root, name, crate, workspace string) (Tree, error) {
	t := Tree{Root: root, Name: name, Crate: crate, Workspace: workspace}
	err := filepath.WalkDir(root, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file := File{Name: relative(root, at), host: at}
		if entry.Type() == fs.ModeSymlink {
			file.Mode = fs.ModeSymlink | 0o777
			file.Link, err = os.Readlink(at)
			file.Sum = Sum("link " + file.Link)
		} else {
			var data []byte
			data, err = os.ReadFile(at)
			file.Size, file.Sum = int64(len(data)), Sum(string(data))
		}
		info, statErr := entry.Info()
		if statErr == nil && file.Link == "" {
			file.Mode = info.Mode().Perm()
		}
		t.Files = append(t.Files, file)
		return errors.Join(err, statErr)
	})
	if err != nil {
		return Tree{}, fmt.Errorf("read what was unpacked: %w", err)
	}
	slices.SortFunc(t.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return t, nil
}

func packStub(w *tar.Writer, name, text string) error {
	header := tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), ModTime: Modified, Uid: 1000, Gid: 1000}
	if err := w.WriteHeader(&header); err != nil {
		return err
	}
	_, err := io.WriteString(w, text)
	return err
}

// Equal reports whether two trees have the same place and the same content.
func (t Tree) Equal(other Tree) bool {
	return t.Root == other.Root && t.Crate == other.Crate && slices.Equal(t.Files, other.Files)
}

// HostPath converts a container path in the sources to the host's. It returns any other path unchanged.
func (t Tree) HostPath(name string) string {
	if strings.Contains(name, "..") && path.Clean(name) != name { // it could lead out of the sources, on this host too
		return name
	}
	if name == layout.Sources {
		return t.Root
	}
	if below, ok := strings.CutPrefix(name, layout.Sources+"/"); ok {
		return filepath.Join(t.Root, filepath.FromSlash(below))
	}
	return name
}

// maxSource bounds what ReadSource reads, in bytes.
const maxSource = 16 << 20

// ReadSource returns the content of a source file, by its path in the container.
func (t Tree) ReadSource(name string) ([]byte, error) {
	below, ok := strings.CutPrefix(name, layout.Sources+"/")
	if !ok || path.Clean(name) != name || !filepath.IsLocal(filepath.FromSlash(below)) {
		return nil, fs.ErrNotExist
	}
	host := filepath.Join(t.Root, filepath.FromSlash(below))
	info, err := os.Stat(host)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxSource) {
		err = fs.ErrInvalid
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(host)
}

// containerPath finds paths of the sources in text.
var containerPath = regexp.MustCompile(`(^|[^\w/.-])/src(/[^\s:'",)\]]*|\b)`)

// HostText replaces the container's source paths in text with the host's.
func (t Tree) HostText(text string) string {
	return containerPath.ReplaceAllStringFunc(text, func(found string) string {
		at := strings.Index(found, layout.Sources)
		return found[:at] + t.HostPath(found[at:])
	})
}
