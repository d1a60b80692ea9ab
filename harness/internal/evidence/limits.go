package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// limits bound what is kept. A test may write anything where its group leaves evidence, even sparse files of terabytes.
type limits struct {
	file, run, all int64 // bytes of one file, of a run, and of all runs in the cache folder
	reserved       int64 // bytes of a run that are for the harness's own files
	files          int   // of a run
	runs           int   // how many failed runs the cache folder keeps
}

var defaults = limits{file: 64 << 20, run: 256 << 20, all: 1 << 30, reserved: 64 << 20, files: 10000, runs: 20}

// room returns how many bytes one more file may have; ok is false if nothing more may be kept.
func (e *Run) room(own bool) (bytes int64, ok bool) {
	left := e.limits.run - e.size
	if !own {
		left -= e.limits.reserved
	}
	return min(left, e.limits.file), left > 0 && e.files < e.limits.files
}

// keep writes a file of a group within the limits.
func (e *Run) keep(group, name string, data io.Reader, own bool) error {
	room, ok := e.room(own)
	if !ok {
		e.leftOut++
		return nil
	}
	folder := e.folder
	if group == "" {
		name = cleanName(name)
	} else {
		folder = filepath.Join(folder, e.names.unique("", group))
		name = e.names.unique(group+"/", name)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(folder, name))
	if err != nil {
		return err
	}
	size, err := copySparse(f, io.LimitReader(data, room))
	e.files, e.size = e.files+1, e.size+size
	if err == nil && size == room {
		var more int
		if more, err = io.ReadFull(data, make([]byte, 1)); more > 0 {
			_, err = fmt.Fprintf(f, "\n[... cut here: of one file %d MiB are kept, of one run %d MiB]\n",
				e.limits.file>>20, e.limits.run>>20)
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return errors.Join(err, f.Close())
}

// block is the size of a hole in a file, in bytes.
const block = 64 << 10

// copySparse copies to a new file, and leaves a hole for each block of zeros.
func copySparse(f *os.File, data io.Reader) (size int64, err error) {
	buffer, zeros := make([]byte, block), make([]byte, block)
	for {
		n, err := io.ReadFull(data, buffer)
		if n > 0 {
			var failed error
			if bytes.Equal(buffer[:n], zeros[:n]) {
				_, failed = f.Seek(int64(n), io.SeekCurrent)
			} else {
				_, failed = f.Write(buffer[:n])
			}
			if failed != nil {
				return size, failed
			}
			size += int64(n)
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return size, f.Truncate(size) // it may end with a hole
		case err != nil:
			return size, errors.Join(err, f.Truncate(size))
		}
	}
}
