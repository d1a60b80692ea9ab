package scaffold

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/subtest"
)

// usual is where this module usually is in a repository.
const usual = "third_party/pyo3test"

var (
	// modulePath is this module's path, which a published copy has changed.
	modulePath   = strings.TrimSuffix(reflect.TypeFor[Project]().PkgPath(), "/harness/internal/scaffold")
	namesHarness = regexp.MustCompile(`(?m)^\s*(module|require|tool)?\s*` + regexp.QuoteMeta(modulePath) + `\b`)
	isHarness    = regexp.MustCompile(`(?m)^module\s+` + regexp.QuoteMeta(modulePath) + `\s*$`)
)

// goModule notes what the module of a folder lacks to import the harness, as the commands that add it.
func (p Project) goModule(plan *Plan, folder string) {
	file := project.Above(folder, "go.mod")
	if file == "" {
		plan.note("%s belongs to no Go module: first run `go mod init` there or in a folder above", folder)
		return
	}
	data, err := os.ReadFile(file)
	if err != nil || namesHarness.Match(data) {
		return
	}
	module := filepath.Dir(file)
	repository := module
	if git := project.Above(module, ".git"); git != "" {
		repository = filepath.Dir(git)
	}
	ours := findHarness(repository)
	if ours == "" {
		ours = filepath.Join(repository, filepath.FromSlash(usual))
		plan.note("pyo3test is not in %s: put it into %s", repository, ours)
	}
	if work := project.Above(module, "go.work"); work != "" && os.Getenv("GOWORK") != "off" {
		plan.note("%s does not name pyo3test: in its folder, run\n    go work use %s", work,
			subtest.ShellQuote(typed(filepath.Dir(work), ours)))
		return
	}
	plan.note("%s does not name pyo3test: in its folder, run\n"+
		"    go mod edit -require=%s@v0.0.0 %s\n    go mod tidy", file, modulePath,
		subtest.ShellQuote("-replace="+modulePath+"="+typed(module, ours)))
}

// findHarness returns the folder of this module in a repository, "" if it is not there.
func findHarness(repository string) string {
	place := filepath.Join(repository, filepath.FromSlash(usual)) // which may be a link
	if data, err := os.ReadFile(filepath.Join(place, "go.mod")); err == nil && isHarness.Match(data) {
		return place
	}
	modules, _ := project.Below(repository, "go.mod")
	for _, module := range modules {
		if data, err := os.ReadFile(filepath.Join(module, "go.mod")); err == nil && isHarness.Match(data) {
			return module
		}
	}
	return ""
}

// typed returns a path as go.mod wants it in a folder: with ./ or ../ in front.
func typed(folder, path string) string {
	relative, err := filepath.Rel(folder, path)
	if err != nil {
		return path
	}
	relative = filepath.ToSlash(relative)
	if strings.HasPrefix(relative, "../") {
		return relative
	}
	return "./" + relative
}
