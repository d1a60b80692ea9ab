package harness_test

import (
	"bytes"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// TestNoSecretStays checks that what a build gets of the host's network settings is in no layer and no description of
// its image, and that tests do not see it.
func TestNoSecretStays(t *testing.T) {
	const secret = "hunter2-of-pyo3test"
	home := t.TempDir()
	selftest.Edit(t, home, map[string]string{
		".netrc":                  "machine packages.example.com login me password " + secret + "\n",
		".cargo/credentials.toml": "[registries.mine]\ntoken = \"" + secret + "\"\n",
		".cargo/config.toml": "[registries.mine]\nindex = \"sparse+https://packages.example.com/" + secret + `/"
[build]
rustflags = ["--not-taken-over"]
`,
		".config/pip/pip.conf": "[global]\nextra-index-url = https://me:" + secret +
			"@packages.example.com/simple\n",
		".config/uv/uv.toml": "[[index]]\nname = \"mine\"\nurl = \"https://me:" + secret +
			"@packages.example.com/simple\"\nexplicit = true\n",
		"certificates/company.pem": "-----BEGIN CERTIFICATE-----\n" + secret + "\n-----END CERTIFICATE-----\n",
	})
	// Cargo's own settings still have to work for the build itself.
	for key, path := range map[string]string{"CARGO_HOME": ".cargo", "NETRC": ".netrc",
		"UV_CONFIG_FILE": ".config/uv/uv.toml"} {
		t.Setenv(key, filepath.Join(home, path))
	}
	t.Setenv("CARGO_REGISTRIES_OTHER_TOKEN", secret)
	crate := selftest.WriteCrate(t, map[string]string{
		"src/lib.rs": selftest.Tiny["src/lib.rs"] + "\n// " + t.Name() + "\n",
		"tests/test_tiny.py": `import os
import tiny

def test_answer():
    assert tiny.answer() == 42

def test_nothing_is_seen():
    assert "` + secret + `" not in repr(dict(os.environ))
    assert not [name for name in os.environ if name.upper().endswith("_PROXY") or name.startswith(("CARGO_", "PIP_", "UV_"))]
    assert not os.path.exists("/run/pyo3test/home")
`,
	})
	// The variable is new each time, so that the test environment and the module are built now.
	suite := harness.Suite{Crate: crate, Env: map[string]string{"BUILT_AT": time.Now().String()}}
	r := harnesstest.Record(t, suite)
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
	require.Contains(t, r.Text(), "installing the default test environment", "nothing was installed")
	require.Contains(t, r.Text(), "built tiny", "nothing was built")

	h := thisHost(t)
	require.Contains(t, h.Network.Env(), "CARGO_REGISTRIES_OTHER_TOKEN="+secret, "the build had it")
	_, built := selftest.Prepared(t, suite)
	saved, err := h.Save(t.Context(), built)
	require.NoError(t, err)
	defer saved.Close()
	found, err := contains(saved, secret, "/certificates/company.pem", home)
	require.NoError(t, err)
	require.Empty(t, found, "in the image, its layers and its history")
}

// contains returns which of the texts are in a stream.
func contains(stream io.Reader, texts ...string) (found []string, err error) {
	seen := map[string]bool{}
	const overlap = 256
	window := make([]byte, 0, 1<<20+overlap)
	for {
		n, err := io.ReadFull(stream, window[len(window):cap(window)])
		window = window[:len(window)+n]
		for _, text := range texts {
			if !seen[text] && bytes.Contains(window, []byte(text)) {
				seen[text] = true
				found = append(found, text)
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return found, nil
		} else if err != nil {
			return found, err
		}
		window = append(window[:0], window[len(window)-overlap:]...)
	}
}
