package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/cpuguy83/dockercfg"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
)

// Pull fetches an image, without retries, with the credentials of the Docker configuration. It gives up when the engine
// reports no progress for the duration stall: nothing else ends the pull if a registry stops in the middle of a layer.
func (e *Engine) Pull(ctx context.Context, name string, stall time.Duration, progress func(string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.AfterFunc(stall, func() { cancel(fmt.Errorf("its registry sent nothing for %v", stall)) })
	defer patience.Stop()
	auth, unread := credentials(name)
	stream, err := e.cli.ImagePull(ctx, name, image.PullOptions{RegistryAuth: auth})
	if err == nil {
		defer stream.Close()
		err = follow(heard{stream, func() { patience.Reset(stall) }}, progress)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("pull %w", refusal(name, err, unread))
	}
	return nil
}

// heard calls note after each read.
type heard struct {
	io.Reader
	note func()
}

func (h heard) Read(data []byte) (int, error) {
	n, err := h.Reader.Read(data)
	h.note()
	return n, err
}

// RegistryAnswers asks, through the engine, whether an image can be pulled from its registry. It returns nil if the
// registry has the image, and otherwise, within the given time, why it cannot be pulled.
func (e *Engine) RegistryAnswers(ctx context.Context, name string, within time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("its registry did not answer within %v", within))
	defer cancel()
	auth, unread := credentials(name)
	_, err := e.cli.DistributionInspect(ctx, name, auth)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return refusal(name, err, unread)
	}
	return nil
}

// wantsLogin matches the errors that engines relay from registries that want credentials, or others.
var wantsLogin = regexp.MustCompile(`(?i)unauthorized|denied|no basic auth|HTTP 40[13]|incorrect username`)

// refusal returns an error that says why an image cannot be pulled, and what to do if credentials are the reason.
func refusal(name string, err, unread error) error {
	switch {
	case !wantsLogin.MatchString(err.Error()):
		return fmt.Errorf("%s: %w", name, err)
	case unread != nil:
		return fmt.Errorf("%s: %w; its credentials could not be read: %w", name, err, unread)
	}
	server := ""
	if named, err := reference.ParseNormalizedNamed(name); err == nil && reference.Domain(named) != "docker.io" {
		server = " " + reference.Domain(named)
	}
	return fmt.Errorf("%s: %w: 'docker login%s' with an account that may pull it", name, err, server)
}

// credentials returns the Docker configuration's credentials for an image's registry, encoded for the engine, or "" if
// there are none. It does not run the helpers of other registries: their failures do not matter to this image.
func credentials(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", err
	}
	config, err := dockerConfiguration()
	if err != nil {
		return "", err
	}
	server := dockercfg.ResolveRegistryHost(reference.Domain(named))
	key := server
	for entry := range config.AuthConfigs { // some tools write a URL: "https://registry.example.com/v2/"
		_, address, found := strings.Cut(entry, "://")
		if host, _, _ := strings.Cut(address, "/"); found && host == server {
			key = entry
		}
	}
	user, password, err := config.GetRegistryCredentials(key)
	if err != nil || user == "" && password == "" {
		return "", err
	}
	auth := registry.AuthConfig{ServerAddress: server, Username: user, Password: password}
	if user == "" {
		auth.Password, auth.IdentityToken = "", password
	}
	return registry.EncodeAuthConfig(auth)
}

// dockerConfiguration returns the configuration of the docker command, or what a GitLab job has in its place.
func dockerConfiguration() (config dockercfg.Config, err error) {
	if text := os.Getenv("DOCKER_AUTH_CONFIG"); text != "" {
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			return config, fmt.Errorf("read DOCKER_AUTH_CONFIG: %w", err)
		}
		return config, nil
	}
	config, err = dockercfg.LoadDefaultConfig()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return config, fmt.Errorf("read the Docker configuration: %w", err)
	}
	return config, nil
}
