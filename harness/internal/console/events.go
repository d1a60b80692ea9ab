package console

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"pyo3test/harness/internal/visible"
)

// NewEvents returns a console for machines. It writes the lines of `go test -json` and nothing else, and reports the
// run as the package with the name.
func NewEvents(out io.Writer, name string, o Options) *Console {
	return newConsole(&events{encoder: json.NewEncoder(out), name: visible.Word(name)}, o)
}

type events struct {
	encoder *json.Encoder
	name    string
}

// event is an event of cmd/internal/test2json; see `go doc test2json`.
type event struct {
	Time    time.Time
	Action  string
	Package string
	Test    string   `json:",omitempty"`
	Elapsed *float64 `json:",omitempty"`
	Output  string   `json:",omitempty"`
	Key     string   `json:",omitempty"`
	Value   string   `json:",omitempty"`
}

func (e *events) tell(v event) {
	v.Time, v.Package = time.Now(), e.name
	_ = e.encoder.Encode(v) // there is nowhere else to report an error
}

func (e *events) phase(n *node, name, text string, took time.Duration) {
	if took > 0 {
		text = fmt.Sprintf("%s [%.1fs]", text, took.Seconds())
	}
	e.say(n, fmt.Sprintf("%-6s %s\n", name, text))
}

func (e *events) slow(n *node, nodeID string, ran time.Duration, words string) {
	e.say(n, fmt.Sprintf("SLOW %s: %v; %s\n", nodeID, ran, words))
}

// urgent writes to standard error, for people: machines read the events.
func (e *events) urgent(text string) { fmt.Fprintln(os.Stderr, visible.Text(text)) }

func (e *events) begin(n *node) {
	if n.parent == nil {
		e.tell(event{Action: "start"})
	}
	e.tell(event{Action: "run", Test: n.name})
	e.tell(event{Action: "output", Test: n.name, Output: "=== RUN   " + n.name + "\n"})
}

func (e *events) say(n *node, text string) {
	for _, line := range strings.SplitAfter(visible.Text(text), "\n") {
		if line != "" {
			e.tell(event{Action: "output", Test: n.name, Output: "    " + line})
		}
	}
}

func (e *events) attr(n *node, key, value string) {
	e.tell(event{Action: "attr", Test: n.name, Key: visible.Word(key), Value: visible.Word(value)})
}

func (e *events) end(n *node) {
	action := "pass"
	switch {
	case n.Failed():
		action = "fail"
	case n.skipped:
		action = "skip"
	}
	elapsed := n.elapsed.Seconds()
	e.tell(event{Action: "output", Test: n.name, Output: fmt.Sprintf("%s--- %s: %s (%.2fs)\n", strings.Repeat("    ", n.depth()), strings.ToUpper(action), n.name, elapsed)})
	e.tell(event{Action: action, Test: n.name, Elapsed: &elapsed})
	if n.parent == nil {
		e.tell(event{Action: "output", Output: strings.ToUpper(action) + "\n"})
		e.tell(event{Action: action, Elapsed: &elapsed})
	}
}
