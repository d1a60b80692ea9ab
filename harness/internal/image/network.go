package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/BurntSushi/toml"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/layout"
)

// Network holds what a build needs to reach package registries from this host: certificates, proxies, index settings
// and credentials. It is for build containers only: tests never see it, and no image keeps it.
type Network struct {
	env     map[string]string
	files   map[string][]byte // path below layout.Scratch -> content
	offline bool
}

// passed holds the prefixes of variables that builds get unchanged from the host. Variables that name paths of the host
// are not among them: these mean nothing in a container.
var passed = []string{
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "FTP_PROXY",
	"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES",
	"UV_DEFAULT_INDEX", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_HTTP_TIMEOUT", "UV_INSECURE_HOST",
	"CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_NET_", "CARGO_HTTP_",
}

// HostNetwork returns the settings of this host and user.
func HostNetwork() (Network, error) {
	n := Network{env: map[string]string{}, files: map[string][]byte{}}
	for _, entry := range os.Environ() {
		key, value, _ := strings.Cut(entry, "=")
		matches := func(prefix string) bool { return strings.HasPrefix(strings.ToUpper(key), prefix) }
		if value != "" && slices.ContainsFunc(passed, matches) {
			n.env[key] = value
		}
	}
	home, _ := os.UserHomeDir()
	if bundle := certificates(); len(bundle) > 0 {
		n.files["ca.pem"] = bundle
		for _, key := range []string{"SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
			"CARGO_HTTP_CAINFO", "GIT_SSL_CAINFO"} {
			n.env[key] = layout.Scratch + "/ca.pem"
		}
	}
	n.pipConfiguration(home)
	if err := n.cargoConfiguration(home); err != nil {
		return Network{}, err
	}
	for name, paths := range map[string][]string{
		"home/.netrc": {os.Getenv("NETRC"), filepath.Join(home, ".netrc")},
		"uv.toml":     {os.Getenv("UV_CONFIG_FILE"), filepath.Join(home, ".config/uv/uv.toml"), "/etc/uv/uv.toml"},
	} {
		if data, ok := firstFile(paths...); ok {
			n.files[name] = data
		}
	}
	if _, ok := n.files["uv.toml"]; ok {
		n.env["UV_CONFIG_FILE"] = layout.Scratch + "/uv.toml"
	}
	n.env["HOME"] = layout.Scratch + "/home"
	n.files["home/.keep"] = nil
	return n, nil
}

// secret matches variables, and keys of cargo's configuration, that hold credentials or name a program that supplies
// them.
var secret = regexp.MustCompile(`(?i)token|secret|password|credential`)

// Offline returns the settings for a build that already has everything it needs. They say where cargo's packages come
// from, because the names of their folders depend on it, but hold no credentials, certificates or proxies. Its
// containers have no network.
func (n Network) Offline() Network {
	off := Network{env: map[string]string{"CARGO_NET_OFFLINE": "true"}, files: map[string][]byte{}, offline: true}
	for key, value := range n.env {
		registry := strings.HasPrefix(key, "CARGO_REGISTR") && !secret.MatchString(key)
		if registry || key == "HOME" || key == "CARGO_HOME" {
			off.env[key] = value
		}
	}
	off.files["home/.keep"], off.files["cargo/.keep"] = nil, nil
	var config map[string]any
	if toml.Unmarshal(n.files["cargo/config.toml"], &config) == nil && len(config) > 0 { // cargoConfiguration wrote it
		delete(config, "http")
		off.files["cargo/config.toml"], _ = toml.Marshal(withoutSecrets(config))
	}
	return off
}

// Nowhere returns the settings for a build that fetches nothing: it has no network, and nothing of this host's settings.
func Nowhere() Network {
	return Network{env: map[string]string{"HOME": layout.Scratch + "/home", "CARGO_HOME": layout.Scratch + "/cargo"}}.Offline()
}

func withoutSecrets(table map[string]any) map[string]any {
	kept := map[string]any{}
	for key, value := range table {
		if inner, ok := value.(map[string]any); ok {
			kept[key] = withoutSecrets(inner)
		} else if !secret.MatchString(key) {
			kept[key] = value
		}
	}
	return kept
}

// Texts returns the settings' files, which may hold credentials.
func (n Network) Texts() (texts []string) {
	for name, data := range n.files {
		if name != "ca.pem" {
			texts = append(texts, string(data))
		}
	}
	return texts
}

// Key returns a hash of the settings.
func (n Network) Key() string {
	parts := n.Env()
	for _, name := range slices.Sorted(maps.Keys(n.files)) {
		parts = append(parts, name, string(n.files[name]))
	}
	return hash(parts...)
}

// Passed returns those of a user's variables that say where packages come from.
func Passed(env map[string]string) map[string]string {
	kept := map[string]string{}
	for key, value := range env {
		matches := func(prefix string) bool { return strings.HasPrefix(strings.ToUpper(key), prefix) }
		if slices.ContainsFunc(passed, matches) && !strings.Contains(strings.ToUpper(key), "CREDENTIAL") {
			kept[key] = value
		}
	}
	return kept
}

// Env returns the settings as KEY=VALUE, sorted.
func (n Network) Env() []string {
	var env []string
	for key, value := range n.env {
		env = append(env, key+"="+value)
	}
	sort.Strings(env)
	return env
}

// String describes where the settings come from. It shows none of their values, which may hold passwords.
func (n Network) String() string {
	var names []string
	for key := range n.env {
		if upper := strings.ToUpper(key); strings.HasSuffix(upper, "_PROXY") || strings.Contains(upper, "INDEX") {
			names = append(names, key)
		}
	}
	sort.Strings(names)
	if _, ok := n.files["cargo/config.toml"]; ok {
		names = append(names, "cargo's configuration")
	}
	return fmt.Sprintf("%s; certificates of this host: %d", cmp.Or(strings.Join(names, ", "), "no proxy"),
		bytes.Count(n.files["ca.pem"], []byte("BEGIN CERTIFICATE")))
}

// Proxies returns only the proxy variables, as build arguments: Docker knows these names and records none of them.
func (n Network) Proxies() map[string]*string {
	proxies := map[string]*string{}
	for key, value := range n.env {
		if strings.HasSuffix(strings.ToUpper(key), "_PROXY") {
			proxies[key] = &value
		}
	}
	return proxies
}

// tar returns the files as a tar stream to unpack into layout.Scratch.
func (n Network) tar() (io.Reader, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for name, data := range n.files {
		if err := engine.PackFile(w, name, data); err != nil {
			return nil, err
		}
	}
	return &buffer, w.Close()
}

// certificates joins the certificate files that the host's variables name with the system's own bundle: a company's
// variable may name only the company's certificate, or a whole bundle.
func certificates() []byte {
	var bundle []byte
	add := func(path string) bool {
		data, err := os.ReadFile(path)
		if path == "" || err != nil || !bytes.Contains(data, []byte("BEGIN CERTIFICATE")) {
			return false
		}
		if !bytes.Contains(bundle, data) {
			bundle = append(append(bundle, data...), '\n')
		}
		return true
	}
	for _, key := range []string{"SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
		"CARGO_HTTP_CAINFO"} {
		add(os.Getenv(key))
	}
	for _, path := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"} {
		if add(path) {
			break
		}
	}
	return bundle
}

// pipConfiguration reads pip's index settings and sets them for pip and, under uv's names, for uv, which does not read
// pip's.
func (n Network) pipConfiguration(home string) {
	data,
		_ := firstFile(os.Getenv("PIP_CONFIG_FILE"), filepath.Join(home, ".config/pip/pip.conf"),
		filepath.Join(home, ".pip/pip.conf"),
		filepath.Join(home, "Library/Application Support/pip/pip.conf"), "/etc/pip.conf")
	settings := map[string]string{}
	key := ""
	for line := range strings.Lines(string(data)) {
		trimmed := strings.TrimSpace(line)
		switch before, after, ok := strings.Cut(trimmed, "="); {
		case trimmed == "" || strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") ||
			strings.HasPrefix(trimmed, "["):
		case line[0] == ' ' || line[0] == '\t': // a list continues
			settings[key] = strings.TrimSpace(settings[key] + " " + trimmed)
		case ok:
			key = strings.ReplaceAll(strings.TrimSpace(before), "_", "-")
			settings[key] = strings.TrimSpace(after)
		}
	}
	for _, s := range []struct{ setting, pip, uv string }{
		{"index-url", "PIP_INDEX_URL", "UV_DEFAULT_INDEX"},
		{"extra-index-url", "PIP_EXTRA_INDEX_URL", "UV_INDEX"},
		{"trusted-host", "PIP_TRUSTED_HOST", "UV_INSECURE_HOST"},
	} {
		if n.env[s.pip] == "" && settings[s.setting] != "" {
			n.env[s.pip] = settings[s.setting]
		}
		if n.env[s.uv] == "" && n.env[s.pip] != "" {
			n.env[s.uv] = n.env[s.pip]
		}
	}
}

// cargoConfiguration copies how the host's cargo reaches registries, and nothing else of its configuration.
func (n Network) cargoConfiguration(home string) error {
	folder := os.Getenv("CARGO_HOME")
	if folder == "" {
		folder = filepath.Join(home, ".cargo")
	}
	n.env["CARGO_HOME"] = layout.Scratch + "/cargo"
	n.files["cargo/.keep"] = nil
	if data, ok := firstFile(filepath.Join(folder, "credentials.toml"), filepath.Join(folder, "credentials")); ok {
		n.files["cargo/credentials.toml"] = data
	}
	path := filepath.Join(folder, "config.toml")
	data, ok := firstFile(path, filepath.Join(folder, "config"))
	if !ok {
		return nil
	}
	var config map[string]any
	if err := toml.Unmarshal(data, &config); err != nil {
		return fmt.Errorf("read cargo's configuration %s: %w", path, err)
	}
	kept := map[string]any{}
	for _, table := range []string{"registries", "registry", "source", "net", "http"} {
		if value, ok := config[table]; ok {
			kept[table] = value
		}
	}
	if http, ok := kept["http"].(map[string]any); ok {
		delete(http, "cainfo") // a path of the host; the bundle above holds its certificates
	}
	var buffer bytes.Buffer
	if err := toml.NewEncoder(&buffer).Encode(kept); err != nil {
		return fmt.Errorf("write cargo's configuration: %w", err)
	}
	n.files["cargo/config.toml"] = buffer.Bytes()
	return nil
}

func firstFile(paths ...string) ([]byte, bool) {
	for _, path := range paths {
		if path == "" {
			continue
		}
		if data, err := os.ReadFile(path); err == nil {
			return data, true
		}
	}
	return nil, false
}
