package harness

import (
	"fmt"
	"os"
	"path/filepath"

	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/subtest"
)

// runAgain returns a function that returns the commands to run one test again, as they are typed in the module's folder.
func runAgain(crate string) func(test, nodeID string) string {
	pkg := ""
	if folder, err := os.Getwd(); err == nil { // go test starts a test in its package's folder
		if file := project.Above(folder, "go.mod"); file != "" {
			root := filepath.Dir(file)
			pkg, crate = subtest.ShellQuote(below(root, folder))+" ", below(root, crate)
		}
	}
	return func(test, nodeID string) string {
		return fmt.Sprintf("again: go test %s-run %s\n       pyo3test run %s -- %s\n",
			pkg, subtest.ShellQuote(subtest.Pattern(test)), subtest.ShellQuote(crate), subtest.ShellQuote(nodeID))
	}
}

// below returns a path as it is typed in a folder: "./rust/words" if it is in it, else as it is.
func below(folder, path string) string {
	relative, err := filepath.Rel(folder, path)
	if err != nil || !filepath.IsLocal(relative) {
		return path
	}
	if relative == "." {
		return "."
	}
	return "./" + filepath.ToSlash(relative)
}
