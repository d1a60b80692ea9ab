// Package hang explains why a process is stuck: which thread waits for what, which holds the GIL, what the cause is and
// what cures it. It claims no cause that it cannot show.
package hang

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/plural"
)

// Dump holds what was seen of a process.
type Dump struct {
	PID       int
	Stacks    json.RawMessage // py-spy's JSON, with native frames if they are available
	Text      string          // what else was seen if stacks are missing
	Problem   string          // why they are missing
	Workspace string          // the container's folder to which the file names of compilers are relative
}

// thread is one thread of py-spy's JSON output.
type thread struct {
	Name    string     `json:"thread_name"`
	OSID    int        `json:"os_thread_id"`
	Active  bool       `json:"active"`
	OwnsGIL bool       `json:"owns_gil"`
	Frames  []frame    `json:"frames"` // innermost first
	Wait    kernelWait `json:"wait"`
}

// kernelWait is what the kernel and the process's memory show of a blocked thread, which needs no names.
type kernelWait struct {
	Call     string `json:"call"`  // "futex", "pause", or "" for another
	Joins    int    `json:"joins"` // the id of the thread whose end it waits for, or 0
	WantsGIL bool   `json:"wants_gil"`
	// State is "attached", "detached" or "suspended" in a free-threaded interpreter, which has no GIL; "" in others, and for
	// threads that the interpreter does not know.
	State      string `json:"state"`
	StopsWorld bool   `json:"stops_world"` // it waits until no other thread is attached
}

type frame struct {
	Name     string `json:"name"`
	Filename string `json:"filename"`
	Line     int    `json:"line"`
}

// native reports whether the frame is of compiled code and not of Python.
func (f frame) native() bool {
	return !strings.HasSuffix(f.Filename, ".py") && !strings.HasPrefix(f.Filename, "<frozen")
}

// Glance returns a short summary: how many threads there are, which one holds the GIL, and where the main thread is.
func (d Dump) Glance() string {
	threads := d.threads()
	if len(threads) == 0 {
		return "its threads could not be seen"
	}
	holder := "no thread holds the GIL"
	if freeThreaded(threads) {
		holder = "there is no GIL"
	}
	for _, t := range threads {
		switch {
		case t.OwnsGIL:
			holder = t.String() + " holds the GIL"
		case t.Wait.StopsWorld:
			holder = t.String() + " stops the world"
		}
	}
	return fmt.Sprintf("threads: %d, %s%s", len(threads), holder, threads[mainThread(d.PID, threads)].where())
}

// freeThreaded reports whether the interpreter of these threads has no GIL.
func freeThreaded(threads []thread) bool {
	return slices.ContainsFunc(threads, func(t thread) bool { return t.Wait.State != "" })
}

// hasNative reports whether a native frame of the thread was seen.
func (t thread) hasNative() bool { return slices.ContainsFunc(t.Frames, frame.native) }

// rank is higher for the threads that a reader wants to see first.
func (t thread) rank() int {
	switch {
	case t.OwnsGIL, t.Wait.StopsWorld:
		return 2
	case t.Name == "MainThread":
		return 1
	}
	return 0
}

// String names a thread for a reader.
func (t thread) String() string {
	if t.Name == "" {
		return fmt.Sprintf("thread %d", t.OSID)
	}
	return fmt.Sprintf("thread %d %q", t.OSID, t.Name)
}

// threads returns the dump's threads with readable function names; none if there are no stacks.
func (d Dump) threads() []thread {
	var threads []thread
	if json.Unmarshal(d.Stacks, &threads) != nil {
		return nil
	}
	free := freeThreaded(threads)
	for at, t := range threads {
		threads[at].OwnsGIL = t.OwnsGIL && !free
		for i := range t.Frames {
			f := &t.Frames[i]
			if f.native() {
				f.Name = Canonical(f.Name)
			}
			if !path.IsAbs(f.Filename) && strings.HasSuffix(f.Filename, ".rs") &&
				!strings.HasPrefix(f.Filename, "library/") {
				f.Filename = path.Join(d.Workspace, f.Filename)
			}
		}
		if t.Active { // it has run since
			threads[at].Wait = kernelWait{State: t.Wait.State, StopsWorld: t.Wait.StopsWorld}
			continue
		}
		if t.Wait.Joins != 0 && !slices.ContainsFunc(t.Frames, func(f frame) bool { return waitIn(f) == forThread }) {
			threads[at].Frames = slices.Insert(t.Frames, 0, // a stripped libc has no name for it
				frame{Name: "pthread_join", Filename: fmt.Sprintf("of thread %d", t.Wait.Joins)})
		}
	}
	return threads
}

// Format returns the stacks for a reader, innermost frame first, and says what could not be seen.
func (d Dump) Format() string {
	threads := d.threads()
	if len(threads) == 0 {
		why := d.Problem
		if why == "" {
			why = "no tool could read them"
		}
		if d.Text != "" {
			return fmt.Sprintf("stacks of process %d (%s):\n%s\n", d.PID, why, strings.TrimRight(d.Text, "\n"))
		}
		return fmt.Sprintf("stacks of process %d could not be had: %s\n", d.PID, why)
	}
	var out strings.Builder
	slices.SortStableFunc(threads, func(a, b thread) int { return b.rank() - a.rank() })
	for _, t := range threads {
		out.WriteString(t.String())
		if t.OwnsGIL {
			out.WriteString(", holds the GIL")
		}
		if t.Wait.State != "" {
			out.WriteString(", " + t.Wait.State)
		}
		if t.Wait.StopsWorld {
			out.WriteString(", stops the world")
		}
		if !t.Active {
			out.WriteString(", idle")
		}
		out.WriteString("\n")
		t.writeFrames(&out)
	}
	text := strings.TrimRight(d.Text, "\n")
	switch {
	case text != "" && d.Problem == "":
		fmt.Fprintf(&out, "what else was seen:\n%s\n", text)
	case text != "":
		fmt.Fprintf(&out, "what else was seen (%s):\n%s\n", d.Problem, text)
	case d.Problem != "" && !slices.ContainsFunc(threads, thread.hasNative):
		fmt.Fprintf(&out, "the native frames could not be read (%s)\n", d.Problem)
	}
	return out.String()
}

// writeFrames writes a thread's frames. It folds those that are of no interest: repeated frames of a recursion,
// pytest's, CPython's own if only native frames could be seen, and those of Rust's and PyO3's runtime that called the
// user's code, or that are between a wait and the user's code.
func (t thread) writeFrames(out *strings.Builder) {
	folded, of, seenUser, seenWait := 0, "", false, false
	unfold := func() {
		if folded > 0 {
			fmt.Fprintf(out, "    ... %s of %s\n", plural.Count(folded, "frame"), of)
		}
		folded = 0
	}
	for i, f := range t.Frames {
		seenUser = seenUser || userFile(f.Filename)
		kind := ""
		switch {
		case i > 0 && f == t.Frames[i-1]:
			kind = "the same function"
		case i == 0: // the innermost is always shown
		case machinery.MatchString(f.Filename):
			kind = "pytest"
		case f.native() && interpreter.MatchString(f.Name):
			kind = "the interpreter"
		case runtime.MatchString(f.Filename) && (seenUser || inlined.MatchString(f.Name)):
			kind = "the runtime"
		case seenWait && f.native() && library.MatchString(f.Name) && waitIn(f) == nothing:
			kind = "the runtime"
		}
		seenWait = seenWait || kind == "" && f.native() && waitIn(f) != nothing
		if kind != of {
			unfold()
			of = kind
		}
		if kind != "" {
			folded++
			continue
		}
		out.WriteString(strings.TrimRight("    "+f.Name+"  "+f.place(), " ") + "\n")
	}
	if of != "the runtime" { // the runtime's start of a thread is not even counted
		unfold()
	}
}

// interpreter matches the functions of CPython that call others, but none in which it waits.
var interpreter = regexp.MustCompile(`^(_?PyEval_Eval|_PyEval_Vector|_?Py(Function|Object|Vectorcall|CFunction|Run|Import)_|Py_(RunMain|BytesMain)$|cfunction_|method_vectorcall|slot_tp_|type_call|object_vacall|partial_|vectorcall_|builtin_exec|run_(mod|eval_code_obj)|pyrun_|pymain_|import_find_and_load|context_run)`)

// runtime matches the files of Rust's standard library, PyO3 and the C library.
var runtime = regexp.MustCompile(`^/(usr/src/rustc-[^/]*|rustc/[^/]*)/library/|/registry/src/[^/]*/pyo3(-ffi)?-[^/]*/|/libc\.so\.6$`)

// library matches the functions of Rust's standard library.
var library = paths("{std,core,alloc}::**")

// inlined matches functions of Rust's standard library that are inlined into every lock: a reader could take "panicking",
// which asks whether the thread panics, for a panic.
var inlined = paths("**::panicking", "**::panic_count::*", "**::atomic_*",
	"core::{sync::atomic,ptr,mem,ops,option,result,hint,intrinsics}::**")

// installed matches the folders of crates, packages and the standard library; the rest of a path identifies the file.
var installed = regexp.MustCompile(`^.*/registry/src/[^/]*/|^.*/site-packages/|^/(usr/src/rustc-[^/]*|rustc/[^/]*)/`)

func (f frame) place() string {
	name := installed.ReplaceAllString(f.Filename, "")
	if f.Line == 0 {
		return name
	}
	return fmt.Sprintf("%s:%d", name, f.Line)
}

// machinery matches the files that run a test: they are of no interest in a hang, except as the innermost frame.
var machinery = regexp.MustCompile(`/site-packages/(_pytest|pluggy)/|^` + regexp.QuoteMeta(layout.Agent) + `/`)

// fatalFrame matches a frame of pytest in what faulthandler writes when a process crashes.
var fatalFrame = regexp.MustCompile(`^  File "(.*/site-packages/(_pytest|pluggy)|` + regexp.QuoteMeta(layout.Agent) +
	`)/`)

// FoldFatal folds the frames of pytest in what faulthandler wrote when a process crashed.
func FoldFatal(text string) string {
	if !strings.Contains(text, "Fatal Python error: ") {
		return text
	}
	var lines []string
	folded := 0
	unfold := func() {
		if folded > 0 {
			lines = append(lines, "  ... "+plural.Count(folded, "frame")+" of pytest")
		}
		folded = 0
	}
	for _, line := range strings.Split(text, "\n") {
		if fatalFrame.MatchString(line) {
			folded++
			continue
		}
		unfold()
		lines = append(lines, line)
	}
	unfold()
	return strings.Join(lines, "\n")
}
