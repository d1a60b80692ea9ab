package agent

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"pyo3test/harness/internal/image"
)

// thread is one thread of py-spy's JSON output.
type thread struct {
	Name    string  `json:"thread_name"`
	OSID    int     `json:"os_thread_id"`
	Active  bool    `json:"active"`
	OwnsGIL bool    `json:"owns_gil"`
	Frames  []frame `json:"frames"`
}

type frame struct {
	Name     string `json:"name"`
	Filename string `json:"filename"`
	Line     int    `json:"line"`
}

// FormatStacks writes the stacks of a dump for a reader, innermost frame first, with the host's paths. What was not seen
// is said.
func FormatStacks(dump Event, hostPath func(string) string) string {
	var threads []thread
	if err := json.Unmarshal(dump.Stacks, &threads); err != nil || len(threads) == 0 {
		why := dump.Problem
		if why == "" {
			why = "no tool could read them"
		}
		if dump.Text != "" {
			return fmt.Sprintf("stacks of process %d (%s):\n%s\n", dump.PID, why, strings.TrimRight(dump.Text, "\n"))
		}
		return fmt.Sprintf("stacks of process %d could not be had: %s\n", dump.PID, why)
	}
	var out strings.Builder
	for _, t := range threads {
		fmt.Fprintf(&out, "thread %d", t.OSID)
		if t.Name != "" {
			fmt.Fprintf(&out, " %q", t.Name)
		}
		if t.OwnsGIL {
			out.WriteString(", holds the GIL")
		}
		if !t.Active {
			out.WriteString(", idle")
		}
		out.WriteString("\n")
		folded := 0
		for i, f := range t.Frames {
			if machinery.MatchString(f.Filename) && i > 0 {
				folded++
				continue
			}
			writeFolded(&out, &folded)
			name := hostPath(f.Filename)
			if f.Line > 0 {
				name = fmt.Sprintf("%s:%d", name, f.Line)
			}
			fmt.Fprintf(&out, "    %s  %s\n", functionName(f.Name), name)
		}
		writeFolded(&out, &folded)
	}
	return out.String()
}

// functionName makes names readable that the linker knows in Rust's own form, the present one or the one before it.
func functionName(name string) string {
	if strings.HasPrefix(name, "_R") {
		return demangle.Filter(name, demangle.NoParams)
	}
	return legacyEscapes.Replace(legacyHash.ReplaceAllString(name, ""))
}

var (
	legacyHash    = regexp.MustCompile(`::h[0-9a-f]{16}$`)
	legacyEscapes = strings.NewReplacer("_$LT$", "<", "$LT$", "<", "$GT$", ">", "$LP$", "(", "$RP$", ")", "$C$", ",", "$RF$", "&", "$BP$", "*",
		"_$u7b$", "{", "$u7b$", "{", "$u7d$", "}", "$u20$", " ", "$u27$", "'", "$u5b$", "[", "$u5d$", "]", "$u7e$", "~", "..", "::")
)

// machinery matches the files of who runs a test; nobody looks for a hang there, unless it is the innermost frame.
var machinery = regexp.MustCompile(`/site-packages/(_pytest|pluggy)/|^` + regexp.QuoteMeta(image.Agent) + `/`)

func writeFolded(out *strings.Builder, folded *int) {
	if *folded > 0 {
		fmt.Fprintf(out, "    ... %d frames of pytest\n", *folded)
	}
	*folded = 0
}
