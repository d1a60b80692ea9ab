//go:build linux || darwin

package cache

import "golang.org/x/sys/unix"

// inodesUsed reports whether a folder's file system can hold no more files, whatever their size.
func inodesUsed(folder string) bool {
	var disk unix.Statfs_t
	return unix.Statfs(existing(folder), &disk) == nil && disk.Files > 0 && disk.Ffree == 0
}
