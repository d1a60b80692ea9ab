//! What a parent has and a forked child inherits in a state that nobody will ever change: only the thread that forks lives on.

use std::hint::black_box;
use std::sync::mpsc::channel;
use std::sync::{LazyLock, Mutex, OnceLock};
use std::thread::{self, Thread};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rayon::prelude::*;
use tokio::runtime::Runtime;

static LOCK: Mutex<i32> = Mutex::new(0);
static HOLDER: OnceLock<Thread> = OnceLock::new();
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime of tokio's"));

/// A thread takes the lock and keeps it until it is woken, as one that is in the middle of something when a fork comes.
#[pyfunction]
pub fn hold_lock(py: Python<'_>) {
    py.detach(|| {
        let (sender, locked) = channel();
        thread::spawn(move || {
            let value = LOCK.lock().unwrap();
            HOLDER.get_or_init(thread::current);
            sender.send(()).unwrap();
            thread::park();
            drop(value);
        });
        locked.recv().unwrap();
    });
}

/// Wakes who holds the lock and takes it; in a child whose parent's thread held it, nobody is there to wake.
#[pyfunction]
pub fn take_lock(py: Python<'_>) -> i32 {
    HOLDER.get().expect("hold_lock comes first").unpark();
    py.detach(|| *LOCK.lock().unwrap()) // hangs here: fork-mutex
}

/// Sums with rayon's global pool; a child knows the pool and has none of its threads.
#[pyfunction]
pub fn rayon_sum(py: Python<'_>, end: u64) -> u64 {
    py.detach(|| black_box((0..end).into_par_iter().sum())) // hangs here: fork-rayon
}

/// Asks a task of tokio's for the answer; a child knows the runtime and has none of its threads.
#[pyfunction]
pub fn tokio_answer(py: Python<'_>) -> PyResult<u64> {
    let task = RUNTIME.spawn(async { 42 });
    py.detach(|| black_box(RUNTIME.block_on(task))) // hangs here: fork-tokio
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))
}
