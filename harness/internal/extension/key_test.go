package extension

import (
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/project"
)

// TestBuildKey checks that the key changes with all that a build may depend on, and with nothing else.
func TestBuildKey(t *testing.T) {
	tree := func(files ...project.File) project.Tree { return project.Tree{Root: "/r", Crate: ".", Files: files} }
	rust, test := project.File{Name: "src/lib.rs", Sum: "1"}, project.File{Name: "tests/test_a.py", Sum: "1"}
	tools, recipe := image.Image{ID: "i"}, Recipe{Profile: "release"}
	key := buildKey(tools, tree(rust, test), recipe)

	require.Equal(t, key, buildKey(tools, tree(rust, project.File{Name: "tests/test_a.py", Sum: "2"}), recipe),
		"Python files are compared one by one")
	require.Equal(t, key, buildKey(tools, tree(rust, project.File{Name: "tests/test_b.py", Sum: "1"}), recipe))
	elsewhere := tree(rust, test)
	elsewhere.Root = "/another/worktree"
	require.Equal(t, key, buildKey(tools, elsewhere, recipe))
	slow := recipe
	slow.Timeout = 1
	require.Equal(t, key, buildKey(tools, tree(rust, test), slow))

	local := Recipe{Profile: "release", Dependencies: project.Dependencies{Local: true}}
	require.NotEqual(t, buildKey(tools, tree(rust, test), local),
		buildKey(tools, tree(rust, project.File{Name: "tests/test_a.py", Sum: "2"}), local), "a folder is installed")

	data := func(sum string) project.Tree {
		tree := tree(rust, project.File{Name: "tiny.data/purelib/a.py", Sum: sum})
		tree.Data = "tiny.data"
		return tree
	}
	require.NotEqual(t, buildKey(tools, data("1"), recipe), buildKey(tools, data("2"), recipe),
		"maturin copies its data")

	for name, other := range map[string]string{
		"content":     buildKey(tools, tree(project.File{Name: "src/lib.rs", Sum: "2"}, test), recipe),
		"name":        buildKey(tools, tree(project.File{Name: "src/main.rs", Sum: "1"}, test), recipe),
		"mode":        buildKey(tools, tree(project.File{Name: "src/lib.rs", Sum: "1", Mode: 0o755}, test), recipe),
		"a package":   buildKey(tools, tree(rust, project.File{Name: "a/__init__.py", Sum: "1"}), recipe),
		"a stub":      buildKey(tools, tree(rust, project.File{Name: "a.pyi", Sum: "1"}), recipe),
		"tools":       buildKey(image.Image{ID: "j"}, tree(rust, test), recipe),
		"profile":     buildKey(tools, tree(rust, test), Recipe{Profile: "dev"}),
		"feature":     buildKey(tools, tree(rust, test), Recipe{Profile: "release", Features: []string{"f"}}),
		"environment": buildKey(tools, tree(rust, test), Recipe{Profile: "release", Env: map[string]string{"A": "1"}}),
		"requirement": buildKey(tools, tree(rust, test),
			Recipe{Profile: "release", Dependencies: project.Dependencies{Requirements: []string{"attrs"}}}),
	} {
		require.NotEqual(t, key, other, name)
	}
}
