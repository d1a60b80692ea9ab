// Package repro runs the test of a bundle again, as often as is wanted, and says how often it failed, and where.
package repro

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/bytecode"
	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/evidence"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/group"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/subtest"
)

// Limits are what a bundle may ask for: it can come from anyone.
type Limits struct {
	Memory    int64 // bytes
	Processes int64
	Time      time.Duration // of a test, or of a phase
	Image     int64         // bytes of the image in a full bundle
}

// UnusableError says why a bundle that is in order cannot be used here.
type UnusableError string

func (e UnusableError) Error() string { return string(e) }

func unusable(format string, args ...any) error { return UnusableError(fmt.Sprintf(format, args...)) }

// Prepared is the test of a bundle, ready to run.
type Prepared struct {
	// Differences holds what is not as it was in the run that made the bundle, a line each.
	Differences []string
	bundle      *bundle.Bundle
	config      group.Config
	processors  int             // of the engine's machine
	pressure    bundle.Pressure // on the test
	edges       edges           // of instrumented modules, by their offsets
	nearby      map[uint32]bool // the offsets of those in the functions of the hang, if the test is under pressure
}

// Prepare unpacks a bundle and finds or makes an image with its extension. Its tests get no network, and no limits above
// those that are given.
func Prepare(ctx context.Context, e *engine.Engine, b *bundle.Bundle, most Limits, emit report.Emit) (*Prepared, error) {
	if err := checkLimits(b, most); err != nil {
		return nil, err
	}
	machine, err := e.Machine(ctx)
	if err != nil {
		return nil, err
	}
	p := &Prepared{bundle: b, processors: machine.Processors}
	if made := b.Host.Architecture; made != machine.Architecture {
		return nil, unusable("the bundle's extension was built for %s, and this engine's machine is %s: run it on one like that",
			made, machine.Architecture)
	}
	p.compare("processors", b.Host.Processors, machine.Processors)
	p.compare("kernel", b.Host.Kernel, machine.Kernel)
	if b.Run.Network {
		p.differ("its tests reached the network, and have none here")
	}
	if len(b.Withheld) > 0 {
		p.differ("left out or masked, because it looked like a credential: %s", strings.Join(b.Withheld, ", "))
	}
	tree, err := unpack(b)
	if err != nil {
		return nil, err
	}
	built, err := p.image(ctx, e, emit)
	if err != nil {
		return nil, err
	}
	store, err := bytecode.Open("bundle-"+b.Sum[:16], tree)
	if err != nil {
		return nil, err
	}
	p.config, err = p.configuration(e, built, tree, store)
	if here := float64(machine.Processors); p.config.CPUs > here { // which the engine refuses
		p.config.CPUs = here
	}
	return p, err
}

// checkLimits refuses a bundle that asks for more than it may have.
func checkLimits(b *bundle.Bundle, most Limits) error {
	r := b.Run
	if r.Memory > most.Memory {
		return unusable("the bundle asks for %d MiB of memory, and may have %d: run it with --limits if you trust whom it is from",
			r.Memory>>20, most.Memory>>20)
	}
	if r.Processes > most.Processes {
		return unusable("the bundle asks for %d processes, and may have %d: run it with --limits if you trust whom it is from",
			r.Processes, most.Processes)
	}
	if b.Full() {
		its, err := b.Image()
		if err != nil {
			return err
		}
		if its.Size > most.Image {
			return unusable("the bundle's image has %d MiB, and may have %d: run it with --limits if you trust whom it is from",
				its.Size>>20, most.Image>>20)
		}
	}
	for _, budget := range []time.Duration{r.StartTimeout, r.CollectTimeout, r.TestTimeout, r.FinishTimeout, r.ExitTimeout} {
		if budget > most.Time {
			return unusable("the bundle asks for a budget of %v, and may have %v: run it with --limits if you trust whom it is from",
				budget, most.Time)
		}
	}
	return nil
}

func (p *Prepared) differ(format string, args ...any) {
	p.Differences = append(p.Differences, fmt.Sprintf(format, args...))
}

func (p *Prepared) compare(what string, then, now any) {
	if then != now {
		p.differ("%s: %v then, %v here", what, then, now)
	}
}

// keptTrees is how many unpacked bundles the cache folder keeps: reports name files in them.
const keptTrees = 10

// unpack unpacks a bundle's sources into the cache folder.
func unpack(b *bundle.Bundle) (project.Tree, error) {
	folder, err := cache.Folder()
	if err != nil {
		return project.Tree{}, err
	}
	all := filepath.Join(folder, "repros")
	if err := os.MkdirAll(all, 0o755); err != nil {
		return project.Tree{}, cache.Failed(err)
	}
	if err := cache.Prune(all, keptTrees, 1<<30); err != nil {
		return project.Tree{}, cache.Failed(err)
	}
	root, err := os.MkdirTemp(all, "")
	if err != nil {
		return project.Tree{}, cache.Failed(err)
	}
	if err := b.Unpack(root); err != nil {
		return project.Tree{}, cache.Failed(err)
	}
	return project.Unpacked(root, b.Run.Project, b.Run.Crate, b.Run.Workspace)
}

// image returns the extension of the bundle: that of its run if this engine still has it, otherwise what the bundle holds,
// beside the same versions of the packages.
func (p *Prepared) image(ctx context.Context, e *engine.Engine, emit report.Emit) (extension.Extension, error) {
	b := p.bundle
	built := extension.Extension{Modules: p.modules()}
	tools, network, err := tools(ctx, e, b, emit)
	if err != nil {
		return built, err
	}
	if tools.ID == b.Build.Tools {
		if found, ok, err := extension.Find(ctx, e, b.Build.Image, built.Modules); ok || err != nil {
			built.Image = found
			return built, err
		}
	}
	p.compare("Python", b.Build.Python, tools.Python)
	if tools.BaseID != b.Build.BaseID {
		p.differ("base image: %s (%.19s) then, %s (%.19s) here", b.Build.Base, b.Build.BaseID, tools.Base, tools.BaseID)
	}
	packages, err := packages(ctx, e, tools, network, b, emit)
	if err == nil {
		built.Image, err = extension.Restore(ctx, e, packages, files{b}, emit)
	}
	return built, err
}

// tools returns this host's tools image with the bundle's Python and Debian packages, or the image of a full bundle, which has no
// network to fetch with.
func tools(ctx context.Context, e *engine.Engine, b *bundle.Bundle, emit report.Emit) (image.Image, image.Network, error) {
	if b.Full() {
		loaded, err := load(ctx, e, b, emit)
		return loaded, image.Nowhere(), err
	}
	network, err := image.HostNetwork()
	if err != nil {
		return image.Image{}, network, err
	}
	tools, err := image.Ensure(ctx, e, network, agent.Programs(), b.Build.Series(), emit)
	if err == nil {
		tools, err = tools.WithPackages(ctx, e, network, b.Build.SystemPackages, emit)
	}
	return tools, network, err
}

// packages returns the id of an image with the bundle's packages.
func packages(ctx context.Context, e *engine.Engine, tools image.Image, network image.Network, b *bundle.Bundle,
	emit report.Emit) (string, error) {
	if b.Full() {
		return tools.ID, nil
	}
	installed, err := pinned(b.Build.Installed)
	if err != nil {
		return "", err
	}
	return extension.Packages(ctx, e, tools, network, installed, emit)
}

// Base returns the tools image of this host for a bundle, the network to fetch with, and the id of an image with its packages.
func Base(ctx context.Context, e *engine.Engine, b *bundle.Bundle, emit report.Emit) (image.Image, image.Network, string, error) {
	on, network, err := tools(ctx, e, b, emit)
	if err != nil {
		return on, network, "", err
	}
	id, err := packages(ctx, e, on, network, b, emit)
	return on, network, id, err
}

// exact matches a package of one version: https://packaging.python.org/en/latest/specifications/name-normalization/
var exact = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9._!+-]*$`)

// pinned returns the packages to install, and an error for one that no index has.
func pinned(installed []string) (names []string, err error) {
	for _, each := range installed {
		if !exact.MatchString(each) {
			return nil, unusable("the bundle needs %q, which did not come from a package index: it can only be run on the machine that made it", each)
		}
		names = append(names, each)
	}
	return names, nil
}

// modules returns the bundle's native modules, as they are in it.
func (p *Prepared) modules() (modules []extension.Module) {
	for _, m := range p.bundle.Build.Modules {
		name := m.Path
		if below, ok := strings.CutPrefix(name, layout.Sources+"/"); ok {
			name = path.Join(layout.BuiltTree, below)
		}
		for _, entry := range p.bundle.Entries {
			if entry.Name == bundle.Built+strings.TrimPrefix(name, "/") && entry.SHA256 != m.SHA256 {
				p.differ("%s: a credential is masked in it", m.Name)
				m.SHA256 = entry.SHA256
			}
		}
		modules = append(modules, extension.Module(m))
	}
	return modules
}

// files are what a bundle holds of its build.
type files struct{ *bundle.Bundle }

// Key covers all files.
func (f files) Key() string {
	var text strings.Builder
	for _, entry := range f.Entries {
		if strings.HasPrefix(entry.Name, bundle.Built) {
			fmt.Fprintf(&text, "%q %s %v\n", entry.Name, entry.SHA256, entry.Executable)
		}
	}
	return project.Sum(text.String())
}

// Pack writes them to a tar stream.
func (f files) Pack(w *tar.Writer) error {
	return f.Each(bundle.Built, func(below string, entry bundle.Entry, data []byte) error {
		header := tar.Header{Name: below, Mode: 0o644, Size: int64(len(data)), ModTime: project.Modified, Uid: 1000, Gid: 1000}
		if entry.Executable {
			header.Mode = 0o755
		}
		if err := w.WriteHeader(&header); err != nil {
			return fmt.Errorf("pack %s: %w", below, err)
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("pack %s: %w", below, err)
		}
		return nil
	})
}

// chosen returns the tests to run, and their order. Tests that share a process run after those that ran before them; one that
// has a process of its own runs alone, because the process from which it is forked is the same whatever ran before.
func chosen(r bundle.Run, test bundle.Test) (only map[string]bool, order []string) {
	order = []string{}
	if test.Kind != "" || r.Isolation == "inprocess" {
		order = append(order, test.Before...)
	}
	if test.Kind == "" {
		order = append(order, test.NodeID)
	}
	only = map[string]bool{}
	for _, nodeID := range order {
		only[nodeID] = true
	}
	return only, order
}

// configuration returns how the test runs.
func (p *Prepared) configuration(e *engine.Engine, built extension.Extension, tree project.Tree,
	store *bytecode.Store) (group.Config, error) {
	r := p.bundle.Run
	only, order := chosen(r, p.bundle.Test)
	matcher, err := subtest.NewMatcher("", "")
	return group.Config{
		Engine: e, Extension: built, Tree: tree, Bytecode: store, Evidence: new(evidence.Run),
		Flags: subtest.Flags{Only: only, Order: order}, Matcher: matcher,
		Name: r.Name, TestName: "repro/" + r.Name, Tests: r.Tests, PytestArgs: r.PytestArgs, Env: r.Env,
		Isolation: r.Isolation, Workers: r.Workers,
		Budgets: group.Budgets{Start: r.StartTimeout, Collect: r.CollectTimeout, Test: r.TestTimeout, Finish: r.FinishTimeout,
			Exit: r.ExitTimeout},
		Memory: r.Memory, CPUs: r.CPUs, Processes: r.Processes, Grace: grace, NoDeadlockProof: r.Unproved,
	}, err
}

// crate returns the crate's folder among the unpacked sources.
func (p *Prepared) crate() string {
	return filepath.Join(p.config.Tree.Root, filepath.FromSlash(p.config.Tree.Crate))
}

// grace is how long a run that is interrupted may take to show what runs.
const grace = 5 * time.Second
