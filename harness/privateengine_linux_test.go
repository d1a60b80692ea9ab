package harness_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/prereq"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/stretchr/testify/require"
)

// privateEngine is a test's own Docker engine, to be killed and filled up. Its store is a tmpfs of limited size.
type privateEngine struct {
	folder  string
	cidr    string // its containers' addresses on the bridge of this host's engine, whose rules it leaves alone
	cli     *client.Client
	dockerd *exec.Cmd
	ended   chan struct{}
	binary  string // testdata/anycrate's
}

// needsSecondEngine skips a test where there can be no Docker engine of its own.
func needsSecondEngine(t *testing.T) {
	t.Helper()
	prereq.Engine(t)
	if os.Getuid() != 0 {
		prereq.Skip(t, "a second Docker engine takes root")
	}
	if _, err := exec.LookPath("dockerd"); err != nil {
		prereq.Skip(t, "a second Docker engine takes dockerd: ", err)
	}
}

// startPrivateEngine starts an empty private engine.
func startPrivateEngine(t *testing.T) *privateEngine {
	t.Helper()
	needsSecondEngine(t)
	bridge, err := net.InterfaceByName("docker0")
	if err != nil {
		prereq.Skip(t, "a second Docker engine takes the bridge of this host's: ", err)
	}
	addresses, err := bridge.Addrs()
	require.NoError(t, err)
	p := &privateEngine{}
	for _, address := range addresses {
		network, ok := address.(*net.IPNet)
		if ones, _ := network.Mask.Size(); ok && network.IP.To4() != nil && ones == 16 {
			ip := network.IP.To4()
			p.cidr = fmt.Sprintf("%d.%d.240.0/24", ip[0], ip[1])
		}
	}
	if p.cidr == "" {
		prereq.Skip(t, "a second Docker engine takes a part of docker0's network, and that has another size: ",
			addresses)
	}
	p.binary = compiled(t, anycratePackage)
	p.folder, err = os.MkdirTemp("", "engine") // a socket's path has to be short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(p.folder)) })
	require.NoError(t, os.WriteFile(p.folder+"/config", []byte("{}"), 0o600)) // otherwise it would read the host's
	require.NoError(t, os.Mkdir(p.store(), 0o711))
	require.NoError(t, syscall.Mount("tmpfs", p.store(), "tmpfs", 0, "size=3g"))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(p.store(), syscall.MNT_DETACH)) })
	p.cli, err = client.NewClientWithOpts(client.WithHost(p.host()), client.WithAPIVersionNegotiation())
	require.NoError(t, err)
	t.Cleanup(func() { p.end(t) })
	p.start(t)
	return p
}

// load gives the engine the host's base and tools images.
func (p *privateEngine) load(t *testing.T, h host) {
	t.Helper()
	here, err := client.NewClientWithOpts(client.WithHost(h.Engine.Host), client.WithAPIVersionNegotiation())
	require.NoError(t, err)
	defer here.Close()
	names := map[string]string{h.Tools.BaseID: h.Tools.Base, h.Tools.ID: h.Tools.Name}
	saved, err := here.ImageSave(t.Context(), slices.Collect(maps.Keys(names)))
	require.NoError(t, err)
	defer saved.Close()
	loaded, err := p.cli.ImageLoad(t.Context(), saved)
	require.NoError(t, err)
	defer loaded.Body.Close()
	_, err = io.Copy(io.Discard, loaded.Body)
	require.NoError(t, err)
	for id, name := range names {
		require.NoError(t, p.cli.ImageTag(t.Context(), id, name))
	}
}

func (p *privateEngine) store() string { return filepath.Join(p.folder, "store") }
func (p *privateEngine) host() string  { return "unix://" + p.folder + "/socket" }

func (p *privateEngine) start(t *testing.T) {
	t.Helper()
	// It has no rules and no bridge of its own: those of the host's engine are not ours to change.
	p.dockerd = exec.Command("dockerd", "--data-root="+p.store(), "--exec-root="+p.folder+"/run",
		"--pidfile="+p.folder+"/pid",
		"--config-file="+p.folder+"/config", "--host="+p.host(), "--bridge=docker0", "--fixed-cidr="+p.cidr,
		"--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false", "--log-level=error")
	log, err := os.OpenFile(filepath.Join(p.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer log.Close()
	p.dockerd.Stdout, p.dockerd.Stderr = log, log
	p.dockerd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // if the test has no time to clean up
	require.NoError(t, p.dockerd.Start())
	p.ended = make(chan struct{})
	go func(c *exec.Cmd, ended chan struct{}) { _ = c.Wait(); close(ended) }(p.dockerd, p.ended)
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := p.cli.Ping(context.WithoutCancel(t.Context())); err == nil {
			return
		}
		if time.Now().After(end) {
			words, _ := os.ReadFile(log.Name())
			require.FailNow(t, "the private engine does not answer", string(words))
		}
	}
}

// kill kills the engine and its containerd. Its containers continue to run, as they do when an engine crashes.
func (p *privateEngine) kill(t *testing.T) {
	containerd, err := os.ReadFile(filepath.Join(p.folder, "run/containerd/containerd.pid"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(containerd)))
	require.NoError(t, err)
	require.NoError(t, p.dockerd.Process.Kill())
	_ = syscall.Kill(pid, syscall.SIGKILL)
	<-p.ended
	// A process that has not been waited for counts as running: the next dockerd would wait for its containerd.
	require.NoError(t, os.Remove(filepath.Join(p.folder, "run/containerd/containerd.pid")))
}

// stop shuts the engine down.
func (p *privateEngine) stop(t *testing.T) {
	require.NoError(t, p.dockerd.Process.Signal(syscall.SIGTERM))
	<-p.ended
}

// end leaves nothing of the engine. If it was killed, end starts it again: only the engine can end what it left
// running.
func (p *privateEngine) end(t *testing.T) {
	p.fill(t, everything)
	if _, err := p.cli.Ping(context.Background()); err != nil {
		p.start(t)
	}
	for _, id := range p.containers(t) {
		_ = p.cli.ContainerRemove(context.Background(), id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	}
	p.stop(t)
	_ = p.cli.Close()
}

func (p *privateEngine) containers(t *testing.T) (ids []string) {
	list, err := p.cli.ContainerList(context.Background(), container.ListOptions{All: true})
	require.NoError(t, err)
	for _, each := range list {
		// An old engine that removed a container before it learned of its end lists it forever, but cannot inspect it.
		if _, err := p.cli.ContainerInspect(context.Background(), each.ID); !cerrdefs.IsNotFound(err) {
			ids = append(ids, each.ID)
			t.Log("there is", each.ID, each.Image, each.Command, each.Status, each.Labels)
		}
	}
	return ids
}

// rename moves the names of all our images to an empty image.
func (p *privateEngine) rename(t *testing.T) {
	ours := filters.NewArgs(filters.Arg("label", engine.Label))
	list, err := p.cli.ImageList(context.Background(), image.ListOptions{Filters: ours})
	require.NoError(t, err)
	var empty bytes.Buffer
	require.NoError(t, tar.NewWriter(&empty).Close())
	source := image.ImportSource{Source: &empty, SourceName: "-"}
	imported, err := p.cli.ImageImport(context.Background(), source, "other:empty", image.ImportOptions{})
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, imported)
	require.NoError(t, errors.Join(err, imported.Close()))
	names := 0
	for _, each := range list {
		for _, name := range each.RepoTags {
			require.NoError(t, p.cli.ImageTag(context.Background(), "other:empty", name))
			names++
		}
	}
	require.GreaterOrEqual(t, names, 4, "base, tools, environment and extension")
}

// forgetBuilds removes the built extensions, whatever their names are now, and nothing below them.
func (p *privateEngine) forgetBuilds(t *testing.T) {
	labelled := filters.NewArgs(filters.Arg("label", engine.Label))
	list, err := p.cli.ImageList(context.Background(), image.ListOptions{All: true, Filters: labelled})
	require.NoError(t, err)
	removed := 0
	for _, each := range list {
		name, ours := strings.CutPrefix(each.Labels[engine.MadeAs], "localhost/pyo3test/extension:")
		if ours && !strings.HasPrefix(name, "environment-") {
			_, err := p.cli.ImageRemove(context.Background(), each.ID, image.RemoveOptions{})
			require.NoError(t, err)
			removed++
		}
	}
	require.NotZero(t, removed)
}

// everything makes fill only remove the filling.
const everything = -1

// fill fills the engine's disk and leaves the given number of bytes free.
func (p *privateEngine) fill(t *testing.T, free int64) {
	filling := filepath.Join(p.store(), "filling")
	require.NoError(t, os.RemoveAll(filling))
	if free == everything {
		return
	}
	f, err := os.Create(filling)
	require.NoError(t, err)
	defer f.Close()
	for err = syscall.ENOSPC; errors.Is(err, syscall.ENOSPC); { // another writer may take the space first
		var disk syscall.Statfs_t
		require.NoError(t, syscall.Statfs(p.store(), &disk))
		err = syscall.Fallocate(int(f.Fd()), 0, 0, max(1, int64(disk.Bavail)*disk.Bsize-free))
	}
	require.NoError(t, err)
}

// run runs the tests of a crate on the engine, as go test does, and calls meanwhile once the output contains words.
func (p *privateEngine) run(t *testing.T, crate, words string, meanwhile func()) (output string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, p.binary, "-test.v")
	c.Dir = "testdata/anycrate"
	c.Env = append(os.Environ(), "DOCKER_HOST="+p.host(), "SELFTEST_CRATE="+crate, "PYO3TEST_ARTIFACTS="+t.TempDir())
	seen := &waiting{words: words, then: meanwhile}
	c.Stdout, c.Stderr = seen, seen
	err := c.Run()
	require.NoError(t, ctx.Err(), "the run hangs:\n%s", &seen.text)
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	require.True(t, seen.then == nil, "the run never said %q:\n%s", words, &seen.text)
	return seen.text.String(), err == nil
}

// waiting collects what is written and calls then once, when the text contains words.
type waiting struct {
	sync.Mutex
	text  bytes.Buffer
	words string
	then  func()
}

func (w *waiting) Write(data []byte) (int, error) {
	w.Lock()
	defer w.Unlock()
	w.text.Write(data)
	if then := w.then; then != nil && strings.Contains(w.text.String(), w.words) {
		w.then = nil
		then()
	}
	return len(data), nil
}
