package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Command is a line that Go sends to the agent.
type Command interface {
	// Name returns the command's name, its "cmd" in the line.
	Name() string
}

type (
	// Start is the first command. It says how to run pytest.
	Start struct {
		Python    string            `json:"python"`
		Dir       string            `json:"cwd"`
		Env       map[string]string `json:"env"` // complete
		Args      []string          `json:"args"`
		Isolation string            `json:"isolation"` // "forked", "subprocess" or "inprocess"
		Workers   int               `json:"workers"`   // 0 leaves it to the project's own -n, else 1
		Out       string            `json:"out"`       // the folder for what pytest leaves
		Imports   []Module          `json:"imports"`
		Unproved  bool              `json:"no_deadlock_proof"` // a deadlocked test uses up its time budget
		Restore   string            `json:"restore"`           // the folder with the built modules, "" for none
		Into      string            `json:"into"`              // where they belong
		Debugger  bool              `json:"debugger"`          // gdb runs pytest; a crash sends the stacks as a dump
		Outputs   []string          `json:"outputs"`           // patterns of what to copy to Out, relative to Dir
		Compiled  []string          `json:"compiled"`          // files of bytecode below Into that need not be reported
		Pressure  *Pressure         `json:"pressure,omitempty"`
	}
	// Run lets pytest run the tests with these collection indices, in this order.
	Run struct {
		Order []int `json:"order"`
	}
	// AskDump asks for the stacks of a process; they come as a Dump with the same id.
	AskDump struct {
		PID int    `json:"pid"`
		ID  string `json:"id"`
	}
	// AskPace asks how much a process has done so far; the answer is a Pace.
	AskPace struct {
		PID int `json:"pid"`
	}
	// Kill kills a process and all its descendants. If it is a test's process, the test is reported with the reason
	// and the message.
	Kill struct {
		PID     int    `json:"pid"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	}
	// Stop ends everything, including the agent.
	Stop struct{}
)

// Pressure is what makes a rare failure of one test frequent, in its setup and its call: delays of its threads, and
// conditions. Probabilities and shares are from 0 to 1, and 0 is none; times are in seconds.
type Pressure struct {
	Test string `json:"test"` // the node id; "" is each test
	Seed uint32 `json:"seed"` // of the delays; at most 2^31-1
	// Calls is the probability of a delay at each call of the C library that synchronises threads.
	Calls float64 `json:"calls"`
	// Code is the probability of a delay at each active edge of code that was compiled with hooks.
	Code float64 `json:"code"`
	// Directed holds the offsets of the active edges in their module; if there are none, the seed chooses a Share of all.
	Directed []uint32 `json:"directed"`
	Share    float64  `json:"share"`
	Longest  float64  `json:"longest"` // delay
	// Budget bounds the sum of all delays of a test, beside a quarter of the time that it takes. Tests that share a process
	// share it.
	Budget float64 `json:"budget"`

	SwitchInterval float64 `json:"switch_interval"` // Python's, 0 for its own
	Garbage        bool    `json:"garbage"`         // Python collects garbage as often as it can
	OneProcessor   bool    `json:"one_processor"`   // the test's threads share one
	Load           int     `json:"load"`            // processes that compute beside it
	Memory         bool    `json:"memory"`          // another process fills the container's memory up to a margin
}

// Module is a module to import before the tests do. The import must load this file with this content.
type Module struct {
	Name   string `json:"name"`
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

func (Start) Name() string   { return "start" }
func (Run) Name() string     { return "run" }
func (AskDump) Name() string { return "dump" }
func (AskPace) Name() string { return "pace" }
func (Kill) Name() string    { return "kill" }
func (Stop) Name() string    { return "stop" }

// Encode returns a command as a line.
func Encode(c Command) ([]byte, error) {
	fields, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode the command %s: %w", c.Name(), err)
	}
	head := fmt.Sprintf(`{"cmd":%q,`, c.Name())
	if bytes.Equal(fields, []byte("{}")) {
		head = head[:len(head)-1]
	}
	return append(append([]byte(head), fields[1:]...), '\n'), nil
}
