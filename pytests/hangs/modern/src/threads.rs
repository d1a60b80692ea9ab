//! Threads that need the GIL, waited for by who holds it.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// A background thread that ends when its owner does, and says so to Python: it needs the GIL for that.
#[pyclass]
pub struct Worker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[pymethods]
impl Worker {
    #[new]
    fn new() -> Self {
        let (stop, stopped) = channel::<()>();
        let thread = thread::spawn(move || {
            stopped.recv().unwrap_err();
            Python::attach(|_| ());
        });
        Worker {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Worker {
    /// Joins without `detach`: Python drops objects with the GIL held, and the thread needs it.
    fn drop(&mut self) {
        self.stop.take();
        let thread = self.thread.take().unwrap();
        thread.join().unwrap(); // hangs here: drop-join
    }
}

/// The GIL is held while a thread is joined that wants it.
#[pyfunction]
pub fn join_attached(_py: Python<'_>) {
    let thread = thread::spawn(|| Python::attach(|_| ()));
    thread.join().unwrap(); // hangs here: join-attached
}

/// No hang: a `Py` that is dropped without the GIL is put aside until someone has it.
#[pyfunction]
pub fn drop_elsewhere(_py: Python<'_>, object: Py<PyAny>) {
    thread::spawn(move || drop(object)).join().unwrap();
}

/// A logging bridge: a native thread logs into Python's logging, while its caller waits for it with the GIL held.
#[pyfunction]
pub fn log_from_thread(_py: Python<'_>, logger: Py<PyAny>) {
    let thread = thread::spawn(move || {
        Python::attach(|py| logger.call_method1(py, "info", ("from Rust",)).map(drop))
    });
    thread.join().unwrap().unwrap(); // hangs here: log-bridge
}

/// Calls back from a native thread and waits for it as one should, detached.
#[pyfunction]
pub fn call_from_thread(py: Python<'_>, callable: Py<PyAny>) -> PyResult<Py<PyAny>> {
    py.detach(|| {
        let thread = thread::spawn(move || Python::attach(|py| callable.call0(py)));
        thread.join() // hangs here: callback
    })
    .map_err(|_| PyRuntimeError::new_err("the thread panicked"))?
}
