package engine

import (
	"net/http"
	"net/http/httptest"
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
	cli, err := client.NewClientWithOpts(client.WithHost(strings.Replace(server.URL, "http", "tcp", 1)),
		client.WithVersion("1.41"))
	require.NoError(t, err)
	usage, err := (&Engine{cli: cli}).volumes(t.Context())
	require.NoError(t, err)
	require.Len(t, usage.Volumes, 1)
	require.Equal(t, 3, asked)
}
