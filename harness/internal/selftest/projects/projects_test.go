// Package projects_test runs the tests of third-party projects, and compares them with plain pytest.
package projects_test

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
	"pyo3test/harness/internal/verdict"
)

// realProject is a source distribution that includes its tests.
type realProject struct {
	selftest.Sdist
	suite  harness.Suite
	tests  int
	red    map[string]string // tests that are red by hand too, and why
	forked bool              // pytest-forked works here: it has to agree as well
}

// withForked is the newest pair with which pytest-forked works.
var withForked = []string{"pytest==9.1.1", "pytest-forked==1.7.5"}

// realProjects are small third-party projects, each of a different kind. Their tests' requirements are those that they
// declare, at fixed versions, so that the outcomes do not change.
var realProjects = []realProject{
	{
		// Nothing is set. A workspace whose manifest-path names the crate, abi3, and tests of threads.
		Sdist: selftest.Sdist{Name: "lzallright", Version: "0.3.0",
			SHA256: "51a5c0c8ae9944d0b8f46ac13c14a98af0cc8a8aaa3f6bee3c6b0a66e01a4cec"},
		tests: 16,
	},
	{
		// One module and no Python package; the tests are a package.
		Sdist: selftest.Rpds,
		suite: harness.Suite{Requirements: withForked},
		tests: 132, forked: true,
	},
	{
		// Warnings are errors, which pytest-forked does not survive; ids are up to 645 characters long; a plugin changes
		// what pytest prints.
		Sdist: selftest.Sdist{Name: "rtoml", Version: "0.14.0",
			SHA256: "e0f95a59e3fac6394985d59ce18a0c06f2176f2eb9dec2fb8c1105febaf05c59"},
		suite: harness.Suite{Requirements: []string{"pytest==9.1.1", "dirty-equals==0.11", "hypothesis==6.170.17",
			"pytest-pretty==1.3.0", "pytest-speed==0.3.5"}},
		tests: 227,
	},
	{
		// The tests are in a crate of the workspace, read files of another one, and are collected from the root.
		Sdist: selftest.Sdist{Name: "jiter", Version: "0.19.0",
			SHA256: "ba3064f8be276d7cfb83c2fb85c858be533da2c2f80f9b048c3781b45a57a195"},
		suite: harness.Suite{Requirements: append([]string{"dirty-equals==0.11"}, withForked...)},
		tests: 35, forked: true,
		red: map[string]string{"test_short_strings_are_singletons": "a constant 'a' is not chr(97) before Python 3.12"},
	},
	{
		// The crates are vendored, by .cargo/config.toml; build.rs compiles C; pytest is configured by [tool.pytest]; the
		// requirements are in a file.
		Sdist: selftest.Sdist{Name: "orjson", Version: "3.13.0",
			SHA256: "d1de5eb04485110c5da4c657e49168995d55e076b1ce60f1a042e254f4186c4f"},
		suite: harness.Suite{Requirements: append([]string{"test/requirements.txt", "numpy==2.4.6", "pendulum==3.3.0",
			"pytz==2026.6"}, withForked...)},
		tests: 1645, forked: true,
	},
	{
		// addopts ask for a plugin. The tests are in a folder pytests.
		Sdist: selftest.Sdist{Name: "libipld", Version: "3.5.0",
			SHA256: "47e43e738fcf3cc9b2e57eda20af52f8fdb04425b1fa69abbd763866ece415db"},
		suite: harness.Suite{Requirements: append([]string{"pytest-benchmark==5.3.0", "pytest-xdist==3.8.0"},
			withForked...)},
		tests: 294, forked: true,
		red: map[string]string{"test_decode_car": "it loads a file from the network"},
	},
	{
		// Nothing is set. Its dependency groups include each other.
		Sdist: selftest.Sdist{Name: "url_py", Version: "2026.5.1",
			SHA256: "ccfe04fe0911bd5770f6ea91555d3a5aa5b0061aef1a8e5b69b221b4ad0ebd74"},
		tests: 64,
	},
	{
		// OpenSSL by pkg-config. A workspace of eight crates, with the module's two folders down; a build script runs
		// Python with cffi; addopts switch capturing off. All of its 4,681 tests agree, and take minutes; these suffice.
		Sdist: selftest.Sdist{Name: "cryptography", Version: "50.0.2",
			SHA256: "7b46165bb56eb4704e2eaaf86f3c940d19154535d9b0ca7d6d590b04060e00d5"},
		suite: harness.Suite{
			Requirements: append([]string{
				"cryptography_vectors==50.0.2", "pretend==1.0.9", "pytest-benchmark==5.3.1", "pytest-cov==7.1.0",
				"pytest-xdist==3.8.0",
				"certifi==2026.10.19.post1", "setuptools==84.2.1",
			}, withForked...),
			SystemPackages: []string{"libssl-dev", "pkg-config"},
			Tests: []string{"tests/test_fernet.py", "tests/hazmat/primitives/test_hashes.py",
				"tests/hazmat/primitives/test_hmac.py", "tests/hazmat/primitives/test_cmac.py"},
			Memory: 8 << 30,
		},
		tests: 140, forked: true,
	},
}

// lessOptimised makes a release build take half the time. What the optimiser does has no say in which tests pass.
var lessOptimised = map[string]string{
	"CARGO_PROFILE_RELEASE_OPT_LEVEL": "1", "CARGO_PROFILE_RELEASE_LTO": "off",
	"CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
}

// TestRealProjects checks that the tests of third-party projects, and their outcomes, are those of pytest by hand in
// the same image, and that nothing is written to their trees.
func TestRealProjects(t *testing.T) {
	h := selftest.ThisHost(t)
	for _, p := range realProjects {
		t.Run(p.Name, func(t *testing.T) {
			p.suite.Crate = h.Fetch(t, p.Sdist)
			if p.Sdist != selftest.Rpds { // which is built as it is
				p.suite.Env = lessOptimised
			}
			before := selftest.Snapshot(t, p.suite.Crate)
			junit := filepath.Join(t.TempDir(), "junit.xml")
			t.Setenv("PYO3TEST_JUNIT", junit)
			r := harnesstest.Record(t, p.suite)
			want := harnesstest.Passed
			if len(p.red) > 0 {
				want = harnesstest.Failed
			}
			require.Equal(t, want, r.Outcome(), r.Text())
			ours := selftest.ReadJUnit(t, junit)
			require.Equal(t, before, selftest.Snapshot(t, p.suite.Crate), "the tree was written to")

			require.Len(t, ours, p.tests)
			var red []string
			for _, c := range ours {
				if c.State == verdict.Red {
					red = append(red, c.Name)
				}
			}
			require.ElementsMatch(t, slices.Collect(maps.Keys(p.red)), red)
			tree, built := selftest.Prepared(t, p.suite)
			require.Empty(t, differences(h.ByHand(t, built, tree, slices.Concat(p.suite.PytestArgs, p.suite.Tests)...),
				ours), "pytest by hand (+) and here (-)")
			if p.forked {
				forked := slices.Concat([]string{"--forked"}, p.suite.PytestArgs, p.suite.Tests)
				require.Empty(t, differences(h.ByHand(t, built, tree, forked...), ours),
					"pytest-forked (+) and here (-)")
			}
		})
	}
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
