// Package extension builds a crate with maturin inside a container, once for each content, and keeps the result as an
// image. The image holds the native modules and the test environment but no sources. The test environment is a separate
// image below, which outlives edits of the crate.
package extension

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
)

// Recipe describes how to build a crate and what to install beside it.
type Recipe struct {
	Profile           string // cargo's; "release", "dev" or one of the crate's own
	Features          []string
	NoDefaultFeatures bool
	MaturinArgs       []string
	Network           bool // for build scripts
	Dependencies      project.Dependencies
	Env               map[string]string
	Timeout           time.Duration
	// On, unless it is "", is an image to build on whose packages come from elsewhere: such a build has volumes of its own, so
	// that no other build reads what it wrote.
	On string
	// Hooks compiles the crate's own code with the hooks at which the library of package agent delays threads. Such a module
	// needs that library, which the tools image has.
	Hooks bool
	// Place, unless it is "", is used in the names of volumes in place of the crate's folder on this host: copies of a crate
	// with the same Place share them.
	Place string
}

// Extension is a built crate with its test environment.
type Extension struct {
	Image    string   // the id of the image to start groups from
	Modules  []Module // the native modules that were built
	Resolved []string // what is installed in the test environment, as name==version
	Reused   bool     // nothing had to be built
	Notes    []string // what the user should know about the build
	NoLock   bool     // the tree has no Cargo.lock: the dependencies float
	// Distribution is the name of what was built, as in the names of wheels.
	Distribution string
}

// Packages returns what is installed, without what was built.
func (e Extension) Packages() []string {
	return slices.DeleteFunc(slices.Clone(e.Resolved), func(name string) bool {
		return strings.Contains(name, " @ file://"+layout.Scratch+"/")
	})
}

// Module is a native module.
type Module struct {
	Name   string `json:"name"` // the name to import it by
	Path   string `json:"path"` // in the container
	SHA256 string `json:"sha256"`
}

// result is what build.py reports at the end.
type result struct {
	Distribution string   `json:"distribution"`
	Modules      []Module `json:"modules"`
	Lifted       []string `json:"lifted"`
	Resolved     []string `json:"resolved"`
	Notes        []string `json:"notes"`
	PythonInputs []string `json:"python_inputs"`
	EveryPython  bool     `json:"every_python"` // a build script may read any of them
}

const (
	repository  = "localhost/pyo3test/extension:"
	keyLabel    = engine.Label + ".key"
	crateLabel  = engine.Label + ".crate"
	inputsLabel = engine.Label + ".python-inputs"
	resultLabel = engine.Label + ".result"
	// environmentLabel holds the crate that a test environment was made for; images on top of it carry the label empty.
	environmentLabel = engine.Label + ".environment"
	// keptImages bounds how many builds of one crate are kept: a few branches' worth.
	keptImages = 5
)

// Unlisted returns the labels of an image that is derived from an extension's image and is not one itself.
func Unlisted() map[string]string {
	return map[string]string{keyLabel: "", crateLabel: "", environmentLabel: "", resultLabel: ""}
}

// builder makes the images of one crate.
type builder struct {
	engine  *engine.Engine
	tools   image.Image
	network image.Network
	tree    project.Tree
	recipe  Recipe
	emit    report.Emit
	// fetchedFor is the key of another tree for which the crates were fetched, "" for its own.
	fetchedFor string
	// installed is what the phase "restore" installs, as name==version.
	installed []string
}

// Ensure returns the crate's extension, and builds it first if its content has not been built.
func Ensure(
	ctx context.Context, e *engine.Engine, tools image.Image, network image.Network, tree project.Tree, recipe Recipe,
	emit report.Emit,
) (Extension, error) {
	b := builder{engine: e, tools: tools, network: network, tree: tree, recipe: recipe, emit: emit}
	if err := markUsed(b.id()); err != nil {
		return Extension{}, err
	}
	key := buildKey(tools, tree, recipe)
	found, ok, err := b.lookUp(ctx, key)
	if ok || err != nil {
		return found, err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return Extension{}, err
	}
	defer unlock()
	if found, ok, err = b.lookUp(ctx, key); ok || err != nil {
		return found, err
	}
	return b.build(ctx, key)
}

// lock keeps other processes from the crate's volumes.
func (b builder) lock(ctx context.Context) (unlock func(), err error) {
	waiting := func() { b.emit(report.Note{Topic: "build", Text: "another process builds this crate: waiting for it"}) }
	return cache.Lock(ctx, "build-"+b.id(), waiting)
}

// buildKey covers all that a build may depend on, except the content of Python files: lookUp compares these one by one,
// and only those that the last build read.
func buildKey(tools image.Image, tree project.Tree, recipe Recipe) string {
	var text strings.Builder
	recipe.Timeout = 0
	_ = json.NewEncoder(&text).Encode([]any{
		tools.ID, buildPrograms, recipe.defaultEnvironment(), tree.Crate, tree.Workspace, recipe,
		buildEnvironment(recipe),
	})
	for _, file := range tree.Files {
		if isPython(file.Name) && !recipe.Dependencies.Local && !tree.IsData(file.Name) {
			if strings.HasSuffix(file.Name, "/__init__.py") {
				fmt.Fprintf(&text, "%q\n", file.Name) // maturin recognizes a mixed layout by it
			}
			continue
		}
		fmt.Fprintf(&text, "%q %v %s\n", file.Name, file.Mode, file.Sum)
	}
	return project.Sum(text.String())[:16]
}

// isPython reports whether a file is Python source. Stubs do not count: maturin copies them.
func isPython(name string) bool { return strings.HasSuffix(name, ".py") }

// everyPython represents the names of all Python files in a build's inputs.
const everyPython = "*"

func pythonNames(tree project.Tree) string {
	var names []string
	for _, file := range tree.Files {
		if isPython(file.Name) {
			names = append(names, file.Name)
		}
	}
	return project.Sum(strings.Join(names, "\n"))
}

// CrateID returns an id for what belongs to one crate alone, such as its volumes and its lock. It covers the crate's
// place on this host and the base.
func CrateID(tree project.Tree, tools image.Image) string {
	host, _ := os.Hostname()
	return project.Sum(strings.Join([]string{host, tree.Root, tree.Crate, tools.BaseID}, "\x00"))[:16]
}

// id is that of the crate, or of the crate on packages from elsewhere.
func (b builder) id() string {
	tree := b.tree
	tree.Root = cmp.Or(b.recipe.Place, tree.Root)
	if b.recipe.On == "" {
		return CrateID(tree, b.tools)
	}
	return project.Sum(CrateID(tree, b.tools) + b.recipe.On)[:16]
}

// lookUp finds an image with the key for which every Python file that its build read is unchanged. An image of a crate
// in another place does not count, whatever its content: code of that crate could write to the volumes that it was
// built from.
func (b builder) lookUp(ctx context.Context, key string) (Extension, bool, error) {
	images, err := b.engine.Images(ctx, map[string]string{keyLabel: key, crateLabel: b.id()})
	if err != nil {
		return Extension{}, false, err
	}
	sums := map[string]string{everyPython: pythonNames(b.tree)}
	for _, file := range b.tree.Files {
		sums[file.Name] = file.Sum
	}
	for _, candidate := range images {
		var inputs map[string]string
		var built result
		err := json.Unmarshal([]byte(candidate.Labels[inputsLabel]), &inputs)
		if err != nil || json.Unmarshal([]byte(candidate.Labels[resultLabel]), &built) != nil {
			continue
		}
		same := true
		for name, sum := range inputs {
			same = same && sums[name] == sum
		}
		if same {
			found := extension(candidate.ID, built)
			found.Reused = true
			return found, true, nil
		}
	}
	return Extension{}, false, nil
}

func extension(id string, built result) Extension {
	isLock := func(name string) bool { return path.Base(name) == "Cargo.lock" }
	return Extension{
		Image: id, Modules: built.Modules, Resolved: built.Resolved, Notes: built.Notes,
		NoLock: slices.ContainsFunc(built.Lifted, isLock), Distribution: built.Distribution,
	}
}

func (b builder) build(ctx context.Context, key string) (_ Extension, err error) {
	expired := fmt.Errorf("the build took longer than its deadline of %v: raise %s", b.recipe.Timeout,
		project.Setting("BuildTimeout"))
	ctx, cancel := context.WithTimeoutCause(ctx, b.recipe.Timeout, expired)
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
		}
	}()
	environment, err := b.ensureEnvironment(ctx)
	if err != nil {
		return Extension{}, err
	}
	c, built, err := b.compile(ctx, environment)
	if err != nil {
		return Extension{}, err
	}
	defer func() { _ = c.Remove(context.WithoutCancel(ctx)) }()
	labels, tag, err := b.describe(built, key)
	if err != nil {
		return Extension{}, err
	}
	id, err := c.Commit(ctx, repository+tag, labels, nil)
	if err != nil {
		return Extension{}, err
	}
	return extension(id, built), prune(ctx, b.engine, crateLabel, labels[crateLabel])
}

// compile builds in a container that runs the project's code. The container cannot write to what was fetched and has no
// network unless the project asks for it. What the build lacks is fetched first, in another container.
func (b builder) compile(ctx context.Context, environment string) (c *engine.Container, built result, err error) {
	network := b.buildNetwork()
	volumes := map[string]engine.Volume{
		layout.Cache:  {Name: b.volume("cache"), ReadOnly: true},
		layout.Target: {Name: b.volume("target")},
	}
	warm, err := b.engine.HasVolume(ctx, b.volume("target"))
	if err != nil {
		return nil, built, err
	}
	if !warm {
		crates, err := b.compiledCrates(ctx)
		if err != nil {
			return nil, built, err
		}
		if crates != "" {
			volumes[layout.Crates] = engine.Volume{Name: crates, ReadOnly: true}
		}
	}
	c, err = b.inContainer(ctx, network, environment, volumes, func(c *engine.Container) (err error) {
		built, err = b.fetched(ctx, func() (result, error) { return b.runBuild(ctx, c, network, "build") })
		return err
	})
	return c, built, err
}

// buildNetwork returns the network of a container that compiles.
func (b builder) buildNetwork() image.Network {
	if b.recipe.Network {
		return b.network
	}
	return b.network.Offline()
}

// fetched runs a phase, and if that lacks what is fetched, it fetches first and runs it again.
func (b builder) fetched(ctx context.Context, phase func() (result, error)) (result, error) {
	built, err := phase()
	if !errors.Is(err, errNotFetched) {
		return built, err
	}
	if err := b.fetch(ctx); err != nil {
		return result{}, err
	}
	return phase()
}

// fetch downloads what cargo needs, in a container that has the network and runs none of the project's code.
func (b builder) fetch(ctx context.Context) error {
	volumes := map[string]engine.Volume{layout.Cache: {Name: b.volume("cache")}}
	c, err := b.inContainer(ctx, b.network, b.tools.ID, volumes, func(c *engine.Container) error {
		_, err := b.runBuild(ctx, c, b.network, "fetch")
		return err
	})
	if err != nil {
		return err
	}
	return c.Remove(context.WithoutCancel(ctx))
}

// fetchKey covers everything that determines which crates and toolchain a build needs, and where cargo and rustup get
// them.
func (b builder) fetchKey() string {
	if b.fetchedFor != "" {
		return b.fetchedFor
	}
	var text strings.Builder
	_ = json.NewEncoder(&text).Encode([]any{
		buildPrograms, b.tree.Workspace, b.tree.Crate, image.Passed(b.recipe.Env), b.network.Offline().Key(),
	})
	for _, file := range b.tree.Files {
		name := path.Base(file.Name)
		configuration := path.Base(path.Dir(file.Name)) == ".cargo"
		if configuration || slices.Contains([]string{"Cargo.toml", "Cargo.lock", "rust-toolchain",
			"rust-toolchain.toml"}, name) {
			fmt.Fprintf(&text, "%q %s\n", file.Name, file.Sum)
		}
	}
	return project.Sum(text.String())[:16]
}

// volume returns the name of a volume of the crate: "cache" holds what cargo and rustup have downloaded, "packages"
// what uv has, and "target" is cargo's target folder. No other crate uses them, and the project's code cannot write to
// any that the phase "fetch" reads.
func (b builder) volume(kind string) string {
	return "pyo3test-" + kind + "-" + b.id()
}

// ensureEnvironment returns the id of an image with what the tests need. The image outlives edits of the crate.
func (b builder) ensureEnvironment(ctx context.Context) (string, error) {
	if b.recipe.On != "" {
		return b.recipe.On, nil
	}
	tag := "environment-" + b.environmentKey()
	if found, ok, err := b.engine.Made(ctx, repository+tag); ok || err != nil {
		return found.ID, err
	}
	volumes := map[string]engine.Volume{layout.Packages: {Name: b.volume("packages")}}
	c, err := b.inContainer(ctx, b.network, b.tools.ID, volumes, func(c *engine.Container) error {
		_, err := b.runBuild(ctx, c, b.network, "dependencies")
		return err
	})
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Remove(context.WithoutCancel(ctx)) }()
	labels := map[string]string{environmentLabel: CrateID(b.tree, b.tools)}
	id, err := c.Commit(ctx, repository+tag, labels, nil)
	if err != nil {
		return "", err
	}
	return id, prune(ctx, b.engine, environmentLabel, labels[environmentLabel])
}

// environmentKey covers what the test environment depends on. That includes the crate's place: source packages run code
// when they are installed, and no other crate's tests may depend on that. Of the sources it covers uv's settings, lock
// files and the projects that they lock, or everything if folders of the sources are installed.
func (b builder) environmentKey() string {
	var text strings.Builder
	_ = json.NewEncoder(&text).Encode([]any{
		b.tools.ID, buildPrograms, b.recipe.defaultEnvironment(), CrateID(b.tree, b.tools), b.tree.Name,
		b.recipe.Dependencies, buildEnvironment(b.recipe),
	})
	for _, file := range b.tree.Files {
		name := path.Base(file.Name)
		locked := b.recipe.Dependencies.Lock != nil &&
			slices.Contains([]string{"uv.lock", "pylock.toml", "pyproject.toml"}, name)
		if b.recipe.Dependencies.Local || locked || name == "uv.toml" {
			fmt.Fprintf(&text, "%q %v %s\n", file.Name, file.Mode, file.Sum)
		}
	}
	return project.Sum(text.String())[:16]
}

const (
	// buildProcesses bounds the processes and threads of a build; cargo starts a few for each processor.
	buildProcesses = 4096
	// buildMemory is the fraction of the engine's memory that a build may use: a build that used more would bring the
	// engine down.
	buildMemory = 0.9
)

// limited returns a container without privileges, and with the limits of a build.
func limited(ctx context.Context, e *engine.Engine, spec engine.Spec) (engine.Spec, error) {
	machine, err := e.Machine(ctx)
	spec.Confined, spec.PIDs, spec.Memory = true, buildProcesses, int64(float64(machine.Memory)*buildMemory)
	return spec, err
}

// inContainer does work in a build container that has the sources and no privileges. If work fails, it removes the
// container.
func (b builder) inContainer(
	ctx context.Context, network image.Network, on string, volumes map[string]engine.Volume,
	work func(*engine.Container) error,
) (*engine.Container, error) {
	spec, err := limited(ctx, b.engine, engine.Spec{Image: on, Purpose: "build", User: layout.User, Volumes: volumes})
	if err != nil {
		return nil, err
	}
	c, err := image.StartBuilder(ctx, b.engine, network, spec)
	if err != nil {
		return nil, err
	}
	if err = upload(ctx, c, b.tree); err == nil {
		err = work(c)
	}
	if err != nil {
		_ = c.Remove(context.WithoutCancel(ctx))
		return nil, err
	}
	return c, nil
}

// describe returns what the image holds and depends on, as labels: these can be read without starting it.
func (b builder) describe(built result, key string) (labels map[string]string, tag string, err error) {
	inputs := map[string]string{}
	for _, file := range b.tree.Files {
		if slices.Contains(built.PythonInputs, file.Name) {
			inputs[file.Name] = file.Sum
		}
	}
	if built.EveryPython {
		inputs[everyPython] = pythonNames(b.tree)
	}
	inputsText, err := json.Marshal(inputs)
	if err != nil {
		return nil, "", err
	}
	resultText, err := json.Marshal(built)
	if err != nil {
		return nil, "", err
	}
	crate := b.id()
	return map[string]string{
		keyLabel: key, inputsLabel: string(inputsText), resultLabel: string(resultText), crateLabel: crate,
		environmentLabel: "",
	}, key + "-" + project.Sum(crate + string(inputsText))[:8], nil
}

// prune removes all but the newest images of a crate that carry the label. An image that is in use, or is below
// another, stays.
func prune(ctx context.Context, e *engine.Engine, label, crate string) error {
	images, err := e.Images(ctx, map[string]string{label: crate})
	if err != nil {
		return err
	}
	var errs []error
	for _, old := range images[min(len(images), keptImages):] {
		errs = append(errs, e.RemoveImage(ctx, old.ID))
	}
	return errors.Join(errs...)
}
