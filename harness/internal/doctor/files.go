package doctor

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pyo3test/harness/internal/project"
)

// files holds the texts of a project that may set or read variables, and the paths of its native modules.
type files struct {
	folder  string
	setting map[string]string // texts that may set variables, by path: configuration, scripts, conftests
	reading string            // all Rust code, which may read them
	native  []string
}

// maxFile bounds the size of a file that is read, in bytes.
const maxFile = 1 << 20

func readFiles(folder string) (files, error) {
	f := files{folder: folder, setting: map[string]string{}}
	var rust strings.Builder
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			_, environment := os.Stat(filepath.Join(path, "pyvenv.cfg"))
			if path != folder && project.IsIgnored(entry.Name()) || environment == nil {
				return fs.SkipDir
			}
			return nil
		}
		name := entry.Name()
		if !entry.Type().IsRegular() {
			return nil
		}
		switch extension := filepath.Ext(name); {
		case extension == ".so" || extension == ".pyd":
			f.native = append(f.native, path)
		case extension == ".rs":
			text, err := read(path)
			rust.WriteString(text)
			return err
		case sets(name):
			text, err := read(path)
			f.setting[path] = text
			return err
		}
		return nil
	})
	f.reading = rust.String()
	return f, err
}

// sets reports whether a file of that name may set variables.
func sets(name string) bool {
	switch filepath.Ext(name) {
	case ".toml", ".cfg", ".ini", ".yml", ".yaml", ".sh", ".mk", ".env", ".py":
		return true
	}
	return slices.Contains([]string{"Makefile", "GNUmakefile", "makefile", "justfile", "Justfile", "Dockerfile", ".env",
		".envrc"}, name)
}

func read(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxFile {
		return "", err
	}
	data, err := os.ReadFile(path)
	return string(data), err
}

// known holds the variables that the build scripts of any PyO3 version read:
// https://pyo3.rs/main/building-and-distribution
var known = []string{
	"PYO3_BUILD_EXTENSION_MODULE", "PYO3_CONFIG_FILE", "PYO3_CROSS", "PYO3_CROSS_INCLUDE_DIR", "PYO3_CROSS_LIB_DIR",
	"PYO3_CROSS_PYTHON_IMPLEMENTATION",
	"PYO3_CROSS_PYTHON_VERSION", "PYO3_ENVIRONMENT_SIGNATURE", "PYO3_NO_PYTHON", "PYO3_PRINT_CONFIG", "PYO3_PYTHON",
	"PYO3_USE_ABI3_FORWARD_COMPATIBILITY",
	"PYO3_USE_RAW_DYLIB", "PYO3_USE_STABLE_ABI_FORWARD_COMPATIBILITY", "PYO3_MINGW_DLLTOOL",
	"UNSAFE_PYO3_SKIP_VERSION_CHECK",
}

// set matches where a variable that looks like PyO3's is set: as a key, an assignment, or a quoted name.
var set = regexp.MustCompile(`(?m)["']?\b((?:UNSAFE_)?PYO3_[A-Z0-9_]+)\b["']?\s*(?:=|:|,|\])`)

// variables finds the PyO3 variables that are set but read by nothing.
func (f files) variables() (found []Finding) {
	told := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(f.setting)) {
		text := f.setting[path]
		for _, at := range set.FindAllStringSubmatchIndex(text, -1) {
			name := text[at[2]:at[3]]
			if slices.Contains(known, name) || told[name] || strings.Contains(f.reading, name) {
				continue
			}
			told[name] = true
			found = append(found, unread(name, place(path, text, at[2])))
		}
	}
	for _, each := range os.Environ() {
		name, _, _ := strings.Cut(each, "=")
		if set.MatchString(name+"=") && !slices.Contains(known, name) && !told[name] &&
			!strings.Contains(f.reading, name) {
			found = append(found, unread(name, "the environment"))
		}
	}
	return found
}

func unread(name, where string) Finding {
	fix := "take it out"
	if strings.Contains(name, "VERSION_CHECK") {
		fix += "; the switch that does skip PyO3's check of Python's version is UNSAFE_PYO3_SKIP_VERSION_CHECK, " +
			"whose name says not to use it; with abi3, PYO3_USE_ABI3_FORWARD_COMPATIBILITY"
	}
	return Finding{Check: "variable", Level: Note,
		What: where + " sets " + name + ", which neither PyO3 nor this crate reads",
		Why:  "it has no effect: what it seems to switch is as it was", Fix: fix,
		See: "https://pyo3.rs/main/building-and-distribution"}
}

// modules finds native modules among the sources.
func (f files) modules() (found []Finding) {
	for _, path := range f.native {
		found = append(found, Finding{Check: "native-module", Level: Note, What: path + " is among the sources",
			Why: "plain pytest imports it, however old it is; the harness builds its own and leaves this one out",
			Fix: "after an edit of Rust, build again (maturin develop) before plain pytest, or remove it"})
	}
	return found
}

func place(path, text string, at int) string {
	return path + ":" + strconv.Itoa(1+strings.Count(text[:at], "\n"))
}
