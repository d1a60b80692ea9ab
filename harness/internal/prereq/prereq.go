// Package prereq skips tests that need what not every machine has.
package prereq

import (
	"fmt"
	"os"
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
