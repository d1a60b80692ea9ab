package group

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/plural"
)

// madeByUs is the .gitignore of a folder for what tests write. It shows that what is there may be overwritten.
const madeByUs = "# What tests have written. Runs of pyo3test overwrite it.\n*\n"

// OutputFolder returns the absolute path of a folder for what tests write, with all links resolved if it exists. It
// refuses one that has anything but the outputs of earlier runs.
func OutputFolder(name string) (string, error) {
	folder, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return folder, nil
	}
	if err != nil {
		return "", err
	}
	mark, err := os.ReadFile(filepath.Join(folder, ".gitignore"))
	if len(entries) > 0 && (err != nil || string(mark) != madeByUs) {
		return "", fmt.Errorf("%s has other files: name a new or empty folder", folder)
	}
	return filepath.EvalSymlinks(folder)
}

// saveOutputs copies what the tests have written and the user wants into the user's folder.
func (g *group) saveOutputs(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	stream, err := g.container.Download(ctx, layout.Out+"/outputs")
	if engine.IsMissing(err) { // nothing was written
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
		g.note("the tests have written %s, now in %s", plural.Count(saved, "file"), g.OutputsTo)
	}
}

// unpackOutputs writes files into the user's folder, and follows no link out of it.
func (g *group) unpackOutputs(archive *tar.Reader) (saved int, err error) {
	if err := os.MkdirAll(g.OutputsTo, 0o755); err != nil {
		return 0, err
	}
	folder, err := os.OpenRoot(g.OutputsTo)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	if err := folder.WriteFile(".gitignore", []byte(madeByUs), 0o644); err != nil {
		return 0, err
	}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return saved, nil
		}
		if err != nil {
			return saved, err
		}
		if _, name, _ := strings.Cut(header.Name, "/"); header.Typeflag == tar.TypeReg {
			if err := g.writeOutput(folder, path.Join(g.OutputsBelow, name), header.Size, archive); err != nil {
				return saved, err
			}
			saved++
		}
	}
}

// withPaths are the reports of coverage that name the sources by their paths.
var withPaths = []string{"coverage.xml", "coverage.json", "coverage.lcov", "lcov.info"}

// largestText bounds a file in which paths are replaced, in bytes.
const largestText = 64 << 20

func (g *group) writeOutput(folder *os.Root, name string, size int64, from io.Reader) error {
	if err := folder.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	// The host's path must need no escape in XML and JSON.
	if slices.Contains(withPaths, path.Base(name)) && size <= largestText && !strings.ContainsAny(g.Tree.Root, `&<>"\`) {
		data, err := io.ReadAll(from)
		if err != nil {
			return err
		}
		return folder.WriteFile(name, []byte(g.Tree.HostText(string(data))), 0o644)
	}
	file, err := folder.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}
