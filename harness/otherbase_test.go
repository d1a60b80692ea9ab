package harness_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/doctor"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/prereq"
	"pyo3test/harness/internal/selftest"
)

// TestAnotherBase checks that a base that the user names brings another Python, and a rustup that honours the crate's
// rust-toolchain file. This one is from Debian's next release.
func TestAnotherBase(t *testing.T) {
	prereq.Engine(t)
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		prereq.Skip(t, "makes a base image, which takes root on Debian")
	}
	h := thisHost(t)
	const name = "localhost/pyo3test/test:python3.13-rustup"
	script, err := os.ReadFile("../images/debian-base.sh")
	require.NoError(t, err)
	base := exec.Command("bash", "-s")
	base.Env = append(os.Environ(), "DEBIAN_SUITE=trixie",
		"DEBIAN_PACKAGES=python3.13 python3.13-venv libpython3.13-dev rustup",
		"BASE_PACKAGES=gcc libc6-dev ca-certificates", "PYTHON=3.13")
	base.Stdin = bytes.NewReader(script)
	var words bytes.Buffer
	base.Stderr = &words
	packed, err := base.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, base.Start())
	err = h.Import(t.Context(), name, packed, []string{"ENV LANG=C.UTF-8"})
	require.NoError(t, base.Wait(), words.String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.RemoveImage(context.WithoutCancel(t.Context()), name)) })
	t.Setenv("PYO3TEST_BASE_IMAGE", name)

	crate := selftest.WriteCrate(t, map[string]string{
		"rust-toolchain.toml": `[toolchain]
channel = "1.94.0"
profile = "minimal"
`,
		"build.rs": `fn main() {
    let version = std::process::Command::new(std::env::var("RUSTC").unwrap()).arg("--version").output().unwrap();
    println!("cargo:rustc-env=BUILT_BY={}", String::from_utf8(version.stdout).unwrap().trim());
}
`,
		"src/lib.rs": strings.Replace(selftest.Tiny["src/lib.rs"], "fn answer() -> i32 {\n        42\n",
			"fn answer() -> &'static str {\n        env!(\"BUILT_BY\")\n", 1),
		"tests/test_tiny.py": `import sys, threading, tiny

def test_versions():
    assert sys.version_info[:2] == (3, 13)
    assert tiny.answer().startswith('rustc 1.94.0 ')

def test_lock():
    lock = threading.Lock()
    with lock:
        lock.acquire()
`,
	})
	r := harnesstest.Record(t, harness.Suite{Crate: crate, Python: []string{"3.13"}, Profile: "dev"})
	require.Contains(t, r.Text(), "Python 3.13.")
	require.NotNil(t, r.Sub("tiny"), r.Text())
	require.Equal(t, harnesstest.Passed, r.Sub("tiny").Sub("tests/test_tiny.py/test_versions").Outcome(), r.Sub("tiny").Text())
	hung := r.Sub("tiny").Sub("tests/test_tiny.py/test_lock").Text() // CPython's own functions have no names there
	require.Contains(t, hung, "deadlock proved")
	require.Contains(t, hung, "for a lock of Python's that no thread releases")

	tools, ok, err := image.Find(t.Context(), h.Engine, agent.Programs(), "")
	require.NoError(t, err)
	require.True(t, ok)
	findings, err := doctor.Network(t.Context(), h.Engine, tools.ID, true)
	require.NoError(t, err)
	require.Len(t, findings, 1, "that there is no toolchain but the crate's is no fault of the network")
	require.Equal(t, doctor.Note, findings[0].Level)
	require.Contains(t, findings[0].What, "whether builds reach the index of crates was not tried: ")

	r = harnesstest.Record(t, harness.Suite{Crate: crate, Python: []string{"3.12"}})
	require.Equal(t, harnesstest.Failed, r.Outcome())
	require.Regexp(t, `the base image \S+ has Python 3\.13\.\d+, and the Suite asks for 3\.12: set PYO3TEST_BASE_IMAGE to an image that has it`, r.Text())
}
