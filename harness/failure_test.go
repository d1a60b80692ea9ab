package harness_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/group"
	"pyo3test/harness/internal/selftest"
	"pyo3test/harness/internal/verdict"
)

// recordRed runs a suite that has to be red. It returns the test of the group, or of the run if no group began, and its
// text. It requires the JUnit files to be red too, whatever an earlier run has left there; PYO3TEST_JUNIT names one of
// them until the test ends.
func recordRed(t *testing.T, suite harness.Suite) (*harnesstest.Recorder, string) {
	t.Helper()
	artifacts, junit := t.TempDir(), greenJUnit(t)
	t.Setenv("PYO3TEST_ARTIFACTS", artifacts)
	t.Setenv("PYO3TEST_JUNIT", junit)
	r := harnesstest.Record(t, suite)
	require.Equal(t, harnesstest.Failed, r.Outcome(), r.Text())
	kept, err := filepath.Glob(filepath.Join(artifacts, "*", "junit.xml"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	requireRedJUnit(t, junit)
	requireRedJUnit(t, kept[0])
	if len(r.Subs()) != 1 {
		return r, r.Text()
	}
	text := r.Subs()[0].Text()
	if exit := r.Subs()[0].Sub("(exit)"); exit != nil {
		text += exit.Text()
	}
	return r.Subs()[0], text
}

// greenJUnit returns the JUnit file of an earlier run, all of whose tests passed.
func greenJUnit(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "junit.xml")
	const green = `<testsuites><testsuite name="tiny" tests="1" failures="0" errors="0"><testcase classname="a" name="b"/></testsuite></testsuites>`
	require.NoError(t, os.WriteFile(file, []byte(green), 0o644))
	return file
}

// requireRedJUnit requires that a JUnit file has a failure or an error, for readers of its cases and of its counts.
func requireRedJUnit(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(selftest.ReadJUnit(t, file),
		func(c verdict.Case) bool { return c.State == verdict.Red }), string(data))
	require.Regexp(t, `<testsuite [^>]*(failures|errors)="[1-9]`, string(data))
}

// crateIn puts the crate's folder into an expectation.
func crateIn(want, crate string) string { return strings.ReplaceAll(want, "{crate}", crate) }

// outcomes returns the verdicts of a group's tests by node id, and of "(exit)".
func outcomes(group *harnesstest.Recorder) map[string]string {
	found := map[string]string{}
	for _, test := range group.Subs() {
		found[cmp.Or(test.Attrs()["pytest.nodeid"], "(exit)")] = test.Attrs()["pytest.outcome"]
	}
	return found
}

func TestBadSuites(t *testing.T) {
	crate := selftest.WriteCrate(t, nil)
	for name, c := range map[string]struct {
		suite harness.Suite
		want  string
	}{
		"nothing":   {harness.Suite{}, "Crate: not set"},
		"no folder": {harness.Suite{Crate: "no/such/folder"}, "Crate: no folder "},
		"a file":    {harness.Suite{Crate: filepath.Join(crate, "Cargo.toml")}, "is not a folder"},
		"no Cargo.toml": {harness.Suite{Crate: filepath.Join(crate, "tests")},
			"no Cargo.toml in " + filepath.Join(crate, "tests")},
		"isolation": {harness.Suite{Crate: crate, Isolation: "some"}, `Isolation: "some" is not one of`},
		"workers": {harness.Suite{Crate: crate, Isolation: harness.InProcess, Workers: 2},
			"Workers: 2 with Isolation"},
		"negative": {harness.Suite{Crate: crate, TestTimeout: -time.Second}, "TestTimeout: "},
		"memory":   {harness.Suite{Crate: crate, Memory: 1000}, "Memory: 1000 bytes"},
		"tests and groups": {harness.Suite{Crate: crate, Tests: []string{"a"}, Groups: []harness.Group{{Name: "a"}}},
			"Tests: set together with Groups"},
		"two of one name": {harness.Suite{Crate: crate, Groups: []harness.Group{{Name: "a"}, {Name: "a"}}},
			`Groups[1].Name: "a" is used twice`},
		"a nameless group": {harness.Suite{Crate: crate, Groups: []harness.Group{{}}}, "Groups[0].Name"},
		"pytest argument": {harness.Suite{Crate: crate, PytestArgs: []string{"--junitxml=x"}},
			"PytestArgs: --junitxml=x is the harness's own: set the variable PYO3TEST_JUNIT"},
		"include": {harness.Suite{Crate: crate, Include: []string{"no/such"}}, "Include: no file or folder"},
		"root":    {harness.Suite{Crate: crate, Root: filepath.Join(crate, "tests")}, "Root: "},
		"extras": {harness.Suite{Crate: crate, Extras: []string{"test"}},
			`Extras: the project has no extra "test"`},
		"requirements file": {harness.Suite{Crate: crate, Requirements: []string{"no-such.txt"}},
			"Requirements: no file "},
	} {
		t.Run(name, func(t *testing.T) {
			_, text := recordRed(t, c.suite)
			require.Contains(t, text, c.want)
		})
	}
}

// TestImportFailure checks that no test can skip itself and be green because the module is missing.
func TestImportFailure(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{
		"src/lib.rs": `use pyo3::prelude::*;

#[pymodule]
fn tiny(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Err(pyo3::exceptions::PyOSError::new_err("the licence server is down"))
}
`,
		"tests/test_tiny.py": `import pytest

tiny = pytest.importorskip('tiny', exc_type=Exception)

def test_answer():
    pass
`,
	})
	group, text := recordRed(t, harness.Suite{Crate: crate})
	require.Contains(t, text,
		"the built module tiny.tiny cannot be imported, so no test was run: OSError: the licence server is down")
	require.Empty(t, group.Subs())
}

// TestMemory checks that the kernel kills only the test that needs more memory than the group has, and that its verdict
// says so.
func TestMemory(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import tiny

def test_greedy():
    bytearray(1 << 30)
    [bytearray(1 << 20) for _ in range(1000)]

def test_after():
    pass
`})
	group, text := recordRed(t, harness.Suite{Crate: crate, Memory: 128 << 20})
	require.Equal(t, map[string]string{"tests/test_tiny.py::test_greedy": "killed for memory",
		"tests/test_tiny.py::test_after": "passed"}, outcomes(group), text)
	require.Contains(t, group.Subs()[0].Text(), "killed by the kernel for memory, limit 128 MiB, peak 12")

	group, text = recordRed(t, harness.Suite{Crate: crate, Memory: 128 << 20, Isolation: harness.InProcess})
	require.Equal(t, map[string]string{"tests/test_tiny.py::test_greedy": "killed for memory",
		"tests/test_tiny.py::test_after": "passed"}, outcomes(group), text)
	require.Contains(t, group.Subs()[0].Text(), "killed by the kernel for memory, limit 128 MiB")
}

// TestForkBomb checks that a fork bomb costs only its own test, and no more time than its budget and the end of
// its processes.
func TestForkBomb(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import os

def test_bomb():
    while True:
        try:
            os.fork()
        except OSError:
            pass

def test_last():
    pass
`})
	group, text := recordRed(t, harness.Suite{Crate: crate, TestTimeout: 8 * time.Second, Processes: 600})
	require.Equal(t, map[string]string{"tests/test_tiny.py::test_bomb": "hung",
		"tests/test_tiny.py::test_last": "passed"}, outcomes(group), text)
	require.Regexp(t, `cause: \d+ processes run in the container`, group.Subs()[0].Text())
}

func TestNoEngine(t *testing.T) {
	crate := selftest.WriteCrate(t, nil)
	t.Setenv("DOCKER_HOST", "unix:///no/such/socket")
	_, text := recordRed(t, harness.Suite{Crate: crate})
	require.Contains(t, text,
		"find a Docker engine: none answers at DOCKER_HOST; tried unix:///no/such/socket (no such socket): start "+
			"Docker, or set DOCKER_HOST")
}

func TestBaseThatDoesNotExist(t *testing.T) {
	crate := selftest.WriteCrate(t, nil)
	t.Setenv("PYO3TEST_BASE_IMAGE", "localhost/no/such:image")
	_, text := recordRed(t, harness.Suite{Crate: crate})
	require.Contains(t, text, "PYO3TEST_BASE_IMAGE=localhost/no/such:image: neither in this engine nor in a registry")
}

// TestEvidence checks what a failed run leaves for its reader.
func TestEvidence(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `def test_fails():
    print('said')
    assert 0
`})
	folder := t.TempDir()
	t.Setenv("PYO3TEST_ARTIFACTS", folder)
	t.Setenv("PYO3TEST_JUNIT", folder+"/junit/")
	harnesstest.Record(t, harness.Suite{Crate: crate})
	for pattern, want := range map[string]string{
		"harness-TestEvidence/junit.xml":             `<failure type="failed" message="def test_fails`,
		"harness-TestEvidence/tiny/pytest.log":       "1 failed in ",
		"harness-TestEvidence/tiny/pytest-junit.xml": `name="test_fails"`,
		"junit/harness-TestEvidence.xml":             `file="` + crate + `/tests/test_tiny.py"`,
	} {
		data, err := os.ReadFile(filepath.Join(folder, pattern))
		require.NoError(t, err)
		require.Contains(t, string(data), want)
	}
}

// TestContainerThatEnds checks that no test is blamed for what was done to its container from outside.
func TestContainerThatEnds(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import subprocess

def test_waits():
    subprocess.run(['sleep', '1000'])
`})
	stopped := make(chan error, 1)
	go func() { stopped <- stopContainer(t.Context(), t.Name()+"/tiny", "sleep 1000") }()
	_, text := recordRed(t, harness.Suite{Crate: crate})
	require.NoError(t, <-stopped)
	require.Contains(t, text,
		"the tests' container was stopped from outside, as docker stop, kill and rm -f do: by "+
			"signal 15, with exit code 143")
	require.NotContains(t, text, "did a test kill it?")

	crate = selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import os, pathlib

def test_kills():
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        if (process / "comm").read_text().strip() == "timeout":
            os.kill(int(process.name), 9)
`})
	_, text = recordRed(t, harness.Suite{Crate: crate})
	require.Contains(t, text, "and nothing outside stopped it: did a test kill its first processes?")
}

// stopContainer stops a group's container as docker stop does, once it runs a command.
func stopContainer(ctx context.Context, name, command string) error {
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return err
	}
	defer cli.Close()
	label := filters.NewArgs(filters.Arg("label", engine.Label+"."+group.LabelName+"="+name))
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		found, err := cli.ContainerList(ctx, container.ListOptions{Filters: label})
		if err != nil {
			return err
		}
		for _, c := range found {
			top, err := cli.ContainerTop(ctx, c.ID, nil)
			if err == nil && strings.Contains(fmt.Sprint(top.Processes), command) {
				return cli.ContainerStop(ctx, c.ID, container.StopOptions{})
			}
		}
	}
	return ctx.Err()
}
