package project

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// commonSkeleton returns a skeleton that is shared by all crates that need the same crates, compiled in the same way: its
// manifests are written anew, from what cargo and maturin compile by, and name nothing of the project's own. Only a crate
// that is alone, without a workspace and without other crates of its tree, has one.
func (t Tree) commonSkeleton() (_ Skeleton, ok bool) {
	if t.Crate != t.Workspace {
		return Skeleton{}, false
	}
	var manifest, lock, settings map[string]any
	toolchain, script := map[string]string{}, false
	for _, file := range t.Files {
		name, err := filepath.Rel(t.Crate, file.Name)
		base := path.Base(file.Name)
		switch {
		case path.Base(path.Dir(file.Name)) == ".cargo" && strings.HasPrefix(base, "config"):
			return Skeleton{}, false
		case strings.HasPrefix(base, "rust-toolchain"):
			data, err := os.ReadFile(file.host)
			if err != nil || file.Link != "" || name != base {
				return Skeleton{}, false
			}
			toolchain[base] = string(data)
		case err != nil:
		case name == "Cargo.toml" && file.Link == "":
			manifest = readTable(file.host)
		case name == "Cargo.lock" && file.Link == "":
			lock = readTable(file.host)
		case name == "pyproject.toml" && file.Link == "":
			settings = readTable(file.host)
		case name == "build.rs":
			script = true
		}
	}
	its, ok := commonManifest(manifest, script)
	if !ok || lock == nil || settings == nil {
		return Skeleton{}, false
	}
	if !rename(lock, nameOf(manifest["package"].(map[string]any))) {
		return Skeleton{}, false
	}
	maturin, ok := commonMaturin(settings)
	if !ok {
		return Skeleton{}, false
	}
	files := map[string]string{
		"Cargo.toml":     encode(its),
		"Cargo.lock":     encode(lock),
		"pyproject.toml": encode(maturin),
		"build.rs":       "fn main() {}\n",
		"src/lib.rs":     "",
	}
	for name, text := range toolchain {
		files[name] = text
	}
	skeleton := Tree{Name: commonName, Crate: commonName, Workspace: commonName}
	var key strings.Builder
	for name, text := range files {
		skeleton.Files = append(skeleton.Files, File{Name: commonName + "/" + name, stub: &text})
	}
	slices.SortFunc(skeleton.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	for _, file := range skeleton.Files {
		fmt.Fprintf(&key, "%q %q\n", file.Name, *file.stub)
	}
	return Skeleton{Tree: skeleton, Key: Sum(key.String())}, true
}

// commonName is what a common skeleton's package and folder are called.
const commonName = "skeleton"

// commonManifest returns the part of a Cargo.toml by which the crates that it depends on are compiled, and whether that is
// all of the manifest that matters.
func commonManifest(manifest map[string]any, script bool) (its map[string]any, ok bool) {
	package_, ok := manifest["package"].(map[string]any)
	if !ok || package_["workspace"] != nil || package_["metadata"] != nil {
		return nil, false
	}
	built := map[string]any{"name": commonName, "version": "0.0.0", "edition": "2021", "resolver": "2"}
	edition, named := package_["edition"].(string)
	if resolver, ok := package_["resolver"].(string); resolver == "1" || !ok && (!named || edition < "2021") {
		built["resolver"] = "1"
	}
	// Without one, cargo compiles no crates for a build script.
	if build := package_["build"]; build == false || build == nil && !script || !hasBuildDependencies(manifest) {
		built["build"] = false
	}
	library, _ := manifest["lib"].(map[string]any)
	its = map[string]any{"package": built, "lib": map[string]any{}}
	for _, name := range []string{"crate-type", "crate_type"} { // with link-time optimisation, crates are compiled for these
		if kinds := library[name]; kinds != nil {
			its["lib"] = map[string]any{"crate-type": kinds}
		}
	}
	for name, value := range manifest {
		switch name {
		case "package", "lib", "bin", "example", "test", "bench", "lints", "badges":
		case "dependencies", "dev-dependencies", "build-dependencies":
			if !fromRegistries(value) {
				return nil, false
			}
			its[name] = value
		case "target":
			targets, ok := value.(map[string]any)
			for _, target := range targets {
				tables, isTable := target.(map[string]any)
				ok = ok && isTable
				for kind, table := range tables {
					ok = ok && strings.HasSuffix(kind, "dependencies") && fromRegistries(table)
				}
			}
			if !ok {
				return nil, false
			}
			its[name] = value
		case "features", "profile":
			its[name] = value
		case "workspace":
			if workspace, ok := value.(map[string]any); !ok || len(workspace) > 0 {
				return nil, false
			}
		default:
			return nil, false
		}
	}
	return its, true
}

func hasBuildDependencies(manifest map[string]any) bool {
	targets, _ := manifest["target"].(map[string]any)
	for _, target := range targets {
		if table, ok := target.(map[string]any); ok && table["build-dependencies"] != nil {
			return true
		}
	}
	return manifest["build-dependencies"] != nil
}

// fromRegistries reports whether all crates of a table of dependencies come from registries, with versions of their own.
func fromRegistries(table any) bool {
	crates, ok := table.(map[string]any)
	for _, crate := range crates {
		switch crate := crate.(type) {
		case string:
		case map[string]any:
			for name := range crate {
				ok = ok && name != "path" && name != "git" && name != "workspace"
			}
		default:
			return false
		}
	}
	return ok
}

// rename gives the project's own package in a Cargo.lock the common name; ok is false if the file does not have it once.
func rename(lock map[string]any, name string) (ok bool) {
	packages, _ := lock["package"].([]map[string]any)
	found := 0
	for _, each := range packages {
		if each["source"] != nil {
			continue
		}
		found++
		ok = name != "" && nameOf(each) == name
		each["name"], each["version"] = commonName, "0.0.0"
	}
	slices.SortStableFunc(packages, func(a, b map[string]any) int { return strings.Compare(nameOf(a), nameOf(b)) })
	return ok && found == 1
}

func nameOf(package_ map[string]any) string {
	name, _ := package_["name"].(string)
	return name
}

// commonMaturin returns the part of a pyproject.toml by which maturin calls cargo, and whether that is all of it that
// matters.
func commonMaturin(settings map[string]any) (its map[string]any, ok bool) {
	kept := map[string]any{}
	tool, _ := settings["tool"].(map[string]any)
	maturin, _ := tool["maturin"].(map[string]any)
	for name, value := range maturin {
		switch name {
		case "features", "no-default-features", "all-features", "profile", "editable-profile", "bindings", "strip":
			kept[name] = value
		case "module-name", "python-source", "python-packages", "include", "exclude", "data", "compatibility", "sdist-include",
			"sdist-generator", "skip-auditwheel", "auditwheel", "include-import-lib":
		default:
			return nil, false
		}
	}
	return map[string]any{
		"build-system": map[string]any{"requires": []string{"maturin"}, "build-backend": "maturin"},
		"project":      map[string]any{"name": commonName, "version": "0.0.0"},
		"tool":         map[string]any{"maturin": kept},
	}, true
}

// readTable returns a file's TOML, nil if it cannot be read.
func readTable(name string) (table map[string]any) {
	if readTOML(name, &table) != nil {
		return nil
	}
	return table
}

func encode(table map[string]any) string {
	var text bytes.Buffer
	if err := toml.NewEncoder(&text).Encode(table); err != nil {
		panic(err) // it was read from TOML
	}
	return text.String()
}
