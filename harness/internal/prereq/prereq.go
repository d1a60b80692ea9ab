// Package prereq skips tests that need what not every machine has.
package prereq

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Variable is the environment variable that, set to anything, says that this machine has all that the tests need: then
// a test fails if something is missing.
const Variable = "PYO3TEST_ALL_TESTS"

// Skip skips a test for which something is missing here, or fails it if [Variable] is set. It formats its arguments as
// fmt.Sprint does.
func Skip(t testing.TB, missing ...any) {
	t.Helper()
	if os.Getenv(Variable) != "" {
		t.Fatalf("%s is set, but %s", Variable, fmt.Sprint(missing...))
	}
	t.Skip(missing...)
}

// Engine skips a test that needs a Docker engine if go test runs with -short.
func Engine(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Docker engine")
	}
}

// Place returns an empty folder that is the same in each run of a test's package, so that what is built there is built
// once, and another one for each package and checkout. It is removed after the test.
func Place(t testing.TB, name string) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(here))
	folder := filepath.Join(os.TempDir(), fmt.Sprintf("pyo3test-%d-%x", os.Getuid(), sum[:4]), name)
	remove := func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
	}
	remove()
	t.Cleanup(func() {
		remove()
		_ = os.Remove(filepath.Dir(folder)) // fails while another test's is in it
	})
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}
