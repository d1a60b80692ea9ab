package harness_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// named returns the tiny crate's code as a module with another name.
func named(module string) string {
	return strings.Replace(selftest.Tiny["src/lib.rs"], "#[pymodule]\nmod tiny",
		"#[pymodule]\n#[pyo3(name = \""+module+"\")]\nmod tiny", 1)
}

// below moves files under a folder.
func below(folder string, files map[string]string) map[string]string {
	moved := map[string]string{}
	for name, text := range files {
		moved[folder+"/"+name] = text
	}
	return moved
}

// TestLayouts checks that common layouts of crates need no more settings than by hand. Those below the folder of all files
// are in the same place, so that what they depend on is compiled once.
func TestLayouts(t *testing.T) {
	const helper = `[package]
name = "helper"
version = "0.1.0"
edition = "2024"
`
	const number = `pub fn number() -> i32 {
    42
}
`
	uses := strings.Replace(selftest.Tiny["src/lib.rs"], "        42\n", "        helper::number()\n", 1)
	test := func(module string) string {
		return strings.ReplaceAll(selftest.Tiny["tests/test_tiny.py"], "tiny", module)
	}
	python := func(text string) string { return selftest.Tiny["pyproject.toml"] + text }
	withHelper := selftest.TinyLockWithHelper(t)
	for _, c := range []struct {
		name  string
		crate string // below the folder of all files; "" is that folder itself
		files map[string]string
		suite harness.Suite
		says  string
	}{
		{name: "python-source", files: map[string]string{
			"pyproject.toml": python(`[tool.maturin]
module-name = "tiny._tiny"
python-source = "python"
`), "src/lib.rs": named("_tiny"),
			"python/tiny/__init__.py": "from ._tiny import answer\n",
		}},
		{name: "src layout beside Rust", files: map[string]string{
			"pyproject.toml": python(`[tool.maturin]
module-name = "tiny._tiny"
python-source = "src"
manifest-path = "rust/Cargo.toml"
`),
			"Cargo.toml": "", "Cargo.lock": "", "src/lib.rs": "", "rust/Cargo.toml": selftest.Tiny["Cargo.toml"],
			"rust/src/lib.rs": named("_tiny"), "rust/Cargo.lock": selftest.TinyLock(t),
			"src/tiny/__init__.py": "from ._tiny import answer\n",
		}},
		{name: "module, crate and distribution of different names", files: map[string]string{
			"pyproject.toml": strings.Replace(python("[tool.maturin]\nmodule-name = \"other\"\n"), `name = "tiny"`,
				`name = "My.Distribution"`, 1),
			"src/lib.rs": named("other"), "tests/test_tiny.py": test("other"),
		}},
		{name: "member of a workspace", crate: "bindings/python", files: selftest.Merged(
			map[string]string{"Cargo.toml": `[workspace]
members = ["bindings/*", "helper"]
resolver = "3"
[workspace.dependencies]
helper = { path = "helper" }
`, "Cargo.lock": withHelper, "pyproject.toml": "", "src/lib.rs": "", "tests/test_tiny.py": ""},
			map[string]string{"helper/Cargo.toml": helper, "helper/src/lib.rs": number},
			below("bindings/python", selftest.Tiny),
			map[string]string{"bindings/python/Cargo.toml": selftest.Tiny["Cargo.toml"] + "helper.workspace = true\n",
				"bindings/python/src/lib.rs": uses},
		)},
		{name: "path dependency outside, without a workspace", crate: "bindings/python", files: selftest.Merged(
			map[string]string{"Cargo.toml": "", "Cargo.lock": "", "pyproject.toml": "", "src/lib.rs": "",
				"tests/test_tiny.py": ""},
			map[string]string{"helper/Cargo.toml": helper, "helper/src/lib.rs": number},
			below("bindings/python", selftest.Tiny),
			map[string]string{
				"bindings/python/Cargo.toml": selftest.Tiny["Cargo.toml"] + "helper = { path = \"../../helper\" }\n",
				"bindings/python/src/lib.rs": uses,
				"bindings/python/Cargo.lock": withHelper,
			},
		)},
		{name: "no Cargo.lock", files: map[string]string{"Cargo.lock": ""},
			says: "the crate has no Cargo.lock: that of its first build is kept in the engine"},
		{name: "build.rs, flags in .cargo/config.toml, abi3", files: map[string]string{
			"Cargo.toml": strings.Replace(selftest.Tiny["Cargo.toml"], `pyo3 = "0.30.1"`,
				`pyo3 = { version = "0.30.1", features = ["abi3-py311"] }`, 1),
			"build.rs": `fn main() {
    println!("cargo:rustc-env=ANSWER={}", std::fs::read_to_string("answer.txt").unwrap().trim());
}
`,
			"answer.txt":         "42\n",
			".cargo/config.toml": "[build]\nrustflags = [\"--cfg\", \"flagged\"]\n",
			"src/lib.rs": strings.Replace(selftest.Tiny["src/lib.rs"], "        42\n",
				"        if cfg!(flagged) { env!(\"ANSWER\").parse().unwrap() } else { 0 }\n", 1),
		}},
		{name: "rust-toolchain without a rustup",
			files: map[string]string{"rust-toolchain.toml": "[toolchain]\nchannel = \"1.85\"\n"},
			says: "rust-toolchain.toml asks for Rust 1.85; the base image has no rustup, so " +
				"this was built with rustc 1."},
		{name: "a dev group that would bring another pytest", files: map[string]string{
			"pyproject.toml": python(`[dependency-groups]
dev = ["pytest==7.4.4"]
test = ["pytest==8.4.2"]
`),
			"tests/test_tiny.py": selftest.Tiny["tests/test_tiny.py"] + `
def test_pytest():
    import pytest
    assert pytest.__version__ == "8.4.2"
`,
		}},
		{name: "configuration, conftest and .cargo above the crate", crate: "bindings/python", files: selftest.Merged(
			map[string]string{"Cargo.toml": "", "Cargo.lock": "",
				"pyproject.toml": "[tool.pytest.ini_options]\npython_files = [\"check_*.py\"]\n", "src/lib.rs": "",
				"tests/test_tiny.py": ""},
			map[string]string{"conftest.py": `import pytest

@pytest.fixture
def above():
    return 42
`, ".cargo/config.toml": "[env]\nABOVE = \"42\"\n"},
			below("bindings/python", selftest.Tiny),
			map[string]string{
				"bindings/python/Cargo.lock": selftest.TinyLock(t), "bindings/python/tests/test_tiny.py": "",
				"bindings/python/tests/check_tiny.py": `import tiny

def test_answer(above):
    assert tiny.answer() == above
`,
				"bindings/python/src/lib.rs": strings.Replace(selftest.Tiny["src/lib.rs"], "        42\n",
					"        env!(\"ABOVE\").parse().unwrap()\n", 1),
			},
		)},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := selftest.WriteCrate(t, c.files)
			c.suite.Crate, c.suite.Profile = filepath.Join(folder, c.crate), "dev"
			before := selftest.Snapshot(t, folder)
			r := harnesstest.Record(t, c.suite)
			require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
			require.Contains(t, r.Text(), c.says)
			require.Equal(t, before, selftest.Snapshot(t, folder), "the tree was written to")
		})
	}
}
