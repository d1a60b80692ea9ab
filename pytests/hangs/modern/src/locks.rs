//! A lock and the GIL, taken in two orders.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use pyo3::prelude::*;

/// A thread holds the mutex and waits for the GIL; the caller holds the GIL and waits for the mutex.
#[pyfunction]
pub fn gil_mutex(_py: Python<'_>) -> i32 {
    static LOCK: Mutex<i32> = Mutex::new(0);
    let (sender, locked) = channel();
    thread::spawn(move || {
        let mut value = LOCK.lock().unwrap();
        sender.send(()).unwrap();
        Python::attach(|_| *value += 1);
    });
    locked.recv().unwrap();
    *LOCK.lock().unwrap() // hangs here: gil-mutex
}

/// The same with parking_lot, whose waits look different from outside.
#[pyfunction]
pub fn gil_parking_lot(_py: Python<'_>) -> i32 {
    static LOCK: parking_lot::Mutex<i32> = parking_lot::Mutex::new(0);
    let (sender, locked) = channel();
    thread::spawn(move || {
        let mut value = LOCK.lock();
        sender.send(()).unwrap();
        Python::attach(|_| *value += 1);
    });
    locked.recv().unwrap();
    *LOCK.lock() // hangs here: gil-parking-lot
}

/// Calls back with a lock held. Whatever the callback does can let another thread have the GIL, and that may come here too.
#[pyfunction]
pub fn call_locked(py: Python<'_>, callable: Py<PyAny>) -> PyResult<Py<PyAny>> {
    static LOCK: Mutex<()> = Mutex::new(());
    let _guard = LOCK.lock().unwrap(); // hangs here: lock-across-callback
    callable.call0(py)
}

/// Calls back with a lock held, and the callback comes here again: one thread takes the lock twice.
#[pyfunction]
pub fn call_locked_again(py: Python<'_>, callable: Py<PyAny>) -> PyResult<Py<PyAny>> {
    static LOCK: Mutex<()> = Mutex::new(());
    let _guard = LOCK.lock().unwrap(); // hangs here: lock-reentrant
    callable.call0(py)
}
