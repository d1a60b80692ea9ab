package scaffold

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddPackages(t *testing.T) {
	const line = "system-packages = [\"libssl-dev\", \"pkg-config\"]\n"
	for text, want := range map[string]string{
		"[project]\nname = 'x'":                   "[project]\nname = 'x'\n\n[tool.pyo3test]\n" + line,
		"[tool.pyo3test] # ours\nworkers = 2\n":   "[tool.pyo3test] # ours\n" + line + "workers = 2\n",
		"[tool]\npyo3test = { workers = 2 }\n":    "",
		"[tool.other]\nx = 1\n[project]\ny = 2\n": "[tool.other]\nx = 1\n[project]\ny = 2\n\n[tool.pyo3test]\n" + line,
	} {
		got, err := addPackages(text, []string{"libssl-dev", "pkg-config"})
		require.Equal(t, want, got, err)
		require.Equal(t, want == "", err != nil)
	}
}
