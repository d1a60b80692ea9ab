package harness_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/internal/selftest"
)

// TestRed runs the suites of testdata/red. Many look like a success to a reader of only the exit status, the JUnit file
// or the stream of events. Each has to be red, with a message that names what is wrong. An archive holds
//
//   - files that replace those of [selftest.Tiny]; an empty file is left out of the crate,
//   - want: texts of which each is in the output, one a line; {crate} is the crate's folder,
//   - outcomes: the outcome of each test, if it does not depend on how far the session came,
//   - in its comment "isolation: X", if that is not the default.
func TestRed(t *testing.T) {
	cases, err := filepath.Glob("testdata/red/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	rig, err := os.ReadFile("testdata/rig.py")
	require.NoError(t, err)
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			require.NoError(t, err)
			files := map[string]string{"tests/rig.py": string(rig)}
			for _, file := range archive.Files {
				files[file.Name] = string(file.Data)
			}
			want := files["want"]
			expected, listed := files["outcomes"]
			require.NotEmpty(t, want)
			delete(files, "want")
			delete(files, "outcomes")
			_, isolation, _ := strings.Cut(strings.TrimSpace(string(archive.Comment)), "isolation: ")

			crate := selftest.WriteCrate(t, files)
			group, text := recordRed(t, harness.Suite{Crate: crate, Isolation: harness.Isolation(isolation)})
			for line := range strings.Lines(want) {
				require.Contains(t, text, strings.ReplaceAll(strings.TrimSpace(line), "{crate}", crate))
			}
			if listed {
				found := map[string]string{}
				for line := range strings.Lines(expected) {
					id, outcome, _ := strings.Cut(strings.TrimSpace(line), ": ")
					found[id] = outcome
				}
				require.Equal(t, found, outcomes(group), text)
			}
		})
	}
}
