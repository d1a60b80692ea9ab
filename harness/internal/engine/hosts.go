package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// candidates returns where an engine may answer, best first. If the user chose the one place, why says how.
func candidates() (hosts []string, why string) {
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		return []string{host}, " at DOCKER_HOST"
	}
	home, _ := os.UserHomeDir()
	if host, name := contextHost(home); host != "" {
		return []string{host}, fmt.Sprintf(" at the docker context %q", name)
	}
	if runtime.GOOS == "windows" {
		return []string{"npipe:////./pipe/docker_engine"}, ""
	}
	paths := []string{"/var/run/docker.sock"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "docker.sock"))
	}
	paths = append(paths, fmt.Sprintf("/run/user/%d/docker.sock", os.Getuid()))
	if home != "" {
		paths = append(paths, filepath.Join(home, ".docker/run/docker.sock"),
			filepath.Join(home, ".docker/desktop/docker.sock"))
	}
	seen := map[string]bool{}
	for _, path := range paths {
		if !seen[path] {
			seen[path] = true
			hosts = append(hosts, "unix://"+path)
		}
	}
	return hosts, ""
}

// contextHost returns the host and name of the docker CLI's current context, or "" for the default one, which is not a
// context at all.
func contextHost(home string) (host, name string) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(home, ".docker")
	}
	name = os.Getenv("DOCKER_CONTEXT")
	if name == "" {
		var config struct{ CurrentContext string }
		if data, err := os.ReadFile(filepath.Join(dir, "config.json")); err != nil ||
			json.Unmarshal(data, &config) != nil {
			return "", ""
		}
		name = config.CurrentContext
	}
	if name == "" || name == "default" {
		return "", ""
	}
	sum := sha256.Sum256([]byte(name))
	data, err := os.ReadFile(filepath.Join(dir, "contexts", "meta", hex.EncodeToString(sum[:]), "meta.json"))
	if err != nil {
		return "", ""
	}
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if json.Unmarshal(data, &meta) != nil {
		return "", ""
	}
	return meta.Endpoints["docker"].Host, name
}
