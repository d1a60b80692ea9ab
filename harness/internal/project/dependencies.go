package project

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Wanted holds what a Suite itself says its tests need.
type Wanted struct {
	Requirements []string // in pip's form, or requirements files relative to the crate
	Extras       []string // of the project
	Groups       []string // of the project's [dependency-groups]
	With         []string // requirements, in pip's form, beside those above or those that the project lists
}

func (w Wanted) empty() bool { return len(w.Requirements)+len(w.Extras)+len(w.Groups) == 0 }

// Dependencies holds what is installed beside the extension, and where that is specified.
type Dependencies struct {
	From         string            `json:"from"` // for the user
	Lock         *Lock             `json:"lock"`
	Requirements []string          `json:"requirements"`
	Files        []RequirementFile `json:"files"`
	Sourced      *Sourced          `json:"sourced"`
	Settings     map[string]any    `json:"settings"` // [tool.uv]: uv finds them by itself; here for the keys
	Pytest       bool              `json:"-"`        // they include pytest
	Local        bool              `json:"-"`        // folders of the tree are installed
	Travel       []string          `json:"-"`        // the host's files and folders that the installation needs
}

// Lock is a lock file that uv reads in place in the tree.
type Lock struct {
	Kind   string   `json:"kind"` // "uv" or "pylock"
	Extras []string `json:"extras"`
	Groups []string `json:"groups"`
}

// RequirementFile is the content of a requirements file, with what it includes; Name is for messages.
type RequirementFile struct {
	Name        string   `json:"name"`
	Text        string   `json:"text"`
	Constraints string   `json:"constraints"` // lines that only bound versions
	FindLinks   []string `json:"find_links"`  // folders of packages, relative to the crate
}

// testNames are the usual names of the extra or group that lists what the tests need. Others begin with one of them, as
// testing-extra does.
var testNames = []string{"test", "tests", "testing", "dev"}

// requirementsNames are the usual files of projects that list it in neither an extra nor a group.
var requirementsNames = []string{
	"requirements-test.txt", "requirements-tests.txt", "requirements-testing.txt", "requirements_test.txt",
	"requirements_tests.txt",
	"test-requirements.txt", "test_requirements.txt", "tests/requirements.txt", "test/requirements.txt",
	"requirements/test.txt", "requirements/tests.txt",
	"requirements/testing.txt", "requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt",
	"requirements/dev.txt",
}

// Dependencies returns what the tests need. It uses the first of these that exists: the Suite's own fields, uv.lock in
// the crate or above it, pylock.toml, and a dependency group, extra or requirements file with a usual name. The
// project's own runtime dependencies are added.
func (p Project) Dependencies(wanted Wanted, open Open) (Dependencies, error) {
	c := chooser{Project: p, open: open, Dependencies: Dependencies{
		Requirements: []string{}, Files: []RequirementFile{}, Settings: p.uv,
	}}
	if err := c.choose(wanted); err != nil {
		return Dependencies{}, err
	}
	if err := c.add(slices.Concat(wanted.With, p.Metadata.Dependencies)); err != nil {
		return Dependencies{}, err
	}
	if err := c.addFindLinks(); err != nil {
		return Dependencies{}, err
	}
	return c.Dependencies, nil
}

type chooser struct {
	Project
	Dependencies
	open  Open
	taken []string // extras already added; extras may name each other
}

func (c *chooser) choose(wanted Wanted) error {
	if !wanted.empty() {
		return c.fromSuite(wanted)
	}
	group, extra := c.ForTests()
	if found, err := c.fromUVLock(group, extra); found || err != nil {
		return err
	}
	if found, err := c.fromPylock(); found || err != nil {
		return err
	}
	if group != "" {
		c.From = fmt.Sprintf("group %q of pyproject.toml", group)
		return c.addGroup(group, nil)
	}
	if extra != "" {
		c.From = fmt.Sprintf("extra %q of pyproject.toml", extra)
		return c.add(c.Metadata.Extras[extra])
	}
	for _, name := range requirementsNames {
		if _, ok, err := readIfThere(filepath.Join(c.Folder, filepath.FromSlash(name)), c.open); err != nil {
			return err
		} else if ok {
			c.From = name
			return c.addFile(name)
		}
	}
	return nil
}

// ForTests returns the dependency group or the extra that lists what the tests need: the best of those that name pytest,
// by whatever name, else the best of those with a usual name. Both are empty if there is none.
func (p Project) ForTests() (group, extra string) {
	const worst = 1 << 10
	best := worst
	consider := func(name string, isGroup bool) {
		rank := 4 * len(testNames) // another name
		for i, usual := range testNames {
			if name == usual {
				rank = i
				break
			}
			if strings.HasPrefix(name, usual+"-") || strings.HasPrefix(name, usual+"_") {
				rank = min(rank, 2*len(testNames)+i)
			}
		}
		unusual := rank == 4*len(testNames)
		switch named := p.require(name, isGroup, pytestOr(!unusual), map[string]bool{}); {
		case !named && unusual:
			return
		case !named:
			rank += worst / 2
		}
		if rank < best {
			best, group, extra = rank, "", name
			if isGroup {
				group, extra = name, ""
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Groups)) {
		consider(name, true)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Metadata.Extras)) {
		consider(name, false)
	}
	return group, extra
}

// pytestOr returns a function that reports whether a package is pytest, or one of its plugins if these count too.
func pytestOr(plugin bool) func(name string) bool {
	return func(name string) bool { return name == "pytest" || plugin && strings.HasPrefix(name, "pytest-") }
}

// Provider returns "group" or "extra" and the name of the one that requires a package, or nothing.
func (p Project) Provider(pkg string) (kind, name string) {
	is := func(name string) bool { return name == normalised(pkg) }
	for _, name := range slices.Sorted(maps.Keys(p.Groups)) {
		if p.require(name, true, is, map[string]bool{}) {
			return "group", name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Metadata.Extras)) {
		if p.require(name, false, is, map[string]bool{}) {
			return "extra", name
		}
	}
	return "", ""
}

// require reports whether a group or an extra requires a package that is wanted, by its normalised name, in whatever it
// includes.
func (p Project) require(name string, isGroup bool, wanted func(string) bool, seen map[string]bool) bool {
	key := fmt.Sprint(isGroup, name)
	if seen[key] {
		return false
	}
	seen[key] = true
	if !isGroup {
		return slices.ContainsFunc(p.Metadata.Extras[name], func(r string) bool { return p.names(r, wanted, seen) })
	}
	return slices.ContainsFunc(p.Groups[name], func(entry any) bool {
		switch entry := entry.(type) {
		case string:
			return p.names(entry, wanted, seen)
		case map[string]any:
			included, _ := entry["include-group"].(string)
			return p.require(included, true, wanted, seen)
		}
		return false
	})
}

// names reports whether a requirement is for a package that is wanted, or for extras of the project that require one.
func (p Project) names(requirement string, wanted func(string) bool, seen map[string]bool) bool {
	found := requirementName.FindStringSubmatch(requirement)
	if found == nil {
		return false
	}
	name := normalised(found[1])
	if p.Metadata.Name == "" || name != normalised(p.Metadata.Name) {
		return wanted(name)
	}
	return slices.ContainsFunc(strings.Split(found[2], ","), func(extra string) bool {
		return p.require(strings.TrimSpace(extra), false, wanted, seen)
	})
}

func (c *chooser) fromSuite(wanted Wanted) error {
	c.From = "the Suite"
	for _, extra := range wanted.Extras {
		requirements, ok := c.Metadata.Extras[extra]
		if !ok {
			return FieldError("Extras", "the project has no extra %q; it has %q", extra,
				slices.Sorted(maps.Keys(c.Metadata.Extras)))
		}
		if err := c.add(requirements); err != nil {
			return err
		}
	}
	for _, group := range wanted.Groups {
		if _, ok := c.Project.Groups[group]; !ok {
			return FieldError("DependencyGroups", "the project has no group %q; it has %q", group,
				slices.Sorted(maps.Keys(c.Project.Groups)))
		}
		if err := c.addGroup(group, nil); err != nil {
			return err
		}
	}
	for _, requirement := range wanted.Requirements {
		_, ok, err := readIfThere(filepath.Join(c.Folder, filepath.FromSlash(requirement)), c.open)
		switch {
		case err != nil:
			return FieldError("Requirements", "%w", err)
		case ok && archive.MatchString(requirement):
			if !strings.HasPrefix(requirement, ".") && !filepath.IsAbs(requirement) {
				requirement = "./" + requirement // so that pip does not take it for a name
			}
			err = c.add([]string{requirement})
		case ok:
			err = c.addFile(requirement)
		case strings.HasSuffix(requirement, ".txt"):
			err = FieldError("Requirements", "no file %s", filepath.Join(c.Folder, requirement))
		default:
			err = c.add([]string{requirement})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addLocal adds local packages to what travels, with those that their own sources name.
func (c *chooser) addLocal(paths ...string) {
	for _, path := range paths {
		c.Local = true
		if slices.Contains(c.Travel, path) {
			continue
		}
		c.Travel = append(c.Travel, path)
		theirs, _, err := sources(path, c.open)
		if err != nil {
			continue // uv reports it when it builds the package
		}
		if root, _ := uvWorkspace(path, c.open); root != "" && root != path {
			c.Travel = append(c.Travel, filepath.Join(root, "pyproject.toml")) // uv finds the members there
		}
		for _, name := range slices.Sorted(maps.Keys(theirs)) {
			tables, _ := theirs[name].read(c.open)
			for _, table := range tables {
				if at, ok := table["path"].(string); ok {
					c.addLocal(at)
				}
			}
		}
	}
}

func (c *chooser) addGroup(name string, above []string) error {
	if slices.Contains(above, name) {
		return fmt.Errorf("%s: the dependency group %q includes itself", filepath.Join(c.Folder, "pyproject.toml"),
			name)
	}
	entries, ok := c.Project.Groups[name]
	if !ok {
		return fmt.Errorf("%s: the dependency group %q includes %q, which is not there",
			filepath.Join(c.Folder, "pyproject.toml"), above[len(above)-1], name)
	}
	for _, entry := range entries {
		switch entry := entry.(type) {
		case string:
			if err := c.add([]string{entry}); err != nil {
				return err
			}
		case map[string]any:
			if included, ok := entry["include-group"].(string); ok {
				if err := c.addGroup(included, append(slices.Clone(above), name)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// add adds requirements. The project's own name only selects extras of it: maturin alone builds the project, and an
// index's copy of it must not be tested.
func (c *chooser) add(requirements []string) error {
	for _, requirement := range requirements {
		extras, own := c.own(requirement)
		sourced := false
		if !own {
			var err error
			if sourced, err = c.fromSource(requirement); err != nil {
				return err
			}
		}
		switch {
		case sourced:
			c.note(requirement)
		case own:
			if err := c.addExtras(extras); err != nil {
				return err
			}
		case !slices.Contains(c.Requirements, requirement):
			c.note(requirement)
			c.Requirements = append(c.Requirements, requirement)
		}
	}
	return nil
}

// addExtras adds what extras of the project itself require. An unknown extra adds nothing, as with pip.
func (c *chooser) addExtras(extras []string) error {
	for _, extra := range extras {
		if slices.Contains(c.taken, extra) {
			continue
		}
		c.taken = append(c.taken, extra)
		if err := c.add(c.Metadata.Extras[extra]); err != nil {
			return err
		}
	}
	return nil
}

// archive matches the file names of packages.
var archive = regexp.MustCompile(`\.(whl|zip|tar\.[a-z0-9]+|tgz)$`)

var (
	requirementName = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?`)
	editable        = regexp.MustCompile(`^(?:-e|--editable)(?:\s+|=)`)
	named           = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*@\s*`)
	folderName      = regexp.MustCompile(`^([^\[;\s]+)(?:\[([^\]]*)\])?`)
	separators      = regexp.MustCompile(`[-_.]+`)
)

// localFolder parses a requirement that is a folder: "./helpers", "-e ../x[test]", "x @ file:///y".
func localFolder(requirement string) (path, extras string, ok bool) {
	rest := editable.ReplaceAllString(requirement, "")
	isEditable := rest != requirement
	rest = named.ReplaceAllString(rest, "")
	if below, isFile := strings.CutPrefix(rest, "file:"); isFile {
		isEditable, rest = true, strings.TrimPrefix(below, "//")
	}
	found := folderName.FindStringSubmatch(rest)
	if found == nil || strings.Contains(found[1], ":") || !isEditable && !strings.HasPrefix(rest, ".") &&
		!strings.HasPrefix(rest, "/") {
		return "", "", false
	}
	return found[1], found[2], true
}

func normalised(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

// own reports whether a requirement is the project itself, by name or by folder, and which of its extras it requests.
func (c *chooser) own(requirement string) (extras []string, own bool) {
	path, list, local := localFolder(requirement)
	if local {
		own = c.path(path) == c.Folder
	} else if found := requirementName.FindStringSubmatch(requirement); found != nil {
		own, list = c.Metadata.Name != "" && normalised(found[1]) == normalised(c.Metadata.Name), found[2]
	}
	for extra := range strings.SplitSeq(list, ",") {
		if extra = strings.TrimSpace(extra); extra != "" {
			extras = append(extras, extra)
		}
	}
	return extras, own
}

// path resolves the local path of a requirement: pip takes it as relative to its working directory, the crate's folder.
func (c *chooser) path(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(c.Folder, filepath.FromSlash(name))
}

// note records whether a requirement is pytest or a folder.
func (c *chooser) note(requirement string) {
	if path, _, ok := localFolder(requirement); ok {
		c.addLocal(c.path(path))
	} else if found := requirementName.FindStringSubmatch(requirement); found != nil &&
		normalised(found[1]) == "pytest" {
		c.Pytest = true
	}
}

// addFile adds a requirements file, given relative to the crate, with what it includes.
func (c *chooser) addFile(name string) error {
	file := RequirementFile{Name: name}
	err := c.flatten(filepath.Join(c.Folder, filepath.FromSlash(name)), false, &file, nil)
	c.Files = append(c.Files, file)
	return err
}

var (
	included = regexp.MustCompile(`^(?:-r|--requirement|-c|--constraint)(?:\s+|=|\b)\s*(\S.*)$`)
	linked   = regexp.MustCompile(`^(?:-f|--find-links)(?:\s+|=|\b)\s*(\S.*)$`)
	comment  = regexp.MustCompile(`(^|\s+)#.*$`)
)

// flatten adds the lines of a requirements file and of the files that it includes, whose paths are relative to its
// folder.
func (c *chooser) flatten(path string, constraint bool, into *RequirementFile, above []string) error {
	if slices.Contains(above, path) {
		return fmt.Errorf("requirements file %s includes itself", path)
	}
	data, ok, err := readIfThere(path, c.open)
	if err == nil && !ok {
		err = fmt.Errorf("requirements file %s, which %s includes, is not there", path, above[len(above)-1])
	}
	if err != nil {
		return err
	}
	lines := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\\\n", " ")
	for line := range strings.SplitSeq(lines, "\n") {
		if line = strings.TrimSpace(comment.ReplaceAllString(line, "")); line == "" {
			continue
		}
		if found := included.FindStringSubmatch(line); found != nil {
			other := filepath.FromSlash(found[1])
			if !filepath.IsAbs(other) {
				other = filepath.Join(filepath.Dir(path), other)
			}
			bounds := constraint || strings.HasPrefix(line, "-c") || strings.HasPrefix(line, "--constraint")
			if err := c.flatten(other, bounds, into, append(slices.Clone(above), path)); err != nil {
				return err
			}
			continue
		}
		if links := linked.FindStringSubmatch(line); links != nil && !strings.Contains(links[1], ":") {
			if err := c.findLinks(path, links[1], into); err != nil {
				return err
			}
			continue
		}
		extras, own := c.own(line)
		switch {
		case constraint && !own:
			into.Constraints += line + "\n"
		case own && !constraint:
			err = c.addExtras(extras)
		case !own:
			c.note(line)
			into.Text += line + "\n"
		}
		if err != nil {
			return err
		}
	}
	return nil
}
