package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pyo3test/harness/internal/project"
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
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("%s: no such file or directory: name a crate's folder, or a file, folder or node id of its "+
			"tests; -k chooses tests by their names", file)
	} else if err != nil {
		return "", nil, err
	}
	resolved, err := filepath.EvalSymlinks(file)
	if err != nil {
		return "", nil, err
	}
	// Try the path as written first: a folder of tests may be a link to somewhere else.
	for _, from := range []string{file, resolved} {
		manifest := project.Above(from, "pyproject.toml")
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
	crates, err = project.Below(folder, "pyproject.toml")
	return slices.DeleteFunc(crates, func(crate string) bool { return !project.IsMaturin(crate) }), err
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

// cratesToRun returns the crates that --all means, and the absolute path of the folder that they are in.
func cratesToRun(folder string) (absolute string, crates []string, err error) {
	if absolute, err = filepath.Abs(folder); err != nil {
		return "", nil, err
	}
	if crates, err = cratesBelow(absolute); err == nil && len(crates) == 0 {
		err = fmt.Errorf("--all: no crate that maturin builds is below %s", absolute)
	}
	return absolute, crates, err
}

// findOne is find, but refuses a folder that is no crate and has some below it.
func findOne(path string) (crate string, tests []string, err error) {
	if crate, tests, err = find(path); err == nil {
		err = noneOfSeveral(crate, tests)
	}
	return crate, tests, err
}

// readProject reads the crate of a path.
func readProject(path string) (p project.Project, pyo3 project.PyO3, err error) {
	crate, _, err := findOne(path)
	if err != nil {
		return p, pyo3, err
	}
	if p, err = project.Read(crate); err != nil {
		return p, pyo3, err
	}
	pyo3, err = p.PyO3()
	return p, pyo3, err
}
