// Package hangs_test runs the zoo: crates in which every known class of hang and crash happens on purpose. Each must cost
// one test its verdict, or one group its colour, and nobody else anything; and its report must name the line.
package hangs_test

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
)

// class is one animal.
type class struct {
	name  string // the comment "hangs here: name" or "crashes here: name" marks its line in the sources
	group string
	test  string // its node id; "" where the whole session is at stake
	// outcome is the test's verdict, of a session whether its group passes or is red.
	outcome string
	cause   string   // what should be the matter, a key of sentences
	words   []string // what the report says beside the line
}

// Outcomes of a session.
const (
	red   = "red"
	green = "green"
)

// sentences are how the report says what is the matter, by the keys of harness/internal/hang.
var sentences = map[string]string{
	"stop-the-world":         `cause: .* stops the world .*, and .* is attached and waits for `,
	"gil-lock-cycle":         `cause: a cycle of the GIL and `,
	"join-gil":               `cause: a thread that needs the GIL is joined by the thread that holds it: `,
	"exit-drop":              `cause: (a Drop joins a thread that needs the GIL: |.* waits for the end of a thread .* attached as the interpreter ended)`,
	"native-loop-gil":        `cause: .* that holds the GIL and does not return`,
	"native-wait-gil":        `cause: .* holds the GIL and waits for .*: nothing in Python can run meanwhile`,
	"native-wait":            `cause: .* waits natively .*, without the GIL, for `,
	"native-wait-attached":   `cause: .* waits natively .*, attached, for `,
	"native-sleep":           `cause: .* sleeps \([^)]*\)`,
	"native-wait-detached":   `cause: .* waits natively \([^)]*\) for `,
	"native-loop":            `cause: .* is attached and runs native code \(.* that does not return`,
	"initialiser-gil":        `cause: a one-time initialiser needs the GIL: `,
	"initialiser-reentrant":  `cause: a one-time initialiser is entered again from inside itself `,
	"lock-reentrant":         `cause: .* and no other thread could release it`,
	"python-lock":            `cause: .* for a lock of Python's that no thread releases`,
	"python-loop":            `cause: .* still runs Python code `,
	"python-wait":            `cause: .* waits .* for (another Python thread, which does not end|an event of asyncio's loop)`,
	"inherited-through-fork": `cause: .*( a fork does not copy|when this child was forked)`,
	"child-process":          `cause: .* for a child process that does not end`,
	"network":                `cause: .* for the network`,
	"attach-finalizing":      `cause: .* attached as the interpreter ended, and is held forever`,
	"exit-atexit":            `cause: an exit handler does not end`,
	"exit-thread":            `cause: the interpreter waits at its end for threads that are not daemons`,
}

const testTimeout = 3 * time.Second

// worked matches what is said of a process that loops. On a busy machine it may get no processor.
const worked = "s before: it worked, with |the machine had no processor for "

// lineless are the classes whose line a report need not have.
var lineless = map[string]string{
	"exit-0": "the process ends without a word", "exit-4": "the process ends without a word",
	"exit-crash":      "nobody looks into a process that crashes at its end",
	"exit-c-atexit":   "nothing of it is in the sources",
	"exit-initialize": "nobody looks into a process that crashes at its end",
	"exit-thread":     "the main thread waits in Python's own code", "exit-atexit": "native_park has a mark of its own",
	"memory": "nobody looks into a process that is killed",
	// py-spy looks up the address to which a call returns. Where the call is the last that is left of a line, that is another's.
	"native-sleep-attached": "py-spy names the line after", "callback": "py-spy names the line after",
}

// TestModern: each test in a forked child, as it is by default.
func TestModern(t *testing.T) {
	suite, classes := modern()
	visit(t, suite, classes)
}

// modern is the zoo of the current PyO3.
func modern() (harness.Suite, []class) {
	suite := harness.Suite{
		Crate: "modern", Workers: 2, TestTimeout: testTimeout, StartTimeout: 30 * time.Second,
		CollectTimeout: 30 * time.Second, ExitTimeout: 30 * time.Second,
		Groups: []harness.Group{
			{Name: "gil", Tests: []string{"tests/test_locks.py", "tests/test_initialisers.py", "tests/test_threads.py",
				"tests/test_channels.py", "tests/test_pools.py", "tests/test_waits.py"}},
			{Name: "import", Tests: []string{"sessions/test_import.py"}, Env: map[string]string{"HANGS_IN": "import"}},
			{Name: "collection", Tests: []string{"sessions/test_collection.py"}},
			{Name: "others", Tests: []string{"tests/test_forks.py", "tests/test_fixtures.py", "tests/test_processes.py",
				"tests/test_crashes.py"}},
			{Name: "exit-join", Tests: []string{"sessions/test_exit_join.py"}},
			{Name: "exit-atexit", Tests: []string{"sessions/test_exit_atexit.py"}},
			{Name: "exit-c-atexit", Tests: []string{"sessions/test_exit_c_atexit.py"}},
			{Name: "exit-atexit-join", Tests: []string{"sessions/test_exit_atexit_join.py"}},
			{Name: "exit-drop", Tests: []string{"sessions/test_exit_drop.py"}},
			{Name: "exit-drop-late", Tests: []string{"sessions/test_exit_drop_late.py"}},
			{Name: "exit-thread", Tests: []string{"sessions/test_exit_thread.py"}},
		},
	}
	call, exit := slices.Clip([]string{"hung in call"}), slices.Clip([]string{"its interpreter did " +
		"not end (deadlock proved: "})
	return suite, []class{
		{"gil-mutex", "gil", "tests/test_locks.py::test_gil_mutex", "hung", "gil-lock-cycle", call},
		{"gil-parking-lot", "gil", "tests/test_locks.py::test_gil_parking_lot", "hung", "gil-lock-cycle", call},
		{"lock-across-callback", "gil", "tests/test_locks.py::test_lock_across_a_callback", "hung", "gil-lock-cycle",
			call},
		{"lock-reentrant", "gil", "tests/test_locks.py::test_lock_taken_twice", "hung", "lock-reentrant", call},
		{"rust-lock-order", "gil", "tests/test_locks.py::test_rust_locks_in_two_orders", "hung", "native-wait",
			append(call, "hangs::locks::rust_lock_order")},
		{"stop-the-world", "gil", "tests/test_locks.py::test_stop_the_world", "hung", "gil-lock-cycle", call},
		{"py-lock", "gil", "tests/test_locks.py::test_python_lock_taken_twice", "hung", "python-lock", call},
		{"py-lock-order", "gil", "tests/test_locks.py::test_python_locks_in_two_orders", "hung", "python-lock", call},
		{"py-join", "gil", "tests/test_locks.py::test_join_of_a_thread_that_waits", "hung", "python-wait", call},
		{"lazy-gil", "gil", "tests/test_initialisers.py::test_lazy_gil", "hung", "initialiser-gil", call},
		{"lazy-reentrant", "gil", "tests/test_initialisers.py::test_lazy_reentrant", "hung", "initialiser-reentrant",
			call},
		{"import-lock", "gil", "tests/test_initialisers.py::test_import_that_waits_for_an_import", "hung",
			"python-wait", call},
		{"drop-join", "gil", "tests/test_threads.py::test_drop_join", "hung", "exit-drop", call},
		{"join-attached", "gil", "tests/test_threads.py::test_join_attached", "hung", "join-gil", call},
		{"drop-elsewhere", "gil", "tests/test_threads.py::test_drop_elsewhere", "passed", "", nil},
		{"log-bridge", "gil", "tests/test_threads.py::test_log_from_thread", "hung", "join-gil", call},
		{"callback", "gil", "tests/test_threads.py::test_callback_that_never_returns", "hung", "native-wait",
			append(call, "hangs::threads::call_from_thread")},
		{"recv-attached", "gil", "tests/test_channels.py::test_recv_attached", "hung", "gil-lock-cycle", call},
		{"channel-full", "gil", "tests/test_channels.py::test_channel_full", "hung", "gil-lock-cycle", call},
		{"rayon-reentry", "gil", "tests/test_pools.py::test_rayon_reentry", "hung", "gil-lock-cycle",
			append(call, "hangs::pools::rayon_reentry")},
		{"tokio-block-on", "gil", "tests/test_pools.py::test_tokio_block_on", "hung", "gil-lock-cycle", call},
		{"idle-pool", "gil", "tests/test_pools.py::test_idle_pool", "hung", "native-wait", call},
		{"gil-spin", "gil", "tests/test_waits.py::test_spin", "hung", "native-loop-gil",
			append(call, worked)},
		{"native-park", "gil", "tests/test_waits.py::test_native_park", "hung", "native-wait", call},
		{"native-park-attached", "gil", "tests/test_waits.py::test_native_park_attached", "hung", "native-wait-gil",
			call},
		{"native-sleep-attached", "gil", "tests/test_waits.py::test_native_sleep_attached", "hung", "native-wait-gil",
			append(call, "hangs::waits::__pyfunction_native_sleep_attached")},
		{"python-loop", "gil", "tests/test_waits.py::test_python_loop", "hung", "python-loop",
			append(call, worked)},
		{"asyncio-future", "gil", "tests/test_waits.py::test_future_that_nobody_sets", "hung", "python-wait", call},
		{"deaf", "gil", "tests/test_waits.py::test_deaf", "hung", "native-wait", call},

		{"fork-mutex", "others", "tests/test_forks.py::test_fork_mutex", "hung", "inherited-through-fork",
			append(call, "its parent has, and a fork does not copy: 2 threads 'tokio-rt-worker' of hangs.")},
		{"fork-py-lock", "others", "tests/test_forks.py::test_fork_python_lock", "hung", "inherited-through-fork",
			append(call, "its parent has, and a fork does not copy: 2 threads 'tokio-rt-worker' of hangs.")},
		{"fork-rayon", "others", "tests/test_forks.py::test_fork_rayon", "hung", "inherited-through-fork",
			append(call, "its parent has, and a fork does not copy: 2 threads 'tokio-rt-worker' of hangs.")},
		{"fork-tokio", "others", "tests/test_forks.py::test_fork_tokio", "hung", "inherited-through-fork",
			append(call, "its parent has, and a fork does not copy: 2 threads 'tokio-rt-worker' of hangs.")},
		{"set-up", "others", "tests/test_fixtures.py::test_set_up", "hung", "native-wait", []string{"hung in setup"}},
		{"tear-down", "others", "tests/test_fixtures.py::test_tear_down", "hung", "native-wait",
			[]string{"hung in teardown"}},
		{"session-fixture", "others", "tests/test_fixtures.py::test_session_fixture", "hung", "native-wait",
			[]string{"hung in setup"}},
		{"multiprocessing", "others", "tests/test_processes.py::test_multiprocessing_child", "hung", "child-process",
			call},
		{"multiprocessing-pool", "others", "tests/test_processes.py::test_multiprocessing_pool", "hung",
			"child-process", call},
		{"child-process", "others", "tests/test_processes.py::test_child_process", "hung", "child-process", call},
		{"child-output", "others", "tests/test_processes.py::test_output_of_a_child_process", "hung", "child-process",
			call},
		{"network-accept", "others", "tests/test_processes.py::test_accept", "hung", "network",
			append(call, "it is stuck")},
		{"network-recv", "others", "tests/test_processes.py::test_recv", "hung", "network", call},
		{"segv", "others", "tests/test_crashes.py::test_segv", "crashed", "", []string{"SIGSEGV (11) during call"}},
		{"abort", "others", "tests/test_crashes.py::test_abort", "crashed", "", []string{"SIGABRT (6) during call"}},
		{"extern-panic", "others", "tests/test_crashes.py::test_extern_panic", "crashed", "",
			[]string{"SIGABRT (6) during call", "the library said no", "panic in a function that cannot unwind"}},
		{"stack-overflow", "others", "tests/test_crashes.py::test_stack_overflow", "crashed", "",
			[]string{"SIGSEGV (11) during call"}},
		{"exit-0", "others", "tests/test_crashes.py::test_exit_0", "crashed", "",
			[]string{"exited with status 0 during call"}},
		{"exit-4", "others", "tests/test_crashes.py::test_exit_4", "crashed", "",
			[]string{"exited with status 4 during call"}},

		{"import", "import", "", red, "native-wait-gil",
			[]string{"pytest hung during start and import and was killed: deadlock proved: "}},
		{"collection", "collection", "", red, "native-wait",
			[]string{"pytest hung during collection of sessions/test_collection.py and was killed: deadlock proved: "}},
		{"exit-join", "exit-join", "", red, "attach-finalizing", exit},
		{"exit-atexit", "exit-atexit", "", red, "exit-atexit", append(exit, "hangs::waits::native_park")},
		{"exit-c-atexit", "exit-c-atexit", "", red, "exit-atexit",
			append(exit, "without the GIL, for the end of a thread, which does not end", "pthread_join  of thread ")},
		{"exit-atexit-join", "exit-atexit-join", "", red, "exit-atexit", exit},
		{"exit-drop", "exit-drop", "", red, "exit-drop", exit},
		{"exit-drop-late", "exit-drop-late", "", green, "", nil},
		{"exit-thread", "exit-thread", "", red, "exit-thread", append(exit, "Thread-1 (wait)", "Event.wait")},
	}
}

// TestInProcess: in pytest's own process too; pytest is started again for the tests that are left.
func TestInProcess(t *testing.T) {
	around := func(file, test string) []string {
		return []string{file + "::test_first", file + "::" + test, file + "::test_last"}
	}
	suite := harness.Suite{
		Crate: "modern", Isolation: harness.InProcess, TestTimeout: testTimeout,
		Groups: []harness.Group{
			{Name: "gil-mutex", Tests: around("tests/test_locks.py", "test_gil_mutex")},
			{Name: "gil-spin", Tests: around("tests/test_waits.py", "test_spin")},
			{Name: "native-park", Tests: around("tests/test_waits.py", "test_native_park")},
			{Name: "deaf", Tests: around("tests/test_waits.py", "test_deaf")},
			{Name: "segv", Tests: around("tests/test_crashes.py", "test_segv")},
			{Name: "exit-0", Tests: around("tests/test_crashes.py", "test_exit_0")},
			{Name: "forks", Tests: []string{"tests/test_forks.py"}},
		},
	}
	visit(t, suite, []class{
		{"gil-mutex", "gil-mutex", "tests/test_locks.py::test_gil_mutex", "hung", "gil-lock-cycle", nil},
		{"gil-spin", "gil-spin", "tests/test_waits.py::test_spin", "hung", "native-loop-gil", nil},
		{"native-park", "native-park", "tests/test_waits.py::test_native_park", "hung", "native-wait", nil},
		{"deaf", "deaf", "tests/test_waits.py::test_deaf", "hung", "native-wait", nil},
		{"segv", "segv", "tests/test_crashes.py::test_segv", "crashed", "", []string{"SIGSEGV (11)"}},
		{"exit-0", "exit-0", "tests/test_crashes.py::test_exit_0", "crashed", "", []string{"exit status 0"}},
		// Only a fork makes them hang.
		{"fork-mutex", "forks", "tests/test_forks.py::test_fork_mutex", "passed", "", nil},
		{"fork-py-lock", "forks", "tests/test_forks.py::test_fork_python_lock", "passed", "", nil},
		{"fork-rayon", "forks", "tests/test_forks.py::test_fork_rayon", "passed", "", nil},
		{"fork-tokio", "forks", "tests/test_forks.py::test_fork_tokio", "passed", "", nil},
	})
}

// TestSubprocess: in a fresh interpreter each, what only a fork makes hang passes; all else is found as it is in forked tests.
func TestSubprocess(t *testing.T) {
	suite := harness.Suite{
		Crate: "modern", Isolation: harness.Subprocess, Workers: 2, TestTimeout: testTimeout,
		Groups: []harness.Group{
			{Name: "forks", Tests: []string{"tests/test_forks.py"}},
			{Name: "crashes", Tests: []string{"tests/test_crashes.py::test_first", "tests/test_crashes.py::test_segv",
				"tests/test_crashes.py::test_exit_0", "tests/test_crashes.py::test_last"}},
			{Name: "some", Tests: []string{
				"tests/test_locks.py::test_first", "tests/test_locks.py::test_gil_mutex",
				"tests/test_locks.py::test_last",
				"tests/test_waits.py::test_spin", "tests/test_waits.py::test_deaf", "tests/test_waits.py::test_last",
			}},
		},
	}
	visit(t, suite, []class{
		{"fork-mutex", "forks", "tests/test_forks.py::test_fork_mutex", "passed", "", nil},
		{"fork-py-lock", "forks", "tests/test_forks.py::test_fork_python_lock", "passed", "", nil},
		{"fork-rayon", "forks", "tests/test_forks.py::test_fork_rayon", "passed", "", nil},
		{"fork-tokio", "forks", "tests/test_forks.py::test_fork_tokio", "passed", "", nil},
		{"gil-mutex", "some", "tests/test_locks.py::test_gil_mutex", "hung", "gil-lock-cycle", nil},
		{"gil-spin", "some", "tests/test_waits.py::test_spin", "hung", "native-loop-gil", nil},
		{"deaf", "some", "tests/test_waits.py::test_deaf", "hung", "native-wait", nil},
		{"segv", "crashes", "tests/test_crashes.py::test_segv", "crashed", "", []string{"SIGSEGV (11)"}},
		{"exit-0", "crashes", "tests/test_crashes.py::test_exit_0", "crashed", "", []string{"exited with status 0"}},
	})
}

// TestMemory: the kernel kills one test, and the report says for what.
func TestMemory(t *testing.T) {
	suite := harness.Suite{Crate: "modern", Workers: 2, Memory: 256 << 20,
		Groups: []harness.Group{{Name: "memory", Tests: []string{"sessions/test_out_of_memory.py"}}}}
	visit(t, suite, []class{
		{"memory", "memory", "sessions/test_out_of_memory.py::test_out_of_memory", "killed for memory", "",
			[]string{"256"}},
	})
}

// TestLegacy: PyO3 0.20 with auto-initialize, and with the symbols that rustc gives by itself since 1.97.
func TestLegacy(t *testing.T) {
	suite, classes := legacy()
	suite.Env = map[string]string{"RUSTFLAGS": v0}
	visit(t, suite, classes)
}

// v0 makes an older rustc write v0 symbols.
const v0 = "-Csymbol-mangling-version=v0"

// legacy is the zoo of an old PyO3.
func legacy() (harness.Suite, []class) {
	suite := harness.Suite{
		Crate: "legacy", Workers: 2, TestTimeout: testTimeout, ExitTimeout: 3 * time.Second,
		Groups: []harness.Group{
			{Name: "gil", Tests: []string{"tests/test_gil.py"}},
			{Name: "exit-crash", Tests: []string{"sessions/test_exit_crash.py"}},
			{Name: "exit-initialize", Tests: []string{"sessions/test_exit_initialize.py"}},
		},
	}
	return suite, []class{
		{"gil-mutex", "gil", "tests/test_gil.py::test_gil_mutex", "hung", "gil-lock-cycle", nil},
		{"gil-spin", "gil", "tests/test_gil.py::test_spin", "hung", "native-loop-gil", nil},
		{"native-park", "gil", "tests/test_gil.py::test_native_park", "hung", "native-wait", nil},
		{"native-park-attached", "gil", "tests/test_gil.py::test_native_park_attached", "hung", "native-wait-gil", nil},
		{"once-gil", "gil", "tests/test_gil.py::test_once_gil", "hung", "initialiser-gil", nil},
		{"recv-attached", "gil", "tests/test_gil.py::test_recv_attached", "hung", "gil-lock-cycle", nil},
		{"drop-join", "gil", "tests/test_gil.py::test_drop_join", "hung", "exit-drop", nil},
		{"exit-crash", "exit-crash", "", red, "", []string{"its process died: SIGABRT (6)"}},
		{"exit-initialize", "exit-initialize", "", red, "", []string{"its process died: "}},
	}
}

// visit runs a suite, and compares each class and everybody else of its group.
func visit(t *testing.T, suite harness.Suite, classes []class) {
	t.Helper()
	junit := filepath.Join(t.TempDir(), "junit.xml")
	t.Setenv("PYO3TEST_JUNIT", junit)
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir()) // nobody looks for these failures
	run := harnesstest.Record(t, suite)
	crate, err := filepath.Abs(suite.Crate)
	require.NoError(t, err)
	marks := marks(t, crate)
	cases := readJUnit(t, junit)

	require.Len(t, run.Subs(), len(suite.Groups), run.Text())
	for _, group := range suite.Groups {
		recorded := run.Sub(group.Name)
		require.NotNil(t, recorded, group.Name)
		ofGroup := slices.DeleteFunc(slices.Clone(classes), func(c class) bool { return c.group != group.Name })
		require.NotEmpty(t, ofGroup, group.Name)
		reports := map[string]string{}
		for _, test := range recorded.Subs() {
			reports[test.Attrs()["pytest.nodeid"]] = test.Text()
		}
		for _, c := range ofGroup {
			report := reports[c.test]
			if c.test == "" {
				report = everything(recorded)
				assert.Equal(t, c.outcome == green, recorded.Outcome() == harnesstest.Passed, "%s\n%s", c.name, report)
			}
			if c.cause != "" {
				require.Contains(t, sentences, c.cause, c.name)
				assert.Regexp(t, sentences[c.cause], report, "%s: %s", c.name, c.cause)
			}
			for _, word := range c.words {
				if word == worked {
					assert.Regexp(t, worked, report, c.name)
					continue
				}
				assert.Contains(t, report, word, c.name)
			}
			if lineless[c.name] == "" && c.outcome != "passed" && c.outcome != green {
				require.Contains(t, marks, c.name, "no line of the sources is marked with it")
				mark := marks[c.name]
				assert.True(t, strings.Contains(report, mark.colon()) || strings.Contains(report, mark.words()),
					"%s: no %s in\n%s", c.name, mark.colon(), report)
			}
		}
		want := expected(t, crate, group, ofGroup)
		assert.Equal(t, want, verdicts(recorded), "%s\n%s", group.Name, recorded.Text())
		for id, outcome := range want {
			assert.Equal(t, []bool{outcome == "passed"}, cases[t.Name()+"/"+group.Name+" "+id],
				"JUnit: whether %s of %s passed", id, group.Name)
		}
	}
	nothingLeft(t, run.Text())
}

// expected are the verdicts of all tests of a group: those that are nobody's class pass.
func expected(t *testing.T, crate string, group harness.Group, classes []class) map[string]string {
	t.Helper()
	want := map[string]string{}
	for _, name := range group.Tests {
		for _, id := range testsOf(t, crate, name) {
			want[id] = "passed"
		}
	}
	for _, c := range classes {
		switch {
		case c.name == "import" || c.name == "collection":
			return map[string]string{} // pytest never comes to know its tests
		case c.test != "":
			require.Contains(t, want, c.test)
			want[c.test] = c.outcome
		}
	}
	return want
}

// testsOf are the node ids of a file, or the one that is named.
func testsOf(t *testing.T, crate, name string) (ids []string) {
	t.Helper()
	if strings.Contains(name, "::") {
		return []string{name}
	}
	source, err := os.ReadFile(filepath.Join(crate, filepath.FromSlash(name)))
	require.NoError(t, err)
	for _, match := range regexp.MustCompile(`(?m)^def (test_\w+)`).FindAllSubmatch(source, -1) {
		ids = append(ids, name+"::"+string(match[1]))
	}
	require.NotEmpty(t, ids, name)
	return ids
}

// verdicts are those of pytest's tests; what else a group has for subtests is the session's.
func verdicts(group *harnesstest.Recorder) map[string]string {
	found := map[string]string{}
	for _, test := range group.Subs() {
		if id := test.Attrs()["pytest.nodeid"]; strings.Contains(id, "::") {
			found[id] = test.Attrs()["pytest.outcome"]
		}
	}
	return found
}

// everything is the text of a group and of all its subtests.
func everything(r *harnesstest.Recorder) string {
	text := r.Text()
	for _, sub := range r.Subs() {
		text += everything(sub)
	}
	return text
}

// mark is a line of the sources.
type mark struct {
	file string
	line int
}

func (m mark) colon() string { return m.file + ":" + strconv.Itoa(m.line) + "\n" }

// words are how faulthandler has it.
func (m mark) words() string { return `File "` + m.file + `", line ` + strconv.Itoa(m.line) + " in" }

// marks are the lines that comments mark, by class.
func marks(t *testing.T, crate string) map[string]mark {
	t.Helper()
	comment := regexp.MustCompile(`(?:#|//) (?:hangs|crashes) here: (\S+)$`)
	found := map[string]mark{}
	for _, pattern := range []string{"src/*.rs", "tests/*.py", "sessions/*.py"} {
		files, err := filepath.Glob(filepath.Join(crate, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			for i, line := range strings.Split(string(source), "\n") {
				if match := comment.FindStringSubmatch(line); match != nil {
					require.NotContains(t, found, match[1], "a line is marked twice")
					found[match[1]] = mark{file, i + 1}
				}
			}
		}
	}
	return found
}

// readJUnit says of each testcase, by suite and node id, whether it passed; a name that is there twice has two answers.
func readJUnit(t *testing.T, name string) map[string][]bool {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	var report struct {
		Suites []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Class   string    `xml:"classname,attr"`
				Name    string    `xml:"name,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal(data, &report))
	found := map[string][]bool{}
	for _, suite := range report.Suites {
		for _, each := range suite.Cases {
			id := suite.Name + " " + strings.ReplaceAll(each.Class, ".", "/") + ".py::" + each.Name
			found[id] = append(found[id], each.Failure == nil && each.Error == nil)
		}
	}
	return found
}

// nothingLeft looks for containers of this process in the engine that the run names; their processes go with them.
func nothingLeft(t *testing.T, text string) {
	t.Helper()
	match := regexp.MustCompile(`engine .* at (\S+)`).FindStringSubmatch(text)
	require.NotNil(t, match, text)
	cli, err := client.NewClientWithOpts(client.WithHost(match[1]), client.WithAPIVersionNegotiation())
	require.NoError(t, err)
	defer cli.Close()
	label := filters.NewArgs(filters.Arg("label", "pyo3test.pid="+strconv.Itoa(os.Getpid())))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		left, err := cli.ContainerList(t.Context(), container.ListOptions{All: true, Filters: label})
		assert.NoError(c, err)
		// Images keep the labels of the container that they were made from, and so has what others start from one.
		left = slices.DeleteFunc(left, func(each container.Summary) bool { return each.Labels["pyo3test"] == "image" })
		assert.Empty(c, left)
	}, 10*time.Second, 100*time.Millisecond)
}

// TestNativeStacks: where a crash happened is shown by gdb, in another run after the last test.
func TestNativeStacks(t *testing.T) {
	crate, err := filepath.Abs("modern")
	require.NoError(t, err)
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	names := []string{"segv", "extern_panic", "stack_overflow"}
	group := harness.Group{Name: "crashes"}
	for _, name := range names {
		group.Tests = append(group.Tests, "tests/test_crashes.py::test_"+name)
	}
	text := harnesstest.Record(t, harness.Suite{Crate: "modern", Groups: []harness.Group{group}}).Sub("crashes").Text()
	for i, function := range []string{"segfault", "callback", "descend"} {
		_, after, found := strings.Cut(text,
			"(proof) "+group.Tests[i]+", run once more in a fresh interpreter, without a fork, under gdb\n"+crate+
				"/src/crashes.rs:")
		require.True(t, found, "%s:\n%s", names[i], text)
		after, _, _ = strings.Cut(after, "(proof)")
		require.Regexp(t, `\n    hangs::crashes::\S*`+function+`  `+crate+`/src/crashes.rs:\d+\n`, after)
	}
}
