package project

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	maturin = "[build-system]\nbuild-backend = \"maturin\"\n"
	member  = "[package]\nname = \"x\"\n"
)

// write creates files below a folder; the content "-> x" creates a link to x.
func write(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if len(text) > 3 && text[:3] == "-> " {
			require.NoError(t, os.Symlink(text[3:], path))
			continue
		}
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
}

func collect(t *testing.T, crate string) (Tree, []string) {
	t.Helper()
	return collectWith(t, crate, Selection{})
}

func collectWith(t *testing.T, crate string, s Selection) (Tree, []string) {
	t.Helper()
	project, err := Read(crate)
	require.NoError(t, err)
	tree, err := project.Collect(s, os.Open)
	require.NoError(t, err)
	names := []string{}
	for _, file := range tree.Files {
		names = append(names, file.Name)
	}
	return tree, names
}

func realTemp(t *testing.T) string {
	folder, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return folder
}

func TestCollectTakesWhatABuildNeeds(t *testing.T) {
	top := realTemp(t)
	write(t, top, map[string]string{
		"Cargo.toml": `[workspace]
members = ["crates/*", "py"]
exclude = ["crates/not"]
[workspace.dependencies]
shared = { path = "libs/shared" }
`,
		"Cargo.lock":             "",
		"README.md":              "named by the crate",
		"other.md":               "named by nobody",
		".cargo/config.toml":     "",
		"libs/shared/Cargo.toml": member,
		"libs/shared/src/lib.rs": "",
		"libs/unused/Cargo.toml": member,
		"crates/a/Cargo.toml":    member + "[target.'cfg(unix)'.dependencies]\nfar = { path = \"../../../far\" }\n",
		"crates/not/Cargo.toml":  member,
		"py/Cargo.toml": `[package]
name = "py"
readme = "../README.md"
[dependencies]
shared.workspace = true
`,
		"py/pyproject.toml":       maturin,
		"py/src/lib.rs":           "",
		"py/tests/test_a.py":      "",
		"py/native.abi3.so":       "built on the host",
		"py/.coverage.1":          "",
		"py/.coveragerc":          "",
		"py/__pycache__/a.pyc":    "",
		"py/.git/HEAD":            "",
		"py/target/CACHEDIR.TAG":  "",
		"py/out/.rustc_info.json": "",
		"py/env/pyvenv.cfg":       "",
		"py/x.egg-info/PKG-INFO":  "",
		"py/generated/ignored.rs": "what version control ignores may be needed",
		"py/inside":               "-> src/lib.rs",
		"py/outside":              "-> ../other.md",
		"py/nowhere":              "-> /no/such/file",
		"py/circle/to":            "-> ../../py",
		"../far/Cargo.toml":       member,
	})
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Join(top, "../far")) })
	tree, names := collect(t, filepath.Join(top, "py"))
	base := filepath.Base(top)
	require.Equal(t, filepath.Dir(top), tree.Root)
	require.Equal(t, base+"/py", tree.Crate)
	require.Equal(t, base, tree.Workspace)
	require.ElementsMatch(t, []string{
		"far/Cargo.toml", base + "/.cargo/config.toml", base + "/Cargo.lock", base + "/Cargo.toml", base + "/README.md",
		base + "/crates/a/Cargo.toml",
		base + "/libs/shared/Cargo.toml", base + "/libs/shared/src/lib.rs", base + "/py/.coveragerc",
		base + "/py/Cargo.toml", base + "/py/circle/to", base + "/py/generated/ignored.rs",
		base + "/py/inside", base + "/py/nowhere", base + "/py/outside", base + "/py/pyproject.toml",
		base + "/py/src/lib.rs", base + "/py/tests/test_a.py",
	}, names)
	links := map[string]string{}
	for _, file := range tree.Files {
		if file.Link != "" {
			links[strings.TrimPrefix(file.Name, base+"/py/")] = file.Link
		}
	}
	require.Equal(t, map[string]string{"inside": "src/lib.rs", "outside": "../other.md", "nowhere": "/no/such/file",
		"circle/to": "../../py"}, links)
	require.Equal(t, []string{
		"left out: native.abi3.so, env, out, target, and 1 more; to bring one, name it in include in [tool.pyo3test] (Include of a Suite)",
		"links out of the sources, not followed: outside; to follow one, name it in include in [tool.pyo3test] (Include of a Suite)",
	}, tree.Notes[:2]) // and one about git, which finds no repository in the folder .git
}

func TestPackedIsWhatWasHashed(t *testing.T) {
	folder := realTemp(t)
	write(t, folder, map[string]string{"Cargo.toml": member, "pyproject.toml": maturin, "a": "content", "b": "-> a"})
	tree, _ := collect(t, folder)
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	require.NoError(t, tree.Pack(w))
	require.NoError(t, w.Close())
	found := map[string]string{}
	for r := tar.NewReader(&packed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.Equal(t, 1000, header.Uid)
		require.True(t, header.ModTime.Equal(Modified), "a zip file holds no time before 1980")
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		found[header.Name] = string(data) + header.Linkname
	}
	require.Equal(t, "content", found["src/a"])
	require.Equal(t, "a", found["src/b"])

	same, _ := collect(t, folder)
	require.True(t, tree.Equal(same))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "a"), []byte("changed"), 0o644))
	other, _ := collect(t, folder)
	require.False(t, tree.Equal(other))
	require.ErrorContains(t, tree.Pack(tar.NewWriter(io.Discard)), "a changed while it was read: run again")
}

func TestHostText(t *testing.T) {
	tree := Tree{Root: "/home/me/repo", Crate: "py"}
	for text, want := range map[string]string{
		"/src/py/a.py:3: error":              "/home/me/repo/py/a.py:3: error",
		`File "/src/py/a.py", line 3`:        `File "/home/me/repo/py/a.py", line 3`,
		"(/src/py)":                          "(/home/me/repo/py)",
		"/src":                               "/home/me/repo",
		"/usr/src/rustc/lib.rs":              "/usr/src/rustc/lib.rs",
		"py/src/lib.rs":                      "py/src/lib.rs",
		"/srcs/a":                            "/srcs/a",
		"at /src/py/a.py and /src/py/b.py\n": "at /home/me/repo/py/a.py and /home/me/repo/py/b.py\n",
	} {
		require.Equal(t, want, tree.HostText(text))
	}
}

// TestDataTravels checks that the data folder travels: the one that pyproject.toml names, or the one named after the
// module.
func TestDataTravels(t *testing.T) {
	for name, c := range map[string]struct{ toml, folder, data string }{
		"named":              {"[tool.maturin]\ndata = \"../shared\"\n", "../shared", "shared"},
		"of the module":      {"[tool.maturin]\nmodule-name = \"a._b\"\n", "_b.data", "_b.data"},
		"of the package":     {"", "x.data", "x.data"},
		"of something other": {"", "y.data", ""},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(realTemp(t), "crate")
			write(t, folder, map[string]string{"Cargo.toml": member, "pyproject.toml": maturin + c.toml})
			write(t, folder, map[string]string{c.folder + "/scripts/a.py": ""})
			tree, names := collect(t, folder)
			require.Equal(t, c.data, tree.Data)
			require.Contains(t, names, strings.TrimPrefix(c.folder+"/scripts/a.py", "../"))
		})
	}
}
