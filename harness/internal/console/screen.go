package console

import (
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
	"pyo3test/harness/internal/visible"
)

// heartbeat is how long the screen may show nothing new before it shows what is running.
const heartbeat = 30 * time.Second

// Screen is how a run is shown to people.
type Screen struct {
	Out   io.Writer
	Title string // its first line; none if it is empty
	Quiet bool   // leaves out what passes
	// Collects means that no test is to run: no counts of tests are shown.
	Collects bool
	// Terminal is Out if that is a terminal, else nil. The last lines of a terminal show what is running, updated every
	// second.
	Terminal *os.File
	Colour   bool
	// Keys is the text in the first of the last lines that says which keys do what.
	Keys string
	// GitHub is the folder of a GitHub job's sources, "" elsewhere. In such a job, what is red becomes an annotation.
	GitHub string
	// Failed is the command that reruns what did not pass. It is shown at the end of a red run.
	Failed string
}

// NewScreen returns a console for people. Call closeScreen when the run is over.
func NewScreen(look Screen, o Options) (c *Console, closeScreen func()) {
	s := &screen{Screen: look, start: time.Now(), spoke: time.Now(), totals: map[string]int{}, fileCounts: map[string]int{},
		done: map[string]int{}, files: map[string]*file{}, running: map[*node]bool{}, summaries: map[string]string{}}
	s.live.to = look.Terminal
	c = newConsole(s, o)
	ended := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				c.tell(func(reporter) { s.live.clear() })
				return
			case <-tick.C:
				c.tell(func(reporter) { s.beat() })
			}
		}
	})
	return c, func() { close(ended); beating.Wait() }
}

// screen writes twelve columns of status, the time, a counter and the name. Tests that pass share a line per file.
type screen struct {
	Screen
	live       live
	start      time.Time
	spoke      time.Time
	totals     map[string]int    // tests to run, by group
	fileCounts map[string]int    // files with tests to run, by group
	summaries  map[string]string // the last line of each group
	done       map[string]int
	files      map[string]*file
	running    map[*node]bool
	red        []line
	leaky      int
	slowTests  int
	phases     []string // how long each took
}

// file is what has passed of a file since it was last shown.
type file struct {
	passed  int
	elapsed time.Duration
	open    int
}

// line is one test that did not pass.
type line struct {
	outcome verdict.Outcome
	status  ours
	name    string
}

// statuses are the words for the outcomes, in the order in which a reader wants to see them at the end.
var statuses = []struct {
	outcome verdict.Outcome
	word    string
}{
	{verdict.Hung, "HUNG"}, {verdict.Crashed, "CRASHED"}, {verdict.Killed, "MEMORY"}, {verdict.Failed, "FAIL"}, {verdict.Error, "ERROR"},
	{verdict.Leaky, "LEAKY"}, {verdict.NotRun, "NOT RUN"}, {verdict.Skipped, "SKIP"}, {verdict.XFailed, "XFAIL"}, {verdict.XPassed, "XPASS"}, {verdict.Passed, "PASS"},
}

// signalName matches the signal that a process died of.
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

// print writes a line. Of the texts in it, only those of type ours may control a terminal.
func (s *screen) print(format string, args ...any) {
	s.spoke = time.Now()
	s.live.clear()
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = visible.Text(text)
		}
	}
	fmt.Fprintf(s.Out, format+"\n", args...)
}

// ours is text in which nothing comes from a test.
type ours string

// word returns a status in its twelve columns, coloured if that is wanted.
func (s *screen) word(word string) ours {
	padded := ours(fmt.Sprintf("%12s", word))
	if !s.Colour {
		return padded
	}
	colour := red
	switch word {
	case "PASS", "XFAIL":
		colour = green
	case "SKIP", "SLOW", "LEAKY", "NOT RUN":
		colour = yellow
	}
	return colour + padded + plain
}

// Colours of a terminal: https://en.wikipedia.org/wiki/ANSI_escape_code#Colors
const (
	red    ours = "\x1b[31;1m"
	green  ours = "\x1b[32;1m"
	yellow ours = "\x1b[33;1m"
	plain  ours = "\x1b[0m"
)

// phase shows what happens before the tests: a line when a phase ends, and a line for each message before that.
func (s *screen) phase(n *node, name, text string, took time.Duration) {
	if took > 0 {
		s.phases = append(s.phases, fmt.Sprintf("%s %.1f", name, took.Seconds()))
	}
	name = strings.ToUpper(name[:1]) + name[1:]
	words := fmt.Sprintf("%12s [%8.3fs] %s", name, time.Since(s.start).Seconds(), text)
	if s.Quiet { // shown only if it turns red
		n.text.WriteString(words + "\n")
		return
	}
	s.print("%s", words)
}

func (s *screen) slow(n *node, nodeID string, ran time.Duration, words string) {
	s.slowTests++
	if !s.Quiet {
		s.print("%s [>%7.3fs] %*s %s   %s", s.word("SLOW"), ran.Seconds(), len(s.counter(n)), "", nodeID, words)
	}
}

func (s *screen) urgent(text string) { s.print("%s", strings.TrimRight(text, "\n")) }

func (s *screen) begin(n *node) {
	if n.parent == nil && s.Title != "" && !s.Quiet {
		s.print("%s", s.Title)
	}
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

// fileOf returns the group and file of a test, by its name.
func fileOf(n *node) string {
	rest := strings.TrimPrefix(n.name, n.parent.name+"/")
	if before, _, found := strings.Cut(rest, ".py/"); found {
		rest = before + ".py"
	}
	return n.parent.name + "\x00" + rest
}

// showFiles shows all files of a group in which no test is running.
func (s *screen) showFiles(group *node) {
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if strings.HasPrefix(name, group.name+"\x00") && s.files[name].open == 0 {
			s.showFile(group, name)
		}
	}
}

// showFile writes the line for what has passed of a file.
func (s *screen) showFile(group *node, name string) {
	f := s.files[name]
	delete(s.files, name)
	if f.passed == 0 || s.Quiet {
		return
	}
	_, short, _ := strings.Cut(name, "\x00")
	tests := "test"
	if f.passed > 1 {
		tests = "tests"
	}
	s.print("%s [%8.3fs] %s %s (%d %s)", s.word("PASS"), f.elapsed.Seconds(), s.counter(group), short, f.passed, tests)
}

// counter returns how many of the group's tests are done, as "(done/all)".
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
	case s.Quiet: // shown only if it turns red
		n.text.WriteString(text)
	case depth == 1 && text == s.summaries[n.name]+"\n" && len(s.summaries) == 1: // the run's summary repeats it
	default:
		if depth == 1 {
			s.showFiles(n)
		}
		s.printText(text)
	}
}

// printText writes the output of a run, group or test, indented.
func (s *screen) printText(text string) {
	text = strings.TrimPrefix(text, "harness.Suite: ") // the user wrote no Suite
	if text = strings.TrimRight(text, "\n"); text == "" {
		return
	}
	for _, each := range strings.Split(visible.Text(text), "\n") {
		s.print("%s", strings.TrimRight("    "+each, " "))
	}
}

// printIfRed writes what a quiet run or group has printed, if it failed.
func (s *screen) printIfRed(n *node) {
	if n.Failed() {
		s.printText(n.text.String())
	}
}

func (s *screen) attr(n *node, key, value string) {
	switch key {
	case subtest.Files:
		s.fileCounts[n.name], _ = strconv.Atoi(value) // the harness's own number, as is the next
	case subtest.Tests:
		s.totals[n.name], _ = strconv.Atoi(value)
		if !s.Quiet && !s.Collects {
			s.print("    Starting %s in %s", plural.Count(s.totals[n.name], "test"), plural.Count(s.fileCounts[n.name], "file"))
		}
	case subtest.Phases:
		s.phases = append(s.phases, value)
	case subtest.Summary:
		s.summaries[n.name] = value
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
	word := s.word(status(outcome, text))
	if outcome.Red() {
		s.red = append(s.red, line{outcome, word, name})
	} else if s.Quiet {
		return
	}
	s.print("%s [%8.3fs] %s %s", word, n.elapsed.Seconds(), s.counter(n.parent), name)
	s.printText(text)
	if outcome.Red() {
		s.annotate(status(outcome, text), name, text)
	}
}

// finish writes the summary: how many tests had which outcome, and the red ones once more.
func (s *screen) finish(n *node) {
	s.printIfRed(n)
	if s.Collects {
		return
	}
	s.print("%12s [%8.3fs] %s", "Summary", n.elapsed.Seconds(), s.summary(n.console.counts, n.console.cause))
	if len(s.phases) > 0 && !s.Quiet {
		s.print("%12s %s", "Duration", strings.Join(s.phases, "  "))
	}
	for _, each := range statuses {
		for _, ended := range s.red {
			if ended.outcome == each.outcome {
				s.print("%s %s", ended.status, ended.name)
			}
		}
	}
	if len(s.red) > 0 && s.Failed != "" {
		s.print("%12s %s", "again", s.Failed)
	}
}

// summary returns how many tests had which outcome: the group's own summary if there is only one and no test was slow.
func (s *screen) summary(counts map[string]int, cause string) string {
	for _, only := range s.summaries {
		if len(s.summaries) == 1 && s.slowTests == 0 {
			return only
		}
	}
	total := 0
	var parts []string
	for _, outcome := range verdict.Outcomes {
		if count := counts[string(outcome)]; count > 0 {
			total += count
			parts = append(parts, fmt.Sprintf("%d %s", count, outcome))
		}
	}
	if s.leaky > 0 && counts[string(verdict.Leaky)] == 0 {
		parts = append(parts, fmt.Sprintf("%d of them leaky", s.leaky))
	}
	if s.slowTests > 0 {
		parts = append(parts, fmt.Sprintf("%d of them slow", s.slowTests))
	}
	if len(parts) == 0 {
		parts = []string{"none was run" + whyNone[cause]}
	}
	return fmt.Sprintf("%s: %s", plural.Count(total, "test"), strings.Join(parts, ", "))
}

// whyNone holds what kept tests from running, by cause.
var whyNone = map[string]string{
	subtest.CauseProject: ": this is no project that can be tested",
	subtest.CauseSetup:   ": the engine, an image, the network or the cache folder failed",
	subtest.CauseBuild:   ": the build failed", subtest.CauseCollection: ": pytest could not collect, or found nothing",
	subtest.CauseInterrupted: ": the run was interrupted",
}

// mostRunning is how many of the running tests are named at most.
const mostRunning = 8

// beat shows what is running: on a terminal at once, elsewhere after a silence.
func (s *screen) beat() {
	if s.live.to != nil {
		done, all := 0, 0
		for group, total := range s.totals {
			done, all = done+s.done[group], all+total
		}
		lines := []string{fmt.Sprintf("%12s [%8.3fs] %d/%d done, %d running, %d red%s", "", time.Since(s.start).Seconds(), done, all, len(s.running), len(s.red), s.Keys)}
		names, _ := s.longest()
		for _, name := range names {
			lines = append(lines, fmt.Sprintf("%12s %s", "running", name))
		}
		if !s.Quiet || len(s.running) > 0 {
			s.live.draw(lines)
		}
		return
	}
	if time.Since(s.spoke) < heartbeat || len(s.running) == 0 {
		return
	}
	names, more := s.longest()
	words := strings.Join(names, ", ")
	if more > 0 {
		words += fmt.Sprintf(" and %d more", more)
	}
	s.print("%12s %s", "running", words)
}

// longest returns the tests that have run longest, and how many more are running.
func (s *screen) longest() (names []string, more int) {
	for n := range s.running {
		names = append(names, fmt.Sprintf("[%8.3fs] %s", time.Since(n.start).Seconds(), strings.TrimPrefix(n.name, n.parent.name+"/")))
	}
	slices.Sort(names)
	slices.Reverse(names)
	shown := min(len(names), mostRunning)
	return names[:shown], len(names) - shown
}
