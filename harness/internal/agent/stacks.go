package agent

import (
	"encoding/json"
	"fmt"
	"strings"
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
		for _, f := range t.Frames {
			name := hostPath(f.Filename)
			if f.Line > 0 {
				name = fmt.Sprintf("%s:%d", name, f.Line)
			}
			fmt.Fprintf(&out, "    %s  %s\n", f.Name, name)
		}
	}
	return out.String()
}
