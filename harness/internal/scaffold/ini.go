package scaffold

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// ini is a configuration file as pytest reads it, by section and key. A line that begins with white space continues the
// value before it: https://docs.pytest.org/en/stable/reference/customize.html#pytest-ini
type ini map[string]map[string]string

var (
	iniSection = regexp.MustCompile(`^\[([^\]]+)\]`)
	iniKey     = regexp.MustCompile(`^([^\s=:#;][^=:]*?)\s*[=:][ \t]*`)
)

func parseINI(text string) ini {
	read := ini{}
	section, key := "", ""
	for line := range strings.Lines(strings.TrimPrefix(text, bom)) {
		line = strings.TrimRight(line, " \t\r\n")
		switch match := iniSection.FindStringSubmatch(line); {
		case line == "" || line[0] == '#' || line[0] == ';' || strings.HasPrefix(strings.TrimSpace(line), "#"):
		case match != nil:
			section, key = match[1], ""
			read[section] = map[string]string{}
		case line[0] == ' ' || line[0] == '\t':
			if key != "" {
				read[section][key] += "\n" + strings.TrimSpace(line)
			}
		default:
			if at := iniKey.FindStringSubmatchIndex(line); at != nil && read[section] != nil {
				key = line[at[2]:at[3]]
				read[section][key] = line[at[1]:]
			}
		}
	}
	return read
}

const (
	bom    = "\ufeff"
	forked = "--forked"
)

// forkINI adds --forked to the addopts of a section and changes nothing else.
func forkINI(text, section string) (string, error) {
	before := parseINI(text)
	old, there := before[section]["addopts"]
	if slices.Contains(strings.Fields(old), forked) {
		return text, nil
	}
	var out strings.Builder
	inside, done := false, false
	for line := range strings.Lines(text) {
		ending := line[len(strings.TrimRight(line, "\r\n")):]
		plain := strings.TrimPrefix(strings.TrimRight(line, "\r\n"), bom)
		if match := iniSection.FindStringSubmatch(plain); match != nil {
			inside = match[1] == section
			if inside && !there && !done {
				if ending == "" {
					line += "\n"
				}
				out.WriteString(line + "addopts = " + forked + ending)
				done = true
				continue
			}
		} else if at := iniKey.FindStringSubmatchIndex(plain); inside && there && !done && at != nil &&
			plain[at[2]:at[3]] == "addopts" {
			sign, rest := plain[:at[1]], plain[at[1]:]
			out.WriteString(strings.TrimRight(strings.TrimRight(sign, " \t")+" "+forked+" "+rest, " \t") + ending)
			done = true
			continue
		}
		out.WriteString(line)
	}
	want := strings.TrimRight(forked+" "+old, " \t")
	if strings.HasPrefix(old, "\n") {
		want = forked + old
	}
	if before[section] == nil {
		return "", fmt.Errorf("there is no [%s]", section)
	}
	before[section]["addopts"] = want
	if after := parseINI(out.String()); !maps.EqualFunc(before, after,
		maps.Equal[map[string]string, map[string]string]) {
		return "", fmt.Errorf("the file is written in a way that cannot be edited safely")
	}
	return out.String(), nil
}
