package bundle

import (
	"archive/tar"
	"compress/flate"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	oci "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is what a full bundle holds of the image that its test runs on. It has one layer, which is not compressed: the bundle
// compresses it.
type Image struct {
	Architecture string            // in the words of an engine, such as amd64
	Env          []string          // NAME=VALUE
	Labels       map[string]string // what it was made from
	SHA256       string            // of its layer
	Size         int64             // of its layer, in bytes
}

// inImages matches the entries of an image.
var inImages = regexp.MustCompile(`^` + images + `(oci-layout|index\.json|blobs/sha256/[0-9a-f]{64})$`)

// ofImage reports whether an entry is a part of an image. These have no limit of size here.
func ofImage(name string) bool { return strings.HasPrefix(name, images) }

// blobs is the folder of an image's contents, each of which is named by its SHA-256.
const blobs = images + "blobs/sha256/"

func blobName(d digest.Digest) string { return blobs + d.Encoded() }

// format returns the oldest version of the format that has all entries.
func (w *Writer) format() string {
	if slices.ContainsFunc(w.entries, func(p packed) bool { return ofImage(p.Name) }) {
		return formatImage
	}
	return format
}

// SaveFull writes the bundle to another file, with an image whose root file system pack writes as a tar stream. The file is
// written whole or not at all.
func (b *Bundle) SaveFull(file string, image Image, pack func(io.Writer) error) (err error) {
	w := b.writer()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	spool, err := os.CreateTemp(filepath.Dir(file), ".image-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spool.Close()) }()
	if err := os.Remove(spool.Name()); err != nil { // so that it ends with this process, however that ends
		return err
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(pack(writer)) }()
	layer, err := compress(spool, flate.BestSpeed, reader)
	reader.CloseWithError(err)
	if err != nil {
		return fmt.Errorf("pack the image: %w", err)
	}
	if layer.size, err = spool.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	layer.open = func() (io.Reader, error) { return io.NewSectionReader(spool, 0, layer.size), nil }
	if err := w.addImage(image, layer); err != nil {
		return err
	}
	return w.Save(file, b.Manifest)
}

// addImage adds an OCI layout: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
func (w *Writer) addImage(image Image, layer packed) error {
	blob := func(mediaType string, content any) (oci.Descriptor, error) {
		data, err := json.Marshal(content)
		if err != nil {
			return oci.Descriptor{}, err
		}
		d := digest.FromBytes(data)
		return oci.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}, w.add(blobName(d), false, data)
	}
	of := digest.NewDigestFromEncoded(digest.SHA256, layer.SHA256)
	layer.Name = blobName(of)
	w.entries = append(w.entries, layer)
	config, err := blob(oci.MediaTypeImageConfig, oci.Image{
		Platform: oci.Platform{Architecture: image.Architecture, OS: "linux"},
		Config:   oci.ImageConfig{Env: image.Env, Labels: image.Labels},
		RootFS:   oci.RootFS{Type: "layers", DiffIDs: []digest.Digest{of}},
	})
	if err != nil {
		return err
	}
	manifest, err := blob(oci.MediaTypeImageManifest, oci.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageManifest, Config: config,
		Layers: []oci.Descriptor{{MediaType: oci.MediaTypeImageLayer, Digest: of, Size: layer.Size}},
	})
	if err != nil {
		return err
	}
	for name, content := range map[string]any{
		oci.ImageLayoutFile: oci.ImageLayout{Version: oci.ImageLayoutVersion},
		oci.ImageIndexFile: oci.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageIndex, Manifests: []oci.Descriptor{manifest},
		},
	} {
		data, err := json.Marshal(content)
		if err != nil {
			return err
		}
		if err := w.add(images+name, false, data); err != nil {
			return err
		}
	}
	return nil
}

// Full reports whether the bundle has the image that its test runs on.
func (b *Bundle) Full() bool { return b.entries[images+oci.ImageIndexFile] != nil }

// Image returns the image of a full bundle.
func (b *Bundle) Image() (image Image, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the image in the bundle: %w", err)
		}
	}()
	var index oci.Index
	var manifest oci.Manifest
	var config oci.Image
	if err := b.parse(images+oci.ImageIndexFile, &index); err != nil {
		return image, err
	}
	if len(index.Manifests) != 1 {
		return image, fmt.Errorf("there are %d, and a bundle has one", len(index.Manifests))
	}
	if err := b.blob(index.Manifests[0], &manifest); err != nil {
		return image, err
	}
	if err := b.blob(manifest.Config, &config); err != nil {
		return image, err
	}
	if len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != oci.MediaTypeImageLayer {
		return image, errors.New("it has other layers than one that is not compressed")
	}
	of := manifest.Layers[0].Digest
	if err := of.Validate(); err != nil {
		return image, err
	}
	layer, err := b.entry(blobName(of))
	if err != nil {
		return image, err
	}
	return Image{Architecture: config.Architecture, Env: config.Config.Env, Labels: config.Config.Labels, SHA256: layer.SHA256,
		Size: layer.Size}, nil
}

// blob reads a blob that a descriptor names.
func (b *Bundle) blob(of oci.Descriptor, into any) error {
	if err := of.Digest.Validate(); err != nil {
		return err
	}
	return b.parse(blobName(of.Digest), into)
}

// parse reads an entry of JSON.
func (b *Bundle) parse(name string, into any) error {
	entry, err := b.entry(name)
	if err != nil {
		return err
	}
	if entry.Size > maxManifest {
		return fmt.Errorf("%q has more than %d MiB", name, maxManifest>>20)
	}
	data, err := b.read(entry)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	return nil
}

// Layer writes the root file system of a full bundle's image as a tar stream, as [CopyRoot] does. It returns an error if the
// layer is not what the bundle's manifest says.
func (b *Bundle) Layer(image Image, to io.Writer) error {
	entry, err := b.entry(blobName(digest.NewDigestFromEncoded(digest.SHA256, image.SHA256)))
	if err != nil {
		return err
	}
	layer, err := b.stream(entry)
	if err != nil {
		return err
	}
	defer layer.Close()
	if err := CopyRoot(to, layer, entry.Size); err != nil {
		return fmt.Errorf("the image in the bundle: %w", err)
	}
	return nil
}

// perContainer are files that an engine makes in each container.
var perContainer = map[string]bool{".dockerenv": true, "dev/console": true, "etc/hostname": true, "etc/hosts": true,
	"etc/resolv.conf": true}

// maxLayerFiles bounds how many files a layer has. Python, Rust and the tools have some 20,000.
const maxLayerFiles = 1 << 20

// CopyRoot copies a root file system from one tar stream to another: only files, folders and links. It leaves out what an engine
// makes in each container, so that the file systems of two containers of one image are the same. It returns an error if the files
// have more than limit bytes, and for what no container's root file system has.
func CopyRoot(to io.Writer, from io.Reader, limit int64) error {
	w := tar.NewWriter(to)
	// First, because an engine takes a stream whose first name looks like that for a compressed one.
	if err := w.WriteHeader(&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}); err != nil {
		return fmt.Errorf("write a layer: %w", err)
	}
	files := 0
	for r := tar.NewReader(from); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, from) // its padding
			return errors.Join(err, w.Close())
		}
		if err != nil {
			return fmt.Errorf("read a layer: %w", err)
		}
		name := path.Clean(header.Name)
		switch {
		case name != "." && !filepath.IsLocal(name), strings.HasPrefix(path.Base(name), ".wh."): // which would remove another file
			return fmt.Errorf("a layer has a file with the name %q", header.Name)
		case name == ".", perContainer[name], slices.Contains([]byte{tar.TypeChar, tar.TypeBlock, tar.TypeFifo}, header.Typeflag):
			continue
		case !slices.Contains([]byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink}, header.Typeflag):
			return fmt.Errorf("%q of a layer is of the kind %q, which a bundle's has not", header.Name, header.Typeflag)
		}
		if limit -= header.Size; limit < 0 { // a sparse file is larger than the stream that it is in
			return fmt.Errorf("the files of a layer are too large from %q on", header.Name)
		}
		if files++; files > maxLayerFiles {
			return fmt.Errorf("a layer has more than %d files", maxLayerFiles)
		}
		copied := tar.Header{Typeflag: header.Typeflag, Name: header.Name, Linkname: header.Linkname, Size: header.Size, Mode: header.Mode,
			Uid: header.Uid, Gid: header.Gid, ModTime: header.ModTime, PAXRecords: maps.Clone(header.PAXRecords), Format: tar.FormatPAX}
		if header.Typeflag == tar.TypeDir || header.Typeflag == tar.TypeSymlink { // the engine makes some, and files in others
			copied.ModTime = time.Unix(0, 0)
		}
		maps.DeleteFunc(copied.PAXRecords, func(key, _ string) bool {
			attribute, ok := strings.CutPrefix(key, "SCHILY.xattr.")
			return !ok || attribute != "security.capability" && !strings.HasPrefix(attribute, "user.")
		})
		if err := w.WriteHeader(&copied); err != nil {
			return fmt.Errorf("write a layer: %w", err)
		}
		if _, err := io.Copy(w, r); err != nil {
			return fmt.Errorf("copy %q of a layer: %w", header.Name, err)
		}
	}
}
