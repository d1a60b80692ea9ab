package engine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/testcontainers/testcontainers-go"
)

// Spec describes a container. All fields but Image and Purpose have working zero values.
type Spec struct {
	Image   string            // an id or a name; it is not pulled if the engine does not have it
	Purpose string            // what it is for; the value of Label
	Labels  map[string]string // further labels; each key is appended to Label and a dot
	User    string            // "uid:gid"; "" is the image's user
	Volumes map[string]Volume // mount point -> volume
	Tmpfs   map[string]string // mount point -> options
	Network bool              // whether it has a network
	// Confined drops all capabilities and forbids new privileges.
	Confined bool
	Memory   int64   // bytes; 0 is no limit. There is no swap beyond it.
	CPUs     float64 // 0 is no limit
	PIDs     int64   // processes and threads; 0 is no limit
	// Lifetime ends the container even when its stream dies silently; 0 is a day.
	Lifetime time.Duration
}

// Volume is a volume of the engine, created when it is first mounted.
type Volume struct {
	Name     string
	ReadOnly bool
}

// Container is a running container. It ends when Remove is called, when this process ends in any way, or when its
// Lifetime is over.
type Container struct {
	ID     string
	engine *Engine
	stream types.HijackedResponse
}

// Start starts a container whose first process reads a stream from this process. When that stream ends, whether by
// Remove or by kill -9 of this process, the container ends and the engine removes it.
func (e *Engine) Start(ctx context.Context, spec Spec) (_ *Container, err error) {
	lifetime := spec.Lifetime
	if lifetime == 0 {
		lifetime = 24 * time.Hour
	}
	labels := maps.Clone(e.owner.labels(spec.Purpose))
	for key, value := range spec.Labels {
		labels[Label+"."+key] = value
	}
	c := &Container{engine: e}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Remove(context.WithoutCancel(ctx)))
		}
	}()
	provider, err := e.provider()
	if err != nil {
		return nil, err
	}
	created, err := provider.CreateContainer(ctx, testcontainers.ContainerRequest{
		Image:      spec.Image,
		Entrypoint: []string{"timeout", "-s", "KILL", strconv.Itoa(int(lifetime.Seconds())), "cat"},
		Labels:     labels,
		Tmpfs:      spec.Tmpfs,
		ConfigModifier: func(config *container.Config) {
			config.Image = spec.Image // unchanged: testcontainers may have prefixed a registry
			config.User = spec.User
			config.OpenStdin, config.StdinOnce, config.AttachStdin = true, true, true
			config.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
			config.Cmd = nil
		},
		HostConfigModifier: func(host *container.HostConfig) { configureHost(host, spec) },
		LifecycleHooks: []testcontainers.ContainerLifecycleHooks{{
			// Attach before it starts, so that at no moment it could outlive this process.
			PostCreates: []testcontainers.ContainerHook{func(ctx context.Context,
				created testcontainers.Container) error {
				c.ID = created.GetContainerID()
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
				defer cancel()
				var err error
				c.stream, err = e.cli.ContainerAttach(ctx, c.ID, container.AttachOptions{Stream: true, Stdin: true})
				return err
			}},
		}},
	})
	if created != nil && created.GetContainerID() != "" {
		c.ID = created.GetContainerID()
	}
	if cerrdefs.IsNotFound(err) {
		return c, fmt.Errorf("create container: %w: it was removed just now: run again, and it is made again", err)
	}
	if err != nil {
		return c, fmt.Errorf("create container: %w", err)
	}
	if err := created.Start(ctx); err != nil {
		return c, fmt.Errorf("start container: %w", err)
	}
	return c, nil
}

func configureHost(host *container.HostConfig, spec Spec) {
	init := true
	host.Init = &init
	host.AutoRemove = true
	host.Mounts = nil // this function is called twice
	for target, volume := range spec.Volumes {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeVolume, Source: volume.Name, Target: target,
			ReadOnly: volume.ReadOnly, VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{Label: "cache"}}})
	}
	if !spec.Network {
		host.NetworkMode = network.NetworkNone
	}
	if spec.Confined {
		host.CapDrop = []string{"ALL"}
		host.SecurityOpt = []string{"no-new-privileges"}
	}
	host.Memory, host.MemorySwap = spec.Memory, spec.Memory
	host.NanoCPUs = int64(spec.CPUs * 1e9)
	if spec.PIDs != 0 {
		host.PidsLimit = &spec.PIDs
	}
	host.LogConfig = container.LogConfig{Type: "none"} // its first process prints nothing
}

// Remove ends the container and waits until the engine has removed it. It is safe to call twice, and on nil.
func (c *Container) Remove(ctx context.Context) error {
	if c == nil || c.ID == "" {
		return nil
	}
	if c.stream.Conn != nil {
		c.stream.Close()
	}
	return c.engine.remove(ctx, c.ID)
}

func (e *Engine) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := e.cli.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case err == nil, cerrdefs.IsNotFound(err):
			return nil
		case !cerrdefs.IsConflict(err) && !strings.Contains(err.Error(), "is not running"):
			// A conflict is a removal already under way; the text is from a container that ended before it could be
			// killed.
			return fmt.Errorf("remove container: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove container %.12s: %w", id, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Upload unpacks a tar stream into a folder of the container.
func (c *Container) Upload(ctx context.Context, folder string, tar io.Reader) error {
	if err := c.engine.cli.CopyToContainer(ctx, c.ID, folder, tar, container.CopyToContainerOptions{}); err != nil {
		return fmt.Errorf("upload to container: %w", err)
	}
	return nil
}

// UploadTar unpacks what pack writes into a folder of the container.
func (c *Container) UploadTar(ctx context.Context, folder string, pack func(*tar.Writer) error) error {
	reader, writer := io.Pipe()
	go func() {
		w := tar.NewWriter(writer)
		writer.CloseWithError(errors.Join(pack(w), w.Close()))
	}()
	err := c.Upload(ctx, folder, reader)
	reader.CloseWithError(errors.Join(errors.New("upload ended"), err)) // or pack would wait forever
	return err
}

// PackFile adds a file that everyone may read to a tar stream.
func PackFile(w *tar.Writer, name string, data []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	return nil
}

// IsMissing reports whether an error means that what was asked for, such as a file to download, does not exist.
func IsMissing(err error) bool { return cerrdefs.IsNotFound(err) }

// Download returns a tar stream of a file or folder of the container.
func (c *Container) Download(ctx context.Context, path string) (io.ReadCloser, error) {
	stream, _, err := c.engine.cli.CopyFromContainer(ctx, c.ID, path)
	if err != nil {
		return nil, fmt.Errorf("download %s from container: %w", path, err)
	}
	return stream, nil
}

// Export returns a tar stream of the container's root file system, without volumes and tmpfs.
func (c *Container) Export(ctx context.Context) (io.ReadCloser, error) {
	stream, err := c.engine.cli.ContainerExport(ctx, c.ID)
	if err != nil {
		return nil, fmt.Errorf("export container: %w", err)
	}
	return stream, nil
}

// Running reports whether the container is still running; one that is gone is not.
func (c *Container) Running(ctx context.Context) (bool, error) {
	inspect, err := c.engine.cli.ContainerInspect(ctx, c.ID)
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("inspect container: %w", err)
	}
	return inspect.State.Running, nil
}

// Paused reports whether the container is paused. It returns false if the engine does not answer.
func (c *Container) Paused(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, pausedTimeout)
	defer cancel()
	inspect, err := c.engine.cli.ContainerInspect(ctx, c.ID)
	return err == nil && inspect.State.Paused
}

// pausedTimeout bounds how long the engine may take to answer Paused.
const pausedTimeout = 5 * time.Second

// Commit makes an image of the container's file system under a name. The image does not include volumes and tmpfs.
func (c *Container) Commit(ctx context.Context, name string, labels map[string]string,
	env map[string]string) (id string, err error) {
	config := &container.Config{Labels: map[string]string{}}
	for key := range c.engine.owner.labels("") { // or whoever runs the image would have a container that belongs to this process
		config.Labels[key] = ""
	}
	config.Labels[Label], config.Labels[MadeAs] = "image", name
	maps.Copy(config.Labels, labels)
	for key, value := range env {
		config.Env = append(config.Env, key+"="+value)
	}
	answer, err := c.engine.cli.ContainerCommit(ctx, c.ID,
		container.CommitOptions{Reference: name, Config: config, Pause: false})
	if err != nil {
		return "", fmt.Errorf("commit container: %w", err)
	}
	return answer.ID, nil
}
