//! The classes of `../modern` that are other than there where PyO3 is 0.20: `with_gil`, `allow_threads`, and a
//! `Drop` of a `Py` that needs no pool. See there for what the comments `hangs here` are for.

use std::sync::mpsc::{channel, Sender};
use std::sync::{Barrier, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pyo3::prelude::*;

/// A thread holds the mutex and waits for the GIL; the caller holds the GIL and waits for the mutex.
#[pyfunction]
fn gil_mutex(_py: Python<'_>) -> i32 {
    static LOCK: Mutex<i32> = Mutex::new(0);
    let (sender, locked) = channel();
    thread::spawn(move || {
        let mut value = LOCK.lock().unwrap();
        sender.send(()).unwrap();
        Python::with_gil(|_| *value += 1);
    });
    locked.recv().unwrap();
    *LOCK.lock().unwrap() // hangs here: gil-mutex
}

/// Runs forever with the GIL held.
#[pyfunction]
fn spin(_py: Python<'_>) {
    loop {
        std::hint::spin_loop(); // hangs here: gil-spin
    }
}

/// Waits forever with the GIL released.
#[pyfunction]
fn native_park(py: Python<'_>) {
    py.allow_threads(|| loop {
        thread::park(); // hangs here: native-park
    });
}

/// Waits forever with the GIL held.
#[pyfunction]
fn native_park_attached(_py: Python<'_>) {
    loop {
        thread::park(); // hangs here: native-park-attached
    }
}

/// The initialiser needs the GIL; the caller holds it and waits for the initialiser.
#[pyfunction]
fn once_gil(_py: Python<'_>) -> i32 {
    static BEGUN: Barrier = Barrier::new(2);
    static VALUE: OnceLock<i32> = OnceLock::new();
    thread::spawn(|| {
        VALUE.get_or_init(|| {
            BEGUN.wait();
            Python::with_gil(|_| 42)
        })
    });
    BEGUN.wait();
    *VALUE.get_or_init(|| 7) // hangs here: once-gil
}

/// Waits for an answer with the GIL held, which who answers needs.
#[pyfunction]
fn recv_attached(_py: Python<'_>) -> usize {
    let (sender, answers) = channel();
    thread::spawn(move || Python::with_gil(|_| sender.send(42)));
    answers.recv().unwrap() // hangs here: recv-attached
}

/// A background thread that ends when its owner does, and needs the GIL for that.
#[pyclass]
struct Worker {
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
            Python::with_gil(|_| ());
        });
        Worker {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Worker {
    /// Joins with the GIL held, which the thread needs.
    fn drop(&mut self) {
        self.stop.take();
        let thread = self.thread.take().unwrap();
        thread.join().unwrap(); // hangs here: drop-join
    }
}

/// A thread is attached, and detached every now and then. Once the interpreter is finalizing, Python 3.11 ends it as it
/// comes back with `pthread_exit`, which may not unwind through Rust: the process aborts.
#[pyfunction]
fn report_for_ever(py: Python<'_>) {
    let (sender, attached) = channel();
    thread::spawn(move || {
        Python::with_gil(|py| {
            sender.send(()).unwrap();
            loop {
                py.allow_threads(|| thread::sleep(Duration::from_millis(1)));
            }
        })
    });
    py.allow_threads(move || attached.recv().unwrap());
}

#[pymodule]
fn legacy_hangs(_py: Python<'_>, module: &PyModule) -> PyResult<()> {
    module.add_class::<Worker>()?;
    module.add_function(wrap_pyfunction!(gil_mutex, module)?)?;
    module.add_function(wrap_pyfunction!(spin, module)?)?;
    module.add_function(wrap_pyfunction!(native_park, module)?)?;
    module.add_function(wrap_pyfunction!(native_park_attached, module)?)?;
    module.add_function(wrap_pyfunction!(once_gil, module)?)?;
    module.add_function(wrap_pyfunction!(recv_attached, module)?)?;
    module.add_function(wrap_pyfunction!(report_for_ever, module)?)
}
