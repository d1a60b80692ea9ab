package images

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// engine runs engine.sh and returns the last line of its output, its standard error, and whether it succeeded.
func engine(env ...string) (address, words string, ok bool) {
	var output, errors strings.Builder
	c := exec.Command("bash", "engine.sh")
	c.Env = append(os.Environ(), env...)
	c.Stdout, c.Stderr = &output, &errors
	err := c.Run()
	lines := strings.Split(strings.TrimSpace(output.String()), "\n")
	return lines[len(lines)-1], errors.String(), err == nil
}

// TestEngineIsFound checks that with an engine that answers there is nothing to do, however many ask at once.
func TestEngineIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a Docker engine")
	}
	first, words, ok := engine()
	require.True(t, ok, words)
	require.Regexp(t, `^(unix|tcp|https?)://`, first)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			address, words, ok := engine()
			require.True(t, ok, words)
			require.Equal(t, first, address)
			require.Empty(t, words)
		})
	}
	all.Wait()
}

// TestChosenEngineIsNotReplaced checks that if the engine that the user names does not answer, it is an error that says
// what to do.
func TestChosenEngineIsNotReplaced(t *testing.T) {
	for host, want := range map[string]string{
		"unix:///no/such/socket": "no Docker engine answers there: start it, or unset DOCKER_HOST",
		"tcp://127.0.0.1:1":      "no Docker engine answers there: start it, or unset DOCKER_HOST",
		"ssh://elsewhere":        "ssh is not supported: forward the remote socket",
		"nonsense":               "not an address of a Docker engine",
	} {
		address, words, ok := engine("DOCKER_HOST=" + host)
		require.False(t, ok, host)
		require.Empty(t, address, host)
		require.Contains(t, words, want, host)
		require.Equal(t, 1, strings.Count(words, "\n"), words)
	}
}
