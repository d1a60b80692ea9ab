package scaffold

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"pyo3test/harness/internal/project"
)

// forkedPair are the requirements with which plain pytest knows --forked: pytest-forked up to 1.7.5 fails every test of
// pytest 9.2 and newer.
var forkedPair = []string{"pytest-forked>=1.7.5", "pytest<9.2"}

var (
	pytestForked = regexp.MustCompile(`(?m)^["']?pytest[-_.]forked\b`)
	// newerPytest matches a requirement that no pytest below 9.2 meets.
	newerPytest = regexp.MustCompile(`(?m)^["']?pytest\s*(==|>=|~=|>)\s*(9\.[2-9]|9\.\d\d|\d\d)`)
)

// requireForked plans to name pytest-forked where the project lists what its tests need. Its error is why that cannot be
// done: then --forked must not be among pytest's options.
func (p Project) requireForked(plan *Plan) error {
	needed, err := p.Dependencies(project.Wanted{}, os.Open)
	if err != nil {
		return err
	}
	listed := strings.Join(needed.Requirements, "\n")
	for _, file := range needed.Files {
		listed += "\n" + file.Text
	}
	group, extra := p.ForTests()
	switch {
	case pytestForked.MatchString(listed):
		return nil
	case needed.Lock != nil:
		return p.lockedForked(group)
	case newerPytest.MatchString(listed):
		return fmt.Errorf("pytest-forked, which plain pytest needs for %s, does not work with the pytest of %s", forked,
			needed.From)
	case group != "":
		return plan.edit(filepath.Join(p.Folder, "pyproject.toml"), func(text string) (string, error) {
			return addToList(text, "dependency-groups", group)
		})
	case extra != "":
		return plan.edit(filepath.Join(p.Folder, "pyproject.toml"), func(text string) (string, error) {
			return addToList(text, "project.optional-dependencies", extra)
		})
	case strings.Contains(listed, "--hash="):
		return fmt.Errorf("%s has hashes, and pytest-forked, which plain pytest needs for %s, is not in it", needed.From, forked)
	case needed.From != "": // a requirements file
		return plan.edit(filepath.Join(p.Folder, filepath.FromSlash(needed.From)), func(text string) (string, error) {
			if text != "" && !strings.HasSuffix(text, "\n") {
				text += "\n"
			}
			return text + strings.Join(forkedPair, "\n") + "\n", nil
		})
	}
	if needs := p.pluginsOfOptions(); len(needs) > 0 {
		return fmt.Errorf("the project lists no test requirements, and pytest's options need %s: list them in a dependency "+
			"group test, with %s", strings.Join(needs, " and "), strings.Join(forkedPair, " and "))
	}
	return plan.edit(filepath.Join(p.Folder, "pyproject.toml"), addGroup)
}

// pluginsOfOptions returns the plugins of the default test environment that the project's own pytest options need. A list
// of its own replaces that environment.
func (p Project) pluginsOfOptions() (plugins []string) {
	for _, file := range project.PytestFiles {
		data, err := os.ReadFile(filepath.Join(p.Folder, file.Name))
		if err != nil || !file.Counts(data) {
			continue
		}
		if strings.Contains(string(data), "--cov") {
			plugins = append(plugins, "pytest-cov")
		}
		if workers.Match(data) {
			plugins = append(plugins, "pytest-xdist")
		}
		break
	}
	return plugins
}

// workers matches an option of pytest-xdist in pytest's configuration.
var workers = regexp.MustCompile(`addopts.*(\s|["'])(--dist|--numprocesses)\b`)

// lockedForked returns an error unless pytest-forked is in the lock file that the tests' packages come from.
func (p Project) lockedForked(group string) error {
	for folder := p.Folder; folder != filepath.Dir(folder); folder = filepath.Dir(folder) {
		for _, name := range []string{"uv.lock", "pylock.toml"} {
			data, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				continue
			}
			if strings.Contains(string(data), `name = "pytest-forked"`) {
				return nil
			}
			command := "uv add --dev"
			if group != "" {
				command = "uv add --group " + group
			}
			return fmt.Errorf("%s does not lock pytest-forked, which plain pytest needs for %s: first run `%s '%s'`",
				filepath.Join(folder, name), forked, command, strings.Join(forkedPair, "' '"))
		}
	}
	return nil
}

// edit plans an edit of a file, on top of an edit that is planned already.
func (p *Plan) edit(file string, edit func(text string) (string, error)) error {
	for i, change := range p.Changes {
		if change.File == file {
			edited, err := edit(string(change.New))
			p.Changes[i].New = []byte(edited)
			return err
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	edited, err := edit(string(data))
	if err == nil && edited != string(data) {
		p.Changes = append(p.Changes, Change{File: file, Old: data, New: []byte(edited)})
	}
	return err
}

// addToList adds the pair to a list of requirements of a TOML table and changes nothing else.
func addToList(text, name, list string) (string, error) {
	keys := strings.Split(name, ".")
	whole, lists, err := table(text, keys)
	if err != nil {
		return "", err
	}
	old, ok := lists[list].([]any)
	if !ok {
		return "", errUneditable
	}
	pair := []any{}
	for _, requirement := range forkedPair {
		pair = append(pair, requirement)
	}
	lists[list] = append(pair, old...)
	header := regexp.MustCompile(`(?m)^[ \t]*\[[ \t]*` + strings.Join(keys, `[ \t]*\.[ \t]*`) + `[ \t]*\][^\n]*\n`)
	start := header.FindStringIndex(text)
	if start == nil {
		return "", errUneditable
	}
	opened := regexp.MustCompile(`(?m)^[ \t]*["']?` + regexp.QuoteMeta(list) + `["']?[ \t]*=[ \t]*\[`)
	at := opened.FindStringIndex(text[start[1]:])
	if at == nil {
		return "", errUneditable
	}
	end := start[1] + at[1]
	added, separator := "", ""
	if strings.HasPrefix(strings.TrimLeft(text[end:], " \t"), "\n") { // one a line
		separator = "\n    "
	}
	for _, requirement := range forkedPair {
		added += separator + `"` + requirement + `",`
		if separator == "" {
			added += " "
		}
	}
	edited := text[:end] + added + text[end:]
	if now, _, err := table(edited, keys); err != nil || !reflect.DeepEqual(now, whole) {
		return "", errUneditable
	}
	return edited, nil
}

// addGroup adds a dependency group test with the pair.
func addGroup(text string) (string, error) {
	_, groups, err := table(text, []string{"dependency-groups"})
	if err != nil {
		return "", err
	}
	line := `test = ["` + strings.Join(forkedPair, `", "`) + "\"]\n"
	if groups == nil {
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return text + "\n[dependency-groups]\n" + line, nil
	}
	header := regexp.MustCompile(`(?m)^[ \t]*\[[ \t]*dependency-groups[ \t]*\][^\n]*\n`).FindStringIndex(text)
	if header == nil || groups["test"] != nil {
		return "", errUneditable
	}
	edited := text[:header[1]] + line + text[header[1]:]
	if _, now, err := table(edited, []string{"dependency-groups"}); err != nil || len(now) != len(groups)+1 {
		return "", errors.Join(errUneditable, err)
	}
	return edited, nil
}
