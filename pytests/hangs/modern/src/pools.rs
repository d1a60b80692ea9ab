//! Pools of threads that come back to Python, called by who holds the GIL.

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
    let attached = |number: usize| Python::attach(|_| number);
    Ok(pool.install(|| (0..8).into_par_iter().map(attached).sum())) // hangs here: rayon-reentry
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

fn error(error: impl std::error::Error) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}
