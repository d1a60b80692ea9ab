package console

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// heartbeat is how long the screen may stand still before it says what runs.
const heartbeat = 30 * time.Second

// NewScreen is a console for people. Quiet leaves out what passes. Close it when the run is over.
func NewScreen(out io.Writer, quiet bool, again func(nodeID string) string) (c *Console, closeScreen func()) {
	s := &screen{out: out, quiet: quiet, spoke: time.Now(), totals: map[string]int{}, done: map[string]int{}, files: map[string]*file{}, running: map[*node]bool{}}
	c = &Console{reporter: s, again: again}
	ended := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				c.tell(func(reporter) { s.beat() })
			}
		}
	})
	return c, func() { close(ended); beating.Wait() }
}

// screen writes twelve columns of status, the time, a counter and the name; what passes is a line a file.
type screen struct {
	out     io.Writer
	quiet   bool
	spoke   time.Time
	totals  map[string]int // tests to run, by group
	done    map[string]int
	files   map[string]*file
	running map[*node]bool
	red     []line
	leaky   int
}

// file is what has passed of one since it was shown last.
type file struct {
	passed  int
	elapsed time.Duration
	open    int
}

// line is one test that did not pass.
type line struct {
	outcome verdict.Outcome
	text    string
}

// statuses are the words for the outcomes, in the order in which a reader wants to see them at the end.
var statuses = []struct {
	outcome verdict.Outcome
	word    string
}{
	{verdict.Hung, "HUNG"}, {verdict.Crashed, "CRASHED"}, {verdict.Killed, "MEMORY"}, {verdict.Failed, "FAIL"}, {verdict.Error, "ERROR"},
	{verdict.Leaky, "LEAKY"}, {verdict.NotRun, "NOT RUN"}, {verdict.Skipped, "SKIP"}, {verdict.XFailed, "XFAIL"}, {verdict.XPassed, "XPASS"}, {verdict.Passed, "PASS"},
}

// signalName finds how a process died.
var signalName = regexp.MustCompile(`(?m)^crashed: (SIG[A-Z0-9]+) `)

func status(outcome verdict.Outcome, text string) string {
	if match := signalName.FindStringSubmatch(text); match != nil && outcome == verdict.Crashed {
		return match[1]
	}
	for _, each := range statuses {
		if each.outcome == outcome {
			return each.word
		}
	}
	return strings.ToUpper(string(outcome))
}

func (s *screen) print(format string, args ...any) {
	s.spoke = time.Now()
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *screen) begin(n *node) {
	if n.depth() != 2 {
		return
	}
	s.running[n] = true
	name := fileOf(n)
	if s.files[name] == nil {
		s.showFiles(n.parent)
		s.files[name] = &file{}
	}
	s.files[name].open++
}

// fileOf is the group and file of a test, by its name.
func fileOf(n *node) string {
	rest := strings.TrimPrefix(n.name, n.parent.name+"/")
	if before, _, found := strings.Cut(rest, ".py/"); found {
		rest = before + ".py"
	}
	return n.parent.name + "\x00" + rest
}

// showFiles does that for all files of a group that no test runs of.
func (s *screen) showFiles(group *node) {
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if strings.HasPrefix(name, group.name+"\x00") && s.files[name].open == 0 {
			s.showFile(group, name)
		}
	}
}

// showFile writes the line of what has passed of a file.
func (s *screen) showFile(group *node, name string) {
	f := s.files[name]
	delete(s.files, name)
	if f.passed == 0 || s.quiet {
		return
	}
	_, short, _ := strings.Cut(name, "\x00")
	tests := "test"
	if f.passed > 1 {
		tests = "tests"
	}
	s.print("%12s [%8.3fs] %s %s (%d %s)", "PASS", f.elapsed.Seconds(), s.counter(group), short, f.passed, tests)
}

// counter says how many of the group's tests are done.
func (s *screen) counter(group *node) string {
	all := fmt.Sprint(s.totals[group.name])
	return fmt.Sprintf("(%*d/%s)", len(all), s.done[group.name], all)
}

func (s *screen) say(n *node, text string) {
	switch depth := n.depth(); {
	case depth >= 2:
		for ; n.depth() > 2; n = n.parent {
		}
		n.text.WriteString(text)
	case s.quiet: // it may yet be red
		n.text.WriteString(text)
	default:
		if depth == 1 {
			s.showFiles(n)
		}
		s.printText(text)
	}
}

// printText writes what somebody said, below the status of those that have one.
func (s *screen) printText(text string) {
	text = strings.TrimPrefix(text, "harness.Suite: ") // nobody wrote one
	if text = strings.TrimRight(text, "\n"); text == "" {
		return
	}
	for _, each := range strings.Split(text, "\n") {
		s.print("%s", strings.TrimRight("    "+each, " "))
	}
}

// printIfRed writes what a quiet run or group has said, if it failed.
func (s *screen) printIfRed(n *node) {
	if n.Failed() {
		s.printText(n.text.String())
	}
}

func (s *screen) attr(n *node, key, value string) {
	if key == subtest.Tests {
		s.totals[n.name], _ = strconv.Atoi(value) // our own
	}
}

func (s *screen) end(n *node) {
	switch n.depth() {
	case 0:
		s.finish(n)
	case 1:
		s.showFiles(n)
		s.printIfRed(n)
	case 2:
		s.endTest(n)
	}
}

func (s *screen) endTest(n *node) {
	delete(s.running, n)
	f := s.files[fileOf(n)]
	f.open--
	outcome := verdict.Outcome(n.attrs[subtest.Outcome])
	if strings.Contains(n.attrs[subtest.NodeID], "::") {
		s.done[n.parent.name]++
	}
	text := n.text.String()
	if n.attrs[subtest.Left] != "" {
		s.leaky++
	}
	if outcome == verdict.Passed {
		f.passed++
		f.elapsed += n.elapsed
		return
	}
	name := n.attrs[subtest.NodeID]
	if name == "" {
		name = strings.TrimPrefix(n.name, n.parent.name+"/")
	}
	words := fmt.Sprintf("%12s [%8.3fs] %s %s", status(outcome, text), n.elapsed.Seconds(), s.counter(n.parent), name)
	if outcome.Red() {
		s.red = append(s.red, line{outcome, fmt.Sprintf("%12s %s", status(outcome, text), name)})
	} else if s.quiet {
		return
	}
	s.print("%s", words)
	s.printText(text)
}

// finish writes the summary: how many tests came to what, and once more those that are red.
func (s *screen) finish(n *node) {
	s.printIfRed(n)
	total := 0
	var parts []string
	counts := n.console.counts
	for _, outcome := range verdict.Outcomes {
		if count := counts[string(outcome)]; count > 0 {
			total += count
			parts = append(parts, fmt.Sprintf("%d %s", count, outcome))
		}
	}
	if s.leaky > 0 && counts[string(verdict.Leaky)] == 0 {
		parts = append(parts, fmt.Sprintf("%d of them leaky", s.leaky))
	}
	if len(parts) == 0 {
		parts = []string{"none was run"}
	}
	s.print("%12s [%8.3fs] %d tests: %s", "Summary", n.elapsed.Seconds(), total, strings.Join(parts, ", "))
	for _, each := range statuses {
		for _, red := range s.red {
			if red.outcome == each.outcome {
				s.print("%s", red.text)
			}
		}
	}
}

// beat says after a silence what runs.
func (s *screen) beat() {
	if time.Since(s.spoke) < heartbeat || len(s.running) == 0 {
		return
	}
	const most = 8
	var names []string
	for n := range s.running {
		names = append(names, fmt.Sprintf("%s (%.0fs)", strings.TrimPrefix(n.name, n.parent.name+"/"), time.Since(n.start).Seconds()))
	}
	slices.Sort(names)
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	s.print("%12s %s%s", "running", strings.Join(names, ", "), more)
}
