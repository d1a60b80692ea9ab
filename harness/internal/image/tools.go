// Package image makes the tools image: a pinned base with Python and Rust, plus the tools that build, install and
// diagnose, which are kept apart from the test environment.
package image

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/report"
)

const (
	baseLabel   = engine.Label + ".base"
	baseIDLabel = engine.Label + ".base-id"
	pythonLabel = engine.Label + ".python"
)

// Image is the tools image that a run uses.
type Image struct {
	Name   string // the name it was made under; another image may have it by now
	ID     string // the id to start containers from
	Base   string // the name of the image below it
	BaseID string
	Python string // the version of its Python, for example "3.11.16"
}

// ToolsOf reports whether an object of an engine is a tools image itself, not one derived from it, and returns its base
// and Python version.
func ToolsOf(o engine.Object) (base, python string, is bool) {
	is = o.Kind == "image" && strings.HasPrefix(o.Labels[engine.MadeAs], repository+"tools:")
	return o.Labels[baseLabel], o.Labels[pythonLabel], is
}

// Programs holds the files, by name, of the programs that run groups. The tools image holds them below [layout.Home],
// compiled.
type Programs map[string][]byte

// Key covers the programs, and how they are compiled.
func (p Programs) Key() string {
	parts := []string{asset("agent.sh")}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		parts = append(parts, name, string(p[name]))
	}
	return hash(parts...)
}

// DefaultPython is the version of the pinned base.
const DefaultPython = "3.11"

// Ensure returns the tools image, and makes it first if it does not exist. Processes that need it at the same time make
// it only once. The argument python is the version wanted, "" for that of the base.
func Ensure(ctx context.Context, e *engine.Engine, network Network, programs Programs, python string,
	emit report.Emit) (Image, error) {
	tools, err := ensure(ctx, e, network, pins(cmp.Or(python, DefaultPython)), programs, emit)
	if err == nil && python != "" && !isPython(tools.Python, python) {
		err = fmt.Errorf("the base image %s has Python %s, and the Suite asks for %s: set %s to an image that has it",
			tools.Base, tools.Python, python, BaseVariable)
	}
	return tools, err
}

// isPython reports whether a full version, such as 3.14.2t, is one of the version that is wanted, such as 3.14t: the t stands
// for a free-threaded build.
func isPython(full, wanted string) bool {
	series, free := strings.CutSuffix(wanted, "t")
	return strings.HasPrefix(full, series+".") && strings.HasSuffix(full, "t") == free
}

// Find returns the tools image that [Ensure] would return; ok is false if the engine does not have it yet.
func Find(ctx context.Context, e *engine.Engine, programs Programs, python string) (tools Image, ok bool, err error) {
	return find(ctx, e, pins(cmp.Or(python, DefaultPython)), programs)
}

func find(ctx context.Context, e *engine.Engine, pins pinned, programs Programs) (tools Image, ok bool, err error) {
	on, ok, err := pins.there(ctx, e)
	if !ok || err != nil {
		return Image{}, false, err
	}
	return on.tools(ctx, e, programs)
}

func ensure(ctx context.Context, e *engine.Engine, network Network, pins pinned, programs Programs,
	emit report.Emit) (Image, error) {
	// Try without the lock first: another process may hold it for minutes while it makes a different image.
	on, ok, err := find(ctx, e, pins, programs)
	if ok || err != nil {
		return on, err
	}
	unlock, err := cache.Lock(ctx, "base",
		func() { note(emit, "another process makes the base image: waiting for it") })
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if on, err = base(ctx, e, network, pins, emit); err != nil {
		return Image{}, err
	}
	tools, ok, err := on.tools(ctx, e, programs)
	if ok || err != nil {
		return tools, err
	}
	if err := tools.make(ctx, e, network, programs, emit); err != nil {
		return Image{}, fmt.Errorf("make the tools image on %s: %w", tools.Base, err)
	}
	return tools, nil
}

// tools returns the tools image on a base; ok is false if the engine does not have it.
func (i Image) tools(ctx context.Context, e *engine.Engine, programs Programs) (_ Image, ok bool, err error) {
	i.Name = repository + "tools:" + hash(i.BaseID, asset("tools.sh"), asset("tools.txt"), programs.Key())
	found, ok, err := e.Made(ctx, i.Name)
	i.ID, i.Python = found.ID, found.Labels[pythonLabel]
	return i, ok, err
}

// make makes the tools image on the base, with the name in i.Name.
func (i *Image) make(ctx context.Context, e *engine.Engine, network Network, programs Programs,
	emit report.Emit) error {
	note(emit, "installing the tools")
	c, err := StartBuilder(ctx, e, network, engine.Spec{Image: i.BaseID, Purpose: "tools", User: "0:0"})
	if err != nil {
		return err
	}
	defer func() { _ = c.Remove(context.WithoutCancel(ctx)) }()
	if err := programs.upload(ctx, c); err != nil {
		return err
	}
	relay := &lastLines{pass: progress(emit)}
	if err := Run(ctx, c, engine.Command{Argv: []string{"bash", layout.Images + "/tools.sh"}, Env: network.Env()}, nil,
		relay); err != nil {
		return fmt.Errorf("%s: %w", relay.last, err)
	}
	var version strings.Builder
	argv := []string{"python3", "-c", "import platform, sysconfig\n" +
		"print(platform.python_version() + ('t' if sysconfig.get_config_var('Py_GIL_DISABLED') else ''))"}
	if err := Run(ctx, c, engine.Command{Argv: argv}, nil, &version); err != nil {
		return fmt.Errorf("ask for Python's version: %w", err)
	}
	i.Python = strings.TrimSpace(version.String())
	i.ID, err = c.Commit(ctx, i.Name, i.Labels(), nil)
	return err
}

// Labels returns what a tools image was made from, as its labels say it.
func (i Image) Labels() map[string]string {
	return map[string]string{baseLabel: i.Base, baseIDLabel: i.BaseID, pythonLabel: i.Python}
}

// Labelled returns a tools image with an id and labels.
func Labelled(id string, labels map[string]string) Image {
	return Image{ID: id, Base: labels[baseLabel], BaseID: labels[baseIDLabel], Python: labels[pythonLabel]}
}

// upload brings the programs, and what the images are made from, into a container.
func (p Programs) upload(ctx context.Context, c *engine.Container) error {
	return c.UploadTar(ctx, path.Dir(layout.Home), func(w *tar.Writer) error {
		home := path.Base(layout.Home) + "/"
		errs := []error{packAssets(w, home+path.Base(layout.Images)+"/")}
		for name, data := range p {
			errs = append(errs, engine.PackFile(w, home+name, data))
		}
		return errors.Join(errs...)
	})
}

// Renew replaces the programs in a container, which may be of a tools image that another version made, by those of this one.
// It needs a container whose user is root, and the variables of its image.
func (p Programs) Renew(ctx context.Context, c *engine.Container, env map[string]string, emit report.Emit) error {
	var variables []string
	for name, value := range env {
		variables = append(variables, name+"="+value)
	}
	relay := &lastLines{pass: progress(emit)}
	run := func(argv ...string) error { return Run(ctx, c, engine.Command{Argv: argv, Env: variables}, nil, relay) }
	err := run("rm", "-rf", layout.Agent, layout.Images)
	if err == nil {
		err = p.upload(ctx, c)
	}
	if err == nil {
		err = run("bash", layout.Images+"/agent.sh")
	}
	if err != nil {
		return fmt.Errorf("renew the harness's programs: %w: %s", err, relay.last)
	}
	return nil
}

// StartBuilder starts a container that reaches the network as the host does, or has no network if the settings are from
// [Network.Offline].
func StartBuilder(ctx context.Context, e *engine.Engine, network Network, spec engine.Spec) (*engine.Container, error) {
	spec.Network = !network.offline
	// The owner is set because runc copies the mode of an existing folder, but not the owner.
	spec.Tmpfs = map[string]string{layout.Scratch: "mode=1777,exec,uid=1000,gid=1000"}
	c, err := e.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	output := &lastLines{pass: func(string) {}}
	settings, err := network.tar()
	if err == nil {
		unpack := engine.Command{Argv: []string{"tar", "-x", "--no-same-owner", "-C", layout.Scratch}}
		err = Run(ctx, c, unpack, settings, output)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bring the network settings: %w: %s", err, output.last),
			c.Remove(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// Run runs a command and waits for its end; stdout and stderr go to output. Any status but 0 is an error.
func Run(ctx context.Context, c *engine.Container, command engine.Command, input io.Reader, output io.Writer) error {
	p, err := c.Exec(ctx, command)
	if err != nil {
		return err
	}
	go func() {
		if input != nil {
			_, _ = io.Copy(p.Stdin, input)
		}
		_ = p.Stdin.Close()
	}()
	both := &together{w: output}
	errs := make(chan error, 2)
	for _, stream := range []io.Reader{p.Stdout, p.Stderr} {
		go func() {
			_, err := io.Copy(both, stream)
			errs <- err
		}()
	}
	status, err := p.Wait(ctx)
	if err == nil && status != 0 {
		err = fmt.Errorf("%s ended with status %d", command.Argv[0], status)
	}
	return errors.Join(err, <-errs, <-errs)
}

func hash(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// together lets two streams write to one writer.
type together struct {
	sync.Mutex
	w io.Writer
}

func (t *together) Write(data []byte) (int, error) {
	t.Lock()
	defer t.Unlock()
	return t.w.Write(data)
}
