// Package project reads the user's project: a crate's pyproject.toml and Cargo files, what its tests need, and the tree
// of sources that goes into a container. It changes nothing.
package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Project is a crate's pyproject.toml, as far as the harness reads it.
type Project struct {
	Folder string // the crate's, absolute and without links
	pyproject
	uv map[string]any // all of [tool.uv]
}

type pyproject struct {
	BuildSystem *struct {
		Backend  string `toml:"build-backend"`
		Requires []string
	} `toml:"build-system"`
	Metadata struct {
		Name         string
		Python       string `toml:"requires-python"`
		Readme       any
		License      any
		Dependencies []string
		Extras       map[string][]string `toml:"optional-dependencies"`
	} `toml:"project"`
	Groups map[string][]any `toml:"dependency-groups"`
	Tool   struct {
		Maturin  map[string]any
		UV       uvSettings
		PyO3Test map[string]any `toml:"pyo3test"`
	}
}

// usesSetuptoolsRust reports whether setuptools-rust is among what a build requires.
func usesSetuptoolsRust(requires []string) bool {
	return slices.ContainsFunc(requires, func(requirement string) bool {
		found := requirementName.FindStringSubmatch(requirement)
		return found != nil && normalised(found[1]) == "setuptools-rust"
	})
}

// IsMaturin reports whether a folder is a project that maturin builds.
func IsMaturin(folder string) bool {
	var p pyproject
	err := readTOML(filepath.Join(folder, "pyproject.toml"), &p)
	return err == nil && p.BuildSystem != nil && p.BuildSystem.Backend == "maturin"
}

// Read reads the pyproject.toml of a crate's folder.
func Read(crate string) (Project, error) {
	folder, err := filepath.Abs(crate)
	if err != nil {
		return Project{}, FieldError("Crate", "%w", err)
	}
	if resolved, err := filepath.EvalSymlinks(folder); err == nil {
		folder = resolved
	}
	if info, err := os.Stat(folder); err != nil {
		return Project{}, FieldError("Crate", "no folder %s", folder)
	} else if !info.IsDir() {
		return Project{}, FieldError("Crate", "%s is not a folder", folder)
	}
	p := Project{Folder: folder}
	path := filepath.Join(folder, "pyproject.toml")
	switch err := readTOML(path, &p.pyproject); {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Join(folder, "Cargo.toml")); errors.Is(err, fs.ErrNotExist) {
			return p, fmt.Errorf("no Cargo.toml in %s, and no pyproject.toml: Crate has to name "+
				"the folder of a Rust crate",
				folder)
		}
		return p, fmt.Errorf("no pyproject.toml in %s: maturin needs one; `maturin init` writes it", folder)
	case err != nil:
		return p, err
	case p.BuildSystem != nil && usesSetuptoolsRust(p.BuildSystem.Requires):
		return p, fmt.Errorf("%s: the extension is built by setuptools-rust, which is not supported yet: "+
			"pyo3test builds with maturin", path)
	case p.BuildSystem != nil && p.BuildSystem.Backend != "" && p.BuildSystem.Backend != "maturin":
		return p, fmt.Errorf("%s does not name maturin as its build backend but %s: pyo3test builds with maturin alone",
			path, p.BuildSystem.Backend)
	case p.BuildSystem == nil || p.BuildSystem.Backend != "maturin":
		return p,
			fmt.Errorf(`%s does not name maturin as its build backend: add [build-system] requires = ["maturin>=1,<2"], build-backend = "maturin"`, path)
	}
	var all struct{ Tool struct{ UV map[string]any } }
	if err := readTOML(path, &all); err != nil {
		return p, err
	}
	p.uv = all.Tool.UV
	if _, err := os.Stat(p.cargoManifest()); errors.Is(err, fs.ErrNotExist) {
		return p, fmt.Errorf("no Cargo.toml in %s: Crate has to name the folder of a Rust crate, or manifest-path in "+
			"[tool.maturin] its Cargo.toml",
			filepath.Dir(p.cargoManifest()))
	}
	return p, nil
}

// cargoManifest returns the path of the Cargo.toml that maturin builds.
func (p Project) cargoManifest() string {
	if at, ok := p.Tool.Maturin["manifest-path"].(string); ok {
		return filepath.Join(p.Folder, at)
	}
	return filepath.Join(p.Folder, "Cargo.toml")
}

// moduleNames returns the names under which the built module may be imported: its own and its package's.
func (p Project) moduleNames() []string {
	var m cargoManifest
	_ = readTOML(p.cargoManifest(), &m) // the build reports what is wrong with it
	names := []string{m.Library.Name, p.Metadata.Name}
	if m.Package != nil {
		names = append(names, m.Package.Name)
	}
	if name, ok := p.Tool.Maturin["module-name"].(string); ok {
		names = append(names, strings.Split(name, ".")...)
	}
	for i, name := range names {
		names[i] = regexp.MustCompile(`[-.]+`).ReplaceAllString(name, "_")
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// data returns the folder whose files maturin copies to the wheel, or "" if there is none: the one that pyproject.toml
// names, or the one named after the module.
func (p Project) data() string {
	named, _ := p.Tool.Maturin["data"].(string)
	folders := []string{named}
	for _, name := range p.moduleNames() {
		folders = append(folders, name+".data")
	}
	for _, folder := range folders {
		if folder != "" && isFolder(resolved(filepath.Join(p.Folder, folder))) {
			return resolved(filepath.Join(p.Folder, folder))
		}
	}
	return ""
}

// IsOption reports whether a key of [tool.pyo3test] means a field of the Suite: in any case, with or without dashes or
// underscores.
func IsOption(key, field string) bool {
	return strings.EqualFold(strings.NewReplacer("-", "", "_", "").Replace(key), field)
}

// Setting returns how a field of the Suite is named to those who write TOML and to those who write Go.
func Setting(field string) string {
	var key strings.Builder
	for i, r := range field {
		if i > 0 && unicode.IsUpper(r) {
			key.WriteByte('-')
		}
		key.WriteRune(unicode.ToLower(r))
	}
	return key.String() + " in [tool.pyo3test] (" + field + " of a Suite)"
}

// Option returns the value that [tool.pyo3test] has for a field of the Suite, nil if it has none.
func (p Project) Option(field string) any {
	for key, value := range p.Tool.PyO3Test {
		if IsOption(key, field) {
			return value
		}
	}
	return nil
}
