// Package images embeds what the images are made from: the pins, the locked requirements, and the scripts.
package images

import (
	"cmp"
	"embed"
	"slices"
	"strings"
)

// Files holds all files needed to make the images, so that the module works from the module cache.
//
//go:embed Dockerfile pins.env *.sh *.txt
var Files embed.FS

// Pins returns the values of pins.env by name: the images, each with its digest, and the lists of Debian packages,
// separated by spaces.
func Pins() map[string]string {
	data, err := Files.ReadFile("pins.env")
	if err != nil {
		panic(err) // embedded above
	}
	pins := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		if ok && !strings.HasPrefix(line, "#") {
			pins[key] = strings.Trim(value, `"`)
		}
	}
	return pins
}

// DebianPythons returns the versions of Python with which a base can be made from Debian's packages, in their order.
func DebianPythons() []string { return versions("DEBIAN_") }

// DebianPin returns the name of the pin that says which Debian has a version of Python.
func DebianPin(version string) string { return pinOf("DEBIAN_", version) }

// FreeThreadedPythons returns the free-threaded versions of Python that can be compiled, in their order, for example "3.14t".
func FreeThreadedPythons() []string { return versions("CPYTHON_") }

// Source returns the release of CPython and the SHA-256 of the source that a version of Python is compiled from; ok is
// false if it is not compiled.
func Source(version string) (release, sha256 string, ok bool) {
	pin, ok := Pins()[pinOf("CPYTHON_", version)]
	release, sha256, _ = strings.Cut(pin, " ")
	return release, sha256, ok
}

// pinOf returns the name of the pin with a prefix for a version: "CPYTHON_3_14T" for 3.14t.
func pinOf(prefix, version string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(version, ".", "_"))
}

// versions returns the versions whose pins have a prefix, in their order.
func versions(prefix string) (versions []string) {
	for pin := range Pins() {
		if version, ok := strings.CutPrefix(pin, prefix); ok && strings.HasPrefix(version, "3_") {
			versions = append(versions, strings.ToLower(strings.ReplaceAll(version, "_", ".")))
		}
	}
	slices.SortFunc(versions, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	return versions
}
