// Package extension builds a crate with maturin inside a container, once for each content, and keeps the result as an
// image that holds the test environment and the native modules but no sources. The environment is an image of its own
// below, which outlives edits of the crate.
package extension

import (
	"cmp"
	"context"
	_ "embed"
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
)

//go:embed python/build.py
var buildProgram string

// Recipe says how to build and what to install beside it.
type Recipe struct {
	Profile           string // cargo's; "release", "dev" or one of the crate's own
	Features          []string
	NoDefaultFeatures bool
	MaturinArgs       []string
	Dependencies      Dependencies
	Env               map[string]string
	Timeout           time.Duration
}

// Extension is a built crate with its test environment.
type Extension struct {
	Image    string   // to start groups from
	Modules  []Module // the native modules that were built
	Resolved []string // what is installed in the test environment, as name==version
	Reused   bool     // nothing had to be built
	Notes    []string // what the user should know of the build
	NoLock   bool     // the tree has no Cargo.lock: the dependencies float
}

// Module is a native module.
type Module struct {
	Name   string `json:"name"` // as it is imported
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
	EveryPython  bool     `json:"every_python"` // a build script looks at all there are
}

const (
	repository  = "localhost/pyo3test/extension:"
	keyLabel    = engine.Label + ".key"
	crateLabel  = engine.Label + ".crate"
	inputsLabel = engine.Label + ".python-inputs"
	resultLabel = engine.Label + ".result"
	// environmentLabel is the crate that a test environment was made for; images on top of one carry it empty.
	environmentLabel = engine.Label + ".environment"
	// keptImages bounds how many builds of one crate are kept: a few branches' worth.
	keptImages = 5
)

// Unlisted are the labels of an image that is made of an extension's and is none itself.
func Unlisted() map[string]string {
	return map[string]string{keyLabel: "", crateLabel: "", environmentLabel: ""}
}

// Ensure returns the crate's extension and builds it first where its content was never built.
func Ensure(ctx context.Context, e *engine.Engine, tools image.Image, network image.Network, tree Tree, recipe Recipe, say image.Say) (Extension, error) {
	key := buildKey(tools, tree, recipe)
	found, ok, err := lookUp(ctx, e, key, tree)
	if ok || err != nil {
		return found, err
	}
	unlock, err := cache.Lock(ctx, "build-"+CrateID(tree, tools), func() { say("build", "another process builds this crate: waiting for it") })
	if err != nil {
		return Extension{}, err
	}
	defer unlock()
	if found, ok, err = lookUp(ctx, e, key, tree); ok || err != nil {
		return found, err
	}
	return build(ctx, e, tools, network, tree, recipe, key, say)
}

// buildKey covers all that a build may depend on, save the content of Python files: these are compared one by one, and
// only where the last build has read them.
func buildKey(tools image.Image, tree Tree, recipe Recipe) string {
	var text strings.Builder
	recipe.Timeout = 0
	_ = json.NewEncoder(&text).Encode([]any{tools.ID, sum(buildProgram), recipe.defaultEnvironment(), tree.Crate, tree.Workspace, recipe, buildEnvironment(recipe)})
	for _, file := range tree.Files {
		if isPython(file.Name) && !recipe.Dependencies.Local {
			if strings.HasSuffix(file.Name, "/__init__.py") {
				fmt.Fprintf(&text, "%q\n", file.Name) // maturin tells a mixed layout by it
			}
			continue
		}
		fmt.Fprintf(&text, "%q %v %s\n", file.Name, file.Mode, file.Sum)
	}
	return sum(text.String())[:16]
}

// isPython leaves stubs out: maturin copies them.
func isPython(name string) bool { return strings.HasSuffix(name, ".py") }

// everyPython stands for the names of all Python files among a build's inputs.
const everyPython = "*"

func (t Tree) pythonNames() string {
	var names []string
	for _, file := range t.Files {
		if isPython(file.Name) {
			names = append(names, file.Name)
		}
	}
	return sum(strings.Join(names, "\n"))
}

// CrateID names the crate's target folder and lock: one for each place on this host and each base.
func CrateID(tree Tree, tools image.Image) string {
	host, _ := os.Hostname()
	return sum(strings.Join([]string{host, tree.Root, tree.Crate, tools.BaseID}, "\x00"))[:16]
}

// lookUp finds an image of the key whose build read only Python files that are the same now.
func lookUp(ctx context.Context, e *engine.Engine, key string, tree Tree) (Extension, bool, error) {
	images, err := e.Images(ctx, map[string]string{keyLabel: key})
	if err != nil {
		return Extension{}, false, err
	}
	sums := map[string]string{everyPython: tree.pythonNames()}
	for _, file := range tree.Files {
		sums[file.Name] = file.Sum
	}
	for _, candidate := range images {
		var inputs map[string]string
		var built result
		if json.Unmarshal([]byte(candidate.Labels[inputsLabel]), &inputs) != nil || json.Unmarshal([]byte(candidate.Labels[resultLabel]), &built) != nil {
			continue
		}
		same := true
		for name, sum := range inputs {
			same = same && sums[name] == sum
		}
		if same {
			found := extension(repository+candidate.Labels[engine.Label+".tag"], built)
			found.Reused = true
			return found, true, nil
		}
	}
	return Extension{}, false, nil
}

func extension(name string, built result) Extension {
	return Extension{Image: name, Modules: built.Modules, Resolved: built.Resolved, Notes: built.Notes, NoLock: slices.ContainsFunc(built.Lifted, func(name string) bool {
		return name == "Cargo.lock" || strings.HasSuffix(name, "/Cargo.lock")
	})}
}

func build(ctx context.Context, e *engine.Engine, tools image.Image, network image.Network, tree Tree, recipe Recipe, key string, say image.Say) (_ Extension, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, recipe.Timeout, fmt.Errorf("the build took longer than its deadline of %v: raise BuildTimeout", recipe.Timeout))
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
		}
	}()
	environment, err := ensureEnvironment(ctx, e, tools, network, tree, recipe, say)
	if err != nil {
		return Extension{}, err
	}
	var built result
	work := func(c *engine.Container) (err error) {
		built, err = runBuild(ctx, c, network, tree, recipe, "build", say)
		return err
	}
	volumes := map[string]string{"/cache": cacheVolume, "/build": "pyo3test-target-" + CrateID(tree, tools)}
	c, err := inBuilder(ctx, e, network, environment, volumes, tree, work)
	if err != nil {
		return Extension{}, err
	}
	defer func() { _ = c.Remove(context.WithoutCancel(ctx)) }()
	labels, tag, err := describe(built, tree, key)
	if err != nil {
		return Extension{}, err
	}
	labels[crateLabel], labels[environmentLabel] = CrateID(tree, tools), ""
	if _, err := c.Commit(ctx, repository+tag, labels, nil); err != nil {
		return Extension{}, err
	}
	return extension(repository+tag, built), prune(ctx, e, crateLabel, labels[crateLabel])
}

// cacheVolume holds what cargo, uv and rustup fetch; all crates share it.
const cacheVolume = "pyo3test-cache"

// ensureEnvironment returns an image with what the tests need: it outlives edits of the crate.
func ensureEnvironment(ctx context.Context, e *engine.Engine, tools image.Image, network image.Network, tree Tree, recipe Recipe, say image.Say) (string, error) {
	tag := "environment-" + environmentKey(tools, tree, recipe)
	if _, ok, err := e.Image(ctx, repository+tag); ok || err != nil {
		return repository + tag, err
	}
	unlock, err := cache.Lock(ctx, tag, func() { say("build", "another process installs the same packages: waiting for it") })
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, ok, err := e.Image(ctx, repository+tag); ok || err != nil {
		return repository + tag, err
	}
	work := func(c *engine.Container) error {
		_, err := runBuild(ctx, c, network, tree, recipe, "dependencies", say)
		return err
	}
	c, err := inBuilder(ctx, e, network, tools.Name, map[string]string{"/cache": cacheVolume}, tree, work)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Remove(context.WithoutCancel(ctx)) }()
	labels := map[string]string{environmentLabel: CrateID(tree, tools), engine.Label + ".tag": tag}
	if _, err := c.Commit(ctx, repository+tag, labels, nil); err != nil {
		return "", err
	}
	return repository + tag, prune(ctx, e, environmentLabel, labels[environmentLabel])
}

// environmentKey covers what the test environment depends on: of the sources, lock files and the projects that they lock,
// or all where folders of them are installed.
func environmentKey(tools image.Image, tree Tree, recipe Recipe) string {
	var text strings.Builder
	_ = json.NewEncoder(&text).Encode([]any{tools.ID, sum(buildProgram), recipe.defaultEnvironment(), tree.Crate, tree.Name, recipe.Dependencies, buildEnvironment(recipe)})
	for _, file := range tree.Files {
		locked := slices.Contains([]string{"uv.lock", "pylock.toml", "pyproject.toml", "uv.toml"}, path.Base(file.Name))
		if recipe.Dependencies.Local || locked && recipe.Dependencies.Lock != nil {
			fmt.Fprintf(&text, "%q %v %s\n", file.Name, file.Mode, file.Sum)
		}
	}
	return sum(text.String())[:16]
}

// inBuilder does work in a build container that has the sources. Where that fails the container is gone.
func inBuilder(ctx context.Context, e *engine.Engine, network image.Network, on string, volumes map[string]string, tree Tree, work func(*engine.Container) error) (*engine.Container, error) {
	c, err := image.StartBuilder(ctx, e, network, engine.Spec{Image: on, Purpose: "build", User: image.User, Volumes: volumes})
	if err != nil {
		return nil, err
	}
	if err = upload(ctx, c, tree); err == nil {
		err = work(c)
	}
	if err != nil {
		_ = c.Remove(context.WithoutCancel(ctx))
		return nil, err
	}
	return c, nil
}

// describe writes down what the image holds and depends on, as labels: they can be read without starting it.
func describe(built result, tree Tree, key string) (labels map[string]string, tag string, err error) {
	inputs := map[string]string{}
	for _, file := range tree.Files {
		if slices.Contains(built.PythonInputs, file.Name) {
			inputs[file.Name] = file.Sum
		}
	}
	if built.EveryPython {
		inputs[everyPython] = tree.pythonNames()
	}
	inputsText, err := json.Marshal(inputs)
	if err != nil {
		return nil, "", err
	}
	resultText, err := json.Marshal(built)
	if err != nil {
		return nil, "", err
	}
	tag = key + "-" + sum(string(inputsText))[:8]
	return map[string]string{
		keyLabel: key, inputsLabel: string(inputsText), resultLabel: string(resultText), engine.Label + ".tag": tag,
	}, tag, nil
}

// prune removes all but the newest images of a crate that carry the label; one that runs now, or is below another, stays.
func prune(ctx context.Context, e *engine.Engine, label, crate string) error {
	images, err := e.Images(ctx, map[string]string{label: crate})
	if err != nil {
		return err
	}
	slices.SortFunc(images, func(a, b engine.Image) int { return cmp.Compare(b.Created, a.Created) })
	var errs []error
	for _, old := range images[min(len(images), keptImages):] {
		errs = append(errs, e.RemoveImage(ctx, repository+old.Labels[engine.Label+".tag"]))
	}
	return errors.Join(errs...)
}
