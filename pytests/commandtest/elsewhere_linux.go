package commandtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/client"
	"github.com/stretchr/testify/require"
)

// Elsewhere returns a command that runs a program of this machine as if on another: with a Docker engine that has no image, and
// a network and folders in which there is nothing. The engine is the test's own. It needs root and dockerd, its store is a tmpfs, and
// it has no network either.
func Elsewhere(t *testing.T) func(program string, args ...string) *exec.Cmd {
	t.Helper()
	folder, err := os.MkdirTemp("", "engine") // a socket's path has to be short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	in := func(name string) string { return filepath.Join(folder, name) }
	for _, name := range []string{"store", "home", "cache"} {
		require.NoError(t, os.Mkdir(in(name), 0o711))
	}
	require.NoError(t, os.WriteFile(in("config"), []byte("{}"), 0o600)) // otherwise it would read the host's
	require.NoError(t, syscall.Mount("tmpfs", in("store"), "tmpfs", 0, "size=6g"))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(in("store"), syscall.MNT_DETACH)) })
	log, err := os.Create(in("log"))
	require.NoError(t, err)
	defer log.Close()
	dockerd := exec.Command("unshare", "--net", "dockerd", "--data-root="+in("store"), "--exec-root="+in("run"), "--pidfile="+in("pid"),
		"--config-file="+in("config"), "--host=unix://"+in("socket"), "--bridge=none", "--iptables=false", "--ip6tables=false",
		"--log-level=error")
	dockerd.Stdout, dockerd.Stderr = log, log
	dockerd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // if the test has no time to clean up
	require.NoError(t, dockerd.Start())
	ended := make(chan struct{})
	go func() { _ = dockerd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = dockerd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(time.Minute):
			require.NoError(t, dockerd.Process.Kill())
			<-ended
		}
	})
	cli, err := client.NewClientWithOpts(client.WithHost("unix://"+in("socket")), client.WithAPIVersionNegotiation())
	require.NoError(t, err)
	defer cli.Close()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := cli.Ping(t.Context()); err == nil {
			break
		}
		select {
		case <-ended:
			end = time.Time{}
		default:
		}
		if time.Now().After(end) {
			words, _ := os.ReadFile(log.Name())
			require.FailNow(t, "the second engine does not answer", string(words))
		}
	}
	return func(program string, args ...string) *exec.Cmd {
		c := exec.Command("unshare", append([]string{"--net", program}, args...)...)
		c.Env = append(os.Environ(), "DOCKER_HOST=unix://"+in("socket"), "XDG_CACHE_HOME="+in("cache"), "HOME="+in("home"))
		return c
	}
}
