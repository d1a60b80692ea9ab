package bundle

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	oci "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// layer returns a tar stream. The text of a file is in its Linkname.
func layer(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for _, h := range headers {
		text := h.Linkname
		if h.Typeflag == tar.TypeReg {
			h.Size, h.Linkname = int64(len(text)), ""
		}
		require.NoError(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(text))
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return data.Bytes()
}

var root = []tar.Header{
	{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(1000, 0)},
	{Name: "etc/hosts", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: "127.0.0.1 localhost\n"},
	{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: "root:x:0:0\n", ModTime: time.Unix(1000, 0), Uid: 7},
	{Name: "bin", Typeflag: tar.TypeSymlink, Linkname: "usr/bin", ModTime: time.Unix(1000, 0)},
	{Name: "etc/shadow", Typeflag: tar.TypeLink, Linkname: "etc/passwd"},
	{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8},
	{Name: "usr/bin/ping", Typeflag: tar.TypeReg, Mode: 0o755, Linkname: "\x7fELF",
		PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00", "VENDOR.x": "y",
			"SCHILY.xattr.trusted.overlay.redirect": "/etc"}},
}

// full returns the path of a bundle with an image of one layer.
func full(t *testing.T, data []byte) (file string, image Image) {
	t.Helper()
	b, err := Open(saved(t, Secrets{}, sample(), ordinary))
	require.NoError(t, err)
	defer b.Close()
	file = filepath.Join(t.TempDir(), "below", "full"+Extension)
	image = Image{Architecture: "amd64", Env: []string{"PATH=/bin", "A=b=c"}, Labels: map[string]string{"python": "3.11.2"}}
	require.NoError(t, b.SaveFull(file, image, func(to io.Writer) error { return CopyRoot(to, bytes.NewReader(data), 1<<20) }))
	files, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, files, 1, "what was written meanwhile is gone")
	return file, image
}

func TestFull(t *testing.T) {
	file, image := full(t, layer(t, root...))
	b, err := Open(file)
	require.NoError(t, err)
	defer b.Close()
	require.True(t, b.Full())
	require.Equal(t, "2.0", b.Format)
	text, err := b.Read(Report)
	require.NoError(t, err)
	require.Equal(t, ordinary[Report], string(text))
	found, err := b.Image()
	require.NoError(t, err)
	image.SHA256, image.Size = found.SHA256, found.Size
	require.Equal(t, image, found)
	var copied bytes.Buffer
	require.NoError(t, b.Layer(found, &copied))
	names, first := map[string]*tar.Header{}, ""
	for r := tar.NewReader(&copied); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		names[header.Name], first = header, cmp.Or(first, header.Name)
	}
	require.Len(t, names, 6, "without the device, and what an engine makes itself")
	require.Equal(t, "./", first)
	require.Equal(t, time.Unix(0, 0), names["etc/"].ModTime)
	require.Equal(t, []any{time.Unix(1000, 0), 7}, []any{names["etc/passwd"].ModTime, names["etc/passwd"].Uid})
	require.Equal(t, "etc/passwd", names["etc/shadow"].Linkname)
	require.Equal(t, map[string]string{"SCHILY.xattr.security.capability": "\x01\x00"}, names["usr/bin/ping"].PAXRecords)

	// Equal file systems give equal files, and a rate leaves the image as it is.
	one, err := os.ReadFile(file)
	require.NoError(t, err)
	root[0].ModTime, root[3].ModTime, root[1].Linkname = time.Unix(2000, 0), time.Unix(2000, 0), "10.0.0.1 other\n"
	file, _ = full(t, layer(t, root...))
	other, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, bytes.Equal(one, other))
	rated := filepath.Join(t.TempDir(), "rated"+Extension)
	require.NoError(t, b.SaveRate(rated, 200, 31))
	again, err := Open(rated)
	require.NoError(t, err)
	defer again.Close()
	require.Equal(t, b.Entries, again.Entries)
	require.Equal(t, "2.0", again.Format)
}

// TestFullThatEnds: if the image cannot be packed, no file is left.
func TestFullThatEnds(t *testing.T) {
	b, err := Open(saved(t, Secrets{}, sample(), ordinary))
	require.NoError(t, err)
	defer b.Close()
	folder := t.TempDir()
	data := layer(t, root...)
	err = b.SaveFull(filepath.Join(folder, "x"), Image{}, func(to io.Writer) error {
		return CopyRoot(to, io.MultiReader(bytes.NewReader(data[:1024]), errorReader{}), 1<<20)
	})
	require.ErrorContains(t, err, "pack the image: read a layer: the engine has stopped")
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Empty(t, files)
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("the engine has stopped") }

// TestRefusedImages: an image that is not as the bundle says, or not as bundles have it, is refused.
func TestRefusedImages(t *testing.T) {
	data := layer(t, root...)
	of := digest.FromBytes(data)
	blob := func(d digest.Digest) string { return blobName(d) }
	parts := func(change func(*oci.Index, *oci.Manifest, map[string]string)) map[string]string {
		files := map[string]string{images + "oci-layout": `{"imageLayoutVersion":"1.0.0"}`, blob(of): string(data)}
		config, err := json.Marshal(oci.Image{})
		require.NoError(t, err)
		files[blob(digest.FromBytes(config))] = string(config)
		m := oci.Manifest{Config: oci.Descriptor{Digest: digest.FromBytes(config)},
			Layers: []oci.Descriptor{{MediaType: oci.MediaTypeImageLayer, Digest: of}}}
		index := oci.Index{Manifests: []oci.Descriptor{{}}}
		change(&index, &m, files)
		manifest, err := json.Marshal(m)
		require.NoError(t, err)
		files[blob(digest.FromBytes(manifest))] = string(manifest)
		for i := range index.Manifests {
			index.Manifests[i].Digest = digest.FromBytes(manifest)
		}
		text, err := json.Marshal(index)
		require.NoError(t, err)
		files[images+"index.json"] = string(text)
		return files
	}
	for name, c := range map[string]struct {
		change func(*oci.Index, *oci.Manifest, map[string]string)
		said   string
	}{
		"two images": {func(i *oci.Index, _ *oci.Manifest, _ map[string]string) {
			i.Manifests = append(i.Manifests, i.Manifests[0])
		}, "there are 2"},
		"no image":   {func(i *oci.Index, _ *oci.Manifest, _ map[string]string) { i.Manifests = nil }, "there are 0"},
		"two layers": {func(_ *oci.Index, m *oci.Manifest, _ map[string]string) { m.Layers = append(m.Layers, m.Layers[0]) }, "other layers than one"},
		"compressed": {func(_ *oci.Index, m *oci.Manifest, _ map[string]string) {
			m.Layers[0].MediaType = oci.MediaTypeImageLayerGzip
		}, "not compressed"},
		"no digest":      {func(_ *oci.Index, m *oci.Manifest, _ map[string]string) { m.Layers[0].Digest = "x" }, "invalid checksum digest"},
		"a wrong config": {func(_ *oci.Index, m *oci.Manifest, _ map[string]string) { m.Config.Digest = "../x" }, "invalid checksum digest"},
		"no layer":       {func(_ *oci.Index, _ *oci.Manifest, files map[string]string) { delete(files, blob(of)) }, "has no entry"},
		"no JSON":        {func(_ *oci.Index, m *oci.Manifest, _ map[string]string) { m.Config.Digest = of }, "invalid character"},
		"another file":   {func(_ *oci.Index, _ *oci.Manifest, files map[string]string) { files[images+"run.sh"] = "x" }, "of a kind that this version does not know"},
		"a name of a blob": {func(_ *oci.Index, _ *oci.Manifest, files map[string]string) { files[images+"blobs/sha256/../x"] = "x" },
			"of a kind that this version does not know"},
	} {
		t.Run(name, func(t *testing.T) {
			var entries []entry
			for name, text := range parts(c.change) {
				entries = append(entries, entry{name, text, 0o644})
			}
			_, err := Open(forge(t, listed(t, entries...), entries...))
			require.ErrorContains(t, err, c.said)
		})
	}
	t.Run("a layer of another content", func(t *testing.T) {
		files := parts(func(*oci.Index, *oci.Manifest, map[string]string) {})
		var entries []entry
		for name, text := range files {
			entries = append(entries, entry{name, text, 0o644})
		}
		m := listed(t, entries...)
		for i := range entries {
			entries[i].text = strings.Replace(entries[i].text, "root:x:0:0", "root::0:0:", 1)
		}
		b, err := Open(forge(t, m, entries...))
		require.NoError(t, err, "it is checked when it is loaded")
		defer b.Close()
		image, err := b.Image()
		require.NoError(t, err)
		require.ErrorContains(t, b.Layer(image, io.Discard), "it was changed")
	})
	t.Run("an entry of another content", func(t *testing.T) {
		files := parts(func(_ *oci.Index, _ *oci.Manifest, files map[string]string) {
			files[blobs+strings.Repeat("0", 64)] = "x"
		})
		var entries []entry
		for name, text := range files {
			entries = append(entries, entry{name, text, 0o644})
		}
		_, err := Open(forge(t, listed(t, entries...), entries...))
		require.ErrorContains(t, err, "has the sum 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 in the manifest")
	})
	t.Run("parts of an image", func(t *testing.T) {
		part := entry{images + "oci-layout", "{}", 0o644}
		_, err := Open(forge(t, listed(t, part), part))
		require.ErrorContains(t, err, "and no image")
	})
	for name, header := range map[string]tar.Header{
		`a file with the name "etc/.wh.passwd"`: {Name: "etc/.wh.passwd", Typeflag: tar.TypeReg},
		`a file with the name "../x"`:           {Name: "../x", Typeflag: tar.TypeReg},
		`a file with the name "/etc"`:           {Name: "/etc", Typeflag: tar.TypeDir},
	} {
		require.ErrorContains(t, CopyRoot(io.Discard, bytes.NewReader(layer(t, header)), 1<<20), name)
	}
	require.ErrorContains(t, CopyRoot(io.Discard, bytes.NewReader(data), 12), "too large from ")
	require.ErrorContains(t, CopyRoot(io.Discard, bytes.NewReader(data[:700]), 1<<20), "unexpected EOF")
	require.Error(t, CopyRoot(io.Discard, strings.NewReader("garbage"), 1<<20))
}

// TestSparse: a small layer cannot hold a large file.
func TestSparse(t *testing.T) {
	folder := t.TempDir()
	file, err := os.Create(filepath.Join(folder, "sparse"))
	require.NoError(t, err)
	require.NoError(t, file.Truncate(1<<30))
	require.NoError(t, file.Close())
	for format, said := range map[string]string{"gnu": "of the kind 'S'", "posix": "too large from "} {
		packed := sparse(t, folder, format)
		require.Less(t, len(packed), 1<<20)
		require.ErrorContains(t, CopyRoot(io.Discard, bytes.NewReader(packed), int64(len(packed))), said, format)
	}
}

// sparse packs a folder with GNU tar, which keeps holes.
func sparse(t *testing.T, folder, format string) []byte {
	t.Helper()
	packed, err := exec.Command("tar", "--sparse", "--format="+format, "-C", folder, "-c", "sparse").Output()
	require.NoError(t, err)
	return packed
}
