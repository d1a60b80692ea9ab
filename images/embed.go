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
func DebianPythons() (versions []string) {
	for pin := range Pins() {
		if version, ok := strings.CutPrefix(pin, "DEBIAN_"); ok {
			versions = append(versions, strings.ReplaceAll(version, "_", "."))
		}
	}
	slices.SortFunc(versions, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	return versions
}
