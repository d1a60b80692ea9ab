package harness_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/verdict"
)

// realProject is a source distribution that includes its tests, as pip knows it.
type realProject struct {
	name, version, sha256 string
	suite                 harness.Suite
	tests                 int
	red                   map[string]string // tests that are red by hand too, and why
	forked                bool              // pytest-forked works here: it has to agree as well
}

// withForked is the newest pair with which pytest-forked works.
var withForked = []string{"pytest==9.1.1", "pytest-forked==1.7.5"}

// realProjects are small third-party projects, each of a different kind. Their tests' requirements are those that they
// declare, at fixed versions, so that the outcomes do not change.
var realProjects = []realProject{
	{
		// Nothing is set. A workspace whose manifest-path names the crate, abi3, and tests of threads.
		name: "lzallright", version: "0.3.0", sha256: "51a5c0c8ae9944d0b8f46ac13c14a98af0cc8a8aaa3f6bee3c6b0a66e01a4cec",
		tests: 16,
	},
	{
		// One module and no Python package; the tests are a package.
		name: "rpds_py", version: "2026.9.1", sha256: "4793ef7f78268b124b73fa933440f01d258bbae01de9fa53e9080c9ab0425a12",
		suite: harness.Suite{Requirements: withForked},
		tests: 132, forked: true,
	},
	{
		// Warnings are errors, which pytest-forked does not survive; ids are up to 645 characters long; a plugin changes
		// what pytest prints.
		name: "rtoml", version: "0.14.0", sha256: "e0f95a59e3fac6394985d59ce18a0c06f2176f2eb9dec2fb8c1105febaf05c59",
		suite: harness.Suite{Requirements: []string{"pytest==9.1.1", "dirty-equals==0.11", "hypothesis==6.170.17", "pytest-pretty==1.3.0", "pytest-speed==0.3.5"}},
		tests: 227,
	},
	{
		// The tests are in a crate of the workspace, read files of another one, and are collected from the root.
		name: "jiter", version: "0.19.0", sha256: "ba3064f8be276d7cfb83c2fb85c858be533da2c2f80f9b048c3781b45a57a195",
		suite: harness.Suite{Requirements: append([]string{"dirty-equals==0.11"}, withForked...)},
		tests: 35, forked: true,
		red: map[string]string{"test_short_strings_are_singletons": "a constant 'a' is not chr(97) before Python 3.12"},
	},
	{
		// The crates are vendored, by .cargo/config.toml; build.rs compiles C; pytest is configured by [tool.pytest]; the
		// requirements are in a file.
		name: "orjson", version: "3.13.0", sha256: "d1de5eb04485110c5da4c657e49168995d55e076b1ce60f1a042e254f4186c4f",
		suite: harness.Suite{Requirements: append([]string{"test/requirements.txt", "numpy==2.4.6", "pendulum==3.3.0", "pytz==2026.6"}, withForked...)},
		tests: 1645, forked: true,
	},
	{
		// addopts ask for a plugin. The tests are in a folder pytests.
		name: "libipld", version: "3.5.0", sha256: "47e43e738fcf3cc9b2e57eda20af52f8fdb04425b1fa69abbd763866ece415db",
		suite: harness.Suite{Requirements: append([]string{"pytest-benchmark==5.3.0", "pytest-xdist==3.8.0"}, withForked...)},
		tests: 294, forked: true,
		red: map[string]string{"test_decode_car": "it loads a file from the network"},
	},
	{
		// Nothing is set. Its dependency groups include each other.
		name: "url_py", version: "2026.5.1", sha256: "ccfe04fe0911bd5770f6ea91555d3a5aa5b0061aef1a8e5b69b221b4ad0ebd74",
		tests: 64,
	},
	{
		// OpenSSL by pkg-config. A workspace of eight crates, with the module's two folders down; a build script runs
		// Python with cffi; addopts switch capturing off. All of its 4,681 tests agree, and take minutes; these suffice.
		name: "cryptography", version: "50.0.2", sha256: "7b46165bb56eb4704e2eaaf86f3c940d19154535d9b0ca7d6d590b04060e00d5",
		suite: harness.Suite{
			Requirements: append([]string{
				"cryptography_vectors==50.0.2", "pretend==1.0.9", "pytest-benchmark==5.3.1", "pytest-cov==7.1.0", "pytest-xdist==3.8.0",
				"certifi==2026.10.19.post1", "setuptools==84.2.1",
			}, withForked...),
			SystemPackages: []string{"libssl-dev", "pkg-config"},
			Tests:          []string{"tests/test_fernet.py", "tests/hazmat/primitives/test_hashes.py", "tests/hazmat/primitives/test_hmac.py", "tests/hazmat/primitives/test_cmac.py"},
			Memory:         8 << 30,
		},
		tests: 140, forked: true,
	},
}

// fetch downloads a project with pip and returns the folder of its content. The folder is the same each time, so that
// the project is compiled once.
func (h host) fetch(t *testing.T, p realProject) string {
	t.Helper()
	ctx := t.Context()
	c, err := image.StartBuilder(ctx, h.Engine, h.network, engine.Spec{Image: h.tools.Name, Purpose: "test", User: layout.User})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Remove(ctx)) }()
	script := `cd /tmp && cat >wanted.txt && PATH=` + layout.Path + ` ` + layout.Tools + `/python -m pip download -q --no-deps --no-build-isolation --no-binary :all: --require-hashes -r wanted.txt -d sdist`
	requirement := p.name + "==" + p.version + " --hash=sha256:" + p.sha256
	var output strings.Builder
	require.NoError(t, image.Run(ctx, c, engine.Command{Argv: []string{"bash", "-c", script}, Env: h.network.Env()}, strings.NewReader(requirement), &output), output.String())
	stream, err := c.Download(ctx, "/tmp/sdist")
	require.NoError(t, err)
	defer stream.Close()
	outer := tar.NewReader(stream)
	for {
		header, err := outer.Next()
		require.NoError(t, err, "pip brought no archive")
		if strings.HasSuffix(header.Name, ".tar.gz") {
			break
		}
	}
	folder := filepath.Join(os.TempDir(), "pyo3test-selftest-sdists", p.name)
	require.NoError(t, os.RemoveAll(folder))
	t.Cleanup(func() {
		require.NoError(t, os.RemoveAll(folder))
		_ = os.Remove(filepath.Dir(folder)) // fails while it holds another project
	})
	unpacked, err := gzip.NewReader(outer)
	require.NoError(t, err)
	for inner := tar.NewReader(unpacked); ; {
		header, err := inner.Next()
		if errors.Is(err, io.EOF) {
			return folder
		}
		require.NoError(t, err)
		_, below, _ := strings.Cut(header.Name, "/")
		if header.Typeflag != tar.TypeReg || !filepath.IsLocal(below) {
			continue
		}
		data, err := io.ReadAll(inner)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(folder, below)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(folder, below), data, os.FileMode(header.Mode)))
	}
}

// byHand runs pytest by hand in a container of the same image, without anything of ours, and returns its JUnit
// testcases.
func (h host) byHand(t *testing.T, built string, tree project.Tree, arguments ...string) []verdict.Case {
	t.Helper()
	ctx := t.Context()
	c, err := h.Start(ctx, engine.Spec{Image: built, Purpose: "test", User: layout.User, Confined: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Remove(ctx)) }()
	require.NoError(t, c.UploadTar(ctx, "/", tree.Pack))
	script := `cp -r ` + layout.Built + `/tree/. ` + layout.Sources + ` 2>/dev/null; cd ` + path.Join(layout.Sources, tree.Crate) +
		` && pytest -q --junitxml=/tmp/junit.xml "$@"; cat /tmp/junit.xml >&2`
	var env []string
	for key, value := range extension.Environment(nil) {
		env = append(env, key+"="+value)
	}
	p, err := c.Exec(ctx, engine.Command{Argv: append([]string{"bash", "-c", script, "bash"}, arguments...), Env: env})
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, p.Stdout) }()
	cases, err := verdict.ReadJUnit(p.Stderr, 1<<30)
	require.NoError(t, err)
	return cases
}

// TestRealProjects checks that the tests of third-party projects, and their outcomes, are those of pytest by hand in
// the same image, and that nothing is written to their trees.
func TestRealProjects(t *testing.T) {
	h := thisHost(t)
	for _, p := range realProjects {
		t.Run(p.name, func(t *testing.T) {
			p.suite.Crate = h.fetch(t, p)
			before := snapshot(t, p.suite.Crate)
			junit := filepath.Join(t.TempDir(), "junit.xml")
			t.Setenv("PYO3TEST_JUNIT", junit)
			r := harnesstest.Record(t, p.suite)
			want := harnesstest.Passed
			if len(p.red) > 0 {
				want = harnesstest.Failed
			}
			require.Equal(t, want, r.Outcome(), r.Text())
			ours := readJUnit(t, junit)
			require.Equal(t, before, snapshot(t, p.suite.Crate), "the tree was written to")

			require.Len(t, ours, p.tests)
			var red []string
			for _, c := range ours {
				if c.State == verdict.Red {
					red = append(red, c.Name)
				}
			}
			require.ElementsMatch(t, slices.Collect(maps.Keys(p.red)), red)
			tree, built, err := harness.Prepared(t, p.suite)
			require.NoError(t, err)
			require.Empty(t, differences(h.byHand(t, built, tree, slices.Concat(p.suite.PytestArgs, p.suite.Tests)...), ours), "pytest by hand (+) and here (-)")
			if p.forked {
				forked := slices.Concat([]string{"--forked"}, p.suite.PytestArgs, p.suite.Tests)
				require.Empty(t, differences(h.byHand(t, built, tree, forked...), ours), "pytest-forked (+) and here (-)")
			}
		})
	}
}

func readJUnit(t *testing.T, name string) []verdict.Case {
	t.Helper()
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	cases, err := verdict.ReadJUnit(file, 1<<30)
	require.NoError(t, err)
	return cases
}

// differences returns the cases that one of two runs has more often than the other. ElementsMatch takes minutes for
// thousands.
func differences(theirs, ours []verdict.Case) map[verdict.Case]int {
	balance := map[verdict.Case]int{}
	for _, c := range theirs {
		balance[c]++
	}
	for _, c := range ours {
		balance[c]--
	}
	maps.DeleteFunc(balance, func(_ verdict.Case, n int) bool { return n == 0 })
	return balance
}
