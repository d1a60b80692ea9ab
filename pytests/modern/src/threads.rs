//! Threads: native ones that work while the interpreter does something else, or that come back to it.
//!
//! The rule behind every function: whoever waits for a thread is detached from the interpreter, because
//! that thread may need it.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Sleeps without the GIL: other Python threads go on.
#[pyfunction]
pub fn rest(py: Python<'_>, duration: Duration) {
    py.detach(|| thread::sleep(duration));
}

/// Sums on `workers` native threads.
#[pyfunction]
pub fn parallel_sum(py: Python<'_>, values: Vec<u64>, workers: usize) -> PyResult<u64> {
    if workers == 0 {
        return Err(PyValueError::new_err("no workers"));
    }
    let share = values.len().div_ceil(workers).max(1);
    Ok(py.detach(|| {
        thread::scope(|scope| {
            let parts: Vec<_> = values
                .chunks(share)
                .map(|part| scope.spawn(|| part.iter().sum::<u64>()))
                .collect();
            parts.into_iter().map(|part| part.join().unwrap()).sum()
        })
    }))
}

/// Calls back from a thread that Python has never seen; what it raises is raised here.
#[pyfunction]
pub fn call_from_thread(py: Python<'_>, callable: Py<PyAny>) -> PyResult<Py<PyAny>> {
    py.detach(|| thread::spawn(move || Python::attach(|py| callable.call0(py))).join())
        .map_err(|_| PyRuntimeError::new_err("the thread panicked"))?
}

/// A native thread that hands what it is sent to a Python callable, one at a time.
#[pyclass(frozen)]
pub struct Worker {
    state: Mutex<Option<Running>>,
}

struct Running {
    sender: Sender<Py<PyAny>>,
    thread: JoinHandle<PyResult<usize>>,
}

#[pymethods]
impl Worker {
    #[new]
    fn new(callable: Py<PyAny>) -> Self {
        let (sender, receiver) = channel::<Py<PyAny>>();
        let thread = thread::spawn(move || {
            let mut done = 0;
            for message in receiver {
                Python::attach(|py| callable.call1(py, (message,)))?;
                done += 1;
            }
            Ok(done)
        });
        Worker {
            state: Mutex::new(Some(Running { sender, thread })),
        }
    }

    /// Sends outside the lock: a message that cannot be sent is dropped, which may run Python.
    fn send(&self, message: Py<PyAny>) -> PyResult<()> {
        let sender = match &*self.state.lock().unwrap() {
            Some(running) => running.sender.clone(),
            None => return Err(closed()),
        };
        sender.send(message).map_err(|_| closed())
    }

    /// Waits until all that was sent is done; how much that was, or what the callable raised.
    fn close(&self, py: Python<'_>) -> PyResult<usize> {
        let Running { sender, thread } = self.state.lock().unwrap().take().ok_or_else(closed)?;
        drop(sender);
        py.detach(|| thread.join())
            .map_err(|_| PyRuntimeError::new_err("the thread panicked"))?
    }
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("the worker is closed")
}

/// Made once, whichever thread comes first. `PyOnceLock` detaches while it waits; a plain `OnceLock`
/// would deadlock where its initialiser needs the GIL.
#[pyfunction]
pub fn started_at(py: Python<'_>) -> PyResult<Py<PyAny>> {
    static STARTED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    STARTED
        .get_or_try_init(py, || {
            let now = py.import("time")?.call_method0("monotonic")?;
            Ok(now.unbind())
        })
        .map(|now| now.clone_ref(py))
}
