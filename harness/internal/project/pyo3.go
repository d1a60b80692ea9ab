package project

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// PyO3 describes how a crate uses PyO3, according to its manifests.
type PyO3 struct {
	Manifest string   // the crate's Cargo.toml
	Lock     string   // where Cargo.lock belongs
	HasLock  bool     // the file exists
	Locked   string   // the version in Cargo.lock, "" without one
	Wanted   string   // the version that Cargo.toml asks for
	Features []string // that are on when maturin builds the crate
	Library  string   // the name of the crate's library, and of the module unless [tool.maturin] says otherwise
}

// PyO3 reads the Cargo.toml of the crate and of its workspace, and Cargo.lock.
func (p Project) PyO3() (PyO3, error) {
	found := PyO3{Manifest: p.cargoManifest()}
	var m cargoManifest
	if err := readTOML(found.Manifest, &m); err != nil {
		return found, err
	}
	folder := filepath.Dir(found.Manifest)
	root := folder
	if above := (&closure{}).workspaceRoot(folder, m); m.Workspace == nil && above != "" {
		root = above
	}
	var workspace cargoManifest
	if err := readTOML(filepath.Join(root, "Cargo.toml"), &workspace); err != nil {
		return found, err
	}
	switch {
	case m.Library.Name != "":
		found.Library = m.Library.Name
	case m.Package != nil:
		found.Library = strings.ReplaceAll(m.Package.Name, "-", "_")
	}
	tables := []map[string]any{m.Dependencies}
	for _, target := range m.Target {
		tables = append(tables, target.Dependencies)
	}
	for _, table := range tables {
		for name, spec := range table {
			if named, ok := spec.(map[string]any); ok && named["package"] == "pyo3" || name == "pyo3" {
				found.take(name, spec, workspace, m.Features, p.maturinFeatures())
			}
		}
	}
	slices.Sort(found.Features)
	found.Features = slices.Compact(found.Features)
	found.Lock = filepath.Join(root, "Cargo.lock")
	var err error
	found.Locked, found.HasLock, err = lockedVersion(found.Lock, "pyo3")
	return found, err
}

// take reads one dependency on PyO3: its own features, those that it inherits from the workspace, and those enabled by
// crate features that are on by default or by [tool.maturin].
func (f *PyO3) take(name string, spec any, workspace cargoManifest, features map[string][]string, on []string) {
	switch spec := spec.(type) {
	case string:
		f.Wanted = spec
	case map[string]any:
		if version, ok := spec["version"].(string); ok {
			f.Wanted = version
		}
		f.Features = append(f.Features, texts(spec["features"])...)
		if spec["workspace"] == true && workspace.Workspace != nil {
			f.take(name, workspace.Workspace.Dependencies[name], cargoManifest{}, nil, nil)
		}
	}
	seen := map[string]bool{}
	for on = append(slices.Clone(on), "default"); len(on) > 0; {
		feature := on[0]
		on = on[1:]
		if seen[feature] {
			continue
		}
		seen[feature] = true
		if of, ok := strings.CutPrefix(strings.Replace(feature, "?/", "/", 1), name+"/"); ok {
			f.Features = append(f.Features, of)
		}
		on = append(on, features[feature]...)
	}
}

func (p Project) maturinFeatures() []string { return texts(p.Tool.Maturin["features"]) }

// texts returns the strings in a TOML list.
func texts(list any) (found []string) {
	values, _ := list.([]any)
	for _, value := range values {
		if text, ok := value.(string); ok {
			found = append(found, text)
		}
	}
	return found
}

// lockedVersion returns the newest version of a package in a Cargo.lock, "" if it has none; there is false if there is
// no such file.
func lockedVersion(file, name string) (version string, there bool, err error) {
	var lock struct {
		Package []struct{ Name, Version string }
	}
	switch err := readTOML(file, &lock); {
	case errors.Is(err, fs.ErrNotExist):
		return "", false, nil
	case err != nil:
		return "", true, err
	}
	for _, each := range lock.Package {
		if each.Name == name {
			version = each.Version // they are sorted
		}
	}
	return version, true, nil
}

// ModuleName returns the name that the built module is imported by: module-name of [tool.maturin], else the library's
// name.
func (p Project) ModuleName(library string) string {
	if name, ok := p.Tool.Maturin["module-name"].(string); ok {
		return name
	}
	return library
}
