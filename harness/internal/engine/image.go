package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/pkg/jsonmessage"
)

// MadeAs is the label that holds the name under which the harness made an image. Image names can be moved to other
// images; this label cannot. Every derived image that the harness makes gets its own.
const MadeAs = Label + ".made-as"

// Image is an image in the engine's store.
type Image struct {
	ID      string
	Created int64 // seconds since 1970, if it was listed
	Labels  map[string]string
	// Architecture and Env, as NAME=VALUE, are those of an image that was looked up by its name.
	Architecture string
	Env          []string
}

// Image looks up an image in the engine's store; ok is false if it is not there.
func (e *Engine) Image(ctx context.Context, name string) (_ Image, ok bool, err error) {
	inspect, err := e.cli.ImageInspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return Image{}, false, nil
	}
	if err != nil {
		return Image{}, false, fmt.Errorf("inspect image %s: %w", name, err)
	}
	found := Image{ID: inspect.ID, Architecture: inspect.Architecture}
	if inspect.Config != nil {
		found.Labels, found.Env = inspect.Config.Labels, inspect.Config.Env
	}
	return found, true, nil
}

// Made looks up the image that the harness made under a name, whatever it is called now; ok is false if there is none.
// Of several it returns the oldest, because images that a user derives from it inherit its label.
func (e *Engine) Made(ctx context.Context, name string) (_ Image, ok bool, err error) {
	found, err := e.Images(ctx, map[string]string{MadeAs: name})
	if err != nil || len(found) == 0 {
		return Image{}, false, err
	}
	return found[len(found)-1], true, nil
}

// Images lists the images that carry all of the labels, newest first.
func (e *Engine) Images(ctx context.Context, labels map[string]string) ([]Image, error) {
	args := filters.NewArgs()
	for key, value := range labels {
		args.Add("label", key+"="+value)
	}
	list, err := e.cli.ImageList(ctx, image.ListOptions{All: true, Filters: args}) // All includes unnamed ones
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var found []Image
	for _, summary := range list {
		found = append(found, Image{ID: summary.ID, Created: summary.Created, Labels: summary.Labels})
	}
	slices.SortFunc(found, func(a, b Image) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), strings.Compare(a.ID, b.ID))
	})
	return found, nil
}

// Import makes an image from a tar stream of a root file system. If the stream ends with an error, it makes none.
func (e *Engine) Import(ctx context.Context, name string, tar io.Reader, changes []string) error {
	stream, err := e.cli.ImageImport(ctx, image.ImportSource{Source: tar, SourceName: "-"}, name,
		image.ImportOptions{Changes: changes})
	if err != nil {
		return fmt.Errorf("import %s: %w", name, err)
	}
	defer stream.Close()
	if err := follow(stream, nil); err != nil {
		return fmt.Errorf("import %s: %w", name, err)
	}
	return nil
}

// Build builds an image from a Dockerfile in a tar stream, with the engine's classic builder.
func (e *Engine) Build(ctx context.Context, name string, tar io.Reader, args map[string]*string,
	progress func(string)) error {
	answer, err := e.cli.ImageBuild(ctx, tar, build.ImageBuildOptions{
		Tags: []string{name}, BuildArgs: args, Remove: true, ForceRemove: true,
		Labels: map[string]string{Label: "image", MadeAs: name},
	})
	if err != nil {
		return fmt.Errorf("build %s: %w", name, err)
	}
	defer answer.Body.Close()
	if err := follow(answer.Body, progress); err != nil {
		return fmt.Errorf("build %s: %w", name, err)
	}
	return nil
}

// Save returns an image, with its layers and history, as a tar stream.
func (e *Engine) Save(ctx context.Context, name string) (io.ReadCloser, error) {
	stream, err := e.cli.ImageSave(ctx, []string{name})
	if err != nil {
		return nil, fmt.Errorf("save image %s: %w", name, err)
	}
	return stream, nil
}

// Tag gives an image another name.
func (e *Engine) Tag(ctx context.Context, source, name string) error {
	if err := e.cli.ImageTag(ctx, source, name); err != nil {
		return fmt.Errorf("tag %s: %w", source, err)
	}
	return nil
}

// RemoveImage deletes an image by name or id. If the image does not exist or is in use, it does nothing.
func (e *Engine) RemoveImage(ctx context.Context, name string) error {
	_, err := e.cli.ImageRemove(ctx, name, image.RemoveOptions{PruneChildren: true})
	if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) {
		return fmt.Errorf("remove image %s: %w", name, err)
	}
	return nil
}

// follow reads the engine's progress messages. It returns an error if a message reports one or if the stream breaks
// off.
func follow(stream io.Reader, progress func(string)) error {
	decoder := json.NewDecoder(stream)
	for {
		var message jsonmessage.JSONMessage
		switch err := decoder.Decode(&message); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the engine's answer: %w", err)
		case message.Error != nil:
			return errors.New(message.Error.Message)
		}
		line := strings.TrimSpace(message.Stream)
		if line == "" && message.ID == "" {
			line = message.Status
		}
		if progress != nil && line != "" {
			progress(line)
		}
	}
}
