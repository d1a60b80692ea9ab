package hang

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPace(t *testing.T) {
	at := func(line int) Dump {
		return Dump{PID: 7, Stacks: json.RawMessage(fmt.Sprintf(`[{"thread_name":"MainThread","os_thread_id":7,"frames":[{"name":"f","filename":"/src/a.py","line":%d}]}]`, line))}
	}
	elsewhere := Dump{PID: 7,
		Stacks: json.RawMessage(`[{"thread_name":"MainThread","os_thread_id":7,"frames":[{"name":"f","filename":"/usr/lib/a.py","line":1}]}]`)}
	for want, now := range map[string]Pace{
		"in the 2.0s before: none of its threads ran: it is stuck\n": {At: 12,
			CPU: 1, Switches: 5},
		"in the 2.0s before: its threads woke up 3 times and did next to nothing: it waits, in steps\n": {At: 12,
			CPU: 1.1, Switches: 8},
		"in the 2.0s before: it worked, with 1.50s of processor time\n": {At: 12,
			CPU: 2.5, Switches: 8},
		"in the 2.0s before: its threads woke up 90 times and did next to nothing: it waits, in steps\n": {At: 12,
			CPU: 1.2, Switches: 95, Queued: 0.2, Ready: 1},
		"in the 2.0s before: its threads had 0.15s of processor time, and were ready to run for another 1.80s, in which the " +
			"machine had no processor for them\n": {At: 12, CPU: 1.15, Switches: 95, Queued: 1.9},
	} {
		r := Report{Dump: at(3), Before: &Pace{At: 10, CPU: 1, Switches: 5, Queued: 0.1}, Now: &now}
		require.Contains(t, r.Short(unread)+"\n", "\n"+want)
	}
	starved := Report{Dump: at(3), Before: &Pace{At: 10, CPU: 1, Switches: 5, Ready: 1}, Now: &Pace{At: 12, CPU: 1.01, Switches: 6, Ready: 1}}
	require.Contains(t, starved.Short(unread), "\nin the 2.0s before: it was ready to run, and the machine had no processor for it\n")
	for want, later := range map[string]Dump{
		"processor time; a second dump found it at the same line: it " +
			"loops, or is slow there\n": at(3),
		"processor time; a second dump found it at /src/a.py:4: it continues, and may " +
			"only need a larger budget\n": at(4),
		"processor time; a second dump found it elsewhere: it continues, and may " +
			"only need a larger budget\n": elsewhere,
		"processor time\n": {PID: 7, Problem: "gone"},
	} {
		r := Report{Dump: at(3), Before: &Pace{}, Now: &Pace{At: 1, CPU: 1}, Later: &later}
		require.True(t, r.Works())
		require.Contains(t, r.Short(unread), want)
		require.Contains(t, r.Whole(unread), "a second dump, a moment later:\n")
	}
	once := Report{Dump: at(3), Now: &Pace{}}
	require.NotContains(t, once.Short(unread), "before")
	require.False(t, once.Works())
}

// TestReportOfParent: what a fork does not copy is shown if it is the cause, and is always among the facts.
func TestReportOfParent(t *testing.T) {
	r := Report{Cause: Cause{Key: InheritedThroughFork}, Parent: []string{"1 thread 'worker' of pool.so"},
		Facts: "process 7", Notes: []string{"fixtures: a"}}
	require.Contains(t, r.Short(unread), "    its parent has, and a fork does not copy: 1 thread 'worker' of pool.so\n")
	require.Contains(t, r.Short(unread), "\nfixtures: a\n")
	r.Cause.Key = Unknown
	require.NotContains(t, r.Short(unread), "worker")
	require.Contains(t, r.Whole(unread), "worker")
	require.Contains(t, r.Stacks(), "process 7", "stacks that nobody could see leave what the system tells")
}

func unread(string) ([]byte, error) { return nil, fmt.Errorf("no file") }
