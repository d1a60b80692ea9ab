package scaffold

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/project"
)

// TestConfig: the file that pytest reads gets --forked, whatever its format, and nothing else in it changes.
func TestConfig(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"nothing there":    {"pytest.ini", "", ""}, // below
		"an empty section": {"pytest.ini", "[pytest]\n", "[pytest]\naddopts = --forked\n"},
		"a section alone":  {"pytest.ini", "[pytest]", "[pytest]\naddopts = --forked"},
		"other keys": {"pytest.ini", `# ours
[pytest]
# more
testpaths = tests
`, `# ours
[pytest]
addopts = --forked
# more
testpaths = tests
`},
		"addopts": {"pytest.ini", "[pytest]\naddopts=-ra\n", "[pytest]\naddopts= --forked -ra\n"},
		"a colon": {"pytest.ini", `[pytest]
addopts : -ra -q
x = 1
`, `[pytest]
addopts : --forked -ra -q
x = 1
`},
		"several lines": {"pytest.ini", `[pytest]
addopts =
    -ra
    # why
    -q
testpaths = tests
`, `[pytest]
addopts = --forked
    -ra
    # why
    -q
testpaths = tests
`},
		"CRLF": {"pytest.ini", "[pytest]\r\naddopts = -ra\r\nx = y\r\n",
			"[pytest]\r\naddopts = --forked -ra\r\nx = y\r\n"},
		"a BOM": {"pytest.ini", "\ufeff[pytest]\naddopts = -ra\n", "\ufeff[pytest]\naddopts = --forked -ra\n"},
		"there already": {"pytest.ini", `[pytest]
addopts = -ra
  --forked
`, `[pytest]
addopts = -ra
  --forked
`},
		"a like option": {"pytest.ini", "[pytest]\naddopts = --forked-subprocess\n",
			"[pytest]\naddopts = --forked --forked-subprocess\n"},
		"a comment that has it": {"pytest.ini", "[pytest]\n#addopts = -x\n", `[pytest]
addopts = --forked
#addopts = -x
`},
		"tox": {"tox.ini", `[tox]
addopts = no
[pytest]
addopts = -ra
[x]
addopts = no
`, `[tox]
addopts = no
[pytest]
addopts = --forked -ra
[x]
addopts = no
`},
		"setup.cfg": {"setup.cfg", `[metadata]
name = x

[tool:pytest]
addopts = -ra
`, `[metadata]
name = x

[tool:pytest]
addopts = --forked -ra
`},
		"toml, none": {"pyproject.toml", `[tool.pytest.ini_options] # here
x = 1
[tool.other]
addopts = 'no'
`, `[tool.pytest.ini_options] # here
addopts = "--forked"
x = 1
[tool.other]
addopts = 'no'
`},
		"toml, text": {"pyproject.toml", "[tool.pytest.ini_options]\naddopts = \"-ra\" # why\n",
			"[tool.pytest.ini_options]\naddopts = \"--forked -ra\" # why\n"},
		"toml, literal": {"pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-k \"a\"'\n",
			"[tool.pytest.ini_options]\naddopts = '--forked -k \"a\"'\n"},
		"toml, list": {"pyproject.toml", "[tool.pytest.ini_options]\naddopts = [\"-ra\"]\n",
			"[tool.pytest.ini_options]\naddopts = [\"--forked\", \"-ra\"]\n"},
		"toml, empty list": {"pyproject.toml", "[tool.pytest.ini_options]\naddopts = [ ]\n",
			"[tool.pytest.ini_options]\naddopts = [\"--forked\" ]\n"},
		"toml, a list of lines": {"pyproject.toml", `[tool.pytest.ini_options]
addopts = [
    '-ra', # why
    '-q',
]
`, `[tool.pytest.ini_options]
addopts = [
    "--forked",
    '-ra', # why
    '-q',
]
`},
		"toml, pytest 9's": {"pyproject.toml", "[tool.pytest]\ntestpaths = ['tests']\n", `[tool.pytest]
addopts = ["--forked"]
testpaths = ['tests']
`},
		"toml, CRLF": {"pyproject.toml", "[tool.pytest.ini_options]\r\nx = 1\r\n",
			"[tool.pytest.ini_options]\r\naddopts = \"--forked\"\r\nx = 1\r\n"},
		"pytest.toml": {"pytest.toml", "[pytest]\naddopts = ['-ra']\n",
			"[pytest]\naddopts = [\"--forked\", '-ra']\n"},
		"toml, there already": {"pyproject.toml", "[tool.pytest.ini_options]\naddopts = ['--forked']\n",
			"[tool.pytest.ini_options]\naddopts = ['--forked']\n"},
		"toml, an inline table": {"pyproject.toml", "[tool.pytest]\nini_options = { addopts = \"-ra\" }\n", "by hand"},
		"toml, dotted":          {"pyproject.toml", "tool.pytest.ini_options.addopts = '-ra'\n", "by hand"},
		"toml, text that lies": {"pyproject.toml", `[tool.x]
y = '''
[tool.pytest.ini_options]
addopts = "no"
'''
[tool.pytest.ini_options]
x = 1
`, "by hand"},
		"toml, lines of text": {"pyproject.toml", `[tool.pytest.ini_options]
addopts = """
-ra
-q"""
`, "by hand"}, // the line break after the quotes would become part of the value
		"another's section only": {"pyproject.toml", "[tool.black]\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			file := filepath.Join(folder, c.file)
			if c.text != "" {
				require.NoError(t, os.WriteFile(file, []byte(c.text), 0o640))
			}
			p := Project{Project: project.Project{Folder: folder}}
			p.Groups = map[string][]any{"test": {"pytest-forked"}}
			var plan Plan
			require.NoError(t, p.Config(&plan))
			switch {
			case c.want == c.text && c.want != "":
				require.Empty(t, plan.Changes)
				require.Contains(t, plan.Notes[0], file+" has --forked in addopts already")
				return
			case c.want == "by hand":
				require.Empty(t, plan.Changes)
				require.Contains(t, plan.Notes[0], "by hand")
				return
			case c.want == "":
				require.Equal(t, []Change{{File: filepath.Join(folder, "pytest.ini"),
					New: []byte("[pytest]\naddopts = --forked\n"), Mode: 0o644}}, plan.Changes)
				return
			}
			require.Len(t, plan.Changes, 1, plan.Notes)
			require.Equal(t, c.want, string(plan.Changes[0].New))
			require.NoError(t, plan.Changes[0].Apply())
			written, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, c.want, string(written))
			info, err := os.Stat(file)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
			var again Plan
			require.NoError(t, p.Config(&again))
			require.Empty(t, again.Changes, "a second time there is nothing to do")
		})
	}
}

// FuzzForkTOML: an edit changes only addopts, or is refused.
func FuzzForkTOML(f *testing.F) {
	f.Add(`[tool.pytest.ini_options]
addopts = [
'-ra',
]
`, true)
	f.Add(`a = """
[tool.pytest.ini_options]"""
[tool.pytest.ini_options]
addopts=''''-x'''
`, false)
	f.Fuzz(func(t *testing.T, text string, _ bool) {
		keys := []string{"tool", "pytest", "ini_options"}
		edited, err := forkTOML(text, keys, false)
		if err != nil {
			return
		}
		before, _, err := table(text, nil)
		require.NoError(t, err)
		after, options, err := table(edited, keys)
		require.NoError(t, err)
		require.Contains(t, options["addopts"], forked)
		_, old, err := table(text, keys)
		require.NoError(t, err)
		delete(old, "addopts")
		delete(options, "addopts")
		require.Equal(t, old, options)
		require.Len(t, after, len(before))
	})
}

// FuzzForkINI: an edit changes only addopts, or is refused.
func FuzzForkINI(f *testing.F) {
	f.Add(`[pytest]
addopts =
  -ra
# x
  -q
[b]
addopts=1
`)
	f.Fuzz(func(t *testing.T, text string) {
		edited, err := forkINI(text, "pytest")
		if err != nil {
			return
		}
		after := parseINI(edited)
		require.Contains(t, strings.Fields(after["pytest"]["addopts"]), forked)
		before := parseINI(text)
		delete(before["pytest"], "addopts")
		delete(after["pytest"], "addopts")
		require.Equal(t, before, after)
	})
}

// TestApply: nothing is overwritten, and a link stays a link.
func TestApply(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "sub", "x")
	c := Change{File: file, New: []byte("new\n"), Mode: 0o755}
	require.Equal(t, `--- /dev/null
+++ b/sub/x
@@ -0,0 +1 @@
+new
`, c.Diff(folder))
	require.NoError(t, c.Apply())
	require.ErrorIs(t, c.Apply(), os.ErrExist)
	link := filepath.Join(folder, "link")
	require.NoError(t, os.Symlink(file, link))
	require.NoError(t, Change{File: link, Old: []byte("new\n"), New: []byte("newer\n")}.Apply())
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	info, err = os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
	require.ErrorContains(t, Change{File: file, Old: []byte("new\n"), New: []byte("lost\n")}.Apply(),
		"has changed meanwhile")
}

func TestPackageName(t *testing.T) {
	for folder, want := range map[string]string{"go": "pythongo", "my-crate": "mycrate", "3d": "python3d",
		"...": "python", "Ünï": "ünï"} {
		require.Equal(t, want, packageName(folder))
	}
}
