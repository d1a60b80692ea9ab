package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHoldInAnotherProcess is not a test: TestLock runs it as another process, which holds the lock until it is killed.
func TestHoldInAnotherProcess(t *testing.T) {
	if os.Getenv("SELFTEST_HOLD") == "" {
		t.Skip("a part of TestLock")
	}
	_, err := Lock(t.Context(), "test", func() { t.Error("held already") })
	require.NoError(t, err)
	_, _ = os.Stdout.WriteString("held\n")
	time.Sleep(time.Hour)
}

// TestLock checks that one process at a time holds a lock. A waiting process is notified, gives up when its context
// ends, and gets the lock when the holder is killed.
func TestLock(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // what os.UserCacheDir reads on macOS
	c := exec.Command(os.Args[0], "-test.run=^TestHoldInAnotherProcess$")
	c.Env = append(os.Environ(), "SELFTEST_HOLD=1")
	output, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	_, err = output.Read(make([]byte, len("held\n")))
	require.NoError(t, err)

	unlock, err := Lock(t.Context(), "other", func() { t.Error("nobody holds this one") })
	require.NoError(t, err)
	unlock()

	waited := 0
	short, cancel := context.WithTimeout(t.Context(), 3*poll)
	defer cancel()
	_, err = Lock(short, "test", func() { waited++ })
	require.True(t, errors.Is(err, context.DeadlineExceeded), err)
	require.ErrorContains(t, err, "wait for the lock ")
	require.Equal(t, 1, waited)

	unlock, err = Lock(t.Context(), "test", func() { waited++; require.NoError(t, c.Process.Kill()) })
	require.NoError(t, err)
	require.Equal(t, 2, waited)
	unlock()
}

// TestSlot checks that a taken slot cannot be taken again until it is released, and that who waits learns who has it.
func TestSlot(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	silent := func(sentence string) { t.Fatal(sentence) }
	first, err := Slot(t.Context(), 2, "one", silent)
	require.NoError(t, err)
	second, err := Slot(t.Context(), 2, "two", silent)
	require.NoError(t, err)
	defer second()
	short, cancel := context.WithTimeoutCause(t.Context(), slotPatience+5*poll, errors.New("the deadline is near"))
	defer cancel()
	said := ""
	_, err = Slot(short, 2, "three", func(sentence string) { said = sentence })
	require.ErrorContains(t, err, "wait for one of 2 slots: the deadline is near")
	require.Regexp(t, fmt.Sprintf(`^waiting for one of 2 slots, held by pid %d \(one, \d seconds\) and pid %[1]d \(two, `,
		os.Getpid()), said)
	first()
	first() // again does nothing
	third, err := Slot(t.Context(), 2, "three", silent)
	require.NoError(t, err)
	third()
}

// TestLockFiles checks that of many that want the same lock one at a time holds it, although each removes its file. No
// file stays, not even that of a killed process.
func TestLockFiles(t *testing.T) {
	cached := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cached)
	t.Setenv("HOME", cached)
	folder, err := lockFolder()
	require.NoError(t, err)
	old := time.Now().Add(-2 * staleAfter)
	for name, changed := range map[string]time.Time{"killed": old, "held": old, "new": time.Now()} {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		require.NoError(t, os.Chtimes(path, changed, changed))
	}
	release, err := tryLock(filepath.Join(folder, "held"))
	require.NoError(t, err)
	require.NotNil(t, release)

	var all sync.WaitGroup
	var holders atomic.Int32
	for range 8 {
		all.Go(func() {
			for range 1000 {
				unlock, err := tryLock(filepath.Join(folder, "test"))
				if !assert.NoError(t, err) {
					return
				}
				if unlock != nil {
					assert.EqualValues(t, 1, holders.Add(1))
					runtime.Gosched()
					holders.Add(-1)
					unlock()
				}
			}
		})
	}
	all.Wait()
	unlock, err := Lock(t.Context(), "test", nil)
	require.NoError(t, err)
	unlock()
	require.Equal(t, []string{"held", "new"}, names(t, folder))
	release()
	require.Equal(t, []string{"new"}, names(t, folder))
}

// TestLockAfterRemoval checks that a lock on a file that has since been removed does not count as the lock on its
// successor.
func TestLockAfterRemoval(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	late := flock.New(path)
	ok, err := late.TryLock()
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, os.Remove(path)) // as the previous holder did
	named, err := isNamed(late)
	require.NoError(t, err)
	require.False(t, named)
	unlock, err := tryLock(path)
	require.NoError(t, err)
	require.NotNil(t, unlock)
	defer unlock()
	named, err = isNamed(late)
	require.NoError(t, err)
	require.False(t, named)
}

// TestUnusable checks that the error for an unusable cache folder names the folder and says what to do.
func TestUnusable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	t.Setenv("XDG_CACHE_HOME", file)
	t.Setenv("HOME", file)
	_, err := Lock(t.Context(), "test", nil)
	var failed *Error
	require.ErrorAs(t, err, &failed)
	require.ErrorContains(t, err, "use the cache folder "+failed.Folder+": ")
	require.ErrorContains(t, err, "set XDG_CACHE_HOME")
	require.NoError(t, Failed(nil))
}
