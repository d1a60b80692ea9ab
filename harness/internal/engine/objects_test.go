package engine

import (
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"github.com/docker/docker/client"
	"github.com/stretchr/testify/require"
)

// TestVolumesOfABusyEngine checks that an engine that is measuring its volumes for another client is asked again.
func TestVolumesOfABusyEngine(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if asked++; asked < 3 {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"message":"a disk usage operation is already running"}`))
			return
		}
		_, _ = w.Write([]byte(`{"Volumes":[{"Name":"v"}]}`))
	}))
	defer server.Close()
	usage, err := engineAt(t, server).volumes(t.Context())
	require.NoError(t, err)
	require.Len(t, usage.Volumes, 1)
	require.Equal(t, 3, asked)
}

// TestPruneVolumes checks that the newest stay, and one that a container uses, and those of other names.
func TestPruneVolumes(t *testing.T) {
	var removed []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.URL.Path)
		switch {
		case r.Method == http.MethodGet:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"Volumes":[
				{"Name":"x-old","CreatedAt":"2026-01-01T00:00:00Z"}, {"Name":"x-new","CreatedAt":"2026-01-03T00:00:00Z"},
				{"Name":"my-x-","CreatedAt":"2025-01-01T00:00:00Z"}, {"Name":"x-busy","CreatedAt":"2025-01-01T00:00:00Z"},
				{"Name":"x-newer","CreatedAt":"2026-01-04T00:00:00Z"}]}`))
		case name == "x-busy":
			w.WriteHeader(http.StatusConflict)
		default:
			removed = append(removed, name)
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	defer server.Close()
	require.NoError(t, engineAt(t, server).PruneVolumes(t.Context(), "x-", 2))
	require.Equal(t, []string{"x-old"}, removed)
}

func engineAt(t *testing.T, server *httptest.Server) *Engine {
	t.Helper()
	cli, err := client.NewClientWithOpts(client.WithHost(strings.Replace(server.URL, "http", "tcp", 1)),
		client.WithVersion("1.41"))
	require.NoError(t, err)
	return &Engine{cli: cli}
}
