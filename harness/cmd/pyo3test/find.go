package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/scaffold"
)

// onePath returns the path that a command line names, or "." if it names none.
func onePath(args []string) (string, error) {
	switch len(args) {
	case 0:
		return ".", nil
	case 1:
		return args[0], nil
	}
	return "", fmt.Errorf("one path at a time, not %s", strings.Join(args, " and "))
}

// find returns the crate of a path, and the tests that the path names, none if it is the crate itself.
func find(path string) (crate string, tests []string, err error) {
	file, rest, named := strings.Cut(path, "::")
	if file, err = filepath.Abs(file); err != nil {
		return "", nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", nil, err
	}
	resolved, err := filepath.EvalSymlinks(file)
	if err != nil {
		return "", nil, err
	}
	// Try the path as written first: a folder of tests may be a link to somewhere else.
	for _, from := range []string{file, resolved} {
		manifest := scaffold.Above(from, "pyproject.toml")
		if manifest == "" {
			continue
		}
		crate = filepath.Dir(manifest)
		inside, err := filepath.Rel(crate, from)
		if err == nil {
			crate, err = filepath.EvalSymlinks(crate)
		}
		switch inside = filepath.ToSlash(inside); {
		case err != nil:
			return "", nil, err
		case inside == ".":
			return crate, nil, nil
		case named:
			inside += "::" + rest
		}
		return crate, []string{inside}, nil
	}
	if info.IsDir() {
		return resolved, nil, nil // the run reports what is missing there
	}
	return "", nil, fmt.Errorf("no pyproject.toml in a folder above %s: name a crate, or a file of its tests", file)
}

// cratesBelow returns the folders of the crates in a folder and below it that maturin builds, sorted.
func cratesBelow(folder string) (crates []string, err error) {
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && path == folder:
			return err
		case err != nil:
			return nil // one that cannot be read
		case entry.IsDir() && path != folder && (project.IsIgnored(entry.Name()) || strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case entry.Name() == "pyproject.toml" && project.IsMaturin(filepath.Dir(path)):
			crates = append(crates, filepath.Dir(path))
		}
		return nil
	})
	return crates, err
}

// noneOfSeveral returns an error that names the crates below a folder, if there are any and the folder is no crate.
func noneOfSeveral(folder string, tests []string) error {
	if len(tests) > 0 || project.IsMaturin(folder) {
		return nil
	}
	crates, err := cratesBelow(folder)
	if err != nil || len(crates) == 0 {
		return err
	}
	return fmt.Errorf("%s is no crate that maturin builds; below it are\n    %s\nname one", folder,
		strings.Join(crates, "\n    "))
}

// readProject reads the crate of a path.
func readProject(path string) (p project.Project, pyo3 project.PyO3, err error) {
	crate, tests, err := find(path)
	if err == nil {
		err = noneOfSeveral(crate, tests)
	}
	if err != nil {
		return p, pyo3, err
	}
	if p, err = project.Read(crate); err != nil {
		return p, pyo3, err
	}
	pyo3, err = p.PyO3()
	return p, pyo3, err
}
