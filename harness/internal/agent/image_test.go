package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/prereq"
	"pyo3test/harness/internal/report"
)

// TestToolsImage makes the tools image if it does not exist, and then finds it, even while another process makes one.
func TestToolsImage(t *testing.T) {
	prereq.Engine(t)
	ctx := t.Context()
	e, err := engine.Connect(ctx)
	require.NoError(t, err)
	defer e.Close()
	network, err := image.HostNetwork()
	require.NoError(t, err)
	made, err := image.Ensure(ctx, e, network, Programs(), "", func(e report.Event) { t.Logf("%+v", e) })
	require.NoError(t, err)
	t.Logf("%+v", made)
	require.Regexp(t, `^3\.\d+\.\d+`, made.Python)

	unlock, err := cache.Lock(ctx, "base", func() {})
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	again, err := image.Ensure(ctx, e, network, Programs(), "", func(e report.Event) { t.Errorf("made again: %+v", e) })
	require.NoError(t, err)
	require.Equal(t, made, again)
}

// TestMade checks that an image of ours is found and started whatever happens to its name, and not the image that has
// that name now.
func TestMade(t *testing.T) {
	prereq.Engine(t)
	ctx := t.Context()
	e, err := engine.Connect(ctx)
	require.NoError(t, err)
	defer e.Close()
	emit := func(e report.Event) { t.Logf("%+v", e) }
	tools, err := image.Ensure(ctx, e, image.Network{}, Programs(), "", emit)
	require.NoError(t, err)
	start := func(id string) *engine.Container {
		c, err := e.Start(ctx, engine.Spec{Image: id, Purpose: "test", User: layout.User})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Remove(context.WithoutCancel(ctx))) })
		return c
	}
	name := "localhost/pyo3test/test:" + strings.ToLower(rand.Text())
	id, err := start(tools.ID).Commit(ctx, name, nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.RemoveImage(context.WithoutCancel(ctx), id)) })
	user := start(id)
	for _, change := range []func(context.Context, string) error{
		func(ctx context.Context, name string) error { return e.Tag(ctx, tools.ID, name) },
		e.RemoveImage,
	} {
		require.NoError(t, change(ctx, name))
		found, ok, err := e.Made(ctx, name)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, id, found.ID)
		require.NoError(t, start(found.ID).Remove(ctx))
		var said bytes.Buffer
		require.NoError(t, image.Run(ctx, user, engine.Command{Argv: []string{"true"}}, nil, &said), said.String())
	}
	emit = func(e report.Event) { t.Errorf("made again: %+v", e) }
	again, err := image.Ensure(ctx, e, image.Network{}, Programs(), "", emit)
	require.NoError(t, err)
	require.Equal(t, tools, again, "an image that was made of it inherits nothing that it is found by")

	require.NoError(t, user.Remove(ctx))
	require.NoError(t, e.RemoveImage(ctx, id))
	_, ok, err := e.Made(ctx, name)
	require.NoError(t, err)
	require.False(t, ok)
}
