package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/BurntSushi/toml"
)

// cargoManifest holds what the harness reads from a Cargo.toml: the host may have no cargo to ask.
type cargoManifest struct {
	Package *struct {
		Name        string
		Readme      any
		LicenseFile any `toml:"license-file"`
		Workspace   string
	}
	Library struct {
		Name string
	} `toml:"lib"`
	Features map[string][]string
	dependencies
	Target    map[string]dependencies
	Workspace *struct {
		Members      []string
		Exclude      []string
		Dependencies map[string]any
		Package      map[string]any
	}
	Patch   map[string]map[string]any
	Replace map[string]any
}

type dependencies struct {
	Dependencies      map[string]any
	DevDependencies   map[string]any `toml:"dev-dependencies"`
	BuildDependencies map[string]any `toml:"build-dependencies"`
}

func (d dependencies) tables() []map[string]any {
	return []map[string]any{d.Dependencies, d.DevDependencies, d.BuildDependencies}
}

func readTOML(path string, into any) error {
	if err := regular(path); err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := toml.Unmarshal(data, into); err != nil {
		var parse toml.ParseError
		if errors.As(err, &parse) {
			return fmt.Errorf("%s:%d:%d: %s", path, parse.Position.Line, parse.Position.Col, parse.Message)
		}
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// regular returns an error if a path is not a regular file: opening a pipe would wait for a writer.
func regular(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("read %s: not a regular file", path)
	}
	return err
}

// closure holds what a build needs of the host's files.
type closure struct {
	folders   []string // taken whole
	files     []string // single ones outside them
	workspace string   // the workspace's root, or the crate
}

// resolve follows a crate's path dependencies and its workspace, as cargo does when it loads them, and adds the
// configuration above the crate.
func resolve(p Project, top string, open Open) (closure, error) {
	var c closure
	c.folders = append(c.folders, p.Folder)
	c.addReferences(p.Folder, p.Metadata.Readme, p.Metadata.License)
	if source, ok := p.Tool.Maturin["python-source"].(string); ok {
		c.addFolder(filepath.Join(p.Folder, source))
	}
	if data := p.data(); data != "" {
		c.addFolder(data)
	}
	cargo := filepath.Dir(p.cargoManifest())
	c.workspace = cargo
	if err := c.addPackage(cargo, map[string]bool{}); err != nil {
		return c, err
	}
	return c, c.addAbove(p.Folder, top, open)
}

func (c *closure) addPackage(folder string, seen map[string]bool) error {
	folder = resolved(folder)
	if seen[folder] {
		return nil
	}
	seen[folder] = true
	c.addFolder(folder)
	var m cargoManifest
	if err := readTOML(filepath.Join(folder, "Cargo.toml"), &m); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("path dependency %s: no Cargo.toml there", folder)
		}
		return err
	}
	tables := m.tables()
	for _, target := range m.Target {
		tables = append(tables, target.tables()...)
	}
	if m.Package != nil {
		c.addReferences(folder, m.Package.Readme, m.Package.LicenseFile)
	}
	if err := c.addPaths(folder, tables, m, seen); err != nil {
		return err
	}
	return c.addWorkspace(folder, m, seen)
}

func (c *closure) addPaths(folder string, tables []map[string]any, m cargoManifest, seen map[string]bool) error {
	for _, patches := range m.Patch {
		tables = append(tables, patches)
	}
	tables = append(tables, m.Replace)
	if m.Workspace != nil {
		tables = append(tables, m.Workspace.Dependencies)
	}
	for _, table := range tables {
		for _, value := range table {
			if spec, ok := value.(map[string]any); ok {
				if path, ok := spec["path"].(string); ok {
					if err := c.addPackage(filepath.Join(folder, path), seen); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// addWorkspace adds the workspace that a package belongs to. Cargo loads the manifests of all members, so they travel.
func (c *closure) addWorkspace(folder string, m cargoManifest, seen map[string]bool) error {
	root, workspace := folder, m
	if m.Workspace == nil {
		if root = c.workspaceRoot(folder, m); root == "" {
			return nil
		}
		workspace = cargoManifest{}
		if err := readTOML(filepath.Join(root, "Cargo.toml"), &workspace); err != nil {
			return err
		}
	}
	if seen["workspace "+root] {
		return nil
	}
	seen["workspace "+root] = true
	c.workspace = root
	for _, name := range []string{"Cargo.toml", "Cargo.lock"} {
		c.addFile(filepath.Join(root, name))
	}
	c.addReferences(root, workspace.Workspace.Package["readme"], workspace.Workspace.Package["license-file"])
	if err := c.addPaths(root, nil, workspace, seen); err != nil {
		return err
	}
	if workspace.Package != nil {
		if err := c.addPackage(root, seen); err != nil {
			return err
		}
	}
	for _, pattern := range workspace.Workspace.Members {
		members, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return fmt.Errorf("workspace member %q in %s: %w", pattern, root, err)
		}
		for _, member := range members {
			relative, _ := filepath.Rel(root, member)
			if slices.Contains(workspace.Workspace.Exclude, filepath.ToSlash(relative)) {
				continue
			}
			if _, err := os.Stat(filepath.Join(member, "Cargo.toml")); err == nil {
				if err := c.addPackage(member, seen); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// workspaceRoot returns the workspace root that a package names, or else the nearest one above it; "" if it has none.
func (c *closure) workspaceRoot(folder string, m cargoManifest) string {
	if m.Package != nil && m.Package.Workspace != "" {
		return filepath.Join(folder, m.Package.Workspace)
	}
	for parent := filepath.Dir(folder); parent != filepath.Dir(parent); parent = filepath.Dir(parent) {
		var above cargoManifest
		if readTOML(filepath.Join(parent, "Cargo.toml"), &above) != nil || above.Workspace == nil {
			continue
		}
		relative, _ := filepath.Rel(parent, folder)
		for _, excluded := range above.Workspace.Exclude {
			if within(filepath.FromSlash(excluded), relative) {
				return ""
			}
		}
		return parent
	}
	return ""
}

// addReferences adds files named by the metadata, often a readme above the crate.
func (c *closure) addReferences(folder string, values ...any) {
	for _, value := range values {
		switch value := value.(type) {
		case string:
			c.addFile(filepath.Join(folder, value))
		case map[string]any:
			if name, ok := value["file"].(string); ok {
				c.addFile(filepath.Join(folder, name))
			}
		}
	}
}

// add adds a file or a folder; it ignores anything else.
func (c *closure) add(path string) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		c.addFolder(path)
		return
	}
	c.addFile(path)
}

// addFolder adds a folder that the project names. If it is a link, it adds the target.
func (c *closure) addFolder(folder string) {
	folder = resolved(folder)
	if !slices.Contains(c.folders, folder) {
		c.folders = append(c.folders, folder)
	}
}

func (c *closure) addFile(path string) {
	path = filepath.Join(resolved(filepath.Dir(path)), filepath.Base(path)) // a file that is a link stays one
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		c.files = append(c.files, path)
	}
}

// resolved returns a path with its links resolved, if it exists, and else the cleaned path.
func resolved(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return filepath.Clean(path)
}

// roots returns the folders that are not inside another, and the nearest folder that contains them and the files.
func (c *closure) roots() (folders []string, common string) {
	sort.Strings(c.folders)
	for _, folder := range c.folders {
		if !slices.ContainsFunc(folders, func(outer string) bool { return within(outer, folder) }) {
			folders = append(folders, folder)
		}
	}
	common = folders[0]
	for _, path := range append(slices.Clone(folders), c.files...) {
		for !within(common, path) {
			common = filepath.Dir(common)
		}
	}
	return folders, common
}

// within reports whether path is folder or below it; both must be clean.
func within(folder, path string) bool {
	relative, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(relative)
}
