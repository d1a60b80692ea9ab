//go:build unix

package main

import (
	"errors"
	"os"
	"time"

	"github.com/pkg/term/termios"
	"golang.org/x/sys/unix"
)

// keyPause is how often readKeys checks whether to go on, and whether this job has the terminal.
const keyPause = 200 * time.Millisecond

// watchKeys makes the terminal deliver keys one by one, without echo, and calls t for each t. stop ends that and
// restores the terminal. A background job leaves the terminal alone, since reading from it would stop the job; stop is
// then nil.
func watchKeys(terminal *os.File, t func()) (stop func()) {
	fd := terminal.Fd()
	var before unix.Termios
	if err := termios.Tcgetattr(fd, &before); err != nil || !inForeground(fd) {
		return nil
	}
	keys := before
	termios.Cfmakecbreak(&keys)
	if err := termios.Tcsetattr(fd, termios.TCSANOW, &keys); err != nil {
		return nil
	}
	ended, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		readKeys(fd, ended, t)
	}()
	return func() {
		close(ended)
		<-left
		if inForeground(fd) {
			_ = termios.Tcsetattr(fd, termios.TCSANOW, &before) // an error means that the terminal is gone
		}
	}
}

func readKeys(fd uintptr, ended <-chan struct{}, t func()) {
	for buffer := make([]byte, 64); ; {
		select {
		case <-ended:
			return
		default:
		}
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, int(keyPause.Milliseconds()))
		if n == 0 || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		if !inForeground(fd) {
			time.Sleep(keyPause)
			continue
		}
		got, err := unix.Read(int(fd), buffer)
		if got <= 0 || err != nil {
			return
		}
		for _, key := range buffer[:got] {
			if key == 't' {
				t()
			}
		}
	}
}

// inForeground reports whether this process's job is the foreground job of the terminal.
func inForeground(fd uintptr) bool {
	group, err := unix.IoctlGetInt(int(fd), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
