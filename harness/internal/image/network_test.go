package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pyo3test/harness/internal/layout"
)

// hostWith returns the network settings of a host with the given environment and files in the user's home.
func hostWith(t *testing.T, env, files map[string]string) Network {
	t.Helper()
	for _, entry := range os.Environ() {
		if key, _, _ := strings.Cut(entry, "="); key != "PATH" {
			t.Setenv(key, "")
		}
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	for key, value := range env {
		t.Setenv(key, strings.ReplaceAll(value, "~", home))
	}
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(home, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(home, name), []byte(text), 0o600))
	}
	n, err := HostNetwork()
	require.NoError(t, err)
	return n
}

func TestHostNetwork(t *testing.T) {
	n := hostWith(t, map[string]string{
		"https_proxy": "http://proxy:3128", "NO_PROXY": "internal", "CARGO_REGISTRIES_MINE_TOKEN": "t",
		"PIP_CERT": "~/company.pem", "UNRELATED": "x",
		"PIP_CONFIG_FILE": "~/pip.conf", "CARGO_BUILD_TARGET": "x86_64-pc-windows-msvc", "PIP_TARGET": "~/somewhere",
	}, map[string]string{
		"company.pem": `-----BEGIN CERTIFICATE-----
company
-----END CERTIFICATE-----
`,
		"pip.conf": `[global]
index_url = https://me:secret@pypi.example.com/simple
extra-index-url =
    https://a.example.com
    https://b.example.com
`,
		".cargo/config.toml": `[http]
proxy = "p"
cainfo = "/host/ca.pem"
[build]
target = "x"
[source.crates-io]
replace-with = "mine"
`,
		".netrc": "machine a login b password c\n",
	})
	require.Equal(t, "http://proxy:3128", n.env["https_proxy"])
	require.Equal(t, "internal", n.env["NO_PROXY"])
	require.Equal(t, "t", n.env["CARGO_REGISTRIES_MINE_TOKEN"])
	require.NotContains(t, n.env, "UNRELATED")
	require.NotContains(t, n.env, "CARGO_BUILD_TARGET")
	require.NotContains(t, n.env, "PIP_TARGET")
	require.Equal(t, "https://me:secret@pypi.example.com/simple", n.env["PIP_INDEX_URL"])
	require.Equal(t, n.env["PIP_INDEX_URL"], n.env["UV_DEFAULT_INDEX"])
	require.Equal(t, "https://a.example.com https://b.example.com", n.env["UV_INDEX"])
	require.Contains(t, string(n.files["ca.pem"]), "company")
	require.Equal(t, layout.Scratch+"/ca.pem", n.env["PIP_CERT"])
	require.Equal(t, layout.Scratch+"/ca.pem", n.env["CARGO_HTTP_CAINFO"])
	cargo := string(n.files["cargo/config.toml"])
	require.Contains(t, cargo, "replace-with")
	require.NotContains(t, cargo, "cainfo")
	require.NotContains(t, cargo, "target")
	require.Contains(t, string(n.files["home/.netrc"]), "machine a")
	require.Len(t, n.Proxies(), 2)
}

// TestOffline checks that a build without a network knows where crates come from, because their names depend on it, but
// has no secrets.
func TestOffline(t *testing.T) {
	n := hostWith(t, map[string]string{
		"HTTPS_PROXY": "http://me:secret@proxy", "CARGO_REGISTRIES_MINE_TOKEN": "secret",
		"CARGO_REGISTRIES_MINE_INDEX": "sparse+https://mine", "PIP_INDEX_URL": "https://me:secret@index",
	}, map[string]string{
		".cargo/config.toml": `[registries.other]
index = "https://other"
token = "secret"
[http]
proxy = "http://me:secret@proxy"
` +
			"[source.crates-io]\nreplace-with = \"mine\"\n",
		".cargo/credentials.toml": "[registries.other]\ntoken = \"secret\"\n",
		".netrc":                  "machine a login b password secret\n",
	})
	off := n.Offline()
	require.True(t, off.offline)
	require.Equal(t, "sparse+https://mine", off.env["CARGO_REGISTRIES_MINE_INDEX"])
	require.Equal(t, "true", off.env["CARGO_NET_OFFLINE"])
	config := string(off.files["cargo/config.toml"])
	require.Contains(t, config, "https://other")
	require.Contains(t, config, "replace-with")
	require.NotContains(t, strings.Join(off.Env(), "\n")+config, "secret")
	for name, data := range off.files {
		require.NotContains(t, string(data), "secret", name)
	}
	require.Equal(t, off.Key(), n.Offline().Key())
	require.NotEqual(t, n.Key(), off.Key())
}

// TestPassed checks that a project's own variables reach the phase "fetch" only if they say where packages come from.
func TestPassed(t *testing.T) {
	require.Equal(t, map[string]string{"CARGO_REGISTRIES_MINE_INDEX": "i", "https_proxy": "p"},
		Passed(map[string]string{
			"CARGO_REGISTRIES_MINE_INDEX": "i", "https_proxy": "p", "RUSTC_WRAPPER": "/src/w", "LD_PRELOAD": "/src/l",
			"PATH": "/src",
			"CARGO_REGISTRIES_MINE_CREDENTIAL_PROVIDER": "/src/c", "CARGO_BUILD_RUSTC": "/src/r",
		}))
}

func TestBrokenCargoConfiguration(t *testing.T) {
	t.Setenv("CARGO_HOME", t.TempDir())
	require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("CARGO_HOME"), "config.toml"), []byte("[http\n"), 0o600))
	_, err := HostNetwork()
	require.ErrorContains(t, err, "read cargo's configuration "+os.Getenv("CARGO_HOME"))
}

func TestMirrored(t *testing.T) {
	require.Equal(t, "rust:1", mirrored("rust:1"))
	t.Setenv(MirrorVariable, "mirror.example.com/hub/")
	require.Equal(t, "mirror.example.com/hub/rust:1", mirrored("rust:1"))
}
