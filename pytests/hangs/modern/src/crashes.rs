//! Ways for a process to die under a test.

use std::{hint, process, ptr};

use pyo3::prelude::*;

/// Dies by SIGSEGV. The address is not null: a debug build would turn that into a panic.
#[pyfunction]
pub fn segfault() -> u8 {
    // SAFETY: none, on purpose. The first page is never mapped.
    unsafe { ptr::with_exposed_provenance::<u8>(8).read_volatile() }
}

/// Dies by SIGABRT.
#[pyfunction]
pub fn abort() {
    process::abort();
}

/// A panic may not cross `extern "C"`: it aborts.
#[pyfunction]
pub fn extern_panic() {
    callback(0);
}

extern "C" fn callback(status: i32) {
    assert_eq!(status, 1, "the library said no");
}

/// Calls itself until the stack ends.
#[pyfunction]
pub fn stack_overflow() -> usize {
    descend(0)
}

#[expect(unconditional_recursion)]
fn descend(depth: usize) -> usize {
    let frame = hint::black_box([depth; 128]);
    descend(frame[0] + 1) + frame[127]
}

/// Allocates and touches memory without end; only a limit of the container ends it.
#[pyfunction]
pub fn out_of_memory(py: Python<'_>) {
    py.detach(|| {
        let mut blocks = Vec::new();
        loop {
            blocks.push(hint::black_box(vec![1_u8; 1 << 20]));
        }
    })
}
