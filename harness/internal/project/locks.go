package project

import (
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/BurntSushi/toml"
)

// uvLock holds what the harness reads from a uv.lock.
type uvLock struct {
	Package []struct {
		Name   string
		Source struct{ Editable, Virtual, Directory, Path string }
	}
}

// fromUVLock uses the nearest uv.lock that locks this project.
func (c *chooser) fromUVLock(group, extra string) (bool, error) {
	for folder := c.Folder; folder != filepath.Dir(folder); folder = filepath.Dir(folder) {
		path := filepath.Join(folder, "uv.lock")
		data, ok, err := readIfThere(path, c.open)
		if err != nil {
			return false, err
		}
		if !ok {
			continue
		}
		var lock uvLock
		if err := toml.Unmarshal(data, &lock); err != nil {
			return false, fmt.Errorf("read %s: %w", path, err)
		}
		ours := false
		var local []string
		for _, each := range lock.Package {
			c.Pytest = c.Pytest || each.Name == "pytest"
			at := each.Source.Editable + each.Source.Virtual + each.Source.Directory + each.Source.Path
			switch {
			case at == "":
			case filepath.Join(folder, at) == c.Folder:
				ours = true
			default:
				local = append(local, filepath.Join(folder, at))
			}
		}
		if !ours {
			c.Pytest = false
			continue
		}
		c.From, c.Lock = path, &Lock{Kind: "uv", Extras: []string{}, Groups: []string{}}
		if relative, err := filepath.Rel(c.Folder, path); err == nil {
			c.From = filepath.ToSlash(relative)
		}
		switch {
		case group != "":
			c.From += fmt.Sprintf(", group %q", group)
			c.Lock.Groups = []string{group}
		case extra != "":
			c.From += fmt.Sprintf(", extra %q", extra)
			c.Lock.Extras = []string{extra}
		}
		c.Travel = append(c.Travel, path, filepath.Join(folder, "pyproject.toml"))
		c.addLocal(local...)
		return true, nil
	}
	return false, nil
}

func (c *chooser) fromPylock() (bool, error) {
	data, ok, err := readIfThere(filepath.Join(c.Folder, "pylock.toml"), c.open)
	if !ok || err != nil {
		return false, err
	}
	c.From, c.Lock = "pylock.toml", &Lock{Kind: "pylock", Extras: []string{}, Groups: []string{}}
	if err := c.addLocked(data); err != nil {
		return false, err
	}
	c.Pytest = regexp.MustCompile(`(?m)^name\s*=\s*["']pytest["']`).Match(data)
	return true, nil
}

// addLocked adds the folders and files that a pylock.toml locks by path to what travels.
func (c *chooser) addLocked(data []byte) error {
	type at struct{ Path string }
	var lock struct {
		Packages []struct {
			Directory, Archive, SDist, VCS at
			Wheels                         []at
		}
	}
	if err := toml.Unmarshal(data, &lock); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(c.Folder, "pylock.toml"), err)
	}
	for _, each := range lock.Packages {
		for _, local := range append(each.Wheels, each.Directory, each.Archive, each.SDist, each.VCS) {
			if local.Path != "" && c.path(local.Path) != c.Folder {
				c.addLocal(c.path(local.Path))
			}
		}
	}
	return nil
}
