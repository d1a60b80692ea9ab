package image

import (
	"bytes"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/prereq"
)

// TestDebianBaseKilled checks that a script that is killed midway, with all its processes, leaves no mount, and that
// the next run removes its folder. That run is interrupted and must leave nothing either.
func TestDebianBaseKilled(t *testing.T) {
	prereq.Engine(t)
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		prereq.Skip(t, "makes a base image, which takes root on Debian")
	}
	temporary, nonce := filepath.Join(t.TempDir(), "a folder"), "SELFTEST_NONCE="+rand.Text()
	require.NoError(t, os.Mkdir(temporary, 0o755))
	start := func() (*exec.Cmd, *bytes.Buffer) {
		c := exec.Command("bash", "-s")
		c.Stdin = strings.NewReader(asset("debian-base.sh"))
		c.Env = append(os.Environ(), "TMPDIR="+temporary, nonce,
			"DEBIAN_SUITE=bookworm", "DEBIAN_PACKAGES=netbase", "BASE_PACKAGES=ca-certificates")
		var words bytes.Buffer
		c.Stderr = &words
		require.NoError(t, c.Start())
		return c, &words
	}
	left := func() []string {
		names, err := filepath.Glob(filepath.Join(temporary, "*"))
		require.NoError(t, err)
		return names
	}
	t.Cleanup(func() { killAll(t, nonce) })

	c, words := start()
	mounted := func() bool { return mountedBelow(t, temporary, nonce) }
	require.Eventually(t, mounted, 5*time.Minute, 100*time.Millisecond, "nothing is mounted")
	killAll(t, nonce)
	_ = c.Wait()
	first := left()
	require.Len(t, first, 1, words)
	require.False(t, mountedBelow(t, temporary, ""), "a mount stays")
	stranger := filepath.Join(temporary, "mmdebstrap.other")
	require.NoError(t, os.Mkdir(stranger, 0o755))

	c, words = start()
	gone := func() bool { _, err := os.Stat(first[0]); return os.IsNotExist(err) }
	require.Eventually(t, gone, time.Minute, 50*time.Millisecond, "what the first left is still there")
	require.Eventually(t, func() bool {
		begun, err := filepath.Glob(filepath.Join(temporary, "pyo3test-debian-base.*", "mmdebstrap.*"))
		return err == nil && len(begun) > 0
	}, time.Minute, 50*time.Millisecond, "mmdebstrap has not begun")
	require.NoError(t, c.Process.Signal(os.Interrupt))
	require.Error(t, c.Wait())
	require.Contains(t, words.String(), "removing "+first[0]+", which a run that was killed has left\n")
	require.Equal(t, []string{stranger}, left(), words)
	require.False(t, mountedBelow(t, temporary, ""), "a mount stays")
}

// processes returns the processes that have a text in their environment; "" matches all.
func processes(t *testing.T, text string) (pids []int) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		require.NoError(t, err)
		environment, err := os.ReadFile(name + "/environ")
		if err == nil && bytes.Contains(environment, []byte(text)) && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killAll kills the processes that have a text in their environment until none is left.
func killAll(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		alive := 0
		for _, pid := range processes(t, text) {
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				alive++
			}
		}
		return alive == 0
	}, time.Minute, 10*time.Millisecond, "processes live on")
}

// mountedBelow reports whether one of the processes sees a mount below a folder.
func mountedBelow(t *testing.T, folder, text string) bool {
	t.Helper()
	for _, pid := range processes(t, text) {
		mounts, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/mountinfo")
		if strings.Contains(string(mounts), " "+strings.ReplaceAll(folder, " ", `\040`)+"/") {
			return true
		}
	}
	return false
}
