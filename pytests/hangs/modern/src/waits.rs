//! Native code that does not come back, with the GIL and without it.

use std::time::Duration;
use std::{hint, thread};

use pyo3::prelude::*;

/// Runs forever with the GIL held: no Python code, no signal handler and no timer gets a turn.
#[pyfunction]
pub fn spin(_py: Python<'_>) {
    loop {
        hint::spin_loop(); // hangs here: gil-spin
    }
}

/// Waits forever with the GIL released: Python threads go on, this one does not.
#[pyfunction]
pub fn native_park(py: Python<'_>) {
    py.detach(|| {
        loop {
            thread::park(); // hangs here: native-park
        }
    });
}

/// Waits forever with the GIL held: a `detach` was forgotten, and Python stands still.
#[pyfunction]
pub fn native_park_attached(_py: Python<'_>) {
    loop {
        thread::park(); // hangs here: native-park-attached
    }
}

/// Sleeps with the GIL held, as a retry with a delay does whose author did not think of Python.
#[pyfunction]
pub fn native_sleep_attached(_py: Python<'_>) {
    thread::sleep(Duration::from_secs(1000)); // hangs here: native-sleep-attached
}
