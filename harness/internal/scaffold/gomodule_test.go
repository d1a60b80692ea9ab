package scaffold

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGoModule checks that the note about go.mod has the very commands for the repository at hand.
func TestGoModule(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"one module": {map[string]string{".git/x": "", "go.mod": "module m\n",
			"third_party/pyo3test/go.mod": "module pyo3test\n"},
			[]string{"{}/go.mod does not name pyo3test: in its folder, run\n" +
				"    go mod edit -require=pyo3test@v0.0.0 -replace=pyo3test=./third_party/pyo3test\n    go mod tidy"}},
		"several modules": {map[string]string{".git/x": "", "rust/go.mod": "module m\n",
			"lib/py/go.mod": "module pyo3test\n"},
			[]string{"{}/rust/go.mod does not name pyo3test: in its folder, run\n" +
				"    go mod edit -require=pyo3test@v0.0.0 -replace=pyo3test=../lib/py\n    go mod tidy"}},
		"a workspace": {map[string]string{".git/x": "", "go.work": "go 1.26\n", "rust/go.mod": "module m\n",
			"lib/py/go.mod": "module pyo3test\n"},
			[]string{"{}/go.work does not name pyo3test: in its folder, run\n    go work use ./lib/py"}},
		"not there": {map[string]string{".git/x": "", "go.mod": "module m\n"},
			[]string{"pyo3test is not in {}: put it into {}/third_party/pyo3test",
				"{}/go.mod does not name pyo3test: in its folder, run\n" +
					"    go mod edit -require=pyo3test@v0.0.0 " +
					"-replace=pyo3test=./third_party/pyo3test\n    go mod tidy"}},
		"named": {map[string]string{"go.mod": "module m\nrequire pyo3test v0.0.0\n"}, nil},
		"no module": {map[string]string{"x": ""},
			[]string{"{}/rust belongs to no Go module: first run `go mod init` there or in a folder above"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range c.files {
				require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(file)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(root, file), []byte(text), 0o644))
			}
			require.NoError(t, os.MkdirAll(filepath.Join(root, "rust"), 0o755))
			var plan Plan
			Project{}.goModule(&plan, filepath.Join(root, "rust"))
			var want []string
			for _, text := range c.want {
				want = append(want, strings.ReplaceAll(text, "{}", root))
			}
			require.Equal(t, want, plan.Notes)
		})
	}
}
