// Package protocol holds what Go and the agent in a group's container say to each other: JSON lines, one type for each
// kind. Go sends commands; the agent sends events, its own and those of the pytest plugin. docs/protocol.md describes
// them, and agent/python/protocol.py has the same types.
package protocol

import (
	"encoding/json"
	"fmt"
	"reflect"

	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/verdict"
)

// Version is the version of the protocol. The agent sends its own when it starts.
const Version = 1

// Event is one line of the agent's output.
type Event interface {
	// Kind returns the kind of the event, its "ev" in the line.
	Kind() string
}

// TestEvent is an event of one test.
type TestEvent interface {
	Event
	// TestIndex returns the test's position in the collection.
	TestIndex() int
}

// The agent's own events. Numbers of processes are those in the container.
type (
	// Ready is the first event. The agent waits for Start.
	Ready struct {
		PID      int `json:"pid"`
		Protocol int `json:"protocol"`
	}
	// Importing means that a process imports the built modules.
	Importing struct {
		PID int `json:"pid"`
	}
	// Import is the result of the import of a module.
	Import struct {
		Module    string `json:"module"`
		OK        bool   `json:"ok"`
		File      string `json:"file"`
		Problem   string `json:"error"`
		Traceback string `json:"traceback"`
	}
	// Started means that pytest has started.
	Started struct {
		PID int `json:"pid"`
	}
	// Beat comes each second. CPU is the processor time of the running process, in seconds.
	Beat struct {
		CPU float64 `json:"cpu"`
	}
	// Dump is the answer to the command of the same id, or the stacks of a crash under gdb.
	Dump struct {
		ID      string          `json:"id"`
		PID     int             `json:"pid"`
		Stacks  json.RawMessage `json:"stacks"` // py-spy's JSON
		Text    string          `json:"text"`   // what else was seen if stacks are missing
		Problem string          `json:"error"`  // why they are missing
		Facts   string          `json:"facts"`  // what /proc shows of the process
		Parent  []string        `json:"parent_threads"`
		Crowd   int             `json:"crowd"` // the number of processes if there were too many, else 0
		Pace    *hang.Pace      `json:"pace"`
		Test    string          `json:"test,omitempty"` // the node id, if Go did not ask for it
	}
	// Pace is the answer to the command: what a process has done so far.
	Pace struct {
		PID  int        `json:"pid"`
		Pace *hang.Pace `json:"pace"` // nil if the process is gone
	}
	// Deadlock is the proof that a process can never end by itself.
	Deadlock struct {
		PID     int     `json:"pid"`
		After   float64 `json:"after"` // how long the test had run, in seconds
		Threads int     `json:"threads"`
		Text    string  `json:"text"`
	}
	// Killed means that the agent killed a process and its descendants, parents first.
	Killed struct {
		PID       int           `json:"pid"`
		Index     int           `json:"index"` // of the test that left them running, with the reason "leftover"
		Reason    string        `json:"reason"`
		Count     int           `json:"count"` // of the processes, if not all are listed
		Processes []ProcessInfo `json:"processes"`
	}
	// Gone means that a test's process has ended, but pytest has not reported it yet.
	Gone struct {
		PID int `json:"pid"`
	}
	// Bytecode is a file of compiled Python.
	Bytecode struct {
		File string `json:"file"`
		Data []byte `json:"data"`
	}
	// JUnit is a piece of pytest's JUnit file.
	JUnit struct {
		Data []byte `json:"data"`
	}
	// Exit is how pytest's process ended.
	Exit struct {
		Exit     *int   `json:"exit"`
		Signal   *int   `json:"signal"`
		Memory   string `json:"memory"`    // how the kernel killed it for lack of memory, or ""
		DiskFull bool   `json:"disk_full"` // the container's disk is full
		Text     string `json:"text"`      // the end of its output
	}
	// Delays is what the pressure on a test did.
	Delays struct {
		Sites []DelayedSite `json:"sites"` // those with the longest delays, at most 200
		Slept float64       `json:"slept"` // seconds, of all sites and threads
		Timed int           `json:"timed"` // the test's own waits with a time limit
		Lost  int           `json:"lost"`  // points of more sites than can be counted
		Full  bool          `json:"full"`  // the container's memory was filled, and still was at the end
	}
	// Garbage is a line that something other than the plugin wrote to its stream of events.
	Garbage struct {
		Text string `json:"text"`
	}
	// Error is a failure of the agent.
	Error struct {
		Message string `json:"message"`
	}
	// Done is the last event.
	Done struct{}
)

// DelayedSite is a place in a program that was delayed.
type DelayedSite struct {
	Kind   string  `json:"kind"`   // the C library's function, or "code"
	Module string  `json:"module"` // the file of the caller, "python" for the program itself
	Offset uint64  `json:"offset"` // of the caller in its module's symbol table
	Delays int     `json:"delays"`
	Slept  float64 `json:"slept"` // seconds
}

// ProcessInfo describes a process.
type ProcessInfo struct {
	PID     int    `json:"pid"`
	Command string `json:"cmd"`
}

// The plugin's events. An index is a test's position in the collection.
type (
	// Session is the first event of pytest's session.
	Session struct {
		Pytest    string   `json:"pytest"`
		Python    string   `json:"python"`
		RootDir   string   `json:"rootdir"`
		Args      []string `json:"args"`
		Plugins   []string `json:"plugins"`
		Isolation string   `json:"isolation"` // the one in use: the project's own options may choose another
		Workers   int      `json:"workers"`
		Notes     []string `json:"notes"`
	}
	// Collecting means that pytest imports a file; "" is none.
	Collecting struct {
		NodeID string `json:"nodeid"`
	}
	// CollectError is a file or folder that could not be collected.
	CollectError struct {
		NodeID    string    `json:"nodeid"`
		Longrepr  string    `json:"longrepr"`
		Path      string    `json:"path"`
		Line      int       `json:"line"`
		JUnitName JUnitName `json:"junit"`
	}
	// CollectSkip is a file that skips itself.
	CollectSkip struct {
		NodeID    string    `json:"nodeid"`
		Reason    string    `json:"reason"`
		Path      string    `json:"path"`
		Line      int       `json:"line"`
		JUnitName JUnitName `json:"junit"`
	}
	// Item is a collected test.
	Item struct {
		Index     int       `json:"index"`
		NodeID    string    `json:"nodeid"`
		Path      string    `json:"path"`
		Line      int       `json:"line"` // 0 if it is not known
		JUnitName JUnitName `json:"junit"`
		Timeout   *float64  `json:"timeout"` // seconds, by the project's own settings
		Fixtures  []string  `json:"fixtures"`
	}
	// Collected ends the collection. The plugin waits for Run.
	Collected struct {
		Count      int      `json:"count"`
		Deselected int      `json:"deselected"` // by -k, -m or a plugin; not in Count
		Notes      []string `json:"notes"`
	}
	// TestStart is the start of a test.
	TestStart struct {
		Index   int `json:"index"`
		PID     int `json:"pid"`
		Threads int `json:"threads"` // that pytest had when it forked the test's process
	}
	// TestPhase is the start of a test's phase: setup, call, teardown, or "report", in which pytest's own process
	// reports the test to its plugins.
	TestPhase struct {
		Index int    `json:"index"`
		PID   int    `json:"pid"`
		When  string `json:"when"`
	}
	// TestReport is pytest's report of a phase of a test, or of a subtest in it.
	TestReport struct {
		Index int `json:"index"`
		verdict.Report
	}
	// TestFinish is the end of a test.
	TestFinish struct {
		Index int `json:"index"`
		PID   int `json:"pid"`
		verdict.Finish
	}
	// Warning is a warning that pytest counts.
	Warning struct {
		Text     string `json:"text"`
		Category string `json:"category"`
		Path     string `json:"path"`
		Line     int    `json:"line"`
		NodeID   string `json:"nodeid"`
	}
	// Foreign is an imported module that is not the built one.
	Foreign struct {
		Module string `json:"module"`
		File   string `json:"file"`
		Built  string `json:"built"`
	}
	// Missing is an argument that names no test, with the node ids that come nearest.
	Missing struct {
		Argument string   `json:"argument"`
		Near     []string `json:"near"`
	}
	// Sections is what plugins print at the end of the session, such as a table of coverage.
	Sections struct {
		Text string `json:"text"`
	}
	// Finished is the end of the session.
	Finished struct {
		ExitStatus int `json:"exitstatus"`
	}
	// Leave means that the interpreter ran to its own end.
	Leave struct {
		PID int `json:"pid"`
	}
)

// JUnitName is the classname and the name of a test in pytest's JUnit file.
type JUnitName [2]string

// UnmarshalJSON refuses a list of another length.
func (n *JUnitName) UnmarshalJSON(data []byte) error {
	var names []string
	if err := json.Unmarshal(data, &names); err != nil {
		return err
	}
	if len(names) != len(n) {
		return fmt.Errorf("a JUnit name of %d parts", len(names))
	}
	copy(n[:], names)
	return nil
}

// Seen returns the dump. Workspace is the container's folder to which the file names of compilers are relative.
func (d Dump) Seen(workspace string) hang.Dump {
	return hang.Dump{PID: d.PID, Stacks: d.Stacks, Text: d.Text, Problem: d.Problem, Workspace: workspace}
}

func (e TestStart) TestIndex() int  { return e.Index }
func (e TestPhase) TestIndex() int  { return e.Index }
func (e TestReport) TestIndex() int { return e.Index }
func (e TestFinish) TestIndex() int { return e.Index }

func (Ready) Kind() string        { return "ready" }
func (Importing) Kind() string    { return "importing" }
func (Import) Kind() string       { return "import" }
func (Started) Kind() string      { return "started" }
func (Beat) Kind() string         { return "beat" }
func (Dump) Kind() string         { return "dump" }
func (Pace) Kind() string         { return "pace" }
func (Deadlock) Kind() string     { return "deadlock" }
func (Killed) Kind() string       { return "killed" }
func (Gone) Kind() string         { return "gone" }
func (Bytecode) Kind() string     { return "bytecode" }
func (JUnit) Kind() string        { return "junit" }
func (Exit) Kind() string         { return "exit" }
func (Delays) Kind() string       { return "delays" }
func (Garbage) Kind() string      { return "garbage" }
func (Error) Kind() string        { return "error" }
func (Done) Kind() string         { return "done" }
func (Session) Kind() string      { return "session" }
func (Collecting) Kind() string   { return "collecting" }
func (CollectError) Kind() string { return "collect-error" }
func (CollectSkip) Kind() string  { return "collect-skip" }
func (Item) Kind() string         { return "item" }
func (Collected) Kind() string    { return "collected" }
func (TestStart) Kind() string    { return "start" }
func (TestPhase) Kind() string    { return "phase" }
func (TestReport) Kind() string   { return "report" }
func (TestFinish) Kind() string   { return "finish" }
func (Warning) Kind() string      { return "warning" }
func (Foreign) Kind() string      { return "foreign" }
func (Missing) Kind() string      { return "missing" }
func (Sections) Kind() string     { return "sections" }
func (Finished) Kind() string     { return "finished" }
func (Leave) Kind() string        { return "leave" }

// events holds the type of each kind of event.
var events = func() map[string]reflect.Type {
	byKind := map[string]reflect.Type{}
	for _, e := range []Event{
		Ready{}, Importing{}, Import{}, Started{}, Beat{}, Dump{}, Pace{}, Deadlock{}, Killed{}, Gone{}, Bytecode{},
		JUnit{}, Delays{}, Exit{}, Garbage{}, Error{}, Done{},
		Session{}, Collecting{}, CollectError{}, CollectSkip{}, Item{}, Collected{}, TestStart{}, TestPhase{},
		TestReport{}, TestFinish{}, Warning{}, Foreign{}, Missing{}, Sections{}, Finished{}, Leave{},
	} {
		byKind[e.Kind()] = reflect.TypeOf(e)
	}
	return byKind
}()

// Decode decodes one line of the agent's output. It returns an error for a line that is not an event of the protocol.
func Decode(line []byte) (Event, error) {
	var head struct {
		Kind  string `json:"ev"`
		Index int    `json:"index"`
		PID   int    `json:"pid"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("not an event: %w: %.100q", err, line)
	}
	kind, known := events[head.Kind]
	if !known {
		return nil, fmt.Errorf("unknown event %q: %.100q", head.Kind, line)
	}
	value := reflect.New(kind)
	err := json.Unmarshal(line, value.Interface())
	e := value.Elem().Interface().(Event)
	if ready, ok := e.(Ready); ok && err == nil && ready.Protocol != Version {
		err = fmt.Errorf("the agent in the container speaks version %d of the protocol and this harness version %d: "+
			"remove the tools image with `pyo3test clean`, so that it is made anew", ready.Protocol, Version)
	}
	if err == nil && (head.Index < 0 || head.PID < 0) {
		err = fmt.Errorf("negative index or pid")
	}
	if err != nil {
		return nil, fmt.Errorf("%s event: %w: %.100q", head.Kind, err, line)
	}
	return e, nil
}
