package agent

import (
	"encoding/json"
	"fmt"
	"slices"

	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/verdict"
)

// Protocol is the version of the protocol between Go and the agent. The agent sends its own version when it starts.
const Protocol = 1

// Kind is the kind of an event.
type Kind string

// The agent's own events.
const (
	Ready     Kind = "ready"
	Importing Kind = "importing"
	Import    Kind = "import"
	Started   Kind = "started"
	Dump      Kind = "dump"
	Pace      Kind = "pace"
	Deadlock  Kind = "deadlock"
	Killed    Kind = "killed"
	Gone      Kind = "gone" // a test's process has ended, but pytest has not reported it yet
	Bytecode  Kind = "bytecode"
	JUnit     Kind = "junit"
	Exit      Kind = "exit"
	Beat      Kind = "beat"
	Garbage   Kind = "garbage"
	Error     Kind = "error"
	Done      Kind = "done"
)

// The plugin's events.
const (
	SessionStart Kind = "session"
	Collecting   Kind = "collecting"
	CollectError Kind = "collect-error"
	CollectSkip  Kind = "collect-skip"
	Item         Kind = "item"
	Collected    Kind = "collected"
	TestStart    Kind = "start"
	Phase        Kind = "phase"
	Report       Kind = "report"
	Finish       Kind = "finish"
	Warning      Kind = "warning"
	Finished     Kind = "finished"
	Foreign      Kind = "foreign"
	Leave        Kind = "leave"
)

var kinds = []Kind{
	Ready, Importing, Import, Started, Dump, Pace, Deadlock, Killed, Gone, Bytecode, JUnit, Exit, Beat, Garbage, Error, Done,
	SessionStart, Collecting, CollectError, CollectSkip, Item, Collected, TestStart, Phase, Report, Finish, Warning, Finished, Foreign, Leave,
}

// Event is one line of the agent's output. Which fields are set depends on the kind.
type Event struct {
	Kind Kind    `json:"ev"`
	Time float64 `json:"t"` // seconds on the container's monotonic clock

	Protocol int `json:"protocol"` // ready

	PID     int    `json:"pid"`
	Threads int    `json:"threads"`
	ID      string `json:"id"`
	Text    string `json:"text"`
	Message string `json:"message"`
	Reason  string `json:"reason"`

	// import, foreign
	OK        bool   `json:"ok"`
	Module    string `json:"module"`
	File      string `json:"file"`
	Built     string `json:"built"`
	Problem   string `json:"error"`
	Traceback string `json:"traceback"`

	// session
	Pytest  string   `json:"pytest"`
	Python  string   `json:"python"`
	RootDir string   `json:"rootdir"`
	Plugins []string `json:"plugins"`
	Workers int      `json:"workers"`
	// Isolation is the isolation actually used: the project's own options may choose another.
	Isolation string   `json:"isolation"`
	Notes     []string `json:"notes"`

	// collection and items
	Index     int      `json:"index"`
	NodeID    string   `json:"nodeid"`
	Path      string   `json:"path"`
	Line      int      `json:"line"`
	JUnitName []string `json:"junit"`
	Timeout   *float64 `json:"timeout"`
	Fixtures  []string `json:"fixtures"`
	Count     int      `json:"count"`
	Longrepr  string   `json:"longrepr"`
	Category  string   `json:"category"`

	When       string `json:"when"`
	ExitStatus int    `json:"exitstatus"`

	// beat: the CPU time of the running process, in seconds
	CPU float64 `json:"cpu"`

	// killed: each with its descendants, parents first
	Processes []struct {
		PID     int    `json:"pid"`
		Command string `json:"cmd"`
	} `json:"processes"`

	// deadlock
	After float64 `json:"after"` // how long the test had run, in seconds
	// dump
	Stacks json.RawMessage `json:"stacks"`
	Facts  string          `json:"facts"`          // what /proc shows about the process
	Parent []string        `json:"parent_threads"` // threads of its parent, other than the main one
	Crowd  int             `json:"crowd"`          // the number of processes if there were too many, else 0
	// dump, pace
	Pace *hang.Pace `json:"pace"`

	// junit: a piece of pytest's file; bytecode: a whole file
	Data []byte `json:"data"`

	// Report and Finish hold the remaining fields of these kinds; for other kinds they are empty.
	Report verdict.Report `json:"-"`
	Finish verdict.Finish `json:"-"`
	// Exited holds how pytest itself ended.
	Exited struct {
		Exit     *int   `json:"exit"`
		Signal   *int   `json:"signal"`
		Memory   string `json:"memory"`    // how the kernel killed it for lack of memory, or ""
		DiskFull bool   `json:"disk_full"` // the container's disk is full
	} `json:"-"`
}

// Seen returns the dump in a dump event. Workspace is the container's folder to which the file names of compilers are
// relative.
func (e Event) Seen(workspace string) hang.Dump {
	return hang.Dump{PID: e.PID, Stacks: e.Stacks, Text: e.Text, Problem: e.Problem, Workspace: workspace}
}

// Decode decodes one line of the agent's output. It returns an error for a line that is not an event of the protocol.
func Decode(line []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("not an event: %w: %.100q", err, line)
	}
	if !slices.Contains(kinds, e.Kind) {
		return e, fmt.Errorf("unknown event %q: %.100q", e.Kind, line)
	}
	var err error
	switch e.Kind {
	case Ready:
		if e.Protocol != Protocol {
			err = fmt.Errorf("the agent in the container speaks version %d of the protocol and this harness version %d: "+
				"remove the tools image with `pyo3test clean`, so that it is made anew", e.Protocol, Protocol)
		}
	case Report:
		err = json.Unmarshal(line, &e.Report)
	case Finish:
		err = json.Unmarshal(line, &e.Finish)
	case Exit:
		err = json.Unmarshal(line, &e.Exited)
	case Item, CollectError, CollectSkip:
		if len(e.JUnitName) != 2 {
			err = fmt.Errorf("no JUnit name")
		}
	}
	if err == nil && (e.Index < 0 || e.PID < 0) {
		err = fmt.Errorf("negative index or pid")
	}
	if err != nil {
		return e, fmt.Errorf("%s event: %w: %.100q", e.Kind, err, line)
	}
	return e, nil
}
