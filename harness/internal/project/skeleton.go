package project

import (
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/BurntSushi/toml"
)

// Skeleton is a tree without its own code, from which cargo compiles the crates that the tree depends on, and no more.
type Skeleton struct {
	Tree Tree
	// Key covers all files of the skeleton that have content: only trees that agree in every one of them share it.
	// Manifests can name any of these files as a build script.
	Key string
}

// Skeleton returns the tree's skeleton. There is none if the tree does not lock its crates, or configures cargo: a
// configuration can name programs of the tree, and crates that the tree holds.
func (t Tree) Skeleton() (_ Skeleton, ok bool) {
	if common, ok := t.commonSkeleton(); ok {
		return common, true
	}
	var key strings.Builder
	skeleton := t
	skeleton.Files = nil
	for _, file := range t.Files {
		name := path.Base(file.Name)
		switch {
		case path.Base(path.Dir(file.Name)) == ".cargo" && strings.HasPrefix(name, "config"):
			return Skeleton{}, false
		case file.Link != "" || isManifest(name):
			fmt.Fprintf(&key, "%q %v %q %s\n", file.Name, file.Mode, file.Link, file.Sum)
			ok = ok || file.Name == path.Join(t.Workspace, "Cargo.lock")
		case path.Ext(name) == ".rs":
			file.stub = new("fn main() {}\n") // that is a program, a library and a build script
		default:
			file.stub = new("")
		}
		skeleton.Files = append(skeleton.Files, file)
	}
	return Skeleton{Tree: skeleton, Key: Sum(key.String())}, ok
}

// isManifest reports whether cargo, rustup or maturin read a file of that name.
func isManifest(name string) bool {
	return name == "Cargo.toml" || name == "Cargo.lock" || name == "pyproject.toml" ||
		strings.HasPrefix(name, "rust-toolchain")
}

// LockedCrates returns the names of the crates in the tree's Cargo.lock, none if it has none that can be read.
func (t Tree) LockedCrates() (names []string) {
	for _, file := range t.Files {
		if file.Name != path.Join(t.Workspace, "Cargo.lock") {
			continue
		}
		var lock struct{ Package []struct{ Name string } }
		data, err := os.ReadFile(file.host)
		if err != nil || toml.Unmarshal(data, &lock) != nil {
			return nil
		}
		for _, each := range lock.Package {
			names = append(names, each.Name)
		}
	}
	return names
}
