package project

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// makeRepository turns a folder into a git repository that tracks some of its files.
func makeRepository(t *testing.T, folder string, tracked ...string) {
	t.Helper()
	for _, arguments := range [][]string{{"init", "--quiet"}, append([]string{"add", "--force", "--"}, tracked...)} {
		output, err := exec.Command("git", append([]string{"-C", folder}, arguments...)...).CombinedOutput()
		require.NoError(t, err, string(output))
	}
}

// crate creates a crate that maturin builds as the module tiny._tiny, with further files.
func crate(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := filepath.Join(realTemp(t), "crate")
	write(t, folder, map[string]string{
		"Cargo.toml":     "[package]\nname = \"tiny\"\n",
		"pyproject.toml": maturin + "[tool.maturin]\nmodule-name = \"tiny._tiny\"\n",
	})
	write(t, folder, files)
	return folder
}

// TestNothingIsLeftOutInSilence checks that of folders that tools mark as their output, what pytest finds tests in,
// what git tracks, and what the user or the project names travels, and that a note says what is left out.
func TestNothingIsLeftOutInSilence(t *testing.T) {
	for name, c := range map[string]struct {
		files     string // names
		config    map[string]string
		tracked   string
		selection Selection
		travel    string // of files
		left      string // what the note names
	}{
		"tests beside a CACHEDIR.TAG": {
			files:  "t/CACHEDIR.TAG t/test_a.py t/data/x.json t/env/pyvenv.cfg t/env/test_b.py",
			travel: "t/CACHEDIR.TAG t/test_a.py t/data/x.json", left: "t/env",
		},
		"tests below a .rustc_info.json": {
			files:  "a/.rustc_info.json a/conftest.py a/b/a_test.py a/c/gigabytes",
			travel: "a/.rustc_info.json a/conftest.py a/b/a_test.py", left: "a",
		},
		"tests in an egg-info": {files: "x.egg-info/test_a.py", travel: "x.egg-info/test_a.py"},
		"tests of a package that cargo compiles": {
			files: "target/CACHEDIR.TAG target/debug/.cargo-lock target/debug/x/test_a.py", left: "target",
		},
		"tests where pytest does not look": {
			files: "cache/CACHEDIR.TAG cache/numpy/test_a.py",
			config: map[string]string{"pytest.ini": `[pytest]
addopts = -q
testpaths =
    tests
`}, left: "cache",
		},
		"tests of other names": {
			files:  "a/CACHEDIR.TAG a/check_a.py b/CACHEDIR.TAG b/test_b.py",
			config: map[string]string{"setup.cfg": "[tool:pytest]\npython_files = check_*.py\n"},
			travel: "a/CACHEDIR.TAG a/check_a.py", left: "b",
		},
		"tests that are named": {
			files:     "node_modules/x/tests/test_a.py node_modules/y",
			selection: Selection{Tests: []string{"node_modules/x/tests/test_a.py::test", "-k", "no"}},
			travel:    "node_modules/x/tests/test_a.py", left: "node_modules",
		},
		"data that git does not track": {
			files: "data/x.so data/z/node_modules/y.js b/x.pyd c/x.dylib target/CACHEDIR.TAG",
			left:  "b/x.pyd, c/x.dylib, data/x.so, data/z/node_modules, and 1 more",
		},
		"data that git tracks": {
			files:   "data/x.so data/node_modules/y.js data/node_modules/z.js target/CACHEDIR.TAG .hypothesis/x",
			tracked: "data/x.so data/node_modules/y.js .hypothesis/x",
			travel:  "data/x.so data/node_modules/y.js .hypothesis/x", left: "data/node_modules, target",
		},
		"data that the user names": {
			files:     "data/x.so data/node_modules/node_modules/y.js target/CACHEDIR.TAG target/a/b target/c/d",
			selection: Selection{Include: []string{"data/x.so", "data/node_modules", "target/a"}},
			travel:    "data/x.so data/node_modules/node_modules/y.js target/a/b", left: "target",
		},
		"what the project names": {
			files: "gen/CACHEDIR.TAG node_modules/python/a.py",
			config: map[string]string{
				"pyproject.toml":   maturin + "[tool.maturin]\npython-source = \"node_modules/python\"\n",
				"Cargo.toml":       member + "[dependencies]\ny = { path = \"gen/y\" }\n",
				"gen/y/Cargo.toml": member,
			},
			travel: "node_modules/python/a.py", left: "gen, node_modules",
		},
		"modules built on the host": {
			files:     "tiny/_tiny.abi3.so tests/tiny.so tests/other.so",
			tracked:   "tiny/_tiny.abi3.so tests/tiny.so tests/other.so",
			selection: Selection{Include: []string{"tests"}},
			travel:    "tests/other.so", left: "tests/tiny.so, tiny/_tiny.abi3.so",
		},
		"caches and histories": {files: "__pycache__/a.pyc .pytest_cache/CACHEDIR.TAG .svn/x .coverage .DS_Store python_test.go"},
		"Go's tests elsewhere": {files: "tests/data/a_test.go", travel: "tests/data/a_test.go"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := crate(t, c.config)
			for _, file := range strings.Fields(c.files) {
				write(t, folder, map[string]string{file: file})
			}
			if c.tracked != "" {
				makeRepository(t, folder, strings.Fields(c.tracked)...)
			}
			want := strings.Fields(c.travel + " Cargo.toml pyproject.toml")
			for file := range c.config {
				if !slices.Contains(want, file) {
					want = append(want, file)
				}
			}
			tree, names := collectWith(t, folder, c.selection)
			require.ElementsMatch(t, want, names)
			var notes []string
			if c.left != "" {
				notes = []string{"left out: " + c.left + "; to bring one, name it in include in [tool.pyo3test] (Include of a Suite)"}
			}
			require.Equal(t, notes, tree.Notes)
		})
	}
}

// TestLinksOut checks that a link out of what travels is followed only if the user or the project vouches for its
// target.
func TestLinksOut(t *testing.T) {
	const content = "" // of a file
	for name, c := range map[string]struct {
		selection Selection
		tracked   []string
		want      map[string]string // a file relative to the crate -> its link target; the rest is as in "by nobody"
		note      string
	}{
		"by nobody": {note: "LICENSE, outside, passwd, proc, and 3 more"},
		"the user names links": {
			selection: Selection{Include: []string{"secret", "outside"}},
			want: map[string]string{
				"secret": content, "outside/a": content, "outside/near": "a", "outside/far": "/etc/passwd",
				"outside/back": "../repo",
			},
			note: "LICENSE, outside/back, outside/far, passwd, and 3 more",
		},
		"the user names targets": {
			selection: Selection{Include: []string{"../../secret", "../shared"}},
			want:      map[string]string{"../../secret": content, "../shared/a": content, "../shared/b": content},
			note:      "LICENSE, outside, passwd, proc, and 1 more",
		},
		"they are within Root": {
			selection: Selection{Root: "../.."},
			want: map[string]string{
				"LICENSE": content, "untracked": content, "shared/a": content, "shared/b": content, "secret": content,
				"outside/a": content, "outside/near": "a", "outside/far": "/etc/passwd", "outside/back": "../repo",
			},
			note: "outside/back, outside/far, passwd, proc",
		},
		"git tracks their targets in the crate's repository": {
			tracked: []string{"LICENSE", "shared/a", "crate"},
			want:    map[string]string{"LICENSE": content, "shared/a": content},
			note:    "outside, passwd, proc, secret, and 1 more",
		},
	} {
		t.Run(name, func(t *testing.T) {
			above := realTemp(t)
			folder := filepath.Join(above, "repo/crate")
			write(t, above, map[string]string{
				"secret": "s", "outside/a": "a", "outside/back": "-> ../repo", "outside/far": "-> /etc/passwd",
				"outside/near": "-> a", "repo/LICENSE": "l", "repo/untracked": "u", "repo/shared/a": "a",
				"repo/shared/b":         "b",
				"repo/crate/Cargo.toml": member, "repo/crate/pyproject.toml": maturin, "repo/crate/src/lib.rs": "x",
				"repo/crate/inside": "-> " + filepath.Join(folder, "src/lib.rs"), "repo/crate/through": "-> outside/a",
				"repo/crate/self": "-> .", "repo/crate/LICENSE": "-> ../LICENSE",
				"repo/crate/untracked": "-> ../untracked",
				"repo/crate/shared":    "-> ../shared", "repo/crate/proc": "-> /proc/self/environ",
				"repo/crate/passwd": "-> /etc/passwd", "repo/crate/secret": "-> ../../secret",
				"repo/crate/outside": "-> " + filepath.Join(above, "outside"),
			})
			want := map[string]string{
				"Cargo.toml": content, "pyproject.toml": content, "src/lib.rs": content, "inside": "src/lib.rs",
				"through": "outside/a", "self": ".", "LICENSE": "../LICENSE", "untracked": "../untracked",
				"shared": "../shared", "proc": "/proc/self/environ", "passwd": "/etc/passwd", "secret": "../../secret",
				"outside": filepath.Join(above, "outside"),
			}
			for name, link := range c.want {
				want[name] = link
				if first, _, below := strings.Cut(name, "/"); below {
					delete(want, first)
				}
			}
			if c.tracked != nil {
				makeRepository(t, filepath.Join(above, "repo"), c.tracked...)
			}
			if c.selection.Root != "" {
				c.selection.Root = above
			}
			tree, _ := collectWith(t, folder, c.selection)
			got := map[string]string{}
			for _, file := range tree.Files {
				got[relative(filepath.FromSlash("/"+tree.Crate), "/"+file.Name)] = file.Link
			}
			require.Equal(t, want, got)
			require.Contains(t, tree.Notes, notFollowed(c.note))
		})
	}
}

// TestRunfiles checks that a tree of links to sources elsewhere, as made by Bazel, travels with its content if the user
// names the sources.
func TestRunfiles(t *testing.T) {
	above := realTemp(t)
	write(t, above, map[string]string{
		"ws/Cargo.toml": member, "ws/pyproject.toml": maturin, "ws/src/lib.rs": "", "ws/tests/data/x": "",
		"ws/other": "",
	})
	for _, name := range []string{"Cargo.toml", "pyproject.toml", "src/lib.rs", "tests"} {
		write(t, above, map[string]string{"runfiles/" + name: "-> " + filepath.Join(above, "ws", name)})
	}
	for name, selection := range map[string]Selection{"Root": {Root: above}, "Include": {Include: []string{"../ws"}}} {
		tree, _ := collectWith(t, filepath.Join(above, "runfiles"), selection)
		var names []string
		for _, file := range tree.Files {
			if strings.HasPrefix(file.Name, "runfiles/") {
				require.Empty(t, file.Link, name)
				names = append(names, file.Name)
			}
		}
		want := "runfiles/Cargo.toml runfiles/pyproject.toml runfiles/src/lib.rs runfiles/tests/data/x"
		require.Equal(t, strings.Fields(want), names, name)
	}
}

// notFollowed returns the note about links that were not followed.
func notFollowed(names string) string {
	return "links out of the sources, not followed: " + names + "; to follow one, name it in include in [tool.pyo3test] (Include of a Suite)"
}

// TestKernelsFiles checks that what the kernel exposes about the host never travels, even if it is named.
func TestKernelsFiles(t *testing.T) {
	folder := crate(t, map[string]string{"proc": "-> /proc/self/environ"})
	project, err := Read(folder)
	require.NoError(t, err)
	for _, include := range []string{"/proc/self/environ", "proc", "/dev/null", "/sys"} {
		_, err = project.Collect(Selection{Include: []string{include}}, os.Open)
		require.ErrorContains(t, err, "is in a file system of the kernel, which never travels")
	}
	_, err = project.Collect(Selection{Include: []string{"/no/such/file"}}, os.Open)
	require.ErrorContains(t, err, "Include: no file or folder /no/such/file")
	tree, _ := collectWith(t, folder, Selection{Root: "/"})
	require.Equal(t, []string{notFollowed("proc")}, tree.Notes)

	require.NoError(t, os.WriteFile(filepath.Join(folder, "Cargo.toml"), []byte(member+`readme = "proc"`), 0o644))
	tree, _ = collect(t, folder)
	require.Equal(t, []string{notFollowed("proc")}, tree.Notes, "a file that the project names")
}

// TestLargeFiles checks that a core dump or a disk image is left out with a note, and not read for minutes.
func TestLargeFiles(t *testing.T) {
	folder := crate(t, map[string]string{"data/disk.img": "", "data/small": "s"})
	require.NoError(t, os.Truncate(filepath.Join(folder, "data/disk.img"), 1<<40))
	tree, names := collect(t, folder)
	require.Contains(t, names, "data/small")
	require.NotContains(t, names, "data/disk.img")
	require.Equal(t, []string{"left out: data/disk.img; to bring one, name it in include in [tool.pyo3test] (Include of a Suite)"}, tree.Notes)
}

// TestRepositoryThatLies checks that a crate's own .git can neither vouch for files outside nor make git run a program.
func TestRepositoryThatLies(t *testing.T) {
	above := realTemp(t)
	ran := filepath.Join(above, "ran")
	write(t, above, map[string]string{
		"secret": "s", "crate/Cargo.toml": member, "crate/pyproject.toml": maturin, "crate/secret": "-> ../secret",
		"crate/y.so": "y", "program": fmt.Sprintf("#!/bin/sh\ntouch %s\n", ran),
	})
	require.NoError(t, os.Chmod(filepath.Join(above, "program"), 0o755))
	folder := filepath.Join(above, "crate")
	makeRepository(t, above, "secret")
	require.NoError(t, os.Rename(filepath.Join(above, ".git"), filepath.Join(folder, ".git")))
	for _, setting := range [][]string{{"core.worktree", above}, {"core.fsmonitor", filepath.Join(above, "program")}} {
		require.NoError(t, exec.Command("git", append([]string{"-C", folder, "config"}, setting...)...).Run())
	}
	tree, names := collect(t, folder)
	require.ElementsMatch(t, []string{"Cargo.toml", "pyproject.toml", "secret"}, names)
	require.Equal(t, []string{"left out: y.so; to bring one, name it in include in [tool.pyo3test] (Include of a Suite)", notFollowed("secret")}, tree.Notes)
	require.NoFileExists(t, ran)

	require.NoError(t, os.Remove(filepath.Join(folder, ".git/HEAD")))
	tree, _ = collect(t, folder)
	require.Contains(t, strings.Join(tree.Notes, "\n"), "git does not say what it tracks in "+folder)
}
