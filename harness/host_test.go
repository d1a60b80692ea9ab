package harness_test

import (
	"testing"

	"pyo3test/harness/internal/selftest"
)

// host is this host, with what only this package's tests do there.
type host struct{ selftest.Host }

func thisHost(t *testing.T) host {
	t.Helper()
	return host{selftest.ThisHost(t)}
}
