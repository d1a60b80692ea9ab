//! A lock and the GIL, taken in two orders.

use std::sync::mpsc::channel;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

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

/// Two native threads, each with the lock that the other one wants; the caller waits for them, detached. Python knows
/// neither of the two.
#[pyfunction]
pub fn rust_lock_order(py: Python<'_>) -> i32 {
    static ONE: Mutex<i32> = Mutex::new(1);
    static TWO: Mutex<i32> = Mutex::new(2);
    static BOTH: Barrier = Barrier::new(2);
    let sum = |first: &'static Mutex<i32>, second: &'static Mutex<i32>| {
        let first = first.lock().unwrap();
        BOTH.wait();
        *first + *second.lock().unwrap() // hangs here: rust-lock-order
    };
    py.detach(|| {
        let other = thread::spawn(move || sum(&TWO, &ONE));
        let same = thread::spawn(move || sum(&ONE, &TWO));
        same.join().unwrap() + other.join().unwrap()
    })
}

/// A thread is attached and waits for a lock whose holder needs all attached threads to hold still, for the garbage
/// collector. With a GIL, the holder waits for that.
#[pyfunction]
pub fn stop_the_world(py: Python<'_>) -> PyResult<()> {
    static LOCK: Mutex<()> = Mutex::new(());
    let _guard = LOCK.lock().unwrap();
    let (sender, attached) = channel();
    thread::spawn(move || {
        Python::attach(|_| {
            sender.send(()).unwrap();
            drop(LOCK.lock().unwrap()); // hangs here: stop-the-world
        })
    });
    py.detach(move || {
        attached.recv().unwrap();
        thread::sleep(Duration::from_millis(100));
    });
    py.import("gc")?.call_method0("collect")?;
    Ok(())
}
