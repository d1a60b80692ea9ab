package scaffold

import (
	"path/filepath"
	"regexp"
	"strings"
)

// SystemPackages plans to add Debian packages to those that [tool.pyo3test] names.
func (p Project) SystemPackages(plan *Plan, packages []string) error {
	file := filepath.Join(p.Folder, "pyproject.toml")
	if p.Option("SystemPackages") != nil {
		plan.note("%s has system-packages already: add \"%s\" to it", file, strings.Join(packages, `", "`))
		return nil
	}
	return plan.edit(file, func(text string) (string, error) {
		edited, err := addPackages(text, packages)
		if err != nil {
			plan.note("%s: %v: add to [tool.pyo3test] system-packages = [\"%s\"]", file, err, strings.Join(packages, `", "`))
			return text, nil
		}
		return edited, nil
	})
}

// addPackages adds a line to [tool.pyo3test], and the table if it is not there.
func addPackages(text string, packages []string) (string, error) {
	line := `system-packages = ["` + strings.Join(packages, `", "`) + "\"]\n"
	keys := []string{"tool", "pyo3test"}
	_, options, err := table(text, keys)
	if err != nil {
		return "", err
	}
	edited := ""
	if options == nil {
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		edited = text + "\n[tool.pyo3test]\n" + line
	} else {
		at := regexp.MustCompile(`(?m)^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*pyo3test[ \t]*\][^\n]*\n`).FindStringIndex(text)
		if at == nil {
			return "", errUneditable
		}
		edited = text[:at[1]] + line + text[at[1]:]
	}
	_, now, err := table(edited, keys)
	if err != nil || len(now) != len(options)+1 || now["system-packages"] == nil {
		return "", errUneditable
	}
	return edited, nil
}
