package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
)

// Object is a container, image or volume of the harness in an engine.
type Object struct {
	Kind    string // "container", "image" or "volume"
	ID      string
	Name    string
	Size    int64 // bytes; of an image, those that it adds to the one that it was made from
	Created time.Time
	Labels  map[string]string
	// Busy means that a run needs it now.
	Busy bool
}

// Objects lists everything that carries Label: containers first, and each image after those that are derived from it.
func (e *Engine) Objects(ctx context.Context) (found []Object, err error) {
	ours := filters.NewArgs(filters.Arg("label", Label))
	containers, err := e.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	busy := map[string]bool{} // images and volumes in use
	for _, c := range containers {
		object := Object{Kind: "container", ID: c.ID, Name: strings.TrimPrefix(strings.Join(c.Names, ","), "/"),
			Created: time.Unix(c.Created, 0), Labels: c.Labels,
			Busy: !e.owner.gone(c.Labels)}
		if found = append(found, object); object.Busy {
			busy[c.ImageID] = true
			for _, mounted := range c.Mounts {
				busy[mounted.Name] = true
			}
		}
	}
	images, err := e.cli.ImageList(ctx, image.ListOptions{All: true, Filters: ours}) // All includes unnamed ones
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	sizes := map[string]int64{}
	for _, i := range images {
		sizes[i.ID] = i.Size
	}
	slices.SortStableFunc(images, func(a, b image.Summary) int { return cmp.Compare(b.Created, a.Created) })
	for _, i := range images {
		name := i.ID
		if len(i.RepoTags) > 0 && i.RepoTags[0] != "<none>:<none>" { // old engines' name for one without a name
			name = i.RepoTags[0]
		}
		found = append(found, Object{Kind: "image", ID: i.ID, Name: name, Size: max(i.Size-sizes[i.ParentID], 0),
			Created: time.Unix(i.Created, 0), Labels: i.Labels, Busy: busy[i.ID]})
	}
	usage, err := e.volumes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	for _, v := range usage.Volumes {
		if _, labelled := v.Labels[Label]; !labelled {
			continue
		}
		object := Object{Kind: "volume", ID: v.Name, Name: v.Name, Labels: v.Labels, Busy: busy[v.Name]}
		object.Created, _ = time.Parse(time.RFC3339, v.CreatedAt)
		if v.UsageData != nil {
			object.Size = max(v.UsageData.Size, 0)
		}
		found = append(found, object)
	}
	return found, nil
}

// volumes lists the volumes with their sizes. An engine measures them for one client at a time and refuses others
// meanwhile.
func (e *Engine) volumes(ctx context.Context) (types.DiskUsage, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		usage, err := e.cli.DiskUsage(ctx, types.DiskUsageOptions{Types: []types.DiskUsageObject{types.VolumeObject}})
		if err == nil || !strings.Contains(err.Error(), "disk usage operation is already running") {
			return usage, err
		}
		select {
		case <-ctx.Done():
			return usage, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Container returns the container of an object, to run programs in. It belongs to another process, so do not remove it.
func (e *Engine) Container(o Object) *Container { return &Container{ID: o.ID, engine: e} }

// RemoveObject removes an object and reports whether it is gone: one that others need stays.
func (e *Engine) RemoveObject(ctx context.Context, o Object) (gone bool, err error) {
	switch o.Kind {
	case "container":
		err = e.remove(ctx, o.ID)
	case "image":
		_, err = e.cli.ImageRemove(ctx, o.Name, image.RemoveOptions{PruneChildren: true})
	case "volume":
		err = e.cli.VolumeRemove(ctx, o.ID, false)
	}
	switch {
	case cerrdefs.IsConflict(err):
		return false, nil
	case err != nil && !cerrdefs.IsNotFound(err):
		return false, fmt.Errorf("remove %s %s: %w", o.Kind, o.Name, err)
	}
	return true, nil
}

// HasVolume reports whether the engine has a volume of that name.
func (e *Engine) HasVolume(ctx context.Context, name string) (bool, error) {
	_, err := e.cli.VolumeInspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("inspect volume %s: %w", name, err)
	}
	return true, nil
}

// RemoveVolume removes a volume. One that is gone, or that a container uses, is no error.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	_, err := e.RemoveObject(ctx, Object{Kind: "volume", ID: name, Name: name})
	return err
}

// PruneVolumes removes all but the newest volumes whose names begin with a prefix. Those that a container uses stay.
func (e *Engine) PruneVolumes(ctx context.Context, prefix string, keep int) error {
	list, err := e.cli.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("name", prefix))})
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	found := slices.DeleteFunc(list.Volumes, func(v *volume.Volume) bool { return !strings.HasPrefix(v.Name, prefix) })
	slices.SortFunc(found, func(a, b *volume.Volume) int { return strings.Compare(b.CreatedAt, a.CreatedAt) })
	var errs []error
	for _, old := range found[min(len(found), keep):] {
		errs = append(errs, e.RemoveVolume(ctx, old.Name))
	}
	return errors.Join(errs...)
}
