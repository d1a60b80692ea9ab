package project

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const locked = `version = 4

[[package]]
name = "crate"
version = "0.1.0"
dependencies = ["serde"]

[[package]]
name = "serde"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "00"
`

// TestSkeleton checks that a skeleton has the manifests and none of the code, and that its key covers which crates are
// compiled, and nothing that is the project's own.
func TestSkeleton(t *testing.T) {
	sources := map[string]string{
		"Cargo.toml":     member + "[dependencies]\nserde = \"1\"\n",
		"Cargo.lock":     locked,
		"pyproject.toml": maturin + "[project]\nname = \"x\"\n",
		"build.rs":       "fn main() { panic!() }\n",
		"src/lib.rs":     "compile_error!();\n",
		"src/data.json":  "{}",
		"py/__init__.py": "raise SystemExit\n",
		"py/linked.py":   "-> __init__.py",
	}
	skeleton := func(changes map[string]string) (Skeleton, bool) {
		t.Helper()
		files := maps.Clone(sources)
		maps.Copy(files, changes)
		folder := realTemp(t)
		write(t, folder, files)
		tree, _ := collectWith(t, folder, Selection{Include: []string{"src", "py"}})
		return tree.Skeleton()
	}
	plain, ok := skeleton(nil)
	require.True(t, ok)
	require.Equal(t, map[string]string{
		"src/Cargo.toml": sources["Cargo.toml"], "src/Cargo.lock": locked, "src/pyproject.toml": sources["pyproject.toml"],
		"src/build.rs": "fn main() {}\n", "src/src/lib.rs": "fn main() {}\n",
		"src/src/data.json": "", "src/py/__init__.py": "", "src/py/linked.py": "-> __init__.py",
	}, packed(t, plain.Tree))

	other, ok := skeleton(map[string]string{"src/lib.rs": "fn other() {}\n", "py/__init__.py": ""})
	require.True(t, ok)
	require.Equal(t, plain.Key, other.Key, "the code")
	for what, change := range map[string]map[string]string{
		"a version":   {"Cargo.lock": strings.Replace(locked, "1.0.0", "1.0.1", 1)},
		"a checksum":  {"Cargo.lock": strings.Replace(locked, `"00"`, `"01"`, 1)},
		"a feature":   {"Cargo.toml": member + "[dependencies]\nserde = { version = \"1\", features = [\"rc\"] }\n"},
		"a profile":   {"Cargo.toml": sources["Cargo.toml"] + "[profile.release]\nopt-level = 1\n"},
		"a toolchain": {"rust-toolchain": "1.85"},
		"the name":    {"Cargo.toml": strings.Replace(sources["Cargo.toml"], `"x"`, `"y"`, 1)},
		"a file that a manifest could name as a build script": {"src/Cargo.lock": "fn main() { panic!() }"},
		"where a link leads": {"py/other.py": "-> ../Cargo.toml"},
	} {
		other, ok := skeleton(change)
		require.True(t, ok)
		require.NotEqual(t, plain.Key, other.Key, what)
	}
	for what, change := range map[string]map[string]string{
		"a program of cargo's configuration": {".cargo/config.toml": "[build]\nrustc-wrapper = \"./wrapper\"\n"},
		"the old name":                       {".cargo/config": ""},
	} {
		_, ok := skeleton(change)
		require.False(t, ok, what)
	}
	delete(sources, "Cargo.lock")
	_, ok = skeleton(nil)
	require.False(t, ok, "no lock file: other versions another day")
}

// packed returns the files of a tree as they travel.
func packed(t *testing.T, tree Tree) map[string]string {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	require.NoError(t, tree.Pack(w))
	require.NoError(t, w.Close())
	found := map[string]string{}
	for r := tar.NewReader(&buffer); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		switch header.Typeflag {
		case tar.TypeSymlink:
			found[header.Name] = "-> " + header.Linkname
		case tar.TypeReg:
			data, err := io.ReadAll(r)
			require.NoError(t, err)
			found[header.Name] = string(data)
		}
	}
}
