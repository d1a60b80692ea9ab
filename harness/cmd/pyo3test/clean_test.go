package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/prereq"
)

// TestClean: clean removes what is old enough from the cache folder and the engine; a dry run only lists it.
func TestClean(t *testing.T) {
	prereq.Engine(t)
	cached := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cached)
	file := func(name string) string { return filepath.Join(cached, "pyo3test", filepath.FromSlash(name)) }
	for _, name := range []string{"failures/old/junit.xml", "failures/new/junit.xml", "native/a/b/c", "locks/build-x"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(file(name)), 0o755))
		require.NoError(t, os.WriteFile(file(name), []byte("12345"), 0o644))
	}
	long := time.Now().Add(-100 * 24 * time.Hour)
	for _, name := range []string{"failures/old/junit.xml", "failures/old"} {
		require.NoError(t, os.Chtimes(file(name), long, long))
	}
	code, out, errs := call(t, "clean", "--dry-run", "--older-than", "99d")
	require.Equal(t, exitPassed, code, errs)
	require.Contains(t, out, "to remove cache            5B  3 months       "+file("failures/old")+"\n")
	require.NotContains(t, out, file("native"))
	require.FileExists(t, file("failures/old/junit.xml"))

	// Without an engine, the cache folder is still cleaned, except for locks, and the exit code reports the engine.
	host := os.Getenv("DOCKER_HOST")
	t.Setenv("DOCKER_HOST", "unix:///no/such/socket")
	code, _, _ = call(t, "clean", "--older-than", "99d")
	require.Equal(t, exitSetup, code)
	require.NoFileExists(t, file("failures/old"))
	require.FileExists(t, file("failures/new/junit.xml"))
	code, out, _ = call(t, "clean")
	require.Equal(t, exitSetup, code)
	require.Contains(t, out, "/no/such/socket")
	require.NoFileExists(t, file("native/a"))
	require.NoFileExists(t, file("failures/new"))
	require.FileExists(t, file("locks/build-x"))
	t.Setenv("DOCKER_HOST", host)

	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	defer e.Close()
	var empty bytes.Buffer
	require.NoError(t, tar.NewWriter(&empty).Close())
	name := fmt.Sprintf("localhost/pyo3test/test:clean-%d", os.Getpid())
	require.NoError(t, e.Import(t.Context(), name, &empty, []string{"LABEL pyo3test=test"}))
	code, out, errs = call(t, "clean", "-n")
	require.Equal(t, exitPassed, code, errs)
	require.Contains(t, out, name+"\n")
	objects, err := e.Objects(t.Context())
	require.NoError(t, err)
	removed := 0
	for _, o := range objects { // the others may belong to runs in progress
		if o.Name == name {
			gone, err := e.RemoveObject(t.Context(), o)
			require.NoError(t, err)
			require.True(t, gone)
			removed++
		}
	}
	require.Equal(t, 1, removed)
	_, there, err := e.Image(t.Context(), name)
	require.NoError(t, err)
	require.False(t, there)

	for _, bad := range []string{"-3h", "3x", "d", "1.d.d"} {
		code, _, errs := call(t, "clean", "--older-than="+bad)
		require.Equal(t, exitUsage, code, bad)
		require.True(t, strings.Contains(errs, "older-than"), errs)
	}
}

// TestVersion: the version is that of the changelog's newest section.
func TestVersion(t *testing.T) {
	changelog, err := os.ReadFile("../../../CHANGELOG.md")
	require.NoError(t, err)
	_, newest, _ := strings.Cut(string(changelog), "\n## ")
	newest, _, _ = strings.Cut(newest, "\n")
	code, out, _ := call(t, "version")
	require.Equal(t, exitPassed, code)
	require.Regexp(t, `^pyo3test `+regexp.QuoteMeta(newest)+`[ ,]`, out)
	require.Contains(t, out, "base image python:3.11.")
}

// TestAbout: image info reports what the engine has.
func TestAbout(t *testing.T) {
	prereq.Engine(t)
	code, out, errs := call(t, "image", "info")
	require.Equal(t, exitPassed, code, errs)
	require.Regexp(t, `(?m)^engine +Docker \d.*\n(PYO3TEST_.*\n)*(tools image +localhost/pyo3test/tools:\S+ +Python 3\.\d+\.\d+t? +on .*|no tools image yet.*)$`, out)
}
