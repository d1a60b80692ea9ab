package report

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden replays recorded runs through each reporter. A file of testdata holds a recording, made by `pyo3test run`
// for a crate in /home/ana, and what each reporter makes of it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			require.Equal(t, "recording.jsonl", archive.Files[0].Name)
			recording := archive.Files[0].Data
			got := txtar.Archive{Comment: archive.Comment, Files: archive.Files[:1:1]}
			for _, name := range []string{"terminal", "quiet", "github", "test2json", "junit.xml", "gotest"} {
				got.Files = append(got.Files, txtar.File{Name: name, Data: shown(t, name, recording)})
			}
			if *update {
				require.NoError(t, os.WriteFile(file, txtar.Format(&got), 0o644))
				return
			}
			require.Equal(t, string(txtar.Format(archive)), string(txtar.Format(&got)))
		})
	}
}

func again(id string) string { return "again " + id }

func goAgain(test, id string) string { return "again: " + test + ", or " + id + "\n" }

// shown returns what a reporter makes of a recording.
func shown(t *testing.T, name string, recording []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	screen := Screen{Out: &out, Title: "    pyo3test", Again: again, Failed: "again --failed"}
	junit := NewJUnit("pyo3test")
	top := &fakeT{name: "pyo3test", out: &out}
	to := map[string]Reporter{
		"terminal":  NewTerminal(screen),
		"quiet":     NewTerminal(Screen{Out: &out, Quiet: true, Again: again, Failed: "again --failed"}),
		"github":    NewTerminal(Screen{Out: &out, Quiet: true, GitHub: "/home/ana", Again: again}),
		"test2json": NewTest2JSON(&out, "modern", again),
		"junit.xml": junit,
		"gotest":    NewGoTest(top, false, goAgain),
	}[name]
	result, err := Replay(bytes.NewReader(recording), nil, to)
	require.NoError(t, err)
	if name == "junit.xml" {
		require.NoError(t, WriteJUnit(&out, junit.Suites()))
	}
	if name == "gotest" {
		require.Equal(t, result.Red, top.failed)
	}
	return out.Bytes()
}

// fakeT is a T that writes what it is told, in the order in which it is told, indented by its depth.
type fakeT struct {
	name   string
	parent *fakeT
	out    io.Writer
	mutex  sync.Mutex
	failed bool
	skips  bool
}

func (t *fakeT) depth() int { return strings.Count(t.name, "/") }

func (t *fakeT) say(format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	indent := strings.Repeat("  ", min(t.depth(), 2))
	fmt.Fprintln(t.out, indent+strings.ReplaceAll(text, "\n", "\n"+indent))
}

func (t *fakeT) Name() string                     { return t.name }
func (t *fakeT) Output() io.Writer                { return t }
func (t *fakeT) ArtifactDir() string              { return "" }
func (t *fakeT) Deadline() (d time.Time, ok bool) { return d, false }
func (t *fakeT) Attr(key, value string)           { t.say("ATTR %s=%s", key, value) }
func (t *fakeT) FailNow()                         { t.Fail(); runtime.Goexit() }
func (t *fakeT) SkipNow()                         { t.skips = true; runtime.Goexit() }

func (t *fakeT) Write(data []byte) (int, error) {
	if len(data) > 0 {
		t.say("%s", data)
	}
	return len(data), nil
}

func (t *fakeT) Fail() {
	for ; t != nil; t = t.parent {
		t.mutex.Lock()
		t.failed = true
		t.mutex.Unlock()
	}
}

func (t *fakeT) Run(name string, f func(T)) bool {
	sub := &fakeT{name: t.name + "/" + name, parent: t, out: t.out}
	sub.say("RUN %s", sub.name)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(sub)
	}()
	<-done
	switch {
	case sub.failed:
		sub.say("FAIL %s", sub.name)
	case sub.skips:
		sub.say("SKIP %s", sub.name)
	default:
		sub.say("PASS %s", sub.name)
	}
	return !sub.failed
}
