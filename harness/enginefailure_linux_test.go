package harness_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/selftest"
)

const between = `import time

def test_first():
    pass

def test_between():
    %s

def test_last():
    pass
`

// fills is a build script that writes more than there is room for, and leaves nothing.
const fills = `fn main() {
    let name = std::path::Path::new(&std::env::var("OUT_DIR").unwrap()).join("filling");
    let written = std::fs::write(&name, vec![0; 1 << 28]);
    std::fs::remove_file(&name).unwrap();
    written.unwrap();
}
`

// TestEngineFailures checks that, whatever happens to the engine during a run, the run ends, is red, names the engine
// first and says what to do. The next run on a fixed engine is green and leaves no container.
func TestEngineFailures(t *testing.T) {
	p := startPrivateEngine(t)
	p.load(t, thisHost(t))
	green := func(t *testing.T) string {
		t.Helper()
		output, ok := p.run(t, selftest.WriteCrate(t, nil), "", nil)
		require.True(t, ok, output)
		require.Empty(t, p.containers(t))
		return output
	}
	red := func(t *testing.T, files map[string]string, when string, then func(), want ...string) (output string) {
		t.Helper()
		output, ok := p.run(t, selftest.WriteCrate(t, files), when, then)
		require.False(t, ok, output)
		rest := output
		for _, words := range want { // in this order
			_, after, found := strings.Cut(rest, words)
			require.True(t, found, "no %q where it is due in\n%s", words, output)
			rest = after
		}
		return output
	}
	tests := func(line string) map[string]string {
		return map[string]string{"tests/test_tiny.py": strings.Replace(between, "%s", line, 1)}
	}
	rust := func(number string) map[string]string {
		return map[string]string{"src/lib.rs": strings.Replace(selftest.Tiny["src/lib.rs"], "42", number, 1)}
	}
	gone := "the Docker engine at " + p.host() +
		" no longer answers (no answer): find out why it ended, start it, then run again\n"
	require.Contains(t, green(t), "built tiny")

	t.Run("started again between runs", func(t *testing.T) {
		p.stop(t)
		p.start(t)
		require.Contains(t, green(t), "unchanged: tiny")
	})
	t.Run("names taken and given to others", func(t *testing.T) {
		output, ok := p.run(t, selftest.WriteCrate(t, tests("time.sleep(1)")), "test_between", func() { p.rename(t) })
		require.True(t, ok, output)
		require.Contains(t, green(t), "unchanged: tiny")
		p.forgetBuilds(t)
		require.Contains(t, green(t), "built tiny", "what is gone is made again")
	})
	t.Run("killed in the tests", func(t *testing.T) {
		output := red(t, tests("time.sleep(1000)"), "test_between", func() { p.kill(t) },
			"not run: "+gone, "it was running when its group was ended", "test_last", "1 test not run: "+gone, gone,
			"the stream of events broke off")
		require.Contains(t, output, "3 of 3 tests: 1 passed, 2 not run")
		require.NotContains(t, output, "Is the docker daemon running?", "once is enough")
		p.start(t)
		green(t)
	})
	t.Run("killed in the build", func(t *testing.T) {
		build := map[string]string{"build.rs": "fn main() { " +
			"std::thread::sleep(std::time::Duration::from_secs(1000)) }\n"}
		red(t, build, "Compiling tiny", func() { p.kill(t) }, gone, "build: exec ")
		p.start(t)
		green(t)
	})
	t.Run("disk full", func(t *testing.T) {
		defer p.fill(t, everything)
		full := engine.DiskFull + "\n"
		p.fill(t, 8<<20)
		red(t, map[string]string{"requirements-test.txt": "attrs\n"}, "", nil, "No space left on device", full,
			"dependencies failed for ")
		p.fill(t, everything)
		p.fill(t, 100<<20)
		red(t, map[string]string{"build.rs": fills}, "", nil, "No space left on device", full, "build failed for ")
		p.fill(t, everything)
		output := red(t, rust("44"), "Compiling tiny", func() { p.fill(t, 0) }, full)
		require.Contains(t, output, "o space left on device") // in the build or the commit
		p.fill(t, 0)                                          // the compiler has cleaned up
		red(t, nil, "", nil, full, "create container: ", "no space left on device")
		p.fill(t, everything)
		green(t)
	})
	t.Run("disk filled by a test", func(t *testing.T) {
		defer p.fill(t, everything)
		p.fill(t, 100<<20)
		for _, place := range []string{"/tmp/filling", "filling"} {
			red(t, tests("open('"+place+"', 'wb', 0).write(bytes(1 << 28)); raise OSError"), "", nil,
				"test_between", "OSError", engine.DiskFull+", and check what the tests write\n",
				"pytest ended in the middle of session finish: exit status 1", "3 of 3 tests: 2 passed, 1 failed")
		}
		green(t)
	})
}
