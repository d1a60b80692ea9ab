package project

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSources checks that a requirement with a source in [tool.uv.sources] never comes from the default index.
func TestSources(t *testing.T) {
	const project = maturin + `[project]
name = "x"
dependencies = ["Helper[a]>=1", "numpy"]
[tool.uv.sources]
`
	const workspace = "[tool.uv.workspace]\nmembers = [\"py\", \"libs/*\"]\n"
	const helper = "[project]\nname = \"helper\"\n"
	const group = "[dependency-groups]\ntest = [\"second\"]\n"
	table := func(pairs ...any) []map[string]any {
		made := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			made[pairs[i].(string)] = pairs[i+1]
		}
		return []map[string]any{made}
	}
	for name, c := range map[string]struct {
		files  map[string]string
		want   *Sourced // without requirements it stands for Helper[a]>=1
		travel []string
	}{
		"a folder": {
			files: map[string]string{
				"py/pyproject.toml": project +
					"helper = { path = \"../helper\", editable = true }\nunused = { path = \"none\" }\n",
				"helper/x": "",
			},
			want: &Sourced{Sources: map[string][]map[string]any{"helper": table("path", "../helper", "editable",
				true)}},
			travel: []string{"helper"},
		},
		"folders that it names in turn": {
			files: map[string]string{
				"py/pyproject.toml": project + "helper = { path = \"../helper\" }\n", "third/x": "",
				"helper/pyproject.toml": helper + "[tool.uv.sources]\nthird = { path = \"../third\" }\n",
			},
			want:   &Sourced{Sources: map[string][]map[string]any{"helper": table("path", "../helper")}},
			travel: []string{"helper", "third"},
		},
		"a member of the workspace": {
			files: map[string]string{
				"pyproject.toml": workspace +
					"[tool.uv.sources]\nsecond = { git = \"https://example.com/x\" }\n",
				"py/pyproject.toml":     project + "helper = { workspace = true }\n" + group,
				"libs/a/pyproject.toml": helper,
			},
			want: &Sourced{
				Requirements: []string{"second", "Helper[a]>=1"},
				Sources: map[string][]map[string]any{
					"helper": table("path", "../libs/a", "editable", true),
					"second": table("git", "https://example.com/x"),
				},
			},
			travel: []string{"libs/a", "pyproject.toml"},
		},
		"an index, by a marker": {
			files: map[string]string{
				"py/pyproject.toml": project +
					"helper = [{ index = \"i\", marker = \"a\" }, { url = \"https://example.com/x\" }]\n" +
					`[[tool.uv.index]]
name = "i"
url = "packages"
`,
				"py/packages/x": "",
			},
			want: &Sourced{
				Sources: map[string][]map[string]any{"helper": {{"index": "i", "marker": "a"},
					{"url": "https://example.com/x"}}},
				Indexes: table("name", "i", "url", "packages"),
			},
			travel: []string{"py/packages"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			top := realTemp(t)
			write(t, top, map[string]string{"py/Cargo.toml": member})
			write(t, top, c.files)
			project, err := Read(filepath.Join(top, "py"))
			require.NoError(t, err)
			got, err := project.Dependencies(Wanted{}, os.Open)
			require.NoError(t, err)
			if c.want.Requirements == nil {
				c.want.Requirements = []string{"Helper[a]>=1"}
			}
			if c.want.Indexes == nil {
				c.want.Indexes = []map[string]any{}
			}
			require.Equal(t, c.want, got.Sourced)
			require.Equal(t, []string{"numpy"}, got.Requirements)
			require.Equal(t, c.travel != nil, got.Local)
			for i, path := range c.travel {
				c.travel[i] = filepath.Join(top, path)
			}
			require.Equal(t, c.travel, got.Travel)
		})
	}
}

// TestSourcesThatCannotBe checks that an unusable source is an error, and the index's copy is never used instead.
func TestSourcesThatCannotBe(t *testing.T) {
	for source, refused := range map[string]string{
		`{ path = "../none" }`:  "helper: no file or folder ",
		`{ workspace = true }`:  "helper: workspace = true, but no [tool.uv.workspace]",
		`{ git = "../helper" }`: "the repository ../helper of this host does not travel: use path",
		`{ index = "i", extra = "fast"}`: "a source for one extra cannot be honoured without a " +
			"lock file: run `uv lock`",

		`{ hg = "x" }`: "a source of this kind cannot be honoured",
		`"x"`:          "x is not a source",
	} {
		folder := crate(t, nil)
		text := maturin + `[project]
name = "x"
dependencies = ["helper"]
[tool.uv.sources]
helper = ` + source + "\n"
		write(t, folder, map[string]string{"pyproject.toml": text})
		project, err := Read(folder)
		require.NoError(t, err)
		_, err = project.Dependencies(Wanted{}, os.Open)
		require.ErrorContains(t, err, refused)
		require.ErrorContains(t, err, filepath.Join(folder, "pyproject.toml")+": [tool.uv.sources] helper: ")
	}
}

// TestFindLinks checks that a folder of packages travels and counts in the keys, and that a missing one is an error.
func TestFindLinks(t *testing.T) {
	top := realTemp(t)
	write(t, top, map[string]string{
		"py/Cargo.toml":     member,
		"py/pyproject.toml": maturin + "[tool.uv]\nfind-links = [\"../uv\", \"https://example.com\"]\n",
		"py/reqs/a.txt": `-f wheels
--find-links=../other
--find-links https://example.com/x
helper
`,
		"py/reqs/wheels/x": "", "other/x": "", "uv/x": "", "py/b.txt": "--find-links none\n",
	})
	project, err := Read(filepath.Join(top, "py"))
	require.NoError(t, err)
	got, err := project.Dependencies(Wanted{Requirements: []string{"reqs/a.txt"}}, os.Open)
	require.NoError(t, err)
	require.Equal(t, []RequirementFile{{
		Name: "reqs/a.txt", Text: "--find-links https://example.com/x\nhelper\n",
		FindLinks: []string{"reqs/wheels", "../other"},
	}}, got.Files)
	require.True(t, got.Local)
	require.Equal(t, []string{filepath.Join(top, "py/reqs/wheels"), filepath.Join(top, "other"),
		filepath.Join(top, "uv")}, got.Travel)

	_, err = project.Dependencies(Wanted{Requirements: []string{"b.txt"}}, os.Open)
	require.ErrorContains(t, err, "b.txt: --find-links none: no such file or folder there or in ")
}
