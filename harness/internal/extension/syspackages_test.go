package extension

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSystemPackages checks that a failed build names all packages at once that the crates of the lock file need.
func TestSystemPackages(t *testing.T) {
	const openssl = "error: failed to run custom build command for `openssl-sys v0.9.109`\n" +
		"  Could not find directory of OpenSSL installation"
	for name, c := range map[string]struct {
		log    string
		locked []string
		want   string
	}{
		"the one that failed": {log: openssl, want: "libssl-dev pkg-config"},
		"and those that would follow": {openssl, []string{"openssl-sys", "prost-build", "serde"},
			"libssl-dev pkg-config protobuf-compiler"},
		"not those with a copy": {openssl, []string{"openssl-sys", "zstd-sys"}, "libssl-dev pkg-config"},
		"but if it fails": {"failed to run custom build command for `zstd-sys v2`", []string{"zstd-sys"},
			"libzstd-dev pkg-config"},
		"not what another crate brings": {"Could not find `protoc`", []string{"openssl-sys", "openssl-src"},
			"protobuf-compiler perl make"},
		"a tool":         {log: "is `ninja` not installed?", want: "ninja-build"},
		"libclang":       {log: "Unable to find libclang", want: "libclang-dev"},
		"another word":   {log: "error: src/protocol.rs: protocol", locked: []string{"openssl-sys"}},
		"something else": {log: "error[E0308]: mismatched types", locked: []string{"openssl-sys"}},
	} {
		require.Equal(t, c.want, strings.Join(systemPackages(c.log, c.locked), " "), name)
	}
	failed := &Error{Log: openssl, Crates: []string{"openssl-sys", "pq-sys"}}
	require.Contains(t, failed.Advice(),
		`system-packages = ["libssl-dev", "pkg-config", "libpq-dev"] in [tool.pyo3test]`)
}
