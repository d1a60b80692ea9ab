package project

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Skeleton is a tree without its own code, from which cargo compiles the crates that the tree depends on, and no more.
type Skeleton struct {
	Tree Tree
	// Key covers what is compiled: which crates, and how they are asked for. Trees of different crates may share it.
	Key string
}

// Skeleton returns the tree's skeleton. There is none if the tree does not lock its crates, or configures cargo: a
// configuration can name programs of the tree, and crates that the tree holds.
func (t Tree) Skeleton(open Open) (_ Skeleton, ok bool, err error) {
	lock := path.Join(t.Workspace, "Cargo.lock")
	var key strings.Builder
	skeleton := t
	skeleton.Files = nil
	for _, file := range t.Files {
		name := path.Base(file.Name)
		if path.Base(path.Dir(file.Name)) == ".cargo" && strings.HasPrefix(name, "config") {
			return Skeleton{}, false, nil
		}
		var text any
		switch {
		case file.Link != "":
		case file.Name == lock:
			ok = true
			text, err = readTable(file, open, externalCrates)
		case name == "Cargo.toml":
			text, err = readTable(file, open, dependencyTables)
		case strings.HasPrefix(name, "rust-toolchain"):
			text = file.Sum
		case name == "Cargo.lock" || name == "pyproject.toml":
		case path.Ext(name) == ".rs":
			file.stub = new("fn main() {}\n") // that is a program, a library and a build script
		default:
			file.stub = new("")
		}
		if err != nil {
			return Skeleton{}, false, err
		}
		if text != nil {
			_ = json.NewEncoder(&key).Encode(text)
		}
		skeleton.Files = append(skeleton.Files, file)
	}
	return Skeleton{Tree: skeleton, Key: Sum(key.String())}, ok, nil
}

// LockedCrates returns the names of the crates in the tree's Cargo.lock, none if it has none that can be read.
func (t Tree) LockedCrates() (names []string) {
	for _, file := range t.Files {
		if file.Name != path.Join(t.Workspace, "Cargo.lock") {
			continue
		}
		_, _ = readTable(file, os.Open, func(lock map[string]any) any {
			packages, _ := lock["package"].([]map[string]any)
			for _, each := range packages {
				name, _ := each["name"].(string)
				names = append(names, name)
			}
			return nil
		})
	}
	return names
}

// readTable reads a TOML file and returns what matters of it.
func readTable(file File, open Open, matters func(map[string]any) any) (any, error) {
	in, err := open(file.host)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	data, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	var table map[string]any
	if err := toml.Unmarshal(data, &table); err != nil {
		return nil, fmt.Errorf("read %s: %w", file.host, err)
	}
	return matters(table), nil
}

// externalCrates returns the locked crates that come from elsewhere.
func externalCrates(lock map[string]any) any {
	packages, _ := lock["package"].([]map[string]any)
	return slices.DeleteFunc(packages, func(each map[string]any) bool { return each["source"] == nil })
}

// dependencyTables returns what a manifest says about crates other than its own.
func dependencyTables(manifest map[string]any) any {
	for _, own := range []string{"package", "lib", "bin", "example", "test", "bench", "badges", "lints"} {
		delete(manifest, own)
	}
	return manifest
}
