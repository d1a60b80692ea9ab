package bundle

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/image"
)

// Bundle is an open bundle. All of its entries have been checked, but for those of an image, which are as they are read.
type Bundle struct {
	Manifest
	File    string // its path
	Sum     string // the SHA-256 of its manifest, which changes with any of its content
	archive *zip.ReadCloser
	entries map[string]*zip.File
}

// Open opens a bundle and checks all of it but the content of an image, which [Bundle.Layer] checks. It returns an error for
// anything that a bundle does not have: another major version, an entry of an unknown kind, a link, a name that leads out of
// the bundle, and a size or a content that is not what the manifest says.
func Open(file string) (_ *Bundle, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open the bundle %s: %w", file, err)
		}
	}()
	archive, err := zip.OpenReader(file)
	if errors.Is(err, zip.ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("it is truncated, or is not a bundle: fetch it again")
	}
	if err != nil {
		return nil, err
	}
	b := &Bundle{File: file, archive: archive, entries: map[string]*zip.File{}}
	if err := b.check(); err != nil {
		return nil, errors.Join(err, archive.Close())
	}
	return b, nil
}

// Close closes the file.
func (b *Bundle) Close() error { return b.archive.Close() }

func (b *Bundle) check() error {
	files := b.archive.File
	if len(files) == 0 || files[0].Name != manifestName {
		return fmt.Errorf("its first entry is not %s: it is no bundle of pyo3test", manifestName)
	}
	if len(files) > maxEntries+1 {
		return fmt.Errorf("it has %d entries, and a bundle has at most %d", len(files), maxEntries)
	}
	data, err := content(files[0], maxManifest)
	if err != nil {
		return err
	}
	var version struct{ Format, PyO3Test string }
	err = json.Unmarshal(data, &version)
	if err == nil {
		b.Format, b.PyO3Test = version.Format, version.PyO3Test
		if err := b.checkFormat(); err != nil { // before the rest, which another version may write in another way
			return err
		}
		err = json.Unmarshal(data, &b.Manifest)
	}
	if err != nil {
		return fmt.Errorf("its manifest cannot be read: %w", err)
	}
	sum := sha256.Sum256(data)
	b.Sum = hex.EncodeToString(sum[:])
	if err := b.checkNames(files[1:]); err != nil {
		return err
	}
	if err := b.checkRun(); err != nil {
		return err
	}
	if b.Full() {
		if _, err := b.Image(); err != nil {
			return err
		}
	}
	for _, entry := range b.Entries {
		if ofImage(entry.Name) {
			continue
		}
		if _, err := b.read(entry); err != nil {
			return err
		}
	}
	return nil
}

// checkNames checks that the entries are those of the manifest, and that their names are harmless.
func (b *Bundle) checkNames(files []*zip.File) error {
	for _, file := range files {
		switch mode := file.Mode(); {
		case !known(file.Name):
			return fmt.Errorf("it has an entry %q of a kind that this version does not know", file.Name)
		case !mode.IsRegular():
			return fmt.Errorf("its entry %q is not a plain file", file.Name)
		case !harmless(file.Name):
			return fmt.Errorf("the name of its entry %q leads elsewhere", file.Name)
		case b.entries[file.Name] != nil:
			return fmt.Errorf("it has two entries %q", file.Name)
		}
		b.entries[file.Name] = file
	}
	var size int64
	listed := map[string]bool{}
	for _, entry := range b.Entries {
		file := b.entries[entry.Name]
		switch {
		case file == nil:
			return fmt.Errorf("its manifest names %q, which is not there", entry.Name)
		case listed[entry.Name]:
			return fmt.Errorf("its manifest names %q twice", entry.Name)
		case entry.Size < 0 || entry.Size > maxFile && !ofImage(entry.Name) || uint64(entry.Size) != file.UncompressedSize64:
			return fmt.Errorf("the size of its entry %q is not what the manifest says, or above %d MiB", entry.Name, maxFile>>20)
		}
		listed[entry.Name] = true
		if sum, ok := strings.CutPrefix(entry.Name, blobs); ok && sum != entry.SHA256 {
			return fmt.Errorf("its entry %q has the sum %s in the manifest", entry.Name, entry.SHA256)
		}
		if ofImage(entry.Name) {
			if !b.Full() {
				return fmt.Errorf("it has an entry %q, and no image", entry.Name)
			}
			continue
		}
		if size += entry.Size; size > maxAll {
			return fmt.Errorf("it unpacks to more than %d MiB", maxAll>>20)
		}
	}
	for name := range b.entries {
		if !listed[name] {
			return fmt.Errorf("its entry %q is not in the manifest", name)
		}
		for folder := path.Dir(name); folder != "."; folder = path.Dir(folder) {
			if b.entries[folder] != nil {
				return fmt.Errorf("its entry %q is a file and a folder", folder)
			}
		}
	}
	return nil
}

// harmless reports whether a name stays below the folder that it is unpacked to.
func harmless(name string) bool {
	return path.Clean(name) == name && filepath.IsLocal(filepath.FromSlash(name)) && !strings.Contains(name, "\x00")
}

// checkRun checks what the manifest says of the run.
func (b *Bundle) checkRun() error {
	r, test := b.Run, b.Test
	for _, folder := range []string{r.Crate, r.Workspace} {
		if folder != "." && !harmless(folder) {
			return fmt.Errorf("the folder %q in its manifest leads elsewhere", folder)
		}
	}
	for name := range b.entries {
		if below, ok := strings.CutPrefix(name, Built); ok && !inBuilt(below) {
			return fmt.Errorf("its entry %q goes to a place that no build writes to", name)
		}
	}
	for _, name := range b.Build.SystemPackages {
		if !image.IsPackage(name) {
			return fmt.Errorf("its manifest asks for %q, which is not the name of a Debian package", name)
		}
	}
	wrong := func(what string) error { return fmt.Errorf("its manifest has a wrong value: %s", what) }
	switch {
	case b.Build.Series() == "":
		return fmt.Errorf("its manifest names no version of Python: %q", b.Build.Python)
	case test.NodeID == "":
		return errors.New("its manifest names no test")
	case test.Failed < 1 || test.Failed > test.Ran:
		return wrong(fmt.Sprintf("%d failures in %d runs", test.Failed, test.Ran))
	case !slices.Contains([]string{"forked", "subprocess", "inprocess"}, r.Isolation):
		return wrong(fmt.Sprintf("isolation %q", r.Isolation))
	case !slices.Contains([]string{"", Lines, Functions, Crate}, r.Pressure.Code):
		return wrong(fmt.Sprintf("pressure in %q", r.Pressure.Code))
	case r.Workers < 0 || r.Workers > maxWorkers:
		return wrong(fmt.Sprintf("%d workers", r.Workers))
	case r.CPUs < 0 || r.Memory <= 0 || r.Processes <= 0:
		return wrong("no limits")
	}
	for _, budget := range []time.Duration{r.StartTimeout, r.CollectTimeout, r.TestTimeout, r.FinishTimeout, r.ExitTimeout} {
		if budget <= 0 {
			return wrong(fmt.Sprintf("a budget of %v", budget))
		}
	}
	return b.checkLinks()
}

// maxWorkers bounds how many tests of a bundle's group can run at a time.
const maxWorkers = 256

// stays reports whether a link stays in the sources. Its target may go up at its start only: from there on, it could go up
// from where another link leads.
func stays(name, target string) bool {
	rest := target
	for strings.HasPrefix(rest, "../") {
		rest = strings.TrimPrefix(rest, "../")
	}
	return (rest == ".." || rest == "." || harmless(rest)) && filepath.IsLocal(path.Join(path.Dir(name), target))
}

// checkLinks checks that each link stays in the sources, and that nothing is below one.
func (b *Bundle) checkLinks() error {
	for name, target := range b.Links {
		if !harmless(name) || !stays(name, target) {
			return fmt.Errorf("its link %q leads to %q, out of the sources", name, target)
		}
		for folder := name; folder != "."; folder = path.Dir(folder) {
			if _, is := b.Links[folder]; is && folder != name || b.entries[Sources+folder] != nil {
				return fmt.Errorf("its link %q has the name of a file, or is below one or below a link", name)
			}
		}
	}
	for name := range b.entries {
		for folder := path.Dir(strings.TrimPrefix(name, Sources)); folder != "."; folder = path.Dir(folder) {
			if _, is := b.Links[folder]; is && strings.HasPrefix(name, Sources) {
				return fmt.Errorf("its entry %q is below a link", name)
			}
		}
	}
	return nil
}

// content returns an entry's content, of at most so many bytes.
func content(file *zip.File, limit int64) ([]byte, error) {
	reader, err := file.Open()
	if err != nil {
		return nil, fmt.Errorf("read its entry %q: %w", file.Name, err)
	}
	defer reader.Close()
	var data bytes.Buffer
	size, err := io.Copy(&data, io.LimitReader(reader, limit+1))
	switch {
	case size > limit:
		return nil, fmt.Errorf("its entry %q has more bytes than it says, or than %d MiB", file.Name, limit>>20)
	case err != nil:
		return nil, fmt.Errorf("its entry %q is damaged: %w", file.Name, err)
	}
	return data.Bytes(), nil
}

// Read returns the content of an entry of the manifest, checked.
func (b *Bundle) Read(name string) ([]byte, error) {
	entry, err := b.entry(name)
	if err != nil {
		return nil, err
	}
	return b.read(entry)
}

// entry returns an entry of the manifest by its name.
func (b *Bundle) entry(name string) (Entry, error) {
	for _, entry := range b.Entries {
		if entry.Name == name {
			return entry, nil
		}
	}
	return Entry{}, fmt.Errorf("the bundle has no entry %q: %w", name, fs.ErrNotExist)
}

func (b *Bundle) read(entry Entry) ([]byte, error) {
	stream, err := b.stream(entry)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	return io.ReadAll(stream)
}

// stream returns an entry's content. Reading it ends with an error if it is not what the manifest says.
func (b *Bundle) stream(entry Entry) (io.ReadCloser, error) {
	reader, err := b.entries[entry.Name].Open()
	if err != nil {
		return nil, fmt.Errorf("read its entry %q: %w", entry.Name, err)
	}
	return &checked{entry: entry, ReadCloser: reader, left: entry.Size, sum: sha256.New()}, nil
}

// checked reads an entry, and compares it with the manifest.
type checked struct {
	io.ReadCloser
	entry Entry
	left  int64 // bytes
	sum   hash.Hash
}

// Read reads a part of it.
func (c *checked) Read(data []byte) (int, error) {
	n, err := c.ReadCloser.Read(data)
	c.left -= int64(n)
	c.sum.Write(data[:n])
	switch {
	case c.left < 0:
		return 0, fmt.Errorf("its entry %q has more bytes than it says", c.entry.Name)
	case err == io.EOF && (c.left > 0 || hex.EncodeToString(c.sum.Sum(nil)) != c.entry.SHA256):
		return 0, fmt.Errorf("its entry %q is not what the manifest says: it was changed", c.entry.Name)
	case err != nil && err != io.EOF:
		return 0, fmt.Errorf("its entry %q is damaged: %w", c.entry.Name, err)
	}
	return n, err
}

// Unpack writes the sources into an empty folder. It replaces no file.
func (b *Bundle) Unpack(folder string) error {
	root, err := os.OpenRoot(folder) // a second fence, should a name be worse than it looks
	if err != nil {
		return fmt.Errorf("unpack the bundle: %w", err)
	}
	defer root.Close()
	err = b.Each(Sources, func(below string, entry Entry, data []byte) error {
		name := filepath.FromSlash(below)
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("unpack the bundle: %w", err)
		}
		mode := fs.FileMode(0o644)
		if entry.Executable {
			mode = 0o755
		}
		file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return fmt.Errorf("unpack the bundle: %w", err)
		}
		_, err = file.Write(data)
		if err = errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("unpack the bundle: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name, target := range b.Links { // after the files: none can be written through a link
		name = filepath.FromSlash(name)
		if err := errors.Join(root.MkdirAll(filepath.Dir(name), 0o755), root.Symlink(target, name)); err != nil {
			return fmt.Errorf("unpack the bundle: %w", err)
		}
	}
	return nil
}

// Each calls do with each entry below a folder, in the order of their names.
func (b *Bundle) Each(folder string, do func(below string, entry Entry, data []byte) error) error {
	for _, entry := range b.Entries {
		below, ok := strings.CutPrefix(entry.Name, folder)
		if !ok {
			continue
		}
		data, err := b.read(entry)
		if err == nil {
			err = do(below, entry, data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
