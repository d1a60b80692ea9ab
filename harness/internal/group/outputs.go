package group

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/plural"
)

// saveOutputs copies what the tests have written and the user wants into the user's folder.
func (g *group) saveOutputs(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	stream, err := g.container.Download(ctx, layout.Out+"/outputs")
	if engine.IsMissing(err) { // there is no such folder: nothing was written
		return
	}
	if err != nil {
		g.problem("copy what the tests have written: %v", err)
		return
	}
	defer stream.Close()
	saved, err := g.unpackOutputs(tar.NewReader(stream))
	if err != nil {
		g.problem("copy what the tests have written to %s: %v", g.OutputsTo, err)
	}
	if saved > 0 {
		g.note("%s of what the tests have written: %s", plural.Count(saved, "file"), g.OutputsTo)
	}
}

// unpackOutputs writes files into the user's folder, but never over one of the sources.
func (g *group) unpackOutputs(archive *tar.Reader) (saved int, err error) {
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return saved, nil
		}
		if err != nil {
			return saved, err
		}
		_, name, _ := strings.Cut(header.Name, "/")
		if header.Typeflag != tar.TypeReg || !filepath.IsLocal(name) {
			continue
		}
		target := filepath.Join(g.OutputsTo, filepath.FromSlash(name))
		if g.isSource(target) {
			return saved, fmt.Errorf("%s is one of the sources: choose another folder", target)
		}
		if err := g.writeOutput(target, archive); err != nil {
			return saved, err
		}
		saved++
	}
}

// isSource reports whether a file of the host is one of the sources.
func (g *group) isSource(path string) bool {
	name, err := filepath.Rel(g.Tree.Root, path)
	if err != nil {
		return false
	}
	name = filepath.ToSlash(name)
	for _, file := range g.Tree.Files {
		if file.Name == name {
			return true
		}
	}
	return false
}

// withPaths are the kinds of text files that name the sources by their paths.
var withPaths = []string{".xml", ".json", ".lcov", ".info"}

// largestText bounds a file in which paths are replaced, in bytes.
const largestText = 64 << 20

func (g *group) writeOutput(target string, from io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if slices.Contains(withPaths, filepath.Ext(target)) {
		data, err := io.ReadAll(io.LimitReader(from, largestText))
		if err != nil {
			return err
		}
		return os.WriteFile(target, []byte(g.Tree.HostText(string(data))), 0o644)
	}
	file, err := os.Create(target)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}
