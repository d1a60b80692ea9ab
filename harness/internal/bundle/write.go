package bundle

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Limits of what is written and of what is read.
const (
	maxFile    = 256 << 20 // bytes of one entry
	maxAll     = 1 << 30   // bytes of all entries
	maxEntries = 50000
	// maxManifest bounds the manifest, which names each entry and each test that ran before.
	maxManifest = 8 << 20
)

// Writer collects the entries of a bundle, compressed: in memory, but for an image.
type Writer struct {
	secrets  Secrets
	entries  []packed
	size     int64
	withheld []string
	links    map[string]string
}

type packed struct {
	Entry
	method uint16 // of its compression
	crc    uint32
	size   int64                     // compressed, in bytes
	open   func() (io.Reader, error) // what is compressed
}

// NewWriter returns a writer whose entries have no value of secrets in them.
func NewWriter(secrets Secrets) *Writer { return &Writer{secrets: secrets, links: map[string]string{}} }

// Add adds an entry. A file whose name says that it holds credentials is left out; in others, what looks like one is
// masked. Both are listed in the manifest.
func (w *Writer) Add(name string, executable bool, content io.Reader) error {
	if strings.HasPrefix(name, Sources) && w.secrets.Withholds(name) || !harmless(name) {
		w.withhold(strings.TrimPrefix(name, Sources))
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(content, maxFile+1))
	if err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	if err := w.room(name, int64(len(data))); err != nil {
		return err
	}
	masked, found := w.secrets.Mask(data)
	if found {
		w.withhold(strings.TrimPrefix(name, Sources))
	}
	return w.add(name, executable, masked)
}

// room counts an entry, and returns an error if a bundle has no room for it.
func (w *Writer) room(name string, size int64) error {
	if w.size += size; size > maxFile || w.size > maxAll || len(w.entries) >= maxEntries {
		return fmt.Errorf("add %s: a bundle holds at most %d files, %d MiB, and %d MiB of one file", name, maxEntries,
			maxAll>>20, maxFile>>20)
	}
	return nil
}

func (w *Writer) add(name string, executable bool, data []byte) error {
	var compressed bytes.Buffer
	entry, err := compress(&compressed, flate.DefaultCompression, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	entry.Name, entry.Executable, entry.size = name, executable, int64(compressed.Len())
	entry.open = func() (io.Reader, error) { return bytes.NewReader(compressed.Bytes()), nil }
	w.entries = append(w.entries, entry)
	return nil
}

// compress compresses content, and returns an entry without a name.
func compress(to io.Writer, level int, content io.Reader) (packed, error) {
	deflate, err := flate.NewWriter(to, level)
	if err != nil {
		return packed{}, err
	}
	sum, crc := sha256.New(), crc32.NewIEEE()
	size, err := io.Copy(io.MultiWriter(deflate, sum, crc), content)
	if err = errors.Join(err, deflate.Close()); err != nil {
		return packed{}, err
	}
	return packed{Entry: Entry{Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}, method: zip.Deflate, crc: crc.Sum32()}, nil
}

// Link adds a symbolic link of the sources, if it stays in them.
func (w *Writer) Link(name, target string) {
	target = strings.TrimSuffix(strings.TrimPrefix(target, "./"), "/")
	if !harmless(name) || !stays(name, target) {
		w.withhold(name)
		return
	}
	w.links[name] = target
}

// Clone returns a writer that has the same entries so far.
func (w *Writer) Clone() *Writer {
	return &Writer{secrets: w.secrets, entries: slices.Clone(w.entries), size: w.size, withheld: slices.Clone(w.withheld),
		links: maps.Clone(w.links)}
}

// withhold lists what is not in the bundle.
func (w *Writer) withhold(what string) { w.withheld = append(w.withheld, what) }

// Env returns the variables without those that look like credentials, which are listed in the manifest.
func (w *Writer) Env(env map[string]string) map[string]string {
	kept := map[string]string{}
	for name, value := range env {
		if _, found := w.secrets.Mask([]byte(value)); found || isSecretName(name) {
			w.withhold(name)
			continue
		}
		kept[name] = value
	}
	return kept
}

// SHA256 returns the sum of an entry that was added, "" if there is none of that name.
func (w *Writer) SHA256(name string) string {
	for _, entry := range w.entries {
		if entry.Name == name {
			return entry.SHA256
		}
	}
	return ""
}

// SaveRate writes the bundle to another file, with how often its test ran and failed.
func (b *Bundle) SaveRate(file string, ran, failed int) error {
	m := b.Manifest
	m.Test.Ran, m.Test.Failed = ran, failed
	return b.writer().Save(file, m)
}

// writer returns a writer with the bundle's entries, which it copies as they are.
func (b *Bundle) writer() *Writer {
	w := NewWriter(Secrets{})
	w.withheld, w.links = slices.Clone(b.Withheld), maps.Clone(b.Links)
	for _, entry := range b.Entries {
		file := b.entries[entry.Name]
		w.entries = append(w.entries, packed{Entry: entry, method: file.Method, crc: file.CRC32, size: int64(file.CompressedSize64),
			open: file.OpenRaw})
	}
	return w
}

// Save writes the bundle to a file, whole or not at all. Equal manifests, and entries that were added alike, give equal
// files. It sets the manifest's Format, Entries, Links and Withheld.
func (w *Writer) Save(file string, m Manifest) (err error) {
	m.Format = w.format()
	slices.SortFunc(w.entries, func(a, b packed) int { return strings.Compare(a.Name, b.Name) })
	m.Entries, m.Links = nil, w.links
	for _, entry := range w.entries {
		m.Entries = append(m.Entries, entry.Entry)
	}
	for _, texts := range []*[]string{&m.Test.Before, &m.Run.Tests, &m.Run.PytestArgs, &m.Build.MaturinArgs, &m.Build.Features,
		&m.Build.Installed} {
		masked := w.secrets.maskAll(*texts)
		if !slices.Equal(masked, *texts) {
			w.withhold("arguments")
		}
		*texts = masked
	}
	m.Test.Name = w.secrets.mask(m.Test.Name)
	m.Test.NodeID, m.Test.Place = w.secrets.mask(m.Test.NodeID), w.secrets.mask(m.Test.Place)
	slices.Sort(w.withheld)
	m.Withheld = slices.Compact(w.withheld)
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	if len(manifest) > maxManifest {
		return fmt.Errorf("the manifest has more than %d MiB", maxManifest>>20)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(file), ".bundle-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	if err := errors.Join(w.write(part, manifest), part.Close()); err != nil {
		return err
	}
	if err := os.Chmod(part.Name(), 0o644); err != nil {
		return err
	}
	return os.Rename(part.Name(), file)
}

func (w *Writer) write(to io.Writer, manifest []byte) error {
	archive := zip.NewWriter(to)
	first, err := archive.CreateHeader(&zip.FileHeader{Name: manifestName, Method: zip.Deflate})
	if err == nil {
		_, err = first.Write(manifest)
	}
	if err != nil {
		return err
	}
	for _, entry := range w.entries {
		header := zip.FileHeader{
			Name: entry.Name, Method: entry.method, CRC32: entry.crc, UncompressedSize64: uint64(entry.Size),
			CompressedSize64: uint64(entry.size),
		}
		mode := fs.FileMode(0o644)
		if entry.Executable {
			mode = 0o755
		}
		header.SetMode(mode)
		raw, err := archive.CreateRaw(&header)
		var compressed io.Reader
		if err == nil {
			compressed, err = entry.open()
		}
		if err == nil {
			_, err = io.Copy(raw, compressed)
		}
		if err != nil {
			return err
		}
	}
	return archive.Close()
}
