//! Every way in which a test can end, for a suite that is red on purpose.
//!
//! `expected.json` beside it says what each test must come to in a forked run with three seconds a test.
//! Its keys are node ids, and paths of files that end while they are collected. `contains` lists pieces of
//! the failure or skip text, `subtests` each subtest by pytest's description of it, and `count` is how many
//! tests share the node id, where that is more than one.

use pyo3::prelude::*;

#[pymodule]
mod outcomes {
    use std::ffi::c_int;
    use std::{hint, process, ptr, thread};

    use pyo3::exceptions::PyRuntimeError;
    use pyo3::prelude::*;

    unsafe extern "C" {
        fn write(fd: c_int, bytes: *const u8, count: usize) -> isize;
    }

    #[pyfunction]
    fn fail(message: String) -> PyResult<()> {
        Err(PyRuntimeError::new_err(message))
    }

    #[pyfunction]
    fn panic(message: &str) {
        panic!("{message}");
    }

    /// Dies by SIGABRT.
    #[pyfunction]
    fn abort() {
        process::abort();
    }

    /// Dies by SIGSEGV. The address is not null: a debug build would turn that into a panic.
    #[pyfunction]
    fn segfault() -> u8 {
        // SAFETY: none, on purpose. The first page is never mapped.
        unsafe { ptr::with_exposed_provenance::<u8>(8).read_volatile() }
    }

    /// Waits forever with the GIL released: only a signal from outside ends it.
    #[pyfunction]
    fn park(py: Python<'_>) {
        py.detach(|| {
            loop {
                thread::park();
            }
        });
    }

    /// Runs forever with the GIL held: no Python code, no signal handler and no timer gets a turn.
    #[pyfunction]
    fn spin() {
        loop {
            hint::spin_loop();
        }
    }

    /// A line through Rust's own buffer, which Python neither sees nor flushes.
    #[pyfunction]
    fn print(text: &str) {
        println!("{text}");
    }

    /// Bytes straight to a file descriptor, past every buffer.
    #[pyfunction]
    fn write_to(fd: c_int, bytes: &[u8]) -> isize {
        // SAFETY: the slice is valid for its length while `write` runs.
        unsafe { write(fd, bytes.as_ptr(), bytes.len()) }
    }
}
