package agent

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/prereq"
	"pyo3test/harness/internal/report"
	"pyo3test/images"
)

// oldPytest lists the newest pytest that works with pytest-forked, for the test that compares our runner with it, and
// plugins that many projects use.
var oldPytest = []string{"pytest==9.1.1", "pytest-forked==1.7.5", "pytest-timeout==2.4.0", "pytest-benchmark==5.2.3",
	"pytest-run-parallel==0.8.2"}

// plugged lists plugins that change how tests run, for test_popular.py. They have their own environment.
var plugged = []string{"pytest-rerunfailures==16.7", "flaky==3.8.1", "pyfakefs==6.3.2", "pytest-dependency==0.6.1"}

// TestPython runs the tests of the agent's Python side, in the tools image and as the user that runs tests there.
func TestPython(t *testing.T) {
	prereq.Engine(t)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
	defer cancel()
	e, err := engine.Connect(ctx)
	require.NoError(t, err)
	defer e.Close()
	network, err := image.HostNetwork()
	require.NoError(t, err)
	tools, err := image.Ensure(ctx, e, network, Programs(), "", func(e report.Event) { t.Logf("%+v", e) })
	require.NoError(t, err)
	c, err := image.StartBuilder(ctx, e, network, engine.Spec{Image: tools.Name, Purpose: "test", User: layout.User})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Remove(context.WithoutCancel(ctx))) }()

	require.NoError(t, c.UploadTar(ctx, "/tmp", func(w *tar.Writer) error {
		locked, err := images.Files.ReadFile("pytest.txt")
		if err != nil {
			return err
		}
		if err := engine.PackFile(w, "pytest.txt", locked); err != nil {
			return err
		}
		if err := engine.PackFile(w, "pressure/pressure.c", pressure); err != nil {
			return err
		}
		return filepath.WalkDir("python", func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".py" && filepath.Ext(path) != ".jsonl" {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return engine.PackFile(w, filepath.ToSlash(path), data)
		})
	}))
	script := `set -eu
		uv=` + layout.Tools + `/uv
		for name in locked plugged old oldest; do "$uv" venv --quiet "/tmp/$name"; done
		for name in locked plugged; do "$uv" pip install --quiet --python "/tmp/$name/bin/python" --require-hashes -r /tmp/pytest.txt; done
		"$uv" pip install --quiet --python /tmp/plugged/bin/python ` + strings.Join(plugged, " ") + `
		"$uv" pip install --quiet --python /tmp/old/bin/python ` + strings.Join(oldPytest, " ") + `
		"$uv" pip install --quiet --python /tmp/oldest/bin/python pytest==7.4.4
		cd /tmp/python/tests
		PATH=` + layout.Tools + `:$PATH PYO3TEST_PLUGGED=/tmp/plugged/bin/python PYO3TEST_PYTHONS=/tmp/old/bin/python:/tmp/oldest/bin/python exec /tmp/locked/bin/python -m pytest -q -n 2 -p no:cacheprovider --color=no -rs`
	var output strings.Builder
	err = image.Run(ctx, c, engine.Command{Argv: []string{"bash", "-c", script}, Env: network.Env()}, nil, &output)
	require.NoError(t, err, output.String())
	require.Contains(t, output.String(), " passed")
	t.Log(output.String())
}
