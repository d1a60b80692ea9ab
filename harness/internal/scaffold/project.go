package scaffold

import (
	"bytes"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/scaffold/helper"
)

// Project is the project to write into.
type Project struct {
	project.Project
	Module string // the name by which the built module is imported
}

// Config plans to make plain pytest fork: --forked among its options, and pytest-forked among the test requirements.
// It plans both or, with a note that says why, none.
func (p Project) Config(plan *Plan) error {
	both := Plan{Changes: slices.Clone(plan.Changes), Notes: plan.Notes}
	possible, err := p.options(&both)
	if err != nil {
		return err
	}
	plan.Notes = both.Notes
	if !possible {
		return nil
	}
	if err := p.requireForked(&both); err != nil {
		plan.note("%s is not added to pytest's options: %v", forked, err)
		return nil
	}
	*plan = both
	return nil
}

// options plans to add --forked to the addopts of the configuration that pytest reads, and reports whether that is
// possible: https://docs.pytest.org/en/stable/reference/customize.html#configuration-file-formats
func (p Project) options(plan *Plan) (possible bool, err error) {
	for _, f := range project.PytestFiles {
		c := configuration{f}
		file := filepath.Join(p.Folder, c.Name)
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if !c.Counts(data) {
			continue
		}
		possible = true
		err = plan.edit(file, func(text string) (string, error) {
			edited, err := c.fork(text)
			switch {
			case err != nil:
				plan.note("%s: %v: add %s to addopts there by hand", file, err, forked)
				possible = false
				return text, nil
			case edited == text:
				plan.note("%s has %s in addopts already", file, forked)
			}
			return edited, nil
		})
		return possible, err
	}
	return true, plan.create(filepath.Join(p.Folder, "pytest.ini"), []byte("[pytest]\naddopts = "+forked+"\n"), 0o644)
}

// configuration is a file that may configure pytest.
type configuration struct{ project.PytestFile }

// tableOf returns the keys of the table that holds the options, nil if there is none.
func (c configuration) tableOf(text string) []string {
	for _, name := range c.Tables {
		keys := strings.Split(name, ".")
		if _, found, err := table(text, keys); err == nil && found != nil {
			return keys
		}
	}
	return nil
}

func (c configuration) fork(text string) (string, error) {
	if c.Section != "" {
		if _, there := parseINI(text)[c.Section]; !there {
			if text != "" && !strings.HasSuffix(text, "\n") {
				text += "\n"
			}
			return text + "[" + c.Section + "]\naddopts = " + forked + "\n", nil
		}
		return forkINI(text, c.Section)
	}
	keys := c.tableOf(text)
	return forkTOML(text, keys, keys != nil && keys[len(keys)-1] == "pytest")
}

// testFolders holds the folders in which tests usually are.
var testFolders = []string{"tests/python", "tests", "test", "pytests", "python/tests"}

// Conftest plans a conftest.py next to the tests.
func (p Project) Conftest(plan *Plan) error {
	folder := p.Folder
	for _, name := range testFolders {
		if found, _ := filepath.Glob(filepath.Join(p.Folder, filepath.FromSlash(name), "*.py")); len(found) > 0 {
			folder = filepath.Join(p.Folder, filepath.FromSlash(name))
			break
		}
	}
	top, _, _ := strings.Cut(p.Module, ".")
	return plan.create(filepath.Join(folder, "conftest.py"), render(conftest, top), 0o644)
}

// Script plans a copy of the helper script and of the plugin with which it runs the tests.
func (p Project) Script(plan *Plan) error {
	folder := filepath.Join(p.Folder, "scripts")
	if err := plan.create(filepath.Join(folder, "test-python.sh"), helper.TestPython, 0o755); err != nil {
		return err
	}
	return plan.create(filepath.Join(folder, "pyo3test_plugin.zip"), agent.PluginZip(), 0o644)
}

// GoTest plans a Go test in a folder and notes what its module lacks.
func (p Project) GoTest(plan *Plan, folder string) error {
	found, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return err
	}
	name := ""
	for _, file := range found {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if strings.HasSuffix(file, "_test.go") && bytes.Contains(data, []byte("harness.Run(")) {
			plan.note("%s runs a suite already", file)
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, data, parser.PackageClauseOnly)
		if err == nil && name == "" {
			name = strings.TrimSuffix(parsed.Name.Name, "_test")
		}
	}
	if name == "" {
		name = packageName(filepath.Base(folder))
	}
	crate, err := filepath.Rel(folder, p.Folder)
	if err != nil {
		return err
	}
	p.goModule(plan, folder)
	return plan.create(filepath.Join(folder, "python_test.go"),
		render(goTest, map[string]string{"Package": name, "Crate": filepath.ToSlash(crate)}), 0o644)
}

// packageName returns a Go package name for a folder's name.
func packageName(folder string) string {
	name := strings.ToLower(regexp.MustCompile(`[^\pL\pN_]`).ReplaceAllString(folder, ""))
	if name == "" || !token.IsIdentifier(name) {
		name = "python" + name
	}
	return name
}

// Workflow plans a GitHub workflow at the root of the repository. It runs go test if the crate is in a Go module,
// otherwise the helper script, which is then planned too.
func (p Project) Workflow(plan *Plan) error {
	root := p.Folder
	for _, name := range []string{"go.mod", ".git"} {
		if found := project.Above(p.Folder, name); found != "" {
			root = filepath.Dir(found)
		}
	}
	crate, err := filepath.Rel(root, p.Folder)
	if err != nil {
		return err
	}
	data := map[string]string{"Crate": filepath.ToSlash(crate),
		"Lock": filepath.ToSlash(filepath.Join(crate, "**", "Cargo.lock"))}
	if module := project.Above(p.Folder, "go.mod"); module != "" {
		inside, err := filepath.Rel(root, filepath.Dir(module))
		if err != nil || !filepath.IsLocal(inside) {
			return fmt.Errorf("%s is outside of the repository %s", module, root)
		}
		data["GoMod"], data["Module"] = filepath.ToSlash(filepath.Join(inside, "go.mod")), filepath.ToSlash(inside)
	} else if err := p.Script(plan); err != nil {
		return err
	}
	return plan.create(filepath.Join(root, ".github", "workflows", "python-tests.yml"), render(workflow, data), 0o644)
}

func render(text string, data any) []byte {
	var out bytes.Buffer
	if err := template.Must(template.New("").Delims("<<", ">>").Parse(text)).Execute(&out, data); err != nil {
		panic(err) // the template is ours and the output is in memory
	}
	return out.Bytes()
}

const goTest = `package <<.Package>>

import (
	"testing"

	"pyo3test/harness"
)

func TestPython(t *testing.T) { harness.Run(t, harness.Suite{Crate: "<<.Crate>>"}) }
`

const conftest = `"""What every test of this extension has: one initialisation a session, and a garbage collection after each test."""

import gc

import pytest

# Not in a fixture and not in a "try": where the extension cannot be imported, the session has to end at once.
import <<.>>  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def extension():
    """The extension, initialised once a session. Under --forked each test's process is a session of its own."""
    return <<.>>


@pytest.fixture(autouse=True)
def collected():
    """Frees what a test left in cycles before the next one starts, native objects included."""
    yield
    gc.collect()
`

const workflow = `name: python-tests

on: [push, pull_request]

permissions:
  contents: read

jobs:
  python-tests:
    runs-on: ubuntu-latest
    # Above the limits of the steps, so that what hangs is reported, and not only ended.
    timeout-minutes: 45
    steps:
      - uses: actions/checkout@v4
<<- if .GoMod>>
      - uses: actions/setup-go@v5
        with:
          go-version-file: <<.GoMod>>
      - uses: actions/cache@v4
        with:
          path: ~/.cache/pyo3test
          key: pyo3test-${{ runner.os }}-${{ hashFiles('<<.Lock>>') }}
      - name: Tests
        timeout-minutes: 40
        working-directory: <<.Module>>
        env:
          PYO3TEST_ARTIFACTS: ${{ runner.temp }}/python-tests
          PYO3TEST_JUNIT: ${{ runner.temp }}/python-tests/junit/
        # Its own limit comes first: then it says where everything stands.
        run: go test -timeout 35m ./...
<<- else>>
      - uses: actions/setup-python@v5
        with:
          python-version: "3.11"
      - uses: actions/cache@v4
        with:
          path: |
            ~/.cache/pyo3test
            ~/.cargo/registry
          key: pyo3test-${{ runner.os }}-${{ hashFiles('<<.Lock>>') }}
      - name: Tests
        timeout-minutes: 40
        working-directory: <<.Crate>>
        # Its own limit comes first. SIGINT lets pytest write its JUnit file.
        run: timeout --signal=INT --kill-after=30s 35m scripts/test-python.sh --junitxml="$RUNNER_TEMP/python-tests/junit.xml"
<<- end>>
      - name: Reports
        if: always()
        uses: actions/upload-artifact@v4
        with:
          name: python-tests
          path: ${{ runner.temp }}/python-tests
          if-no-files-found: warn
`
