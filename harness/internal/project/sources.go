package project

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// uvSettings holds what the harness reads from [tool.uv].
type uvSettings struct {
	Sources   map[string]any
	Index     []map[string]any
	Workspace *struct{ Members, Exclude []string }
	FindLinks []string `toml:"find-links"`
	Pip       struct {
		FindLinks []string `toml:"find-links"`
	}
}

// Sourced holds requirements whose origin is given in [tool.uv.sources]. Only uv itself can apply all of it, and only
// to a project: build.py writes a project from this. Paths are relative to the crate.
type Sourced struct {
	Requirements []string                    `json:"requirements"`
	Sources      map[string][]map[string]any `json:"sources"`
	Indexes      []map[string]any            `json:"indexes"`
}

// settings reads a folder's pyproject.toml, if it has one.
func settings(folder string, open Open) (p pyproject, err error) {
	path := filepath.Join(folder, "pyproject.toml")
	data, ok, err := readIfThere(path, open)
	if !ok || err != nil {
		return p, err
	}
	if err := toml.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("read %s: %w", path, err)
	}
	return p, nil
}

// uvWorkspace returns the root of the uv workspace that a folder belongs to, "" if none.
func uvWorkspace(folder string, open Open) (string, error) {
	for root := folder; ; root = filepath.Dir(root) {
		p, err := settings(root, open)
		if err != nil && root == folder {
			return "", err
		}
		if err == nil && p.Tool.UV.Workspace != nil {
			members, err := members(root, p)
			if err != nil || !slices.Contains(members, folder) {
				return "", err
			}
			return root, nil
		}
		if root == filepath.Dir(root) {
			return "", nil
		}
	}
}

// members returns the folders of a uv workspace.
func members(root string, p pyproject) ([]string, error) {
	found := []string{root}
	for _, pattern := range p.Tool.UV.Workspace.Members {
		folders, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, fmt.Errorf("[tool.uv.workspace] of %s: members %q: %w", root, pattern, err)
		}
		found = append(found, folders...)
	}
	return slices.DeleteFunc(found, func(folder string) bool {
		return slices.ContainsFunc(p.Tool.UV.Workspace.Exclude, func(pattern string) bool {
			excluded, _ := filepath.Match(filepath.Join(root, pattern), folder)
			return excluded
		})
	}), nil
}

// source is where a package comes from, according to the pyproject.toml of a folder.
type source struct {
	folder, workspace string
	name              string
	value             any
}

// sources reads [tool.uv.sources] for a folder, and those of its workspace, by normalised name.
func sources(folder string, open Open) (found map[string]source, indexes []map[string]any, err error) {
	root, err := uvWorkspace(folder, open)
	if err != nil {
		return nil, nil, err
	}
	places := []string{folder}
	if root != "" && root != folder {
		places = []string{root, folder} // a member's own sources override those of its workspace
	}
	found = map[string]source{}
	for _, at := range places {
		p, err := settings(at, open)
		if err != nil {
			return nil, nil, err
		}
		for name, value := range p.Tool.UV.Sources {
			found[normalised(name)] = source{folder: at, workspace: root, name: name, value: value}
		}
		for _, index := range p.Tool.UV.Index {
			indexes = append(indexes, located(at, index, "url"))
		}
	}
	return found, indexes, nil
}

// read returns the tables of a source; markers may choose among them. Local paths are absolute.
func (s source) read(open Open) ([]map[string]any, error) {
	tables, err := s.tables(open)
	if err != nil {
		return nil, fmt.Errorf("%s: [tool.uv.sources] %s: %w", filepath.Join(s.folder, "pyproject.toml"), s.name, err)
	}
	return tables, nil
}

func (s source) tables(open Open) (tables []map[string]any, err error) {
	values, ok := s.value.([]any)
	if several, isTables := s.value.([]map[string]any); isTables {
		ok = true
		for _, each := range several {
			values = append(values, each)
		}
	}
	if !ok {
		values = []any{s.value}
	}
	for _, value := range values {
		table, ok := value.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%v is not a source", value)
		}
		if table, err = s.table(table, open); err != nil {
			return nil, err
		}
		tables = append(tables, table)
	}
	return tables, nil
}

func (s source) table(table map[string]any, open Open) (map[string]any, error) {
	const lock = "cannot be honoured without a lock file: run `uv lock`"
	for _, key := range []string{"extra", "group"} {
		if _, ok := table[key]; ok {
			return nil, fmt.Errorf("a source for one %s "+lock, key)
		}
	}
	if table["workspace"] == true {
		member, err := workspaceMember(s.workspace, s.name, open)
		if err != nil {
			return nil, err
		}
		table = maps.Clone(table)
		delete(table, "workspace")
		table["path"] = member
		if _, ok := table["editable"]; !ok {
			table["editable"] = true
		}
	}
	git, _ := table["git"].(string)
	if git != "" && (strings.HasPrefix(git, "file:") || !strings.Contains(git, ":")) {
		return nil, fmt.Errorf("the repository %s of this host does not travel: use path", git)
	}
	table = located(s.folder, table, "path")
	if path, ok := table["path"].(string); ok {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("no file or folder %s", path)
		}
		return table, nil
	}
	if git == "" && table["url"] == nil && table["index"] == nil {
		return nil, fmt.Errorf("a source of this kind %s", lock)
	}
	return table, nil
}

// workspaceMember returns the folder of a workspace's member.
func workspaceMember(root, name string, open Open) (string, error) {
	if root == "" {
		return "", errors.New("workspace = true, but no [tool.uv.workspace] has this project as a member")
	}
	p, err := settings(root, open)
	if err != nil {
		return "", err
	}
	folders, err := members(root, p)
	if err != nil {
		return "", err
	}
	for _, folder := range folders {
		if p, err := settings(folder, open); err == nil && normalised(p.Metadata.Name) == normalised(name) {
			return folder, nil
		}
	}
	return "", fmt.Errorf("the workspace %s has no such member", root)
}

// located returns the table with the value of key made absolute if it is a local path.
func located(folder string, table map[string]any, key string) map[string]any {
	path, ok := table[key].(string)
	if !ok || strings.Contains(path, "://") || filepath.IsAbs(path) {
		return table
	}
	table = maps.Clone(table)
	table[key] = filepath.Join(folder, filepath.FromSlash(path))
	return table
}

// fromSource adds a requirement if [tool.uv.sources] has a source for it. A uv.lock already includes the sources.
func (c *chooser) fromSource(requirement string) (bool, error) {
	found := requirementName.FindStringSubmatch(requirement)
	if found == nil || named.MatchString(requirement) || c.Lock != nil && c.Lock.Kind == "uv" {
		return false, nil
	}
	all, indexes, err := sources(c.Folder, c.open)
	if err != nil {
		return false, err
	}
	from, ok := all[normalised(found[1])]
	if !ok {
		return false, nil
	}
	tables, err := from.read(c.open)
	if err != nil {
		return false, err
	}
	if c.Sourced == nil {
		c.Sourced = &Sourced{Sources: map[string][]map[string]any{}, Indexes: []map[string]any{}}
		for _, index := range indexes {
			c.Sourced.Indexes = append(c.Sourced.Indexes, c.travelling(index, "url"))
		}
	}
	if !slices.Contains(c.Sourced.Requirements, requirement) {
		c.Sourced.Requirements = append(c.Sourced.Requirements, requirement)
	}
	moved := []map[string]any{}
	for _, table := range tables {
		moved = append(moved, c.travelling(table, "path"))
	}
	c.Sourced.Sources[normalised(found[1])] = moved
	return true, nil
}

// travelling returns the table with its local path made relative to the crate, and adds what is there to what travels.
func (c *chooser) travelling(table map[string]any, key string) map[string]any {
	path, ok := table[key].(string)
	if !ok || strings.Contains(path, "://") {
		return table
	}
	c.addLocal(path)
	table = maps.Clone(table)
	table[key] = relative(c.Folder, path)
	return table
}

// addFindLinks adds the folders of packages that uv's settings name to what travels.
func (c *chooser) addFindLinks() error {
	for _, at := range slices.Concat(c.Project.Tool.UV.FindLinks, c.Project.Tool.UV.Pip.FindLinks) {
		if strings.Contains(at, ":") {
			continue
		}
		if filepath.IsAbs(at) {
			return fmt.Errorf("[tool.uv] find-links: %s is a path of this host: write it relative to pyproject.toml",
				at)
		}
		if _, err := os.Stat(c.path(at)); err != nil {
			return fmt.Errorf("[tool.uv] find-links: no file or folder %s", c.path(at))
		}
		c.addLocal(c.path(at))
	}
	return nil
}

// findLinks handles a line of a requirements file that names a folder of packages. As with pip, a relative path is
// relative to the file's folder if it exists there, and otherwise to the crate's.
func (c *chooser) findLinks(path, at string, into *RequirementFile) error {
	folder := filepath.Join(filepath.Dir(path), filepath.FromSlash(at))
	if _, err := os.Stat(folder); err != nil {
		folder = c.path(at)
	}
	if filepath.IsAbs(at) {
		folder = filepath.Clean(at)
	}
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("requirements file %s: --find-links %s: no such file or folder there or in %s", path, at,
			c.Folder)
	}
	c.addLocal(folder)
	into.FindLinks = append(into.FindLinks, relative(c.Folder, folder))
	return nil
}
