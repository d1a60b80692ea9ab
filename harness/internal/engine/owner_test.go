package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGone(t *testing.T) {
	me := thisProcess()
	labels := func(change func(map[string]string)) map[string]string {
		l := me.labels("test")
		change(l)
		return l
	}
	ended := exec.Command("go", "version")
	require.NoError(t, ended.Run())
	for name, c := range map[string]struct {
		labels map[string]string
		want   bool
	}{
		"this process": {labels(func(map[string]string) {}), false},
		"a process that ended": {labels(func(l map[string]string) {
			l[Label+
				".pid"] = strconv.Itoa(ended.Process.Pid)
		}), true},
		"this pid, an other one": {labels(func(l map[string]string) { l[Label+".start"] = "1" }), true},
		"before the last boot":   {labels(func(l map[string]string) { l[Label+".boot"] = "another" }), true},
		"another host": {labels(func(l map[string]string) {
			l[Label+".host"], l[Label+".pid"] = "another",
				"999999"
		}), false},
		"no number":       {labels(func(l map[string]string) { l[Label+".pid"] = "x" }), false},
		"no label at all": {map[string]string{Label: "image"}, false},
	} {
		require.Equal(t, c.want, me.gone(c.labels), name)
	}
}

func TestCandidates(t *testing.T) {
	t.Setenv("DOCKER_HOST", "")
	t.Setenv("DOCKER_CONTEXT", "")
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/77")
	t.Setenv("HOME", "/home/me")
	hosts, why := candidates()
	require.Empty(t, why)
	require.Subset(t, hosts,
		[]string{"unix:///var/run/docker.sock", "unix:///run/user/77/docker.sock",
			"unix:///home/me/.docker/run/docker.sock", "unix:///home/me/.docker/desktop/docker.sock"})

	sum := sha256.Sum256([]byte("mine"))
	folder := filepath.Join(os.Getenv("DOCKER_CONFIG"), "contexts", "meta", hex.EncodeToString(sum[:]))
	require.NoError(t, os.MkdirAll(folder, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "meta.json"),
		[]byte(`{"Endpoints":{"docker":{"Host":"unix:///mine.sock"}}}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"),
		[]byte(`{"currentContext":"mine"}`), 0o600))
	hosts, why = candidates()
	require.Equal(t, []string{"unix:///mine.sock"}, hosts)
	require.Equal(t, ` at the docker context "mine"`, why)

	t.Setenv("DOCKER_HOST", "tcp://elsewhere:2375")
	hosts, why = candidates()
	require.Equal(t, []string{"tcp://elsewhere:2375"}, hosts)
	require.Equal(t, " at DOCKER_HOST", why)
}
