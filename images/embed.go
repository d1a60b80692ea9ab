// Package images embeds what the images are made from: the pins, the locked requirements, and the scripts.
package images

import (
	"embed"
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
