package project

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	aloneManifest = `[package]
name = "words"
version = "1.2.3"
edition = "2024"
description = "splits words"

[lib]
name = "_words"
crate-type = ["cdylib"]

[dependencies]
serde = { version = "1", features = ["derive"] }
`
	aloneSettings = `[build-system]
requires = ["maturin>=1.9"]
build-backend = "maturin"

[project]
name = "words"
version = "1.2.3"

[tool.maturin]
module-name = "words._words"
`
)

// alone returns a crate without a workspace, with changes.
func alone(changes map[string]string) map[string]string {
	files := map[string]string{
		"Cargo.toml":     aloneManifest,
		"Cargo.lock":     strings.Replace(locked, `"crate"`, `"words"`, 1),
		"pyproject.toml": aloneSettings,
		"src/lib.rs":     "compile_error!();\n",
		"words.py":       "",
	}
	maps.Copy(files, changes)
	maps.DeleteFunc(files, func(_, text string) bool { return text == "" })
	return files
}

// skeletonOf returns the skeleton of a crate.
func skeletonOf(t *testing.T, files map[string]string) Skeleton {
	t.Helper()
	folder := realTemp(t)
	write(t, folder, files)
	tree, _ := collect(t, folder)
	skeleton, ok := tree.Skeleton()
	require.True(t, ok)
	return skeleton
}

// TestCommonSkeleton checks that crates which need the same crates, compiled in the same way, have one skeleton, and that
// this has nothing of their own.
func TestCommonSkeleton(t *testing.T) {
	plain := skeletonOf(t, alone(nil))
	for name, text := range packed(t, plain.Tree) {
		require.NotContains(t, text, "words", name)
		require.NotContains(t, text, "compile_error", name)
	}
	require.Contains(t, packed(t, plain.Tree)["src/skeleton/Cargo.toml"], `features = ["derive"]`)
	require.Equal(t, commonName, plain.Tree.Crate)

	change := func(file, old, new string) map[string]string {
		require.Contains(t, alone(nil)[file], old)
		return map[string]string{file: strings.ReplaceAll(alone(nil)[file], old, new)}
	}
	renamed := change("Cargo.toml", "words", "names")
	serde := locked[strings.LastIndex(locked, "[[package]]"):]
	renamed["Cargo.lock"] = "version = 4\n" + serde + strings.ReplaceAll(
		strings.TrimSuffix(strings.TrimPrefix(alone(nil)["Cargo.lock"], "version = 4\n"), serde), "words", "names")
	for what, changes := range map[string]map[string]string{
		"its name":            renamed,
		"its version":         change("Cargo.toml", "1.2.3", "2.0.0"),
		"the order of tables": {"Cargo.toml": "[lib]\ncrate-type = ['cdylib']\n" + strings.Replace(aloneManifest, "[lib]\nname = \"_words\"\ncrate-type = [\"cdylib\"]\n", "", 1)},
		"an edition":          change("Cargo.toml", "2024", "2021"),
		"what Python sees":    change("pyproject.toml", "words", "names"),
		"its code":            {"src/lib.rs": "fn f() {}\n", "src/other.rs": "", "words.py": "1\n"},
		"a test's own crate":  {"tests/fixture/Cargo.toml": "[package]\nname = \"f\"\n"},
		"a build script":      {"build.rs": "fn main() {}\n"},
		"an empty workspace":  {"Cargo.toml": aloneManifest + "[workspace]\n"},
	} {
		require.Equal(t, plain.Key, skeletonOf(t, alone(changes)).Key, what)
	}
	keys := map[string]string{plain.Key: "plain"}
	for what, changes := range map[string]map[string]string{
		"a feature":                         change("Cargo.toml", "derive", "rc"),
		"an old edition":                    change("Cargo.toml", "2024", "2018"),
		"a kind of library":                 change("Cargo.toml", `["cdylib"]`, `["cdylib", "rlib"]`),
		"a profile":                         {"Cargo.toml": aloneManifest + "[profile.release]\nlto = true\n"},
		"a dependency":                      {"Cargo.toml": aloneManifest + "[build-dependencies]\ncc = \"1\"\n"},
		"one for a target":                  {"Cargo.toml": aloneManifest + "[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n"},
		"a build script that needs a crate": {"build.rs": "fn main() {}\n", "Cargo.toml": aloneManifest + "[build-dependencies]\ncc = \"1\"\n"},
		"a locked version":                  change("Cargo.lock", "1.0.0", "1.0.1"),
		"a checksum":                        change("Cargo.lock", `"00"`, `"01"`),
		"a toolchain":                       {"rust-toolchain.toml": "[toolchain]\nchannel = \"1.85\"\n"},
		"features by maturin":               {"pyproject.toml": aloneSettings + "features = [\"pyo3/abi3\"]\n"},
	} {
		key := skeletonOf(t, alone(changes)).Key
		require.Empty(t, keys[key], what)
		keys[key] = what
	}
	for what, changes := range map[string]map[string]string{
		"a crate of its own":        {"Cargo.toml": aloneManifest + "x = { path = \"x\" }\n", "x/Cargo.toml": "[package]\nname = \"x\"\n"},
		"a repository":              {"Cargo.toml": aloneManifest + "x = { git = \"https://example.com/x\" }\n"},
		"one for a target":          {"Cargo.toml": aloneManifest + "[target.'cfg(unix)'.dependencies]\nx = { git = \"https://example.com/x\" }\n"},
		"a patch":                   {"Cargo.toml": aloneManifest + "[patch.crates-io]\nserde = { git = \"https://example.com/x\" }\n"},
		"a workspace":               {"Cargo.toml": aloneManifest + "[workspace]\nmembers = []\n"},
		"metadata":                  {"Cargo.toml": aloneManifest + "[package.metadata.maturin]\nname = \"x\"\n"},
		"another crate in the lock": {"Cargo.lock": alone(nil)["Cargo.lock"] + "[[package]]\nname = \"other\"\nversion = \"1.0.0\"\n"},
		"arguments for cargo":       {"pyproject.toml": aloneSettings + "cargo-args = [\"--config\", \"x\"]\n"},
		"what is not known":         {"Cargo.toml": "cargo-features = []\n" + aloneManifest},
	} {
		require.NotEqual(t, commonName, skeletonOf(t, alone(changes)).Tree.Crate, what)
	}
}
