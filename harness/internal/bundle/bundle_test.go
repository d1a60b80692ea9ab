package bundle

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sample returns a manifest of a test that hung.
func sample() Manifest {
	return Manifest{
		PyO3Test: "0.1.0", Test: Test{NodeID: "tests/test_a.py::test_hang", Outcome: "hung", Signature: "abc", Ran: 1, Failed: 1},
		Build: Build{Python: "3.11.2"},
		Run: Run{Name: "words", Crate: "rust/words", Workspace: ".", Isolation: "forked", Memory: 2 << 30, Processes: 2048,
			StartTimeout: 1, CollectTimeout: 1, TestTimeout: 1, FinishTimeout: 1, ExitTimeout: 1},
	}
}

// saved returns the path of a bundle with some files.
func saved(t *testing.T, secrets Secrets, m Manifest, files map[string]string) string {
	t.Helper()
	w := NewWriter(secrets)
	for name, text := range files {
		require.NoError(t, w.Add(name, strings.HasSuffix(name, ".sh"), strings.NewReader(text)))
	}
	for name, target := range m.Links {
		w.Link(name, target)
	}
	m.Run.Env = w.Env(m.Run.Env)
	file := filepath.Join(t.TempDir(), "x"+Extension)
	require.NoError(t, w.Save(file, m))
	return file
}

var ordinary = map[string]string{
	"sources/rust/words/src/lib.rs": "fn a() {}\n", "sources/run.sh": "#!/bin/sh\n", Report: "cause: x\n",
	"built/opt/pyo3test/built/tree/rust/words/a.so": "\x7fELF\x00\xff", Recording: "{}\n",
}

func TestRoundTrip(t *testing.T) {
	m := sample()
	m.Links = map[string]string{"rust/words/LICENSE": "../../LICENSE", "docs": "rust"}
	file := saved(t, Secrets{}, m, ordinary)
	b, err := Open(file)
	require.NoError(t, err)
	defer b.Close()
	require.Equal(t, m.Test, b.Test)
	require.Len(t, b.Entries, len(ordinary))
	folder := t.TempDir()
	require.NoError(t, b.Unpack(folder))
	text, err := os.ReadFile(filepath.Join(folder, "docs/words/src/lib.rs")) // through the link
	require.NoError(t, err)
	require.Equal(t, "fn a() {}\n", string(text))
	info, err := os.Stat(filepath.Join(folder, "run.sh"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&0o100)
	target, err := os.Readlink(filepath.Join(folder, "rust/words/LICENSE"))
	require.NoError(t, err)
	require.Equal(t, "../../LICENSE", target)
	require.ErrorIs(t, b.Unpack(folder), fs.ErrExist)

	rated := filepath.Join(t.TempDir(), "rated"+Extension)
	require.NoError(t, b.SaveRate(rated, 200, 31))
	other, err := Open(rated)
	require.NoError(t, err)
	defer other.Close()
	require.Equal(t, []int{200, 31}, []int{other.Test.Ran, other.Test.Failed})
	require.Equal(t, b.Entries, other.Entries)
	require.Equal(t, b.Links, other.Links)
}

// TestEqualBundles: the same content gives the same file, whatever the order in which it is added.
func TestEqualBundles(t *testing.T) {
	one, err := os.ReadFile(saved(t, Secrets{}, sample(), ordinary))
	require.NoError(t, err)
	for range 5 { // a map has another order each time
		other, err := os.ReadFile(saved(t, Secrets{}, sample(), ordinary))
		require.NoError(t, err)
		require.True(t, bytes.Equal(one, other))
	}
	archive, err := zip.NewReader(bytes.NewReader(one), int64(len(one)))
	require.NoError(t, err)
	require.Equal(t, "manifest.json", archive.File[0].Name)
}

// entry is a raw entry of a hostile bundle.
type entry struct {
	name, text string
	mode       fs.FileMode
}

// forge writes a bundle with a manifest and entries that no writer would make.
func forge(t *testing.T, m Manifest, entries ...entry) string {
	t.Helper()
	if m.Format == "" {
		m.Format = "1.0"
	}
	manifest, err := json.Marshal(m)
	require.NoError(t, err)
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for _, e := range append([]entry{{manifestName, string(manifest), 0o644}}, entries...) {
		header := zip.FileHeader{Name: e.name, Method: zip.Deflate}
		header.SetMode(e.mode)
		w, err := archive.CreateHeader(&header)
		require.NoError(t, err)
		_, err = w.Write([]byte(e.text))
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	file := filepath.Join(t.TempDir(), "forged"+Extension)
	require.NoError(t, os.WriteFile(file, out.Bytes(), 0o644))
	return file
}

// listed returns the sample with entries in its manifest, as they should be.
func listed(t *testing.T, entries ...entry) Manifest {
	t.Helper()
	w := NewWriter(Secrets{})
	for _, e := range entries {
		require.NoError(t, w.Add(e.name, false, strings.NewReader(e.text)))
	}
	m := sample()
	for _, p := range w.entries {
		m.Entries = append(m.Entries, p.Entry)
	}
	return m
}

func TestRefused(t *testing.T) {
	good := entry{"sources/a.py", "a = 1\n", 0o644}
	with := func(e entry) func(*testing.T) string {
		return func(t *testing.T) string { return forge(t, listed(t, good, e), good, e) }
	}
	changed := func(change func(*Manifest)) func(*testing.T) string {
		return func(t *testing.T) string {
			m := listed(t, good)
			change(&m)
			return forge(t, m, good)
		}
	}
	for name, c := range map[string]struct {
		file func(*testing.T) string
		said string
	}{
		"an unknown entry":           {with(entry{"etc/passwd", "x", 0o644}), "of a kind that this version does not know"},
		"above the sources":          {with(entry{"sources/../../x", "x", 0o644}), "leads elsewhere"},
		"an absolute path":           {with(entry{"sources//etc/passwd", "x", 0o644}), "leads elsewhere"},
		"a folder":                   {with(entry{"sources/folder/", "", fs.ModeDir | 0o755}), "is not a plain file"},
		"a link":                     {with(entry{"sources/link", "/etc/passwd", fs.ModeSymlink | 0o777}), "is not a plain file"},
		"a device":                   {with(entry{"sources/null", "", fs.ModeDevice | 0o666}), "is not a plain file"},
		"a file and a folder":        {with(entry{"sources/a.py/b", "x", 0o644}), "is a file and a folder"},
		"built into the system":      {with(entry{"built/usr/bin/python3", "x", 0o755}), "a place that no build writes to"},
		"built into the tools":       {with(entry{"built/opt/pyo3test/agent/agent.py", "x", 0o755}), "a place that no build writes to"},
		"another major version":      {changed(func(m *Manifest) { m.Format, m.PyO3Test = "3.0", "9.9" }), "made by pyo3test 9.9, and this version reads 1.x to 2.x"},
		"no format":                  {changed(func(m *Manifest) { m.Format = "x" }), "no bundle of pyo3test"},
		"a size that lies":           {changed(func(m *Manifest) { m.Entries[0].Size = 5 }), "is not what the manifest says"},
		"a negative size":            {changed(func(m *Manifest) { m.Entries[0].Size = -1 }), "is not what the manifest says"},
		"another content":            {changed(func(m *Manifest) { m.Entries[0].SHA256 = strings.Repeat("0", 64) }), "it was changed"},
		"a missing entry":            {changed(func(m *Manifest) { m.Entries[0].Name = "sources/b.py" }), "which is not there"},
		"an entry that is not named": {changed(func(m *Manifest) { m.Entries = nil }), "is not in the manifest"},
		"named twice":                {changed(func(m *Manifest) { m.Entries = append(m.Entries, m.Entries[0]) }), "twice"},
		"a crate elsewhere":          {changed(func(m *Manifest) { m.Run.Crate = "../x" }), "leads elsewhere"},
		"an absolute workspace":      {changed(func(m *Manifest) { m.Run.Workspace = "/etc" }), "leads elsewhere"},
		"no Python":                  {changed(func(m *Manifest) { m.Build.Python = "3; rm" }), "names no version of Python"},
		"an option of apt":           {changed(func(m *Manifest) { m.Build.SystemPackages = []string{"-oDPkg::Pre-Invoke::=sh"} }), "not the name of a Debian package"},
		"more failures than runs":    {changed(func(m *Manifest) { m.Test.Failed = 2 }), "2 failures in 1 runs"},
		"no limit of memory":         {changed(func(m *Manifest) { m.Run.Memory = 0 }), "no limits"},
		"a negative budget":          {changed(func(m *Manifest) { m.Run.ExitTimeout = -1 }), "a budget of -1ns"},
		"an isolation of its own":    {changed(func(m *Manifest) { m.Run.Isolation = "none" }), "isolation"},
		"many workers":               {changed(func(m *Manifest) { m.Run.Workers = 1 << 30 }), "workers"},
		"no test":                    {changed(func(m *Manifest) { m.Test.NodeID = "" }), "names no test"},
		"a link that leads out":      {changed(func(m *Manifest) { m.Links = map[string]string{"l": "../x"} }), "out of the sources"},
		"an absolute link":           {changed(func(m *Manifest) { m.Links = map[string]string{"l": "/etc/passwd"} }), "out of the sources"},
		"a link up in its middle":    {changed(func(m *Manifest) { m.Links = map[string]string{"x/y/l": "k/../../z"} }), "out of the sources"},
		"a link in a file's place":   {changed(func(m *Manifest) { m.Links = map[string]string{"a.py": "b"} }), "has the name of a file"},
		"a link below a link":        {changed(func(m *Manifest) { m.Links = map[string]string{"l": "k", "l/m": "n"} }), "below a link"},
		"a file below a link": {func(t *testing.T) string {
			below := entry{"sources/l/b.py", "x", 0o644}
			m := listed(t, below)
			m.Links = map[string]string{"l": "k"}
			return forge(t, m, below)
		}, "is below a link"},
		"twice": {func(t *testing.T) string { return forge(t, listed(t, good), good, good) }, "two entries"},
		"no manifest": {func(t *testing.T) string {
			var out bytes.Buffer
			archive := zip.NewWriter(&out)
			_, err := archive.Create("sources/a.py")
			require.NoError(t, err)
			require.NoError(t, archive.Close())
			file := filepath.Join(t.TempDir(), "x.pyo3test")
			require.NoError(t, os.WriteFile(file, out.Bytes(), 0o644))
			return file
		}, "its first entry is not manifest.json"},
		"garbage": {func(t *testing.T) string {
			file := filepath.Join(t.TempDir(), "x.pyo3test")
			require.NoError(t, os.WriteFile(file, []byte("garbage"), 0o644))
			return file
		}, "truncated, or is not a bundle"},
		"nothing there": {func(t *testing.T) string { return filepath.Join(t.TempDir(), "x.pyo3test") }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Open(c.file(t))
			require.Nil(t, b)
			require.ErrorContains(t, err, c.said)
		})
	}
}

// TestSizeThatLies: a small entry that unpacks to more than both the archive and the manifest say ends at the limit.
func TestSizeThatLies(t *testing.T) {
	bomb := entry{"sources/bomb", strings.Repeat("\x00", 1<<20), 0o644}
	m := listed(t, bomb)
	file := forge(t, m, bomb)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	// The sizes in the archive's directory: of the entry, uncompressed.
	lie := bytes.ReplaceAll(data, []byte{0, 0, 0x10, 0}, []byte{16, 0, 0, 0})
	require.NotEqual(t, data, lie)
	lie = bytes.ReplaceAll(lie, []byte(`"size":1048576`), []byte(`"size":0000016`))
	require.NoError(t, os.WriteFile(file, lie, 0o644))
	_, err = Open(file)
	require.Error(t, err)
}

// TestDamaged: wherever a bundle is cut off or changed, it is refused, or its content is what it was.
func TestDamaged(t *testing.T) {
	file := saved(t, Secrets{}, sample(), ordinary)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	for size := 0; size < len(data); size += 3 {
		require.NoError(t, os.WriteFile(file, data[:size], 0o644))
		_, err := Open(file)
		require.Error(t, err, size)
	}
	for at := 0; at < len(data); at += 3 {
		changed := bytes.Clone(data)
		changed[at] ^= 0x40
		require.NoError(t, os.WriteFile(file, changed, 0o644))
		b, err := Open(file)
		if err != nil {
			continue
		}
		for name, text := range ordinary { // the byte is one that no one reads, such as a time
			content, err := b.Read(name)
			require.NoError(t, err, at)
			require.Equal(t, text, string(content), at)
		}
		require.NoError(t, b.Close())
	}
}

// TestNewerMinorVersion: fields that are not known are passed over.
func TestNewerMinorVersion(t *testing.T) {
	m := sample()
	m.Format = "1.7"
	b, err := Open(forge(t, m))
	require.NoError(t, err)
	require.NoError(t, b.Close())
}

func TestSecrets(t *testing.T) {
	github := "ghp_" + strings.Repeat("a1B2", 9)
	secrets := secretsOf([]string{"MY_API_TOKEN=" + "hunter2-hunter2", "PIP_INDEX_URL=https://me:s3cr3t-word@example.com/simple",
		"SSH_AUTH_SOCK=/run/agent.sock", "SHORT_TOKEN=test", "HOME=/home/somebody"}, []string{
		"machine a.example login me password netrc-word\n", "[registries.x]\ntoken = \"cargo-word\"\n",
		"[global]\nindex-url = https://me:pip-words@example.com/simple\n",
		"export SENTRY_DSN=\"dsn of-the 3rd\"\nTOKENIZER_MODEL=bert-base-uncased\n"})
	m := sample()
	m.Run.Env = map[string]string{"RUST_LOG": "debug", "DB_PASSWORD": "x", "URL": "postgres://u:pw-of-db@db/x", "PGPASSWORD": "x", "authToken": "x", "TOKENIZERS_PARALLELISM": "false"}
	args := []string{"--token=hunter2-hunter2"}
	m.Run.PytestArgs = args
	file := saved(t, secrets, m, map[string]string{
		"sources/.env": "A=1\n", "sources/deep/id_rsa": "key\n", "sources/server.pem": "x", "sources/.npmrc": "x",
		"sources/a.py":                       "token = '" + github + "'\nother = 'hunter2-hunter2'\n",
		"sources/README.md":                  "see https://me:s3cr3t-word@example.com and https://example.com/a:b@c\n",
		"sources/key.txt":                    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----\n",
		"built/opt/pyo3test/built/tree/a.so": "\x7fELF\xff\xfehunter2-hunter2\x00",
		Report:                               "printed hunter2-hunter2\n",
		"sources/plain.py":                   "password = input()\n",
		Recording:                            "netrc-word cargo-word pip-words dsn of-the 3rd, bert-base-uncased\n",
	})
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	b, err := Open(file)
	require.NoError(t, err)
	defer b.Close()
	var all strings.Builder
	for _, e := range b.Entries {
		text, err := b.Read(e.Name)
		require.NoError(t, err)
		all.Write(text)
	}
	manifest, err := content(b.archive.File[0], maxManifest)
	require.NoError(t, err)
	all.Write(manifest)
	for _, secret := range []string{github, "hunter2", "s3cr3t-word", "pw-of-db", "MIIabc", "netrc-word", "cargo-word", "pip-words", "of-the 3rd"} {
		require.NotContains(t, all.String(), secret)
		require.NotContains(t, string(data), secret)
	}
	require.Equal(t, map[string]string{"RUST_LOG": "debug", "TOKENIZERS_PARALLELISM": "false"}, b.Run.Env)
	require.Equal(t, []string{".env", ".npmrc", "DB_PASSWORD", "PGPASSWORD", "README.md", "URL", "a.py", "arguments", "authToken",
		"built/opt/pyo3test/built/tree/a.so", "deep/id_rsa", "key.txt", Recording, Report}, b.Withheld)
	require.Equal(t, []string{"--token=hunter2-hunter2"}, args, "the Suite's own, which a later build uses")
	text, err := b.Read("sources/plain.py")
	require.NoError(t, err)
	require.Equal(t, "password = input()\n", string(text))
	text, err = b.Read(Recording)
	require.NoError(t, err)
	require.Contains(t, string(text), "bert-base-uncased")
	text, err = b.Read("sources/a.py")
	require.NoError(t, err)
	require.Equal(t, "token = '"+strings.Repeat("X", 40)+"'\nother = '"+strings.Repeat("X", 15)+"'\n", string(text))
	text, err = b.Read("built/opt/pyo3test/built/tree/a.so")
	require.NoError(t, err)
	require.Len(t, text, 22) // masked in place: nothing moves in a binary
}

func TestTooLarge(t *testing.T) {
	w := NewWriter(Secrets{})
	require.ErrorContains(t, w.Add("sources/large", false, zeros{}), "256 MiB of one file")
	require.NoError(t, w.Add("sources/small", false, strings.NewReader("x")))
	file := filepath.Join(t.TempDir(), "none", "deep", "x"+Extension)
	require.NoError(t, w.Save(file, sample()))
	for _, name := range []string{filepath.Dir(file)} { // nothing else is left
		files, err := os.ReadDir(name)
		require.NoError(t, err)
		require.Len(t, files, 1)
	}
}

// zeros is an endless file.
type zeros struct{}

func (zeros) Read(data []byte) (int, error) {
	clear(data)
	return len(data), nil
}
