package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/jsonmessage"
	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/prereq"
	"pyo3test/harness/internal/report"
)

// registries holds real registries on this host, run with Debian's program: an open one, and one with the same content
// that requires a password.
type registries struct {
	*engine.Engine
	cli          *client.Client
	program      string
	open, locked string // host:port
	stopOpen     func()
}

const (
	registryUser = "me"
	registryPass = "hunter2"
	// registryUsers is an htpasswd line for this user and password, hashed with bcrypt.
	registryUsers = "me:$2a$04$K4h5uzgeOJccRNyNTNSB7OH.EfLCGKX71bDHgA3N2serCFRbGeHJq\n"
)

func startRegistries(t *testing.T) *registries {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		prereq.Skip(t, "needs a registry, which is taken from Debian's packages: ", err)
	}
	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	if !strings.HasPrefix(e.Host, "unix://") {
		prereq.Skip(t, "the engine may be elsewhere, where 127.0.0.1 is another host: ", e.Host)
	}
	cli, err := client.NewClientWithOpts(client.WithHost(e.Host), client.WithAPIVersionNegotiation())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cli.Close()) })

	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "users"), []byte(registryUsers), 0o600))
	script := `cd "$1" && apt-get -qq download docker-registry || { apt-get -qq update; apt-get -qq download docker-registry; } && dpkg-deb -x docker-registry_*.deb .`
	output, err := exec.Command("bash", "-c", script, "bash", folder).CombinedOutput()
	require.NoError(t, err, string(output))
	r := &registries{Engine: e, cli: cli, program: filepath.Join(folder, "usr/bin/docker-registry")}
	r.open, r.stopOpen = r.serve(t, folder, "")
	r.locked, _ = r.serve(t, folder, `auth:
  htpasswd:
    realm: test
    path: `+filepath.Join(folder, "users")+"\n")
	return r
}

// serve starts a registry on a free port, and returns its address and a function that stops it.
func (r *registries) serve(t *testing.T, folder, auth string) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address = listener.Addr().String()
	require.NoError(t, listener.Close())
	configuration := filepath.Join(t.TempDir(), "config.yml")
	require.NoError(t, os.WriteFile(configuration, []byte(`version: 0.1
log:
  level: error
storage:
  filesystem:
    rootdirectory: `+
		filepath.Join(folder, "storage")+"\nhttp:\n  addr: "+address+"\n"+auth), 0o600))
	// It ends when its input ends, and so also when the test process dies without cleaning up.
	c := exec.Command("bash", "-c", `"$0" serve "$1" </dev/null & read -r; kill $!; wait`, r.program, configuration)
	var words bytes.Buffer
	c.Stdout, c.Stderr = &words, &words
	input, err := c.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	stop = func() { _ = input.Close(); <-ended }
	t.Cleanup(stop)
	require.Eventually(t, func() bool {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	}, 20*time.Second, 20*time.Millisecond, "no registry: %s", &words)
	return address, stop
}

// push pushes an image of the engine to the open registry, removes the name used for that, and returns the digest.
func (r *registries) push(t *testing.T, source, name string) (digest string) {
	t.Helper()
	local := r.open + "/" + name
	require.NoError(t, r.Tag(t.Context(), source, local))
	defer func() { require.NoError(t, r.RemoveImage(context.WithoutCancel(t.Context()), local)) }()
	stream, err := r.cli.ImagePush(t.Context(), local,
		image.PushOptions{RegistryAuth: base64.URLEncoding.EncodeToString([]byte("{}"))})
	require.NoError(t, err)
	defer stream.Close()
	for decoder := json.NewDecoder(stream); ; {
		var message jsonmessage.JSONMessage
		err := decoder.Decode(&message)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.Nil(t, message.Error)
		var aux struct{ Digest string }
		if message.Aux != nil && json.Unmarshal(*message.Aux, &aux) == nil && aux.Digest != "" {
			digest = aux.Digest
		}
	}
	require.NotEmpty(t, digest)
	return digest
}

// toolchain makes an image laid out like the official Rust image, whose programs lead to the Rust of the Debian base.
func (r *registries) toolchain(t *testing.T, name string) {
	t.Helper()
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	for _, program := range []string{"cargo", "rustc"} {
		script := "#!/bin/sh\nexec \"$RUSTUP_HOME/toolchain/" + program + "\" \"$@\"\n"
		require.NoError(t, w.WriteHeader(&tar.Header{Name: "usr/local/cargo/bin/" + program, Mode: 0o755,
			Size: int64(len(script))}))
		_, err := io.WriteString(w, script)
		require.NoError(t, err)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: "usr/local/rustup/toolchain/" + program,
			Typeflag: tar.TypeSymlink, Linkname: "/usr/bin/" + program}))
	}
	require.NoError(t, w.Close())
	require.NoError(t, r.Import(t.Context(), name, &root, nil))
}

// forget removes an image of the test when the test ends, whatever its outcome.
func (r *registries) forget(t *testing.T, name string) {
	t.Cleanup(func() { require.NoError(t, r.RemoveImage(context.WithoutCancel(t.Context()), name)) })
}

func (r *registries) has(t *testing.T, name string) bool {
	t.Helper()
	_, ok, err := r.Image(t.Context(), name)
	require.NoError(t, err)
	return ok
}

func silently(report.Event) {}

// configure writes a Docker configuration and selects it. In text, {host} is the locked registry and {auth} its user
// and password.
func (r *registries) configure(t *testing.T, text, password string) {
	t.Helper()
	folder := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + password))
	text = strings.NewReplacer("{host}", r.locked, "{auth}", auth).Replace(text)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "config.json"), []byte(text), 0o600))
	t.Setenv("DOCKER_CONFIG", folder)
}

const (
	prefix     = "some/prefix/"
	pythonName = "python:3.11.16-slim-bookworm"
	rustName   = "rust:1.97.1-slim-bookworm"
	quick      = 2 * time.Second
)

func TestRegistry(t *testing.T) {
	prereq.Engine(t)
	t.Setenv(BaseVariable, "")
	t.Setenv(MirrorVariable, "")
	r := startRegistries(t)
	ctx := t.Context()
	// These images stand in for the pinned ones.
	if !r.has(t, debianName(DefaultPython)) {
		_, err := made(ctx, r.Engine, DefaultPython, errors.New("a test"), func(e report.Event) { t.Logf("%+v", e) })
		require.NoError(t, err)
	}
	rust := repository + "test:" + strings.ToLower(rand.Text())
	r.toolchain(t, rust)
	r.forget(t, rust)
	pins := pinned{
		version: DefaultPython,
		python:  pythonName + "@" + r.push(t, debianName(DefaultPython), prefix+pythonName),
		rust:    rustName + "@" + r.push(t, rust, prefix+rustName),
		answer:  30 * time.Second, stall: 2 * time.Minute,
	}
	r.push(t, rust, "mine/base:1")

	t.Run("pulled once", func(t *testing.T) { r.testPulledOnce(t, pins) })
	t.Run("credentials", r.testCredentials)
	t.Run("refused", r.testRefused)
	t.Run("silent", r.testSilent)
	t.Run("stalled", r.testStalled)
}

// testPulledOnce checks that of two processes that need the base only one pulls and joins it, that both get working
// tools on it, and that it can be used after the registry is gone.
func (r *registries) testPulledOnce(t *testing.T, pins pinned) {
	t.Setenv(MirrorVariable, r.open+"/"+prefix)
	nonce := rand.Text()
	var outputs [2]bytes.Buffer
	var processes [2]*exec.Cmd
	for i := range processes {
		c := exec.Command(os.Args[0], "-test.run=^TestEnsureInAnotherProcess$", "-test.v")
		c.Env = append(os.Environ(), "SELFTEST_PINS="+pins.python+" "+pins.rust+" "+nonce)
		c.Stdout, c.Stderr = &outputs[i], &outputs[i]
		require.NoError(t, c.Start())
		processes[i] = c
	}
	var all string
	for i, c := range processes {
		err := c.Wait()
		all += outputs[i].String()
		require.NoError(t, err, all)
	}
	for _, words := range []string{"pulling " + r.open + "/" + prefix + pins.python,
		"pulling " + r.open + "/" + prefix + pins.rust, "joining ", "installing the tools",
		"another process makes the base image"} {
		require.Equal(t, 1, strings.Count(all, words), "%s in\n%s", words, all)
	}

	r.stopOpen()
	tools, err := ensure(t.Context(), r.Engine, Network{}, pins, nonceProgram(nonce),
		func(e report.Event) { t.Errorf("%+v", e) })
	require.NoError(t, err)
	r.forget(t, tools.Base)
	r.forget(t, tools.Name)
	require.NotContains(t, tools.Base, "debian")
	t.Setenv(MirrorVariable, "")
	same, err := base(t.Context(), r.Engine, Network{}, pins, silently)
	require.NoError(t, err)
	require.Equal(t, tools.BaseID, same.BaseID, "the same images by whatever road")
	for _, name := range []string{pins.python, pins.rust} {
		require.False(t, r.has(t, r.open+"/"+prefix+name), "the pulled image stays beside the base")
	}

	c, err := r.Start(t.Context(), engine.Spec{Image: tools.Name, Purpose: "test", User: layout.User})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Remove(context.WithoutCancel(t.Context()))) }()
	script := `set -e; command -v cargo; cd /build; cargo init --quiet --vcs none --name it; cargo run --quiet; python3 -c 'print("and", "Python")'`
	var words strings.Builder
	command := engine.Command{Argv: []string{"bash", "-c", script},
		Env: []string{"PATH=" + layout.Path, "CARGO_HOME=/cache/cargo"}}
	require.NoError(t, Run(t.Context(), c, command, nil, &words), "%s", &words)
	require.Equal(t, `/usr/local/cargo/bin/cargo
Hello, world!
and Python
`, words.String())
}

func nonceProgram(nonce string) Programs {
	return Programs{"agent/nonce.py": []byte("# " + nonce + "\n")}
}

// TestEnsureInAnotherProcess is not a test: TestRegistry runs it as another process.
func TestEnsureInAnotherProcess(t *testing.T) {
	words := strings.Fields(os.Getenv("SELFTEST_PINS"))
	if len(words) != 3 {
		t.Skip("a part of TestRegistry")
	}
	e, err := engine.Connect(t.Context())
	require.NoError(t, err)
	defer e.Close()
	network, err := HostNetwork()
	require.NoError(t, err)
	pins := pinned{DefaultPython, words[0], words[1], 30 * time.Second, 2 * time.Minute}
	_, err = ensure(t.Context(), e, network, pins, nonceProgram(words[2]),
		func(e report.Event) { fmt.Printf("%+v\n", e) })
	require.NoError(t, err)
}

// testCredentials checks that the credentials of a Docker configuration open a registry, in every form that such a
// configuration has. Without them, or with a wrong password, the error says what to do.
func (r *registries) testCredentials(t *testing.T) {
	pins := pinned{version: DefaultPython, python: prefix + "python:no-such-tag", rust: prefix + rustName,
		answer: 30 * time.Second, stall: 2 * time.Minute}
	name := r.locked + "/mine/base:1"
	pull := func(t *testing.T) error {
		t.Setenv(BaseVariable, name)
		found, err := base(t.Context(), r.Engine, Network{}, pins, silently)
		if err == nil {
			require.Equal(t, name, found.Base)
			require.True(t, r.has(t, name))
			require.NoError(t, r.RemoveImage(t.Context(), name))
		}
		return err
	}
	helpers := t.TempDir()
	for helper, script := range map[string]string{
		"failing": "exit 1", "working": `echo '{"Username":"` + registryUser + `","Secret":"` + registryPass + `"}'`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(helpers, "docker-credential-"+helper),
			[]byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	t.Setenv("PATH", helpers+":"+os.Getenv("PATH"))
	for form, text := range map[string]string{
		"by name":                  `{"auths": {"{host}": {"auth": "{auth}"}}}`,
		"by address":               `{"auths": {"https://{host}/v2/": {"auth": "{auth}"}}}`,
		"a helper":                 `{"credHelpers": {"{host}": "working"}}`,
		"a helper of others fails": `{"auths": {"{host}": {"auth": "{auth}"}}, "credHelpers": {"other.example.com": "failing"}}`,
		"others' besides":          `{"auths": {"other.example.com": {"auth": "eDp5"}, "{host}": {"auth": "{auth}"}}}`,
	} {
		t.Run(form, func(t *testing.T) {
			r.configure(t, text, registryPass)
			require.NoError(t, pull(t))
		})
	}
	t.Run("of a job", func(t *testing.T) {
		t.Setenv("DOCKER_CONFIG", t.TempDir())
		auth := base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + registryPass))
		t.Setenv("DOCKER_AUTH_CONFIG", `{"auths": {"`+r.locked+`": {"auth": "`+auth+`"}}}`)
		require.NoError(t, pull(t))
	})
	login := "'docker login " + r.locked + "'"
	for form, c := range map[string]struct{ text, want string }{
		"none":             {`{}`, login},
		"a wrong password": {`{"auths": {"{host}": {"auth": "{auth}"}}}`, login},
		"a failing helper": {`{"credHelpers": {"{host}": "failing"}}`, "its credentials could not be read: "},
		"not JSON":         {`{`, "its credentials could not be read: read the Docker configuration"},
	} {
		t.Run(form, func(t *testing.T) {
			r.configure(t, c.text, "wrong")
			err := pull(t)
			require.ErrorContains(t, err,
				"get the base image: "+BaseVariable+"="+name+": neither in this engine nor in a registry: "+name+": ")
			require.ErrorContains(t, err, c.want)
			t.Setenv(BaseVariable, "")
			t.Setenv(MirrorVariable, r.locked)
			_, err = base(t.Context(), r.Engine, Network{}, pins, silently)
			require.ErrorContains(t, err,
				"get the base image: "+MirrorVariable+"="+r.locked+": "+r.locked+"/"+pins.python+": ")
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "set "+BaseVariable)
		})
	}
}

// serveHTTP starts a fake registry and returns its address.
func serveHTTP(t *testing.T, handler http.HandlerFunc) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // engines try TLS first
	server.Start()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return server.Listener.Addr().String()
}

// testRefused checks that a refusal, and the error of a mirror, name the registry and its reason.
func (r *registries) testRefused(t *testing.T) {
	answering := func(status int, body string) string {
		return serveHTTP(t, func(w http.ResponseWriter, request *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if request.URL.Path != "/v2/" {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			}
		})
	}
	for name, c := range map[string]struct{ address, want string }{
		"nobody listens": {"127.0.0.1:1", "connection refused"},
		"broken":         {answering(http.StatusInternalServerError, ""), "500 Internal Server Error"},
		"unknown": {answering(http.StatusNotFound,
			`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`), "manifest unknown"},
		"denied": {answering(http.StatusForbidden,
			`{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`),
			"docker login 127.0.0.1:"},
		"forbidden": {answering(http.StatusForbidden, "no"), "docker login 127.0.0.1:"},
	} {
		t.Run(name, func(t *testing.T) {
			pins := pinned{version: DefaultPython, python: c.address + "/" + pythonName,
				rust: c.address + "/" + rustName, answer: 30 * time.Second}
			_, refused, err := pins.missing(t.Context(), r.Engine)
			require.NoError(t, err)
			require.ErrorContains(t, refused, c.address+"/"+pythonName+": ")
			require.ErrorContains(t, refused, c.want)

			t.Setenv(MirrorVariable, c.address)
			_, err = base(t.Context(), r.Engine, Network{},
				pinned{version: DefaultPython, python: pythonName, rust: rustName, answer: 30 * time.Second}, silently)
			require.ErrorContains(t, err, MirrorVariable+"="+c.address+": "+refused.Error())
		})
	}
}

// testSilent checks that a registry that accepts the connection but never answers costs no more than the time allowed.
func (r *registries) testSilent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	t.Setenv(BaseVariable, listener.Addr().String()+"/mine:1")
	_, err = base(t.Context(), r.Engine, Network{}, pinned{version: DefaultPython, answer: quick}, silently)
	require.ErrorContains(t, err, "its registry did not answer within "+quick.String())
}

// testStalled checks that the pull ends if a registry stops in the middle of a layer, and that the error says what to
// do.
func (r *registries) testStalled(t *testing.T) {
	sum := func(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }
	nonce := rand.Text()
	config := `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["` + sum(nonce) +
		`"]}}`
	const kind = "application/vnd.docker.distribution.manifest.v2+json"
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":%d,"digest":%q},`+
		`"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":1000000,"digest":%q}]}`,
		kind, len(config), sum(config), sum(nonce))
	begun := make(chan struct{}, 100)
	address := serveHTTP(t, func(w http.ResponseWriter, request *http.Request) {
		switch {
		case strings.Contains(request.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Docker-Content-Digest", sum(manifest))
			w.Header().Set("Content-Length", fmt.Sprint(len(manifest)))
			_, _ = io.WriteString(w, manifest)
		case strings.HasSuffix(request.URL.Path, sum(config)):
			_, _ = io.WriteString(w, config)
		case strings.HasSuffix(request.URL.Path, sum(nonce)):
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write(make([]byte, 1000))
			w.(http.Flusher).Flush()
			begun <- struct{}{}
			<-request.Context().Done()
		}
	})
	pins := pinned{version: DefaultPython, python: pythonName + "@" + sum(manifest),
		rust: rustName + "@" + sum(manifest), answer: 30 * time.Second, stall: quick}
	t.Setenv(MirrorVariable, address)
	_, err := base(t.Context(), r.Engine, Network{}, pins, silently)
	require.ErrorContains(t, err,
		"get the base image: pull "+address+"/"+pins.python+": its registry sent nothing for "+quick.String()+": "+
			elsewhere)
	require.NotEmpty(t, begun, "the layer was asked for")
}
