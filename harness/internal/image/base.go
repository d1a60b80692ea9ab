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
	"strings"
	"time"

	"pyo3test/harness/internal/engine"
	"pyo3test/images"
)

// BaseVariable names an image to use as the base instead of the pinned one; it has to bring Python and Rust.
const BaseVariable = "PYO3TEST_BASE_IMAGE"

// MirrorVariable is put before the names of the pinned images, for example "mirror.example.com/docker-hub".
const MirrorVariable = "PYO3TEST_MIRROR"

// registryTimeout bounds the question whether a registry answers at all; a pull that has begun may take longer.
const registryTimeout = 10 * time.Second

// repository is below localhost so that no engine looks for it in a registry.
const repository = "localhost/pyo3test/"

// Say tells the user what goes on: a phase and a line of text.
type Say func(phase, text string)

// base finds or makes the image that the tools are put on: the user's own, or the pinned ones pulled and joined, or,
// where no registry can be reached, one of the same role made from Debian's packages.
func base(ctx context.Context, e *engine.Engine, network Network, version string, say Say) (name string, err error) {
	if name := os.Getenv(BaseVariable); name != "" {
		return name, override(ctx, e, name, say)
	}
	python, rust := mirrored(pythonImage(version)), mirrored(images.Pins()["RUST_IMAGE"])
	pulled := repository + "base:" + hash(python, asset("Dockerfile"), asset("pins.env"))
	debian := repository + "base:debian-" + hash(asset("debian-base.sh"), asset("pins.env"))
	for _, name := range []string{pulled, debian} {
		if name == debian && version != DefaultPython {
			break
		}
		if _, ok, err := e.Image(ctx, name); ok || err != nil {
			return name, err
		}
	}
	refused := e.RegistryAnswers(ctx, python, registryTimeout)
	if refused == nil {
		return pulled, pullBase(ctx, e, network, pulled, python, rust, say)
	}
	if version != DefaultPython {
		return "", fmt.Errorf("get a base image with Python %s: %s: %w; without a registry there is only %s: set %s to an image that has it", version, python, refused, DefaultPython, BaseVariable)
	}
	return made(ctx, e, debian, python, refused, say)
}

// pythonImage is the pinned image, or the newest of another version.
func pythonImage(version string) string {
	if version == DefaultPython {
		return images.Pins()["PYTHON_IMAGE"]
	}
	return "python:" + version + "-slim-bookworm"
}

// made makes a base where the registry refused the pinned one.
func made(ctx context.Context, e *engine.Engine, name, pinned string, refused error, say Say) (string, error) {
	say("image", fmt.Sprintf("cannot have %s (%v); making a base from Debian's packages", pinned, refused))
	if err := debianBase(ctx, e, name, say); err != nil {
		return "", fmt.Errorf("get a base image: %s: %w; and without a registry: %w; set %s to an image that this engine can have, or %s to a mirror",
			pinned, refused, err, BaseVariable, MirrorVariable)
	}
	return name, nil
}

func override(ctx context.Context, e *engine.Engine, name string, say Say) error {
	_, ok, err := e.Image(ctx, name)
	if ok || err != nil {
		return err
	}
	say("image", "pulling "+name)
	if err := e.RegistryAnswers(ctx, name, registryTimeout); err != nil {
		return fmt.Errorf("%s=%s: neither in this engine nor in a registry: %w", BaseVariable, name, err)
	}
	return e.Pull(ctx, name, func(line string) { say("image", line) })
}

func mirrored(name string) string {
	if mirror := os.Getenv(MirrorVariable); mirror != "" {
		return strings.TrimRight(mirror, "/") + "/" + name
	}
	return name
}

func pullBase(ctx context.Context, e *engine.Engine, network Network, name, python, rust string, say Say) error {
	for _, image := range []string{python, rust} {
		if _, ok, err := e.Image(ctx, image); err != nil {
			return err
		} else if ok {
			continue
		}
		say("image", "pulling "+image)
		if err := e.Pull(ctx, image, func(line string) { say("image", line) }); err != nil {
			return err
		}
	}
	return buildBase(ctx, e, network, name, python, rust, say)
}

// buildBase joins Python's image and Rust's as images/Dockerfile says.
func buildBase(ctx context.Context, e *engine.Engine, network Network, name, python, rust string, say Say) error {
	say("image", "joining "+python+" and "+rust)
	arguments := network.Proxies()
	arguments["PYTHON_IMAGE"], arguments["RUST_IMAGE"] = &python, &rust
	var folder bytes.Buffer
	w := tar.NewWriter(&folder)
	if err := errors.Join(packAssets(w, ""), w.Close()); err != nil {
		return err
	}
	return e.Build(ctx, name, &folder, arguments, func(line string) { say("image", line) })
}

// debianBase runs the script that packs a root file system, straight into the engine: nothing is left on the disk.
func debianBase(ctx context.Context, e *engine.Engine, name string, say Say) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	script := exec.CommandContext(ctx, "bash", "-s")
	script.Stdin = strings.NewReader(asset("debian-base.sh"))
	script.Env = os.Environ()
	for key, value := range images.Pins() {
		script.Env = append(script.Env, key+"="+value)
	}
	script.Cancel = func() error { return script.Process.Signal(os.Interrupt) } // lets it clean up
	script.WaitDelay = 10 * time.Second
	words := &lastLines{say: func(line string) { say("image", line) }}
	script.Stderr = words
	packed, err := script.StdoutPipe()
	if err != nil {
		return fmt.Errorf("debian base: %w", err)
	}
	if err := script.Start(); err != nil {
		return fmt.Errorf("debian base: needs bash: %w", err)
	}
	// A pack that breaks off must not become an image: the engine sees an error instead of the end.
	imported := e.Import(ctx, name+"-unverified", packed, []string{
		"ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8"})
	if imported != nil {
		cancel()
	}
	waited := script.Wait()
	defer func() { _ = e.RemoveImage(context.WithoutCancel(ctx), name+"-unverified") }()
	switch {
	case waited != nil && imported == nil, waited != nil && words.last != "":
		return fmt.Errorf("debian base: %s (%w)", words.last, waited)
	case imported != nil:
		return fmt.Errorf("debian base: %w", imported)
	}
	return e.Tag(ctx, name+"-unverified", name)
}

// lastLines relays lines as they come and remembers the last one, which says why a script failed.
type lastLines struct {
	say  func(string)
	part bytes.Buffer
	last string
}

func (l *lastLines) Write(data []byte) (int, error) {
	l.part.Write(data)
	for {
		line, err := l.part.ReadString('\n')
		if err != nil {
			l.part.WriteString(line)
			return len(data), nil
		}
		if line = strings.TrimSpace(line); line != "" {
			l.last = line
			l.say(line)
		}
	}
}

func asset(name string) string {
	data, err := images.Files.ReadFile(name)
	if err != nil {
		panic("images does not embed " + name) // a mistake of ours that every run would show
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
