package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"pyo3test/harness/internal/prereq"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pyo3test": main})
}

// TestScripts runs the scripts of testdata/script: what a user types, and what the program answers. Beside testscript's
// own commands they have
//
//	crate NAME              puts the crate NAME, modern or patient, with the script's files of the folder crate over it, in $CRATE
//	exits CODE COMMAND...   runs a command that has to end with this exit code
//	replace OLD NEW FILE    replaces a text in a file
//	write FILE TEXT         writes a file; \n in the text is the end of a line
func TestScripts(t *testing.T) {
	module, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	places := map[string]string{"modern": prereq.Place(t, "script"), "patient": prereq.Place(t, "patients")}
	var oneAtATime sync.Mutex // a crate is always in the same place, so that its dependencies are compiled once
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, "PYO3TEST_ARTIFACTS="+filepath.Join(env.WorkDir, "artifacts"), "MODULE="+module)
			for _, variable := range os.Environ() {
				if name, _, _ := strings.Cut(variable, "="); name != "PYO3TEST_ARTIFACTS" && name != "PATH" &&
					name != "TMPDIR" {
					env.Vars = append(env.Vars, variable)
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"crate": func(ts *testscript.TestScript, _ bool, args []string) {
				oneAtATime.Lock()
				ts.Defer(oneAtATime.Unlock)
				folder := filepath.Join(places[args[0]], "mein Prüfling")
				ts.Check(os.RemoveAll(folder))
				ts.Check(placeCrate(args[0], folder))
				if own := ts.MkAbs("crate"); isFolder(own) {
					files, err := readFiles(own)
					ts.Check(err)
					ts.Check(writeFiles(folder, files))
				}
				last, err := remember(folder)
				ts.Check(err)
				ts.Check(os.RemoveAll(last.folder))
				ts.Setenv("CRATE", folder)
			},
			"exits":   exits,
			"replace": replace,
			"write": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(writeFiles("/", map[string]string{ts.MkAbs(args[0]): strings.ReplaceAll(args[1], `\n`, "\n")}))
			},
		},
	})
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// placeCrate writes a crate without the files of a script.
func placeCrate(name, folder string) error {
	if name == "modern" {
		return os.CopyFS(folder, os.DirFS("../../../pytests/modern"))
	}
	files, err := patientFiles()
	if err != nil {
		return err
	}
	return writeFiles(folder, files)
}

// readFiles returns the files below a folder.
func readFiles(folder string) (map[string]string, error) {
	found, files := map[string]string{}, os.DirFS(folder)
	return found, fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		found[name] = string(data)
		return err
	})
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			ts.Fatalf("%v", err)
		}
		code = ended.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func replace(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[2])
	text := ts.ReadFile(args[2])
	if !strings.Contains(text, args[0]) {
		ts.Fatalf("%s does not contain %q", file, args[0])
	}
	ts.Check(os.WriteFile(file, []byte(strings.Replace(text, args[0], args[1], 1)), 0o644))
}
