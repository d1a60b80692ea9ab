package extension

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
)

const (
	cratesPrefix = "pyo3test-crates-"
	// keptCrates bounds how many volumes of compiled crates are kept: each takes some 100 MB.
	keptCrates = 10
)

// compiledCrates returns a volume with a target folder in which the crates that this one depends on are compiled, or ""
// if there can be none. Other checkouts of the crate start from the same volume. They must not run each other's code, so
// the volume is made without the project's code and its name covers all the code that was run.
func (b builder) compiledCrates(ctx context.Context) (volume string, err error) {
	skeleton, ok := b.tree.Skeleton()
	if !ok {
		return "", nil
	}
	key := b.cratesKey(skeleton)
	volume = cratesPrefix + key
	waiting := func() {
		b.emit(report.Note{Topic: "build", Text: "another process compiles the same crates: waiting for it"})
	}
	unlock, err := cache.Lock(ctx, volume, waiting)
	if err != nil {
		return "", err
	}
	defer unlock()
	found, err := b.engine.HasVolume(ctx, volume)
	if err != nil {
		return "", err
	}
	if found && used(key) { // otherwise it was not completed
		return volume, markUsed(key)
	}
	var failed *Error
	switch err := b.compileCrates(ctx, skeleton.Tree, volume); {
	case errors.As(err, &failed): // the build itself reports it
		return "", b.engine.RemoveVolume(ctx, volume)
	case err != nil:
		return "", errors.Join(err, b.engine.RemoveVolume(context.WithoutCancel(ctx), volume))
	}
	if err := markUsed(key); err != nil {
		return "", err
	}
	if err := b.engine.PruneVolumes(ctx, cratesPrefix, keptCrates); err != nil {
		b.emit(report.Note{Topic: "build", Text: err.Error()})
	}
	return volume, nil
}

// compileCrates compiles a skeleton's crates into a volume.
func (b builder) compileCrates(ctx context.Context, skeleton project.Tree, volume string) error {
	network := b.buildNetwork()
	volumes := map[string]engine.Volume{
		layout.Cache:  {Name: b.volume("cache"), ReadOnly: true},
		layout.Target: {Name: volume},
	}
	bare := b
	bare.tree, bare.fetchedFor = skeleton, b.fetchKey()
	c, err := bare.inContainer(ctx, network, b.tools.ID, volumes, func(c *engine.Container) error {
		_, err := b.fetched(ctx, func() (result, error) { return bare.runBuild(ctx, c, network, "crates") })
		return err
	})
	return errors.Join(err, c.Remove(context.WithoutCancel(ctx)))
}

// cratesKey covers everything that the compiled crates depend on.
func (b builder) cratesKey(skeleton project.Skeleton) string {
	recipe := b.recipe
	recipe.Timeout, recipe.Dependencies = 0, project.Dependencies{}
	recipe.On, recipe.Hooks, recipe.Place = "", false, "" // which concern the project's own code, or what is installed
	var text strings.Builder
	_ = json.NewEncoder(&text).Encode([]any{
		b.tools.ID, buildPrograms, skeleton.Key, recipe, buildEnvironment(recipe), b.network.Offline().Key(),
	})
	return project.Sum(text.String())[:16]
}
