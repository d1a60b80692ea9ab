package main

import (
	"errors"
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
				if name, _, _ := strings.Cut(variable, "="); name != "PYO3TEST_ARTIFACTS" && name != "PATH" && name != "TMPDIR" {
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
					ts.Check(overlay(folder, own))
				}
				last, err := remember(folder)
				ts.Check(err)
				ts.Check(os.RemoveAll(last.folder))
				ts.Setenv("CRATE", folder)
			},
			"exits":   exits,
			"replace": replace,
			"write": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o755))
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(args[1], `\n`, "\n")), 0o644))
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
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// overlay copies files into a folder, over those that are there.
func overlay(folder, files string) error {
	return filepath.WalkDir(files, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(files, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(folder, name), data, 0o644)
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
