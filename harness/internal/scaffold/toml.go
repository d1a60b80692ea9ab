package scaffold

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// table returns the whole TOML file, and the table with the given keys, nil if there is none.
func table(text string, keys []string) (whole, found map[string]any, err error) {
	if err := toml.Unmarshal([]byte(strings.TrimPrefix(text, bom)), &whole); err != nil {
		return nil, nil, err
	}
	found = whole
	for _, key := range keys {
		inner, ok := found[key].(map[string]any)
		if !ok {
			return whole, nil, nil
		}
		found = inner
	}
	return whole, found, nil
}

var errUneditable = errors.New("the file is written in a way that cannot be edited safely")

// forkTOML adds --forked to the addopts of a table and changes nothing else. lists means that addopts must be a list.
func forkTOML(text string, keys []string, lists bool) (string, error) {
	whole, options, err := table(text, keys)
	if err != nil {
		return "", err
	}
	if options == nil {
		return "", fmt.Errorf("there is no [%s]", strings.Join(keys, "."))
	}
	switch old := options["addopts"].(type) {
	case nil:
		options["addopts"] = any(forked)
		if lists {
			options["addopts"] = []any{forked}
		}
	case string:
		if slices.Contains(strings.Fields(old), forked) {
			return text, nil
		}
		options["addopts"] = forked + " " + old
	case []any:
		if slices.Contains(old, any(forked)) {
			return text, nil
		}
		options["addopts"] = append([]any{forked}, old...)
	default:
		return "", errUneditable
	}
	header := regexp.MustCompile(`(?m)^[ \t]*\[[ \t]*` + strings.Join(keys, `[ \t]*\.[ \t]*`) + `[ \t]*\][^\n]*(\n|\z)`)
	at := header.FindStringIndex(text)
	if at == nil {
		return "", errUneditable
	}
	edited := ""
	body := text[at[1]:]
	end := len(body)
	if next := regexp.MustCompile(`(?m)^[ \t]*\[`).FindStringIndex(body); next != nil {
		end = next[0]
	}
	if key := regexp.MustCompile(`(?m)^[ \t]*"?addopts"?[ \t]*=[ \t]*`).FindStringIndex(body[:end]); key != nil {
		edited = text[:at[1]] + body[:key[1]] + prepend(body[key[1]:])
	} else {
		value := `"` + forked + `"`
		if lists {
			value = "[" + value + "]"
		}
		ending := "\n"
		if strings.HasSuffix(text[at[0]:at[1]], "\r\n") {
			ending = "\r\n"
		}
		head := text[:at[1]]
		if !strings.HasSuffix(head, "\n") {
			head += ending
		}
		edited = head + "addopts = " + value + ending + body
	}
	after, _, err := table(edited, nil)
	if err != nil || !reflect.DeepEqual(after, whole) {
		return "", errUneditable
	}
	return edited, nil
}

// indented matches the start of a list whose items are on their own lines.
var indented = regexp.MustCompile(`^\[[ \t]*(\r?\n[ \t]*)[^\s\]#]`)

// prepend inserts --forked at the start of the value with which text begins.
func prepend(text string) string {
	for _, quote := range []string{`"""`, `'''`, `"`, `'`} {
		if rest, ok := strings.CutPrefix(text, quote); ok {
			return quote + forked + " " + rest
		}
	}
	rest, ok := strings.CutPrefix(text, "[")
	switch match := indented.FindStringSubmatch(text); {
	case !ok:
		return text // the comparison then detects it
	case match != nil:
		return "[" + match[1] + `"` + forked + `",` + rest
	case strings.HasPrefix(strings.TrimSpace(rest), "]"):
		return `["` + forked + `"` + rest
	}
	return `["` + forked + `", ` + rest
}
