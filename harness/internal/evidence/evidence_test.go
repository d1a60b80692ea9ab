package evidence

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/report"
)

// newRun has small limits, and a folder of its own.
func newRun(t *testing.T) *Run {
	return &Run{folder: filepath.Join(t.TempDir(), "run"), lent: true, names: newNames(),
		junit:  report.NewJUnit("TestA"),
		limits: limits{file: 1 << 20, run: 4 << 20, all: 6 << 20, reserved: 1 << 20, files: 20, runs: 3}}
}

// left is a tar stream of files that a group left; the numbers are their sizes.
func left(t *testing.T, files ...any) io.Reader {
	t.Helper()
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	for i := 0; i < len(files); i += 2 {
		size := files[i+1].(int)
		header := tar.Header{Typeflag: tar.TypeReg, Name: "out/" + files[i].(string), Size: int64(size), Mode: 0o600}
		require.NoError(t, w.WriteHeader(&header))
		_, err := w.Write(bytes.Repeat([]byte("x"), size))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return &stream
}

// kept are the sizes of the files of a run, by name.
func kept(t *testing.T, folder string) map[string]int64 {
	t.Helper()
	sizes := map[string]int64{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			info, err := entry.Info()
			require.NoError(t, err)
			name, err := filepath.Rel(folder, path)
			require.NoError(t, err)
			sizes[filepath.ToSlash(name)] = info.Size()
		}
		return err
	}))
	return sizes
}

// TestLimits: a file that is too long is cut, which it says at its end; what tests wrote leaves room for the
// harness's own files; and the run says how many files it has left out.
func TestLimits(t *testing.T) {
	r := newRun(t)
	require.NoError(t, r.KeepTar("g", left(t, "a", 1<<20, "b", 1<<20+1, "c", 2<<20, "d", 5, "pytest.log", 7)))
	r.Keep("g", "hang-test.txt", strings.NewReader("stacks"))
	const cut = "\n[... cut here: of one file 1 MiB are kept, of one run 4 MiB]\n"
	const short = 1<<20 + int64(len(cut))
	require.Equal(t, map[string]int64{
		"g/a": 1 << 20, "g/b": short, "g/c": short, "g/pytest.log": 7, "g/hang-test.txt": 6,
	}, kept(t, r.folder))
	text, err := os.ReadFile(filepath.Join(r.folder, "g/b"))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(text), "x"+cut))
	require.Contains(t, r.Finish(true), "(1 file left out: one run keeps 4 MiB and 20 files)")

	r = newRun(t)
	var many []any
	for i := range 30 {
		many = append(many, fmt.Sprint(i), 0)
	}
	require.NoError(t, r.KeepTar("g", left(t, many...)))
	require.Len(t, kept(t, r.folder), 20)
	require.Equal(t, 10, r.leftOut)
}

// TestNames: the name of a file that a group left may be anything. Each has a file of its own below the run's folder,
// whose name every file system takes and every terminal shows as it is.
func TestNames(t *testing.T) {
	r := newRun(t)
	long := strings.Repeat("é", 150)
	names := []string{
		"plain.txt", "hang-test_x.py-test[a b].txt", "\x1b]0;title\x07.txt", "\x1b]0;title\x08.txt",
		"..", "../../up", "/etc/passwd", "a/b", "a-b", "A-B",
		"con", "NUL.txt", "a:b", "end. ", "", long + "1.txt", long + "2.txt", "\xff\xfe", "right\u202eleft",
	}
	r.limits.files = len(names)
	for _, name := range names {
		r.Keep("g", name, strings.NewReader(name))
	}
	r.Keep("g", "plain.txt", strings.NewReader("again"))
	require.Empty(t, r.errs)
	contents := map[string]string{}
	for name := range kept(t, filepath.Dir(r.folder)) {
		folder, base := filepath.Split(name)
		require.Equal(t, "run/g/", folder)
		require.NotRegexp(t, `[\x00-\x1f\x7f<>:"/\\|?*\x{202e}\x{fffd}]|[. ]$`, base)
		require.LessOrEqual(t, len(base), maxName)
		require.NotRegexp(t, `(?i)^(con|nul)\b`, base)
		require.NotContains(t, contents, strings.ToLower(base))
		text, err := os.ReadFile(filepath.Join(filepath.Dir(r.folder), name))
		require.NoError(t, err)
		contents[strings.ToLower(base)] = string(text)
	}
	require.Len(t, contents, len(names))
	require.Equal(t, "plain.txt", contents["plain.txt"])
	require.Equal(t, "hang-test_x.py-test[a b].txt", contents["hang-test_x.py-test[a b].txt"])

	for _, group := range []string{"..", "junit.xml"} { // which the Suite allows
		r := newRun(t)
		r.Keep(group, "file", strings.NewReader("x"))
		r.Finish(true)
		require.NoError(t, errors.Join(r.errs...))
		require.Len(t, kept(t, r.folder), 2)
	}
	seen := map[string]bool{}
	for _, name := range []string{
		"TestA/b", "TestA_b", "TestA/ä", "TestA/ö", strings.Repeat("x", 101), strings.Repeat("x", 102), "..",
	} {
		folder := runName(name)
		require.Regexp(t, `^\w[\w-]*$`, folder)
		require.False(t, seen[folder], folder)
		seen[folder] = true
	}
}

// TestDefaults: a run has them.
func TestDefaults(t *testing.T) {
	t.Setenv(ArtifactsVariable, t.TempDir())
	require.Equal(t, defaults, New(t.Name(), "", report.NewJUnit(t.Name())).limits)
}
