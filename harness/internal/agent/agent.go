// Package agent is the Go side of the program that runs inside a group's container. It embeds the program for the tools
// image, starts it, and passes on the messages of package protocol. Go makes the decisions; the agent carries
// them out.
package agent

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/verdict"
)

//go:embed python/*.py python/site/pyo3test_plugin/*.py
var programs embed.FS

// pressure is the source of the library that delays threads. It is in a folder of its own because Go takes a C file beside its
// own for one of its package.
//
//go:embed pressure/pressure.c
var pressure []byte

// Plugin returns the files of the pytest plugin by name. The plugin also works without an agent, by the options `-p
// pyo3test_plugin.hooks --forked`.
func Plugin() map[string][]byte {
	found := map[string][]byte{}
	for name, data := range Programs() {
		if file, ok := strings.CutPrefix(name, "agent/site/"); ok {
			found[file] = data
		}
	}
	return found
}

// PluginZip returns the plugin as one file from which Python imports it, the same bytes each time.
func PluginZip() []byte {
	files := Plugin()
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Unix(1_000_000_000, 0).UTC()}
		file, err := archive.CreateHeader(&header)
		if err == nil {
			_, err = file.Write(files[name])
		}
		if err != nil {
			panic(err) // a buffer takes everything
		}
	}
	if err := archive.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// maxLine bounds one line of the agent, which itself limits its lines to 1 MiB.
const maxLine = 2 << 20

// Programs returns the agent's files, for the tools image.
func Programs() image.Programs {
	found := image.Programs{"agent/pressure.c": pressure}
	err := fs.WalkDir(programs, "python", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := programs.ReadFile(path)
		found["agent"+strings.TrimPrefix(path, "python")] = data
		return err
	})
	if err != nil {
		panic(err) // embedded above
	}
	return found
}

// Session is a running agent.
type Session struct {
	process *engine.Process
	events  chan protocol.Event
	mutex   sync.Mutex // of writes
	stderr  tail
	readErr error
	closed  chan struct{}
	close   sync.Once
}

// Open starts the agent in a container. The end of ctx closes its streams: use one without a deadline if the agent must
// be stopped by a command.
func Open(ctx context.Context, c *engine.Container) (*Session, error) {
	p, err := c.Exec(ctx, engine.Command{Argv: []string{layout.Tools + "/python", "-I", layout.Agent + "/agent.py"}})
	if err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	s := &Session{process: p, events: make(chan protocol.Event, 256), closed: make(chan struct{})}
	go func() { _, _ = io.Copy(&s.stderr, p.Stderr) }()
	go s.read()
	return s, nil
}

// DumpAll returns the stacks of all processes that pytest runs in a container, in no particular order. The container may belong
// to another process.
func DumpAll(ctx context.Context, c *engine.Container) ([]protocol.Dump, error) {
	var said bytes.Buffer
	command := engine.Command{Argv: []string{layout.Tools + "/python", "-I", layout.Agent + "/dump_all.py"}}
	if err := image.Run(ctx, c, command, nil, &said); err != nil {
		return nil, fmt.Errorf("look into the container: %w: %.500s", err, said.String())
	}
	var dumps []protocol.Dump
	for line := range bytes.Lines(said.Bytes()) {
		event, err := protocol.Decode(line)
		if err != nil {
			return nil, fmt.Errorf("look into the container: %w", err)
		}
		dump, ok := event.(protocol.Dump)
		if !ok {
			return nil, fmt.Errorf("look into the container: it answered with a %s event", event.Kind())
		}
		dumps = append(dumps, dump)
	}
	return dumps, nil
}

// Events returns the agent's events, in order. The channel is closed when they end; Err then reports whether the agent
// ended properly.
func (s *Session) Events() <-chan protocol.Event { return s.events }

func (s *Session) read() {
	defer close(s.events)
	in := bufio.NewReaderSize(s.process.Stdout, 64<<10)
	for {
		line, err := readLine(in)
		if err != nil {
			s.readErr = err
			return
		}
		event, err := protocol.Decode(line)
		if err != nil {
			s.readErr = err
			return
		}
		select {
		case s.events <- event:
		case <-s.closed:
			s.readErr = errors.New("closed")
			return
		}
		if event == (protocol.Event)(protocol.Done{}) {
			return
		}
	}
}

// readLine reads one line and returns it without its line end. The end of the stream is io.EOF; in the middle of a line
// it is io.ErrUnexpectedEOF.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case len(line) > maxLine:
			return nil, fmt.Errorf("a line of the agent is longer than %d bytes", maxLine)
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// Send sends a command.
func (s *Session) Send(c protocol.Command) error {
	line, err := protocol.Encode(c)
	if err != nil {
		return err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if _, err := s.process.Stdin.Write(line); err != nil {
		return fmt.Errorf("write to the agent: %w", err)
	}
	return nil
}

// Err returns how the stream ended, once Events is closed. It is nil if the agent sent its final event.
func (s *Session) Err() error {
	if s.readErr == nil {
		return nil
	}
	if errors.Is(s.readErr, io.EOF) || errors.Is(s.readErr, io.ErrUnexpectedEOF) {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		if status, err := s.process.Wait(ctx); err == nil {
			return fmt.Errorf("the agent, which watches the tests in their container, ended with %s: did a test "+
				"kill it? Its last words: %q",
				endText(status), s.stderr.String())
		}
	}
	if words := s.stderr.String(); words != "" {
		return fmt.Errorf("the stream of events broke off (%w); the agent's last words: %s", s.readErr, words)
	}
	return fmt.Errorf("the stream of events broke off: %w", s.readErr)
}

// endTimeout bounds how long the engine may take to report the exit status of an agent that has ended.
const endTimeout = 5 * time.Second

// endText describes an exit status as shells and engines use it: above 128 it is a signal.
func endText(status int) string {
	if status > 128 {
		return verdict.SignalName(status - 128)
	}
	return fmt.Sprintf("status %d", status)
}

// Close closes the streams. It is safe to call twice.
func (s *Session) Close() {
	s.close.Do(func() {
		close(s.closed)
		s.process.Close()
	})
}

// tail keeps the last 4096 bytes written to it.
type tail struct {
	mutex sync.Mutex
	data  []byte
}

func (t *tail) Write(data []byte) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.data = append(t.data, data...)
	t.data = t.data[max(0, len(t.data)-4096):]
	return len(data), nil
}

func (t *tail) String() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return strings.TrimSpace(string(t.data))
}
