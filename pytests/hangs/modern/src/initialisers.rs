//! Values that are made once, by whoever comes first.

use std::sync::{Barrier, LazyLock, OnceLock};
use std::thread;

use pyo3::prelude::*;

/// The initialiser needs the GIL; the caller holds it and waits for the initialiser. `PyOnceLock` is made for this.
#[pyfunction]
pub fn lazy_gil(_py: Python<'_>) -> i32 {
    static BEGUN: Barrier = Barrier::new(2);
    static VALUE: LazyLock<i32> = LazyLock::new(|| {
        BEGUN.wait();
        Python::attach(|_| 42)
    });
    thread::spawn(|| *VALUE);
    BEGUN.wait();
    *VALUE // hangs here: lazy-gil
}

/// The initialiser asks for the value that it is making.
#[pyfunction]
pub fn lazy_reentrant(_py: Python<'_>) -> usize {
    *settings()
}

static SETTINGS: OnceLock<usize> = OnceLock::new();

fn settings() -> &'static usize {
    SETTINGS.get_or_init(|| default_size() + 1)
}

#[inline(never)]
fn default_size() -> usize {
    settings() / 2 // hangs here: lazy-reentrant
}
