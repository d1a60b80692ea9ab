// Package docs_test runs the commands in the documentation.
package docs_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/prereq"
)

// step is a command of a page, with its stated exit code and lines of its output; or a Go file.
type step struct {
	command string
	exit    int
	output  []string
	file    string
}

var (
	fence    = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")
	exitCode = regexp.MustCompile(`\s+# exit (\d+)$`)
	number   = regexp.MustCompile(`0x[0-9a-f]+|\d+(\.\d+)?m?s?`)
	blanks   = regexp.MustCompile(`\s+`)
)

// steps returns a page's Go files and the commands of its sh blocks; a text block shows the last command's output.
func steps(t *testing.T, page string) (found []step) {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		if block[1] == "go" {
			found = append(found, step{file: block[2]})
			continue
		}
		for line := range strings.Lines(block[2]) {
			line = strings.TrimSuffix(line, "\n")
			switch block[1] {
			case "sh":
				s := step{command: line}
				if match := exitCode.FindStringSubmatch(line); match != nil {
					_, err := fmt.Sscan(match[1], &s.exit)
					require.NoError(t, err)
					s.command = strings.TrimSuffix(line, match[0])
				}
				found = append(found, s)
			case "text":
				require.NotEmpty(t, found, "output of nothing")
				last := &found[len(found)-1]
				last.output = append(last.output, line)
			case "toml":
			default:
				t.Fatalf("%s: a block of %q: say sh, text, go or toml", page, block[1])
			}
		}
	}
	return found
}

// needs holds the lines that a module needs to use this one, as the command in README adds them.
const needs = "require pyo3test v0.0.0\n\nreplace pyo3test => ./third_party/pyo3test\n"

// monorepo creates a Go module with one of our crates in it and returns the crate's folder. It is always in the same
// place, so that the crate is built only once, and no run of it is remembered.
func monorepo(t *testing.T, here, ours string) (crate string) {
	t.Helper()
	root := prereq.Place(t, strings.ReplaceAll(ours, "/", "-"))
	caches, err := os.UserCacheDir()
	require.NoError(t, err)
	recordings := fmt.Sprintf("pyo3test/recordings/%x", sha256.Sum256([]byte(filepath.Join(root, "mycrate"))))
	require.NoError(t, os.RemoveAll(filepath.Join(caches, recordings)))
	require.NoError(t, os.MkdirAll(filepath.Join(root, ".git"), 0o755))
	crate = filepath.Join(root, "mycrate")
	require.NoError(t, os.CopyFS(crate, os.DirFS(filepath.Join(here, ours))))
	tests, err := filepath.Glob(filepath.Join(crate, "*_test.go"))
	require.NoError(t, err)
	for _, test := range tests {
		require.NoError(t, os.Remove(test))
	}
	mod := `module example.com/monorepo

go 1.26
` + needs
	require.NoError(t, os.MkdirAll(filepath.Join(root, "third_party"), 0o755))
	require.NoError(t, os.Symlink(here, filepath.Join(root, "third_party/pyo3test")))
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte(mod), 0o644))
	return crate
}

// TestCommands: every command in the pages ends as they state and prints what they show.
func TestCommands(t *testing.T) {
	prereq.Engine(t)
	here, err := filepath.Abs("../..")
	require.NoError(t, err)
	binaries := t.TempDir()
	output, err := exec.Command("go", "build", "-o", binaries, here+"/harness/cmd/pyo3test").CombinedOutput()
	require.NoError(t, err, string(output))
	readme, err := os.ReadFile(here + "/README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "go mod edit -require=pyo3test@v0.0.0 -replace=pyo3test=./third_party/pyo3test\n")
	for _, tool := range []string{"make", "cargo", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			prereq.Skip(t, "the pages take ", tool)
		}
	}
	for page, ours := range map[string]string{here + "/README.md": "pytests/modern",
		"troubleshooting.md": "pytests/hangs/modern", "fork.md": "pytests/hangs/modern"} {
		t.Run(filepath.Base(page), func(t *testing.T) {
			crate := monorepo(t, here, ours)
			short := strings.NewReplacer(crate, "CRATE", here+"/pytests/hangs/modern/", "") // the paths of the pages
			for _, s := range steps(t, page) {
				if s.file != "" {
					require.NoError(t, os.WriteFile(filepath.Join(crate, "python_test.go"), []byte(s.file), 0o644))
					continue
				}
				if strings.HasPrefix(s.command, "make test ") { // runs this very test
					continue
				}
				c := exec.Command("bash", "-c", s.command)
				c.Dir = crate
				if strings.HasPrefix(s.command, "make ") {
					c.Dir = here
				}
				cache := os.Getenv("XDG_CACHE_HOME")
				if strings.HasPrefix(s.command, "scripts/") {
					cache = t.TempDir() // its virtual environment is not needed again
				}
				c.Env = append(os.Environ(), "PATH="+binaries+string(os.PathListSeparator)+os.Getenv("PATH"),
					"PYO3TEST_ARTIFACTS="+t.TempDir(), "XDG_CACHE_HOME="+cache)
				began := time.Now()
				output, err := c.CombinedOutput()
				t.Logf("%5.1fs %s", time.Since(began).Seconds(), s.command)
				if c.ProcessState == nil {
					require.NoError(t, err)
				}
				require.Equal(t, s.exit, c.ProcessState.ExitCode(), "%s\n%s", s.command, output)
				said := plain(short.Replace(string(output)))
				for _, line := range s.output {
					if line = plain(line); line != "" && line != "..." {
						require.Contains(t, said, line, "%s", s.command)
					}
				}
			}
		})
	}
}

// plain returns a text without what differs from run to run.
func plain(text string) string {
	text = number.ReplaceAllString(text, "N")
	return strings.TrimSpace(blanks.ReplaceAllString(text, " "))
}

// TestLinks: what a page links to within the project exists.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, page := range []string{"../../README.md", "../../.github/CONTRIBUTING.md", "architecture.md", "protocol.md",
		"troubleshooting.md", "fork.md"} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(page), filepath.FromSlash(match[1])))
			require.NoError(t, err, "%s links to %s", page, match[1])
		}
	}
}
