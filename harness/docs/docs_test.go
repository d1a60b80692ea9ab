// Package docs_test runs what the documentation says.
package docs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// step is a command of a page, with the exit code that it says, and lines of what it prints.
type step struct {
	command string
	exit    int
	output  []string
}

var (
	fence    = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")
	exitCode = regexp.MustCompile(`\s+# exit (\d+)$`)
	number   = regexp.MustCompile(`\d+(\.\d+)?m?s?`)
	blanks   = regexp.MustCompile(`\s+`)
)

// steps are the commands of a page's sh blocks; a text block shows what the last one before it prints.
func steps(t *testing.T, page string) (found []step) {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
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
			case "go", "toml":
			default:
				t.Fatalf("%s: a block of %q: say sh, text, go or toml", page, block[1])
			}
		}
	}
	return found
}

// monorepo is a Go module with a crate in it, as the pages have it, and the folder of the crate.
func monorepo(t *testing.T, here string) (crate string) {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, ".git"), 0o755))
	crate = filepath.Join(root, "mycrate")
	require.NoError(t, os.CopyFS(crate, os.DirFS(filepath.Join(here, "pytests/hangs/modern"))))
	mod := "module example.com/monorepo\n\ngo 1.26\n\nrequire pyo3test v0.0.0\n\nreplace pyo3test => " + here + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte(mod), 0o644))
	return crate
}

// TestCommands: every command of the pages ends as they say, and prints what they show.
func TestCommands(t *testing.T) {
	here, err := filepath.Abs("../..")
	require.NoError(t, err)
	binaries := t.TempDir()
	output, err := exec.Command("go", "build", "-o", binaries, here+"/harness/cmd/pyo3test").CombinedOutput()
	require.NoError(t, err, string(output))
	makefile, err := os.ReadFile(filepath.Join(here, "Makefile"))
	require.NoError(t, err)
	for _, page := range []string{here + "/README.md", "troubleshooting.md", "fork.md"} {
		t.Run(filepath.Base(page), func(t *testing.T) {
			crate := monorepo(t, here)
			for _, s := range steps(t, page) {
				if target, ok := strings.CutPrefix(s.command, "make "); ok { // `make test` runs this very test
					target = strings.Fields(target)[0]
					require.Contains(t, string(makefile), "\n"+target+": ## ", "%s: no such target", s.command)
					continue
				}
				c := exec.Command("bash", "-c", s.command)
				c.Dir = crate
				c.Env = append(os.Environ(), "PATH="+binaries+string(os.PathListSeparator)+os.Getenv("PATH"), "PYO3TEST_ARTIFACTS="+t.TempDir(), "GOFLAGS=-mod=mod")
				output, err := c.CombinedOutput()
				if c.ProcessState == nil {
					require.NoError(t, err)
				}
				require.Equal(t, s.exit, c.ProcessState.ExitCode(), "%s\n%s", s.command, output)
				said := plain(strings.ReplaceAll(string(output), crate, "CRATE"))
				for _, line := range s.output {
					if line = plain(line); line != "" && line != "..." {
						require.Contains(t, said, line, "%s", s.command)
					}
				}
			}
		})
	}
}

// plain is a text without what differs from run to run.
func plain(text string) string {
	text = number.ReplaceAllString(text, "N")
	return strings.TrimSpace(blanks.ReplaceAllString(text, " "))
}

// TestLinks: what a page links to within the project is there.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, page := range []string{"../../README.md", "troubleshooting.md", "fork.md"} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(page), filepath.FromSlash(match[1])))
			require.NoError(t, err, "%s links to %s", page, match[1])
		}
	}
}
