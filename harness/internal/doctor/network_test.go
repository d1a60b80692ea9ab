package doctor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFixOfNetwork(t *testing.T) {
	for said, fix := range map[string]string{
		`error: Failed to fetch
  Caused by:
      invalid peer certificate: UnknownIssuer
`: "SSL_CERT_FILE",
		`error: failed

Caused by:
  [60] SSL peer certificate or SSH remote key was not OK (unable to get local issuer)
`: "SSL_CERT_FILE",
		"× Request failed\n  ╰─▶ dns error: failed to " +
			"lookup address information\n": "HTTPS_PROXY",
	} {
		words := lastWords(said)
		require.NotContains(t, words, "\n")
		require.NotContains(t, words, "╰")
		require.Contains(t, fixOfNetwork(words), fix, words)
	}
	require.Equal(t, "error: a; b", lastWords("error: a\nCaused by:\n  b\n\n"))
}
