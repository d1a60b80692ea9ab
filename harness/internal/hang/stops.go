package hang

import (
	"fmt"
	"regexp"
	"strconv"
)

// stoppedLine matches, in what the system reports about a process, a thread or descendant that a signal has stopped.
var stoppedLine = regexp.MustCompile(`(?m)^(thread|descendant) (\d+) .*: state T, (.*)$`)

// Crowded returns the cause if so many processes ran that each had next to no processor time.
func (c Cause) Crowded(processes int) Cause {
	sentence := fmt.Sprintf("%d processes run in the container: the test starts them without an end", processes)
	return Cause{Key: ForkBomb, Sentence: sentence, Cure: cureForkBomb, File: c.File, Line: c.Line}
}

// Stopped returns the cause if a signal has stopped the process or one that it started, otherwise c. facts is what the
// system reports about the process.
func (c Cause) Stopped(pid int, facts string) Cause {
	for _, line := range stoppedLine.FindAllStringSubmatch(facts, -1) {
		sentence := fmt.Sprintf("process %s, which it has started, is stopped by a signal such as SIGSTOP: %s", line[2],
			line[3])
		if line[1] == "thread" {
			if line[2] != strconv.Itoa(pid) {
				continue
			}
			sentence = fmt.Sprintf("process %d is stopped by a signal such as SIGSTOP", pid)
		}
		return Cause{Key: StoppedBySignal, Sentence: sentence, Cure: cureStopped, File: c.File, Line: c.Line}
	}
	return c
}
