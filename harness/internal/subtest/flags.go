package subtest

import (
	"context"
	"flag"
	"io"
	"math/rand/v2"
	"path"
	"runtime"
	"strconv"
	"strings"
)

// Flags are the flags of the test binary that a run has to know before it calls t.Run.
type Flags struct {
	Run, Skip string
	FailFast  bool
	Parallel  int    // groups at the same time
	Shuffle   uint64 // the seed of the order; 0 keeps pytest's
	JSON      bool   // the output is for a machine
	Verbose   bool   // everything is shown
	Artifacts bool   // the test's artifacts folder is kept

	// What go test has no flag for.
	Only  map[string]bool // the node ids, files or folders to run of those that Run and Skip select; nil means all
	Order []string        // the node ids of Only in the order in which they run; nil keeps pytest's
	List  bool            // name the tests that Run, Skip and Only select, and run none
	Shell bool            // open a shell in the container of a red group
	Keep  bool            // keep what a group's container holds at its end, as an image
	// Visit is called at the end of each group, to run further programs in its container as the tests were run.
	// host replaces the container's paths in a text with the host's.
	Visit func(ctx context.Context, run InContainer, host func(string) string)
}

// InContainer runs a program to its end in the tests' container. What the program prints goes to output.
type InContainer func(ctx context.Context, argv []string, input io.Reader, output io.Writer) error

// Wants reports whether Only selects a test.
func (f Flags) Wants(nodeID string) bool {
	if f.Only == nil || f.Only[nodeID] {
		return true
	}
	file, _, _ := strings.Cut(nodeID, "::")
	for ; file != "." && file != "/"; file = path.Dir(file) {
		if f.Only[file] {
			return true
		}
	}
	return f.Only["."] // the root folder, which holds all tests
}

// ReadFlags returns the flags of the test binary; in another program they have go test's defaults. testing hides the seed
// that -shuffle=on draws, so each call draws another one: print it.
func ReadFlags() Flags {
	f := Flags{
		Run: value("run"), Skip: value("skip"), FailFast: value("failfast") == "true", Parallel: runtime.GOMAXPROCS(0),
		JSON: value("v") == "test2json", Verbose: value("v") != "" && value("v") != "false",
		Artifacts: value("artifacts") == "true",
	}
	if n, err := strconv.Atoi(value("parallel")); err == nil && n > 0 {
		f.Parallel = n
	}
	switch shuffle := value("shuffle"); shuffle {
	case "", "off":
	case "on":
		f.Shuffle = uint64(rand.Int32N(1<<30)) + 1
	default:
		if n, err := strconv.ParseInt(shuffle, 10, 64); err == nil {
			f.Shuffle = uint64(n)
		}
	}
	return f
}

func value(name string) string {
	if f := flag.Lookup("test." + name); f != nil {
		return f.Value.String()
	}
	return ""
}
