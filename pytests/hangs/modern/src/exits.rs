//! Threads that are waited for when the process ends, after the last test has passed.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

unsafe extern "C" {
    fn atexit(callback: extern "C" fn()) -> c_int;
}

/// A thread that is attached and reports to Python every now and then, detached in between. Once the interpreter is
/// finalizing, Python 3.11 would end it as it comes back, and PyO3 parks it instead, forever: whoever joins it waits as
/// long.
struct Reporter {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reporter {
    /// Returns when the thread is attached: none is about to be while pytest forks.
    fn start(py: Python<'_>) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        let (sender, attached) = channel();
        let thread = thread::spawn(move || {
            Python::attach(|py| {
                sender.send(()).unwrap();
                while !told.load(Ordering::Relaxed) {
                    py.detach(|| thread::sleep(Duration::from_millis(1)));
                }
            })
        });
        py.detach(move || attached.recv().unwrap());
        Reporter { stopped, thread }
    }
}

/// Has a reporter, which it stops and joins when it is dropped: an object that lives as long as the interpreter is
/// dropped when that is finalizing.
#[pyclass]
pub struct Session {
    reporter: Option<Reporter>,
}

#[pymethods]
impl Session {
    #[new]
    fn new(py: Python<'_>) -> Self {
        Session {
            reporter: Some(Reporter::start(py)),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Reporter { stopped, thread } = self.reporter.take().unwrap();
        stopped.store(true, Ordering::Relaxed);
        thread.join().ok(); // hangs here: exit-drop
    }
}

static REPORTER: Mutex<Option<Reporter>> = Mutex::new(None);

/// Starts a reporter that a C exit handler stops and joins. The interpreter's end comes before that.
#[pyfunction]
pub fn join_at_c_exit(py: Python<'_>) -> PyResult<()> {
    *REPORTER.lock().unwrap() = Some(Reporter::start(py));
    // SAFETY: the callback takes no arguments and does not unwind.
    match unsafe { atexit(join_reporter) } {
        0 => Ok(()),
        _ => Err(PyRuntimeError::new_err("no room for an exit handler")),
    }
}

extern "C" fn join_reporter() {
    if let Ok(Some(Reporter { stopped, thread })) = REPORTER.lock().map(|mut it| it.take()) {
        stopped.store(true, Ordering::Relaxed);
        thread.join().ok(); // hangs here: exit-join
    }
}

/// Joins a thread that needs the GIL, with the GIL held: right where a handler of Python's `atexit` should clean up. It
/// returns something, as that of threads.rs does not: of two closures that are alike the compiler keeps one.
#[pyfunction]
pub fn join_worker(_py: Python<'_>) {
    let worker = thread::spawn(|| Python::attach(|_| 42));
    worker.join().unwrap(); // hangs here: exit-atexit-join
}
