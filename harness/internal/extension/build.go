package extension

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
	"pyo3test/images"
)

// Error is a build failure caused by the user's sources or requirements. Log holds what the tool printed.
type Error struct {
	Phase   string // "dependencies", "fetch", "crates" or "build"
	Text    string
	Crates  []string // the names in Cargo.lock
	Log     string   // the tool's output, bounded, from the first error on, with the host's paths
	Offline bool     // the build had no network because the harness gave it none
}

// unreached matches the messages of uv and cargo about a server that cannot be reached.
var unreached = regexp.MustCompile(`(?i)(could not|couldn't) (connect|resolve host)|connection refused|network is unreachable|dns error|tunnel error|operation timed out|timeout was reached|spurious network error|(invalid|ssl) peer certificate`)

// Unreached reports whether the build failed because of the network and not because of the project.
func (e *Error) Unreached() bool { return !e.Offline && unreached.MatchString(e.Log) }

// wantsNetwork matches the messages of programs that have no network.
var wantsNetwork = regexp.MustCompile(`(?i)failed to lookup address|(host)?name resolution|name or service not known|` +
	`network is unreachable|could not resolve host|dns error|--offline`)

// fixes pairs known error messages of tools with what to do about them.
var fixes = []struct {
	said *regexp.Regexp
	fix  string
}{
	{regexp.MustCompile(`(?i)system library .* (was not found|required by)|pkg-config.*(did not exit|could not be found|not found)|cannot find -l\w|Could not find directory of OpenSSL|Could not find ` + "`?" + `protoc|fatal error: [\w./-]+\.h: No such file|Unable to find libclang|is ` + "`" + `(cmake|perl|make|ninja|nasm|clang)` + "`" + ` not installed|failed to execute command: No such file or directory`),
		"a library or tool of the system is missing: name its Debian package, for example \"libssl-dev\", in " +
			project.Setting("SystemPackages")},
	{unreached,
		"no package index was reached: `pyo3test doctor` tries each, and says by which proxy and " +
			"certificates of this host"},
	{regexp.MustCompile(`couldn't read ` + "`?" + `[^` + "`" + `]+` + "`?" +
		`: No such file|failed to (read|load|open).*No such file or directory`),
		"a file is missing that does not travel with the crate: name it in " + project.Setting("Include")},
	{regexp.MustCompile(`(?i)No solution found when resolving|not found in the package registry|Failed to fetch|error sending request|No matching distribution`),
		"a requirement cannot be had as it is written: correct it where it is named, or the " +
			"index settings of this host"},
}

// tooNew matches the message of PyO3's build script about a Python that is newer than it.
var tooNew = regexp.MustCompile(`Python (?:interpreter )?version \((3\.\d+)\) is newer than PyO3's maximum supported version \((3\.\d+)\)`)

// tooOld matches the message of PyO3's build script about a free-threaded Python that is older than those it knows.
var tooOld = regexp.MustCompile(`does not support the free-threaded build of CPython versions below (3\.\d+), the selected ` +
	`Python version is (3\.\d+)`)

// oldRust matches cargo's message about crates that need a newer Rust.
var oldRust = regexp.MustCompile(`rustc ([\d.]+)\S* is not supported by the following package`)

// Packages returns the Debian packages that the build lacks, as far as its output shows it.
func (e *Error) Packages() []string { return systemPackages(e.Log, e.Crates) }

// Advice returns what may help, or "" if the tool's output does not show it.
func (e *Error) Advice() string {
	if e.Offline && wantsNetwork.MatchString(e.Log) {
		return "\n\na build has no network: set " + project.Setting("BuildNetwork") + " if a build script has to download"
	}
	if found := tooNew.FindStringSubmatch(e.Log); found != nil {
		return fmt.Sprintf("\n\nthis is Python %s, and the crate's PyO3 knows those up to %s: require a newer pyo3 in "+
			"Cargo.toml, or name another version in %s", found[1], found[2], project.Setting("Python"))
	}
	if found := tooOld.FindStringSubmatch(e.Log); found != nil {
		return fmt.Sprintf("\n\nthis is the free-threaded Python %st, and the crate's PyO3 knows those from %st on: name %st in %s, "+
			"or require an older pyo3 in Cargo.toml (0.26 knows 3.13t)", found[2], found[1], found[1], project.Setting("Python"))
	}
	if found := oldRust.FindStringSubmatch(e.Log); found != nil {
		return fmt.Sprintf("\n\nthis base has Rust %s, and a crate needs a newer one: lock an older version of that crate, or set %s "+
			"to an image with a newer Rust", found[1], image.BaseVariable)
	}
	if packages := e.Packages(); len(packages) > 0 {
		return "\n\n" + packagesText(packages)
	}
	for _, known := range fixes {
		if known.said.MatchString(e.Log) {
			return "\n\n" + known.fix
		}
	}
	return ""
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Phase, e.Text) }

//go:embed python/*.py
var pythonFiles embed.FS

// buildPrograms holds the files of python/ by name.
var buildPrograms = readPrograms()

func readPrograms() map[string]string {
	found := map[string]string{}
	listing, err := pythonFiles.ReadDir("python")
	for _, file := range listing {
		data, readErr := pythonFiles.ReadFile("python/" + file.Name())
		found[file.Name()], err = string(data), errors.Join(err, readErr)
	}
	if err != nil {
		panic(err) // embedded above
	}
	return found
}

// upload copies the sources and the build programs into the container.
func upload(ctx context.Context, c *engine.Container, tree project.Tree) error {
	return c.UploadTar(ctx, "/", func(w *tar.Writer) error {
		for name, text := range buildPrograms {
			if err := engine.PackFile(w, path.Join(strings.TrimPrefix(layout.Build, "/"), name),
				[]byte(text)); err != nil {
				return err
			}
		}
		return tree.Pack(w)
	})
}

// Environment returns the environment that builds and tests share: with another path or interpreter, everything would
// be recompiled.
func Environment(user map[string]string) map[string]string {
	env := map[string]string{
		"PATH":        layout.Path,
		"VIRTUAL_ENV": layout.Venv,
		"LANG":        "C.UTF-8",
		"PYO3_PYTHON": layout.Venv + "/bin/python",
		// PyO3 does not read this one, but people rely on it being set.
		"PYO3_NO_PYTHON_VERSION_CHECK": "1",
	}
	for key, value := range user {
		env[key] = value
	}
	return env
}

// buildEnvironment returns the environment that a build depends on beside its sources, without the network settings.
func buildEnvironment(recipe Recipe) map[string]string {
	env := Environment(nil)
	env["CARGO_TARGET_DIR"] = layout.CargoDir
	env["CARGO_TERM_COLOR"] = "never"
	env["CARGO_TERM_PROGRESS_WHEN"], env["CARGO_TERM_PROGRESS_WIDTH"] = "always", "200" // build.py reads it
	env["UV_CACHE_DIR"] = layout.Packages
	env["UV_LINK_MODE"] = "copy"     // the cache is on another file system
	env["UV_COMPILE_BYTECODE"] = "1" // once here, or each group would do it
	env["UV_NO_PROGRESS"] = "1"
	env["UV_PYTHON_DOWNLOADS"] = "never"
	if recipe.Profile != "dev" {
		// Stacks need names, files and lines, but no more; with line tables alone, py-spy finds no names. rustc
		// optimises as before. RUSTFLAGS would replace the project's own flags.
		profile := "CARGO_PROFILE_" + strings.ToUpper(strings.ReplaceAll(recipe.Profile, "-", "_"))
		env[profile+"_DEBUG"], env[profile+"_STRIP"] = "limited", "none"
	}
	maps.Copy(env, recipe.Env)
	return env
}

// fetchEnvironment returns the environment in which cargo and rustup download. Of the recipe's variables it has only
// those that say where to download from: others could name a program to run.
func fetchEnvironment(recipe Recipe) map[string]string {
	env := Environment(nil)
	env["PATH"] = layout.FetchPath
	env["CARGO_TERM_COLOR"] = "never"
	maps.Copy(env, image.Passed(recipe.Env))
	return env
}

// maxMessage bounds a message of build.py, in bytes: the longest is its result, which names every installed package.
const maxMessage = 16 << 20

// maxNoise bounds how many lines of noise an error shows.
const maxNoise = 20

// errNotFetched means that a build lacks what the phase "fetch" downloads.
var errNotFetched = errors.New("build: crates are missing")

// runBuild runs a phase of build.py and relays what its tools print.
func (b builder) runBuild(ctx context.Context, c *engine.Container, network image.Network, phase string) (result,
	error) {
	recipe, tree := b.recipe, b.tree
	config, err := json.Marshal(map[string]any{
		"phase": phase, "crate": tree.Crate, "workspace": tree.Workspace, "project": tree.Name,
		"profile": recipe.Profile, "features": nonNil(recipe.Features), "no_default_features": recipe.NoDefaultFeatures,
		"maturin_args": nonNil(recipe.MaturinArgs), "hooks": recipe.Hooks, "fetch": b.fetchKey(), "local": recipe.Dependencies.Local,
		"default": recipe.defaultEnvironment(), "dependencies": recipe.Dependencies, "installed": nonNil(b.installed),
	})
	if err != nil {
		return result{}, err
	}
	reader, writer := io.Pipe()
	env := network.Env()
	variables := buildEnvironment(recipe)
	switch phase {
	case "fetch", "vendor":
		variables = fetchEnvironment(recipe)
	case "restore":
		variables["UV_COMPILE_BYTECODE"] = "0" // an interpreter would run what the packages' .pth files say
	}
	for key, value := range variables {
		env = append(env, key+"="+value)
	}
	command := engine.Command{Argv: []string{layout.Tools + "/python", "-I", layout.Build + "/build.py"}, Env: env}
	ended := make(chan error, 1)
	go func() {
		err := image.Run(ctx, c, command, bytes.NewReader(config), writer)
		writer.Close()
		ended <- err
	}()
	log := buildLog{tree: tree}
	var built *result
	var failure *Error
	missing := false
	var noise []string // from the loader, for example, if the project's environment breaks it
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, maxMessage)
	for lines.Scan() {
		var message struct {
			Phase   string  `json:"phase"`
			Line    *string `json:"line"`
			Error   string  `json:"error"`
			Result  *result `json:"result"`
			Missing bool    `json:"missing"`
			Done    int     `json:"done"` // crates that are compiled, of Total
			Total   int     `json:"total"`
		}
		if json.Unmarshal(lines.Bytes(), &message) != nil {
			line := log.add(lines.Text())
			if len(noise) < maxNoise {
				noise = append(noise, line)
			}
			b.printed(line)
			continue
		}
		switch {
		case message.Result != nil:
			built = message.Result
		case message.Missing:
			missing = true
		case message.Error != "":
			failure = &Error{Phase: message.Phase, Text: message.Error, Offline: phase == "build" && !recipe.Network}
		case message.Line != nil && message.Total > 0:
			b.emit(report.Progress{Phase: "build", Text: *message.Line, Done: message.Done, Total: message.Total})
		case message.Line != nil:
			b.printed(log.add(*message.Line))
		}
	}
	reader.CloseWithError(lines.Err())
	err = errors.Join(<-ended, lines.Err())
	switch {
	case failure != nil:
		failure.Log = log.fromFirstError()
		failure.Crates = tree.LockedCrates()
		return result{}, failure
	case err != nil && len(noise) > 0:
		return result{}, fmt.Errorf("build: the build program broke down: %s: %w", strings.Join(noise, "\n"), err)
	case err != nil:
		return result{}, fmt.Errorf("build: %w", err)
	case missing:
		return result{}, errNotFetched
	case built == nil:
		return result{}, errors.New("build: ended without a result")
	}
	return *built, nil
}

// printed reports a line that a tool printed.
func (b builder) printed(line string) { b.emit(report.Progress{Phase: "build", Text: line}) }

// defaultEnvironment returns the locked test environment, or "" if the project's dependencies include pytest.
func (r Recipe) defaultEnvironment() string {
	if r.Dependencies.Pytest {
		return ""
	}
	locked, err := images.Files.ReadFile("pytest.txt")
	if err != nil {
		panic("images does not embed pytest.txt") // a bug in the harness that every run would show
	}
	return string(locked)
}

func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// buildLog keeps what a build printed, bounded, with the host's paths.
type buildLog struct {
	tree  project.Tree
	lines []string
}

// logLines bounds how many lines of a build's output are kept; compilers repeat themselves long before that.
const logLines = 2000

// rustPlace matches a source location as rustc prints it. Its paths are relative to the workspace, where cargo runs
// rustc.
var rustPlace = regexp.MustCompile(`^(\s*(?:-->|:::) )([^/\s][^:]*)(:\d+:\d+)`)

func (l *buildLog) add(line string) string {
	line = rustPlace.ReplaceAllStringFunc(line, func(found string) string {
		part := rustPlace.FindStringSubmatch(found)
		return part[1] + filepath.Join(l.tree.Root, filepath.FromSlash(path.Join(l.tree.Workspace, part[2]))) + part[3]
	})
	line = l.tree.HostText(line)
	if len(l.lines) < logLines {
		l.lines = append(l.lines, line)
	}
	return line
}

var errorLine = regexp.MustCompile(`^\s*(error(\[E\d+\])?[: ]|💥|×|  × )`)

func (l *buildLog) fromFirstError() string {
	for i, line := range l.lines {
		if errorLine.MatchString(line) {
			return strings.Join(l.lines[i:], "\n")
		}
	}
	return strings.Join(l.lines[max(0, len(l.lines)-40):], "\n")
}
