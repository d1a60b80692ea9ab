//! Pools of threads that come back to Python, called by who holds the GIL.

use std::hint::black_box;
use std::sync::Barrier;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rayon::prelude::*;

/// Rayon's workers attach, while the caller waits for them in rayon with the GIL held. The pool is its own: see forks.rs.
#[pyfunction]
pub fn rayon_reentry(_py: Python<'_>) -> PyResult<usize> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .map_err(error)?;
    let numbers = (0..8).into_par_iter().map(|n: usize| Python::attach(|_| n));
    Ok(black_box(pool.install(|| numbers.sum()))) // hangs here: rayon-reentry
}

/// A task attaches in a worker of tokio's, while the caller blocks on it with the GIL held.
#[pyfunction]
pub fn tokio_block_on(_py: Python<'_>) -> PyResult<usize> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()?;
    let task = runtime.spawn(async { Python::attach(|_| 42) });
    runtime.block_on(task).map_err(error) // hangs here: tokio-block-on
}

/// Waits forever beside a pool that has nothing to do, which a report should not go on about.
#[pyfunction]
pub fn idle_pool(py: Python<'_>) -> PyResult<bool> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(32)
        .build()
        .map_err(error)?;
    let never = Barrier::new(2);
    py.detach(|| never.wait()); // hangs here: idle-pool
    Ok(pool.current_num_threads() == 32)
}

fn error(error: impl std::error::Error) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}
