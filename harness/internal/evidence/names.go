package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName bounds a file's name, in bytes; most file systems take 255.
const maxName = 200

// device matches the names that Windows reserves for devices, whatever their extension.
var device = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)`)

// cleanName turns any text into a file name that every file system accepts and every terminal shows as it is. Slashes
// become hyphens.
func cleanName(text string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r == '/':
			return '-'
		case r == utf8.RuneError || !unicode.IsPrint(r) || strings.ContainsRune(`<>:"\|?*`, r):
			return '_'
		}
		return r
	}, text)
	if trimmed := strings.TrimRight(name, ". "); trimmed != name {
		name = trimmed + strings.Repeat("_", len(name)-len(trimmed))
	}
	if name == "" || device.MatchString(name) {
		name = "_" + name
	}
	return shorten(name, "")
}

// shorten puts a word before the extension, and cuts the end of what precedes them if the name is then too long.
func shorten(name, word string) string {
	extension := path.Ext(name)
	if len(extension) > 10 {
		extension = ""
	}
	stem := strings.TrimSuffix(name, extension)
	if room := maxName - len(word) - len(extension); len(stem) > room {
		stem = strings.TrimRight(strings.ToValidUTF8(stem[:room], ""), ". ")
	}
	return stem + word + extension
}

// names holds the names that are taken in a run's folder, and for which text. Case is ignored, as some file systems do.
type names map[string]string

// newNames returns the names of the run's own files.
func newNames() names { return names{"junit.xml": "", "installed.txt": ""} }

// unique returns a file name for a text in a folder: always the same for that text, and never another text's.
func (n names) unique(folder, text string) string { return n.uniqueAs(folder, text, text) }

// uniqueAs is unique, with a name that shows another text.
func (n names) uniqueAs(folder, text, shown string) string {
	name := cleanName(shown)
	for word := text; ; word += "\x00" {
		taken, ok := n[strings.ToLower(folder+name)]
		if !ok || taken == text {
			n[strings.ToLower(folder+name)] = text
			return name
		}
		sum := sha256.Sum256([]byte(word))
		name = shorten(cleanName(shown), "-"+hex.EncodeToString(sum[:4]))
	}
}

// plain matches the names of runs that need no cleaning. They are ASCII only, for the scripts that use them.
var plain = regexp.MustCompile(`^[\w.-]{1,100}$`)

// runName turns the name of a test or a package into a file name: different names give different ones.
func runName(name string) string {
	if plain.MatchString(name) && strings.Trim(name, ".") != "" && !device.MatchString(name) {
		return name
	}
	clean := regexp.MustCompile(`[^\w-]+`).ReplaceAllString(name, "_")
	sum := sha256.Sum256([]byte(name))
	return clean[:min(len(clean), 90)] + "-" + hex.EncodeToString(sum[:4])
}
