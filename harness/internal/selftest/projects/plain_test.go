package projects_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// TestAsPlainPytest checks that, whatever the version of pytest, the place of its configuration, its options and
// plugins, the tests and their outcomes are those of plain pytest in the same image.
func TestAsPlainPytest(t *testing.T) {
	h := selftest.ThisHost(t)
	suite := map[string]string{
		"tests/conftest.py": `import pytest

@pytest.fixture(scope='session')
def once():
    return [1]

@pytest.fixture
def broken():
    raise RuntimeError('set-up')
`,
		"tests/test_tiny.py": `"""Sums.

>>> 1 + 1
2
"""
import unittest, warnings
import pytest, tiny

def test_answer(once):
    assert tiny.answer() == 42 and once == [1]

def test_answer_is_wrong():
    assert tiny.answer() == 41

def test_broken(broken):
    pass

@pytest.mark.parametrize("text", ["a b", "c/d", "e::f", "[g]", "h\\n"])
def test_ids(text):
    assert text

@pytest.mark.skip(reason="not now")
def test_skipped():
    pass

@pytest.mark.xfail(reason="known")
def test_known():
    assert 0

@pytest.mark.xfail(strict=True)
def test_not_known():
    pass

def test_warns():
    warnings.warn("loud", UserWarning)

class TestCase(unittest.TestCase):
    def tearDown(self):
        self.assertTrue(self.id())

    def test_method(self):
        pass

class TestClass:
    def test_output(self, capfd):
        print("said")
        assert capfd.readouterr().out == "said\n"
`,
		"tests/below/__init__.py": "\n",
		"tests/below/conftest.py": `import pytest

@pytest.fixture
def place(request):
    return request.node.nodeid
`,
		"tests/below/test_tiny.py": `def test_place(place):
    assert place == 'tests/below/test_tiny.py::test_place'
`,
	}
	for _, c := range []struct {
		name, requirements string
		files              map[string]string
		plain              string // further arguments of the plain pytest
	}{
		{"7.4, pytest.ini, warnings are errors", "pytest==7.4.4", map[string]string{"pytest.ini": `[pytest]
filterwarnings = error
console_output_style = classic
`}, ""},
		{"8.4, setup.cfg, xdist", "pytest==8.4.2 pytest-xdist",
			map[string]string{"setup.cfg": "[tool:pytest]\naddopts = -n 2 --import-mode=importlib\n"}, ""},
		{"9.0, tox.ini, doctests, run-parallel", "pytest==9.0.2 pytest-run-parallel",
			map[string]string{"tox.ini": "[pytest]\naddopts = --doctest-modules --ignore=src\n"}, ""},
		{"9.1, pyproject.toml, forked and coverage", "pytest==9.1.1 pytest-forked==1.7.5 pytest-cov", map[string]string{
			"pyproject.toml": selftest.Tiny["pyproject.toml"] + `[tool.pytest.ini_options]
addopts = "--forked --cov=tiny --cov-report=xml"
testpaths = ["tests"]
`,
		}, ""},
		{"9.2, pyproject.toml of its own kind, forked, benchmark, timeout",
			"pytest==9.2.0 pytest-forked==1.7.5 pytest-benchmark pytest-timeout", map[string]string{
				"pyproject.toml": selftest.Tiny["pyproject.toml"] + `[tool.pytest]
addopts = ["--forked", "--benchmark-disable", "--strict-markers", "--import-mode=append"]
timeout = "60"
faulthandler_timeout = "30"
filterwarnings = ["error"]
`,
			}, "-o addopts=--import-mode=append"},
		{"9.2, no configuration", "pytest==9.2.0", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			crate := selftest.WriteCrate(t, selftest.Merged(suite, c.files))
			junit := filepath.Join(t.TempDir(), "junit.xml")
			t.Setenv("PYO3TEST_JUNIT", junit)
			s := harness.Suite{Crate: crate, Requirements: strings.Fields(c.requirements)}
			r := harnesstest.Record(t, s)
			require.Equal(t, harnesstest.Failed, r.Outcome(), r.Text())
			ours := selftest.ReadJUnit(t, junit)
			tree, built := selftest.Prepared(t, s)
			theirs := h.ByHand(t, built, tree, strings.Fields(c.plain)...)
			require.Greater(t, len(theirs), 14)
			require.ElementsMatch(t, theirs, ours)
			require.NotContains(t, r.Text(), "disagree", r.Text())
			require.NotContains(t, r.Sub("tiny").Text(), "JUnit file has", r.Text())
		})
	}
}
