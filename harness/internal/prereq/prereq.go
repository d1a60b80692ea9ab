// Package prereq is for tests that need what not every machine has.
package prereq

import (
	"fmt"
	"os"
	"testing"
)

// Variable set to anything says that this machine has all that tests need: a test that misses something fails.
const Variable = "PYO3TEST_ALL_TESTS"

// Skip ends a test for which something is missing here, in the words of fmt.Sprint: skipped, or failed by [Variable].
func Skip(t testing.TB, missing ...any) {
	t.Helper()
	if os.Getenv(Variable) != "" {
		t.Fatalf("%s is set, but %s", Variable, fmt.Sprint(missing...))
	}
	t.Skip(missing...)
}

// Engine skips a test that needs a Docker engine where go test is run with -short.
func Engine(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Docker engine")
	}
}
