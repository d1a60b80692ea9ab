package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/report"
	"pyo3test/images"
)

// BaseVariable is the environment variable that names a base image to use instead of the pinned one. The image must
// have Python and Rust.
const BaseVariable = "PYO3TEST_BASE_IMAGE"

// MirrorVariable is the environment variable whose value is prefixed to the names of the pinned images, for example
// "mirror.example.com/docker-hub".
const MirrorVariable = "PYO3TEST_MIRROR"

// repository is below localhost, where there is no registry: no engine finds images of these names elsewhere.
const repository = "localhost/pyo3test/"

// phase is the name of what this package does, for reporters.
const phase = "image"

// note reports what is done.
func note(emit report.Emit, format string, args ...any) {
	emit(report.Note{Topic: phase, Text: fmt.Sprintf(format, args...)})
}

// progress returns a function that reports a line that a tool printed.
func progress(emit report.Emit) func(line string) {
	return func(line string) { emit(report.Progress{Phase: phase, Text: line}) }
}

// pinned describes how to make the base from a registry's images: which to join, and how long to wait.
type pinned struct {
	version      string // of Python
	python, rust string
	answer       time.Duration // bounds the check whether a registry answers at all
	stall        time.Duration // bounds how long a pull may make no progress
}

// pins returns the pinned images. For another version of Python, it is the newest image there is; one that is compiled is
// put on the pinned ones.
func pins(version string) pinned {
	python := images.Pins()["PYTHON_IMAGE"]
	if _, _, compiled := images.Source(version); version != DefaultPython && !compiled {
		python = "python:" + version + "-slim-bookworm"
	}
	return pinned{version, python, images.Pins()["RUST_IMAGE"], 10 * time.Second, 2 * time.Minute}
}

// base finds or makes the image that the tools are put on: the user's own, or the pinned ones pulled and joined, or, if
// no registry can be reached, an equivalent one made from Debian's packages. An image or a mirror that the user chose
// is never replaced by something else. Only the base fields of the result are set.
func base(ctx context.Context, e *engine.Engine, network Network, pins pinned, emit report.Emit) (Image, error) {
	found, ok, err := pins.there(ctx, e)
	if ok || err != nil {
		return found, err
	}
	if pins.fromSource() {
		return compile(ctx, e, network, pins, emit)
	}
	name := os.Getenv(BaseVariable)
	if name != "" {
		if err := pins.override(ctx, e, name, emit); err != nil {
			return Image{}, fmt.Errorf("get the base image: %s=%s: %w", BaseVariable, name, err)
		}
	} else if name, err = pins.get(ctx, e, network, emit); err != nil {
		return Image{}, err
	}
	if found, ok, err = pins.there(ctx, e); err == nil && !ok {
		err = fmt.Errorf("the base image %s was removed as soon as it was there: run again", name)
	}
	return found, err
}

// pulledName returns the name of the base made of the pinned images.
func (p pinned) pulledName() string {
	return repository + "base:" + hash(p.python, p.rust, asset("Dockerfile"), images.Pins()["BASE_PACKAGES"])
}

// there returns the base if the engine already has it.
func (p pinned) there(ctx context.Context, e *engine.Engine) (_ Image, ok bool, err error) {
	if name := os.Getenv(BaseVariable); name != "" {
		found, ok, err := e.Image(ctx, name)
		return Image{Base: name, BaseID: found.ID}, ok, err
	}
	if p.fromSource() {
		on, ok, err := p.below().there(ctx, e)
		if !ok || err != nil {
			return Image{}, false, err
		}
		name := compiledName(p.version, on)
		found, ok, err := e.Made(ctx, name)
		return Image{Base: name, BaseID: found.ID}, ok, err
	}
	names := []string{p.pulledName(), debianName(p.version)}
	if os.Getenv(MirrorVariable) != "" {
		names = names[:1]
	}
	for _, name := range names {
		if found, ok, err := e.Made(ctx, name); ok || err != nil {
			return Image{Base: name, BaseID: found.ID}, ok, err
		}
	}
	return Image{}, false, nil
}

// get pulls or makes a base that the engine does not have, and returns its name.
func (p pinned) get(ctx context.Context, e *engine.Engine, network Network, emit report.Emit) (name string, err error) {
	if strings.HasSuffix(p.version, "t") {
		return "", fmt.Errorf("get a base image with Python %s: of the free-threaded ones, %s can be made: set %s to an image that "+
			"has it", p.version, strings.Join(images.FreeThreadedPythons(), ", "), BaseVariable)
	}
	pulled, mirror := p.pulledName(), os.Getenv(MirrorVariable)
	p.python, p.rust = mirrored(p.python), mirrored(p.rust)
	missing, refused, err := p.missing(ctx, e)
	switch {
	case err != nil:
		return "", err
	case refused == nil:
		if err := p.join(ctx, e, network, missing, pulled, emit); err != nil {
			return "", fmt.Errorf("get the base image: %w: %s", err, elsewhere)
		}
		return pulled, nil
	case mirror != "":
		return "",
			fmt.Errorf("get the base image: %s=%s: %w: fix or unset it, or set %s to an image "+
				"that this engine can have",

				MirrorVariable, mirror, refused, BaseVariable)
	case !slices.Contains(images.DebianPythons(), p.version):
		return "",
			fmt.Errorf("get a base image with Python %s: %w; without a registry only %s can be made, from "+
				"Debian's packages: set %s to an image that has it", p.version, refused, strings.Join(images.DebianPythons(), ", "), BaseVariable)
	}
	return made(ctx, e, p.version, refused, emit)
}

// elsewhere is the advice for when a registry does not deliver an image.
const elsewhere = "try again, or set " + BaseVariable + " to an image that this engine can have, or " + MirrorVariable +
	" to a mirror"

// missing returns those of the images that the engine does not have yet, or, as refused, why one of them cannot be
// pulled.
func (p pinned) missing(ctx context.Context, e *engine.Engine) (missing []string, refused, err error) {
	for _, image := range []string{p.python, p.rust} {
		if _, ok, err := e.Image(ctx, image); err != nil {
			return nil, nil, err
		} else if ok {
			continue
		}
		if err := e.RegistryAnswers(ctx, image, p.answer); err != nil {
			return nil, err, nil
		}
		missing = append(missing, image)
	}
	return missing, nil, nil
}

// made makes a base from Debian's packages after the registry refused the pinned one.
func made(ctx context.Context, e *engine.Engine, version string, refused error, emit report.Emit) (string, error) {
	note(emit, "cannot have %v; making a base from Debian's packages", refused)
	if err := debianBase(ctx, e, version, emit); err != nil {
		return "", fmt.Errorf("get the base image: %w; and without a registry: %w: %s", refused, err, elsewhere)
	}
	return debianName(version), nil
}

// override pulls the base that the user names.
func (p pinned) override(ctx context.Context, e *engine.Engine, name string, emit report.Emit) error {
	if strings.HasPrefix(name, repository) {
		return errors.New("not in this engine, and no registry has such a name: unset it, or name another image")
	}
	if err := e.RegistryAnswers(ctx, name, p.answer); err != nil {
		return fmt.Errorf("neither in this engine nor in a registry: %w", err)
	}
	note(emit, "pulling %s", name)
	return e.Pull(ctx, name, p.stall, progress(emit))
}

func mirrored(name string) string {
	if mirror := os.Getenv(MirrorVariable); mirror != "" {
		return strings.TrimRight(mirror, "/") + "/" + name
	}
	return name
}

// join pulls the missing images and joins the pinned ones. Then it removes what it pulled: the layers that the base
// needs stay, and a toolchain that was copied is not kept twice.
func (p pinned) join(ctx context.Context, e *engine.Engine, network Network, missing []string, name string,
	emit report.Emit) error {
	for _, image := range missing {
		note(emit, "pulling %s", image)
		if err := e.Pull(ctx, image, p.stall, progress(emit)); err != nil {
			return err
		}
	}
	if err := buildBase(ctx, e, network, name, p.python, p.rust, emit); err != nil {
		return err
	}
	var errs []error
	for _, image := range missing {
		errs = append(errs, e.RemoveImage(ctx, image))
	}
	return errors.Join(errs...)
}

// buildBase joins the Python and Rust images with images/Dockerfile.
func buildBase(ctx context.Context, e *engine.Engine, network Network, name, python, rust string,
	emit report.Emit) error {
	note(emit, "joining %s and %s", python, rust)
	arguments := network.Proxies()
	arguments["PYTHON_IMAGE"], arguments["RUST_IMAGE"] = &python, &rust
	var folder bytes.Buffer
	w := tar.NewWriter(&folder)
	if err := errors.Join(packAssets(w, ""), w.Close()); err != nil {
		return err
	}
	return e.Build(ctx, name, &folder, arguments, progress(emit))
}

// debianName returns the name of the base with a version of Python that is made of Debian's packages.
func debianName(version string) string {
	pins := images.Pins()
	return repository + "base:debian-" + hash(asset("debian-base.sh"), pins[images.DebianPin(version)], pins["BASE_PACKAGES"],
		version, strings.Join(debianChanges, "\n"))
}

// debianChanges are a base's settings beside its files; `make clean` finds it by the label.
var debianChanges = []string{
	"ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8",
	"LABEL " + engine.Label + "=image",
}

// debianBase runs the script that packs a root file system, and streams its output into the engine.
func debianBase(ctx context.Context, e *engine.Engine, version string, emit report.Emit) error {
	name := debianName(version)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	script := exec.CommandContext(ctx, "bash", "-s")
	script.Stdin = strings.NewReader(asset("debian-base.sh"))
	script.Env = append(os.Environ(), "PYTHON="+version, "DEBIAN_SUITE=", "DEBIAN_PACKAGES=")
	for key, value := range images.Pins() {
		script.Env = append(script.Env, key+"="+value)
	}
	script.Cancel = func() error { return script.Process.Signal(os.Interrupt) } // lets it clean up
	script.WaitDelay = 10 * time.Second
	printed := &lastLines{pass: progress(emit)}
	script.Stderr = printed
	packed, err := script.StdoutPipe()
	if err != nil {
		return fmt.Errorf("debian base: %w", err)
	}
	if err := script.Start(); err != nil {
		return fmt.Errorf("debian base: needs bash: %w", err)
	}
	// A stream that breaks off must not become a usable image, so the final name is given only after the script
	// succeeded.
	imported := e.Import(ctx, name+"-unverified", packed, debianChanges)
	if imported != nil {
		cancel()
	}
	waited := script.Wait()
	defer func() { _ = e.RemoveImage(context.WithoutCancel(ctx), name+"-unverified") }()
	switch {
	case waited != nil && imported == nil, waited != nil && printed.last != "":
		return fmt.Errorf("debian base: %s (%w)", printed.last, waited)
	case imported != nil:
		return fmt.Errorf("debian base: %w", imported)
	}
	return named(ctx, e, name, name+"-unverified")
}

// named makes an image with the given name from an existing one.
func named(ctx context.Context, e *engine.Engine, name, from string) error {
	found, ok, err := e.Image(ctx, from)
	if err != nil || !ok {
		return errors.Join(err, fmt.Errorf("image %s is not there any more: run again", from))
	}
	var folder bytes.Buffer
	w := tar.NewWriter(&folder)
	if err := errors.Join(engine.PackFile(w, "Dockerfile", []byte("FROM "+found.ID+"\n")), w.Close()); err != nil {
		return err
	}
	return e.Build(ctx, name, &folder, nil, nil)
}

// maxLine bounds how much is kept of a line that does not end, in bytes.
const maxLine = 64 << 10

// lastLines relays lines as they are written and keeps the last one, which says why a script failed.
type lastLines struct {
	pass func(line string)
	part bytes.Buffer
	last string
}

func (l *lastLines) Write(data []byte) (int, error) {
	l.part.Write(data)
	for {
		line, err := l.part.ReadString('\n')
		if err != nil {
			l.part.WriteString(line[max(0, len(line)-maxLine):])
			return len(data), nil
		}
		if line = strings.TrimSpace(line); line != "" {
			l.last = line
			l.pass(line)
		}
	}
}

func asset(name string) string {
	data, err := images.Files.ReadFile(name)
	if err != nil {
		panic("images does not embed " + name) // a bug in the harness that every run would show
	}
	return string(data)
}

// packAssets adds the embedded files to a tar stream, below a folder.
func packAssets(w *tar.Writer, prefix string) error {
	return fs.WalkDir(images.Files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return engine.PackFile(w, prefix+path, []byte(asset(path)))
	})
}
