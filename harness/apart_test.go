package harness_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// hostile is a build script that edits what it can reach of pytest and of fetched crates, and fails if it is not
// confined.
const hostile = `use std::{fs, io::Write, path::Path};

fn edit(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            edit(&path);
        } else if path.ends_with("_pytest/python.py") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let _ = fs::write(&path, text.replace("testfunction(**testargs)", "None"));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            if let Ok(mut file) = fs::OpenOptions::new().append(true).open(&path) {
                let _ = file.write_all(b"\ncompile_error!(\"edited by another crate\");\n");
            }
        }
    }
}

fn main() {
    edit(Path::new("/cache"));
    edit(Path::new("/crates"));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("CapEff:\t0000000000000000"), "{status}");
    let networks: Vec<_> = fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(networks, ["lo"], "the build has a network");
    println!("cargo:rerun-if-env-changed=BUILT_AT");
}
`

// TestBuildScriptReachesNoOtherCrate checks that what a crate's build script does to the caches that it can reach
// changes neither the tests nor the build of another crate.
func TestBuildScriptReachesNoOtherCrate(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import tiny

def test_wrong():
    assert tiny.answer() == 0
`})
	other := filepath.Join(filepath.Dir(crate), "hostile")
	selftest.Edit(t, other, selftest.Tiny)
	selftest.Edit(t, other, map[string]string{"Cargo.lock": selftest.TinyLock(t), "build.rs": hostile})

	// The variable is new each time, so that both environments are installed and both crates compiled now.
	suite := harness.Suite{Crate: other, Profile: "dev", Env: map[string]string{"BUILT_AT": time.Now().String()}}
	r := harnesstest.Record(t, suite)
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())

	suite.Crate = crate
	r = harnesstest.Record(t, suite)
	require.Equal(t, harnesstest.Failed, r.Outcome(), r.Text())
	require.Contains(t, r.Sub("tiny").Text(), "1 of 1 tests: 1 failed")
}

// TestFetchRunsNoCodeOfTheProject checks that a rustc wrapper, set in the project's cargo configuration, runs in the
// build but not while crates are fetched. What the configuration says about the sources of crates applies to both. What
// the build leaves running is ended.
func TestFetchRunsNoCodeOfTheProject(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{
		"Cargo.toml": selftest.Tiny["Cargo.toml"] + "helper = \"0.1\"\n",
		"Cargo.lock": selftest.TinyLockWithHelper(t),
		".cargo/config.toml": `[build]
rustc-wrapper = "./wrapper.sh"
[patch.crates-io]
helper = { path = "helper" }
`,
		"wrapper.sh": `#!/bin/sh
touch /cache/ran /build/ran 2>/dev/null
exec "$@"
`,
		"helper/Cargo.toml": `[package]
name = "helper"
version = "0.1.0"
edition = "2024"
`,
		"helper/src/lib.rs": "pub const NUMBER: i32 = 42;\n",
		"src/lib.rs": strings.Replace(selftest.Tiny["src/lib.rs"], "        42\n", "        helper::NUMBER\n",
			1),
		"build.rs": `use std::{path::Path, process::{Command, Stdio}};

fn main() {
    assert!(Path::new("/build/ran").exists(), "the wrapper did not run in the build");
    assert!(!Path::new("/cache/ran").exists(), "the wrapper ran where crates are fetched");
    Command::new("setsid").args(["sleep", "3600"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    println!("cargo:rerun-if-env-changed=BUILT_AT");
}
`,
	})
	require.NoError(t, os.Chmod(filepath.Join(crate, "wrapper.sh"), 0o755))
	suite := harness.Suite{Crate: crate, Profile: "dev", Env: map[string]string{"BUILT_AT": time.Now().String()}}
	r := harnesstest.Record(t, suite)
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
}

// TestBuildNetwork checks that a build script has a network only if the Suite says so.
func TestBuildNetwork(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"build.rs": `use std::net::ToSocketAddrs;

fn main() {
    if std::fs::read_dir("/sys/class/net").unwrap().count() == 1 {
        ("example.com", 443).to_socket_addrs().unwrap();
    }
    println!("cargo:rerun-if-env-changed=BUILT_AT");
}
`})
	suite := harness.Suite{Crate: crate, Profile: "dev", Env: map[string]string{"BUILT_AT": time.Now().String()}}
	r := harnesstest.Record(t, suite)
	require.Equal(t, harnesstest.Failed, r.Outcome(), r.Text())
	require.Contains(t, r.Text(), "a build has no network: set build-network in [tool.pyo3test] (BuildNetwork of a Suite)")
	require.Empty(t, r.Subs())

	suite.BuildNetwork = true
	r = harnesstest.Record(t, suite)
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
}

// TestEnvironmentIsWhatWasInstalled checks that neither a build script nor a package's own build can change what the
// tests run with.
func TestEnvironmentIsWhatWasInstalled(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"build.rs": `fn main() {
    let site = std::fs::read_dir("/opt/venv/lib").unwrap().next().unwrap().unwrap().path().join("site-packages");
    std::fs::write(site.join("added.pth"), "import sys\n").unwrap();
}
`})
	suite := harness.Suite{Crate: crate, Profile: "dev", Env: map[string]string{"BUILT_AT": time.Now().String()}}
	r := harnesstest.Record(t, suite)
	require.Equal(t, harnesstest.Failed, r.Outcome(), r.Text())
	require.Regexp(t, `the build has changed /opt/venv/lib/\S+/added\.pth: a build script must not write`, r.Text())

	selftest.Edit(t, crate, map[string]string{
		"build.rs": "",
		"edits/pyproject.toml": `[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "edits"
version = "1"
`,
		"edits/setup.py": `import glob, os
from setuptools import setup

assert os.access("/cache/uv", os.W_OK)
assert not os.path.exists("/cache/cargo/registry"), "the volume is visible that crates are fetched to"

(target,) = glob.glob("/opt/venv/lib/python3*/site-packages/_pytest/python.py")
with open(target, "a") as file:
    file.write("# edited")
setup(py_modules=[])
`,
	})
	suite.Requirements = []string{"./edits"}
	r = harnesstest.Record(t, suite)
	require.Equal(t, harnesstest.Failed, r.Outcome(), r.Text())
	require.Regexp(t, `/_pytest/python\.py is not what its package's RECORD says`, r.Text())
}
