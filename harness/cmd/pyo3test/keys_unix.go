//go:build unix

package main

import (
	"errors"
	"os"
	"time"

	"github.com/pkg/term/termios"
	"golang.org/x/sys/unix"
)

// keyPause is how often it is looked whether keys are to be watched still, and for which job the terminal is.
const keyPause = 200 * time.Millisecond

// watchKeys lets the terminal give its keys away one by one, unseen, and calls t at each t, until stop gives the terminal
// back as it was. A job in the background leaves the terminal alone, since reading from it would halt the job; stop is nil then.
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
			_ = termios.Tcsetattr(fd, termios.TCSANOW, &before) // of a terminal that is gone
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

// inForeground tells whether this process's job is the one that the terminal is for.
func inForeground(fd uintptr) bool {
	group, err := unix.IoctlGetInt(int(fd), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
