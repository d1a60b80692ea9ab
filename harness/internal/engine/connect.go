// Package engine is the only package that talks to Docker. It finds an engine, starts containers that cannot
// outlive this process, and moves files, images and streams in and out of them.
package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// probeTimeout bounds how long to wait for an engine to answer at one place. A local engine answers in milliseconds, a
// remote one over a slow line in a second or two.
const probeTimeout = 5 * time.Second

// Engine is a Docker engine that answers.
type Engine struct {
	// Host is the engine's address, in DOCKER_HOST's form.
	Host string
	// Version is the engine's own version, for example "28.5.2".
	Version string

	cli      *client.Client
	provider func() (*testcontainers.DockerProvider, error)
	owner    Owner
}

// Connect finds the engine that the docker command would use: DOCKER_HOST, the CLI's current context, then the usual
// sockets, including rootless ones and Docker Desktop's. It starts nothing. The error says what was tried and what to
// do.
func Connect(ctx context.Context) (*Engine, error) {
	hosts, why := candidates()
	var tried []string
	for _, host := range hosts {
		e, err := dial(ctx, host)
		if err == nil {
			return e, nil
		}
		tried = append(tried, fmt.Sprintf("%s (%v)", host, err))
	}
	return nil,
		fmt.Errorf("find a Docker engine: none answers%s; tried %s: start Docker, or set DOCKER_HOST to one that runs",
			why, strings.Join(tried, ", "))
}

func dial(ctx context.Context, host string) (*Engine, error) {
	if path, ok := strings.CutPrefix(host, "unix://"); ok {
		if _, err := os.Stat(path); err != nil {
			return nil, errors.New("no such socket")
		}
	}
	if strings.HasPrefix(host, "ssh://") {
		return nil, errors.New("ssh is not supported: forward the socket and name that")
	}
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithHost(host), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if _, err := cli.Ping(ctx); err != nil {
		return nil, shortDialError(err)
	}
	version, err := cli.ServerVersion(ctx)
	if err != nil {
		return nil, err
	}
	provider := sync.OnceValues(func() (*testcontainers.DockerProvider, error) { return newProvider(host, cli) })
	go func() { _, _ = provider() }() // it repeats calls to the engine while the caller looks up images
	return &Engine{Host: host, Version: version.Version, cli: cli, provider: provider, owner: thisProcess()}, nil
}

// Machine is the machine that an engine runs on.
type Machine struct {
	Architecture string // such as x86_64
	Kernel       string
	Processors   int
	Memory       int64 // bytes
}

// Machine returns the engine's machine.
func (e *Engine) Machine(ctx context.Context) (Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := e.cli.Info(ctx)
	if err != nil {
		return Machine{}, fmt.Errorf("ask the engine for its machine: %w", err)
	}
	return Machine{info.Architecture, info.KernelVersion, info.NCPU, info.MemTotal}, nil
}

// Close closes the connections. Containers that are still running end when their streams do.
func (e *Engine) Close() error {
	_, _ = e.provider() // it may still be at work
	return e.cli.Close()
}

func shortDialError(err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "permission denied"):
		return errors.New("permission denied: is this user in the docker group?")
	case client.IsErrConnectionFailed(err):
		return errors.New("no answer")
	default:
		return err
	}
}

var providerMutex sync.Mutex

// newProvider makes testcontainers use our client. It turns off testcontainers' own reaper, which needs a registry and
// reaps too early when packages run in parallel. Here every container dies with its stream instead.
func newProvider(host string, cli *client.Client) (*testcontainers.DockerProvider, error) {
	providerMutex.Lock()
	defer providerMutex.Unlock()
	// testcontainers reads both once, at its first use; it panics if nothing answers at DOCKER_HOST.
	for key, value := range map[string]string{"TESTCONTAINERS_RYUK_DISABLED": "true", "DOCKER_HOST": host} {
		if err := os.Setenv(key, value); err != nil {
			return nil, err
		}
	}
	before := log.Default()
	log.SetDefault(silent{}) // it would print a page of details about the engine
	defer log.SetDefault(before)
	options := testcontainers.Generic2DockerOptions(testcontainers.WithLogger(silent{}))
	provider, err := testcontainers.NewDockerProvider(append(options,
		testcontainers.WithDefaultBridgeNetwork(testcontainers.Bridge))...)
	if err != nil {
		return nil, fmt.Errorf("testcontainers: %w", err)
	}
	provider.SetClient(lent{cli})
	return provider, nil
}

// lent is our client, as lent to testcontainers.
type lent struct{ *client.Client }

// Close does nothing. testcontainers calls it after each use: closing would drop idle connections, and each new one
// costs a round trip.
func (lent) Close() error { return nil }

// ImageInspect finds every image, and each without ports. testcontainers pulls an image that it does not find, but ours
// are in the engine or nowhere: no registry has them. If one is missing, the engine reports it when it creates the
// container.
func (lent) ImageInspect(context.Context, string, ...client.ImageInspectOption) (image.InspectResponse, error) {
	return image.InspectResponse{Config: &dockerspec.DockerOCIImageConfig{}}, nil
}

type silent struct{}

func (silent) Printf(string, ...any) {}
