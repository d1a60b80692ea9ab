package cache

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestHoldInAnotherProcess is not a test: others run it as another process, which holds the lock until it is killed.
func TestHoldInAnotherProcess(t *testing.T) {
	if os.Getenv("SELFTEST_HOLD") == "" {
		t.Skip("a part of TestLock")
	}
	_, err := Lock(t.Context(), "test", func() { t.Error("held already") })
	require.NoError(t, err)
	_, _ = os.Stdout.WriteString("held\n")
	time.Sleep(time.Hour)
}

// TestLock: one process at a time holds a lock; a waiting one is told so, gives up with its context, and gets it when
// the holder is killed.
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

// TestSlot: a slot that is taken is another's, until it is given back.
func TestSlot(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	first, err := Slot(t.Context(), 2)
	require.NoError(t, err)
	second, err := Slot(t.Context(), 2)
	require.NoError(t, err)
	defer second()
	short, cancel := context.WithTimeoutCause(t.Context(), 3*poll, errors.New("the deadline is near"))
	defer cancel()
	_, err = Slot(short, 2)
	require.ErrorContains(t, err, "wait for one of 2 slots: the deadline is near")
	first()
	third, err := Slot(t.Context(), 2)
	require.NoError(t, err)
	third()
}
