package hang

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"regexp"
	"slices"
	"strings"

	"pyo3test/harness/internal/layout"
)

// Signature returns a short text that is equal for two hangs in the same place: of one cause, with threads that wait in the
// same ways in the same functions of the user's code. It does not depend on ids, addresses, lines, or how many threads of
// a pool wait alike. It is "" if nothing was seen that tells it from others.
func (r Report) Signature() string {
	threads := r.Dump.threads()
	if len(threads) == 0 {
		return ""
	}
	lines := make([]string, 0, len(threads))
	for _, t := range threads {
		functions := t.userFunctions()
		if (r.Works() || loops[r.Cause.Key]) && len(functions) > 0 {
			functions = functions[len(functions)-1:] // where a loop is at the moment says nothing
		}
		if len(functions) > 0 {
			lines = append(lines, strings.Join(append([]string{string(t.waitsFor())}, functions...), "\n"))
		}
	}
	if len(lines) == 0 && r.Cause.Key == Unknown {
		return ""
	}
	return sign(string(r.Cause.Key), lines)
}

// loops are the causes whose thread computes, even if a busy machine gave it no processor before the dump.
var loops = map[Key]bool{NativeLoopGIL: true, NativeLoop: true, PythonLoop: true}

// sign hashes a kind of failure and the stacks that it has, in any order and number.
func sign(kind string, stacks []string) string {
	slices.Sort(stacks)
	sum := sha256.Sum256([]byte(strings.Join(append([]string{kind}, slices.Compact(stacks)...), "\n\n")))
	return hex.EncodeToString(sum[:])[:12]
}

// FailureSignature is what [Report.Signature] is for hangs: of a test that failed in a phase, in a file.
func FailureSignature(outcome, phase, file string) string {
	return sign(outcome, []string{phase, file})
}

// userFunctions returns the functions of the user's code on a thread's stack, innermost first, with their files.
func (t thread) userFunctions() (functions []string) {
	for _, f := range t.Frames {
		if userFile(f.Filename) {
			functions = append(functions, path.Base(f.Filename)+" "+f.Name)
		}
	}
	return slices.Compact(functions) // recursion is of any depth
}

// Frame is a function on a stack, and where it is.
type Frame struct {
	Function string
	File     string // in the container
	Line     int
}

// Blocked returns the frames of the user's compiled code in threads that wait, each once: between these, and before them,
// other threads got in each other's way.
func (r Report) Blocked() (frames []Frame) {
	for _, t := range r.Dump.threads() {
		if t.waitsFor() == nothing {
			continue
		}
		for _, f := range t.Frames {
			frame := Frame{f.Name, f.Filename, f.Line}
			if f.native() && userFile(f.Filename) && f.Line > 0 && !slices.Contains(frames, frame) {
				frames = append(frames, frame)
			}
		}
	}
	return frames
}

// fatalFunction matches a frame of the user's code in what faulthandler writes when a process crashes.
var fatalFunction = regexp.MustCompile(`(?m)^  File "` + regexp.QuoteMeta(layout.Sources) + `/(?:.*/)?([^/"]+)", line \d+ in (.*)$`)

// CrashSignature is what [Report.Signature] is for hangs: of a process that died of a signal or for its memory, by how it
// died and by the functions of the user's Python code that faulthandler has shown on standard error; "" if it has shown none.
func CrashSignature(died, stderr string) string {
	_, crashed, _ := strings.Cut(stderr, "Current thread ")
	crashed, _, _ = strings.Cut(crashed, "\n\n") // other threads follow
	var functions []string
	for _, found := range fatalFunction.FindAllStringSubmatch(crashed, -1) {
		functions = append(functions, found[1]+" "+found[2])
	}
	if len(functions) == 0 {
		return ""
	}
	return sign(died, []string{strings.Join(slices.Compact(functions), "\n")})
}
