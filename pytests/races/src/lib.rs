//! Races that hang in few runs, each as it gets into real code. The feature `fixed` has what each should have been.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pyo3::prelude::*;

/// Whether each race is as good as certain, to have a first hang of it.
static CERTAIN: AtomicBool = AtomicBool::new(false);

/// Makes each race as good as certain in this process.
#[pyfunction]
fn make_certain() {
    CERTAIN.store(true, Ordering::Relaxed);
}

/// The moment at which another thread must not come, much longer than usual if the race is to be certain.
fn moment() {
    if CERTAIN.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(100));
    }
}

/// A sum that several threads add to.
#[pyclass(frozen)]
#[derive(Default)]
struct Ledger {
    sum: Mutex<u64>,
}

#[pymethods]
impl Ledger {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Keeps the lock while it is detached, to let other threads run: one of them may want the lock and keep the GIL.
    fn add(&self, py: Python<'_>, entries: Vec<u64>) {
        if cfg!(feature = "fixed") {
            py.detach(|| *self.sum.lock().unwrap() += checksum(&entries));
            return;
        }
        let mut sum = self.sum.lock().unwrap(); // hangs here: lock-across-detach
        let total: &mut u64 = &mut sum;
        py.detach(|| *total += checksum(&entries));
    }
}

/// Some work without Python.
fn checksum(entries: &[u64]) -> u64 {
    moment();
    entries.iter().fold(0, |sum, entry| sum.rotate_left(5) ^ entry)
}

/// Looks a number up in a table that the first caller makes, detached. A second one waits for it, with the GIL.
#[pyfunction]
fn look_up(py: Python<'_>, index: u8) -> u64 {
    static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
    fn make() -> Vec<u64> {
        moment();
        (0..256).map(|n: u64| n.rotate_left(5) ^ (n * n)).collect()
    }
    if cfg!(feature = "fixed") {
        return py.detach(|| TABLE.get_or_init(make))[usize::from(index)];
    }
    TABLE.get_or_init(|| py.detach(make))[usize::from(index)] // hangs here: once-that-detaches
}

/// An account, and how much it has.
#[pyclass(frozen)]
struct Account {
    number: u64,
    balance: Mutex<i64>,
}

#[pymethods]
impl Account {
    #[new]
    fn new(number: u64, balance: i64) -> Self {
        Self { number, balance: Mutex::new(balance) }
    }

    /// Locks both accounts, this one first: two transfers in opposite directions may each have one of them.
    fn transfer(&self, py: Python<'_>, other: &Account, amount: i64) {
        py.detach(|| {
            if cfg!(feature = "fixed") && other.number < self.number {
                let mut to = other.balance.lock().unwrap();
                let mut from = self.balance.lock().unwrap();
                *from -= amount;
                *to += amount;
                return;
            }
            let mut from = self.balance.lock().unwrap();
            moment();
            let mut to = other.balance.lock().unwrap(); // hangs here: two-orders
            *from -= amount;
            *to += amount;
        });
    }

    #[getter]
    fn balance(&self, py: Python<'_>) -> i64 {
        py.detach(|| *self.balance.lock().unwrap())
    }
}

/// A computation in a thread, which calls back when it is done, unless nobody wants it any more.
#[pyclass(frozen)]
struct Job {
    done: Mutex<Receiver<u64>>,
    unwanted: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[pymethods]
impl Job {
    #[new]
    fn new(entries: Vec<u64>, callback: Py<PyAny>) -> Self {
        let (sender, done) = channel();
        let unwanted = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&unwanted);
        let thread = thread::spawn(move || {
            let _ = sender.send(checksum(&entries));
            if !asked.load(Ordering::Acquire) {
                moment();
                Python::attach(|py| {
                    let _ = callback.call0(py);
                });
            }
        });
        Self { done: Mutex::new(done), unwanted, thread: Mutex::new(Some(thread)) }
    }

    /// Waits for the result.
    fn result(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.done.lock().unwrap().recv().unwrap())
    }
}

impl Drop for Job {
    /// Joins the thread, with the GIL, which the thread may want for its callback.
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Release);
        let Some(thread) = self.thread.lock().unwrap().take() else { return };
        if cfg!(feature = "fixed") {
            Python::attach(|py| py.detach(|| thread.join().unwrap()));
            return;
        }
        thread.join().unwrap(); // hangs here: drop-joins
    }
}

#[pymodule]
fn races(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Ledger>()?;
    m.add_class::<Account>()?;
    m.add_class::<Job>()?;
    m.add_function(wrap_pyfunction!(make_certain, m)?)?;
    m.add_function(wrap_pyfunction!(look_up, m)?)
}
