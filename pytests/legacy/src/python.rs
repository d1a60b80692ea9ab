//! The Python side, in the style of PyO3 0.20: references into the interpreter's pool, `allow_threads`.

use std::thread;
use std::time::Duration;

use pyo3::create_exception;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

create_exception!(legacy_ext._native, RegistryError, PyRuntimeError);

impl From<crate::Error> for PyErr {
    fn from(err: crate::Error) -> Self {
        RegistryError::new_err(err.to_string())
    }
}

#[pyfunction]
fn initialize() -> bool {
    crate::initialize()
}

#[pyfunction]
fn owner() -> Option<u32> {
    crate::owner()
}

#[pyfunction]
fn register(name: &str) -> PyResult<usize> {
    Ok(crate::register(name)?)
}

#[pyfunction]
fn names() -> Vec<String> {
    crate::names()
}

#[pyfunction]
fn set_mode(mode: &str) -> PyResult<()> {
    Ok(crate::set_mode(mode)?)
}

#[pyfunction]
fn mode() -> &'static str {
    crate::mode()
}

/// Calls `callable` with each number on one native thread each, and waits for them without the GIL.
#[pyfunction]
fn call_from_threads(py: Python<'_>, callable: PyObject, threads: usize) -> PyResult<()> {
    let handles: Vec<_> = (0..threads)
        .map(|number| {
            let callable = callable.clone_ref(py);
            thread::spawn(move || Python::with_gil(|py| callable.call1(py, (number,)).map(drop)))
        })
        .collect();
    py.allow_threads(|| {
        handles
            .into_iter()
            .try_for_each(|handle| handle.join().expect("a thread that does not panic"))
    })
}

/// Sleeps with or without the GIL.
#[pyfunction]
fn rest(py: Python<'_>, seconds: f64, keep_gil: bool) {
    let duration = Duration::from_secs_f64(seconds);
    if keep_gil {
        thread::sleep(duration);
    } else {
        py.allow_threads(|| thread::sleep(duration));
    }
}

#[pymodule]
fn _native(py: Python<'_>, module: &PyModule) -> PyResult<()> {
    module.add("RegistryError", py.get_type::<RegistryError>())?;
    module.add_function(wrap_pyfunction!(initialize, module)?)?;
    module.add_function(wrap_pyfunction!(owner, module)?)?;
    module.add_function(wrap_pyfunction!(register, module)?)?;
    module.add_function(wrap_pyfunction!(names, module)?)?;
    module.add_function(wrap_pyfunction!(set_mode, module)?)?;
    module.add_function(wrap_pyfunction!(mode, module)?)?;
    module.add_function(wrap_pyfunction!(call_from_threads, module)?)?;
    module.add_function(wrap_pyfunction!(rest, module)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No interpreter is running here: `auto-initialize` starts one.
    #[test]
    fn rust_can_call_python() {
        let sum: i64 = Python::with_gil(|py| py.eval("40 + 2", None, None)?.extract()).unwrap();
        assert_eq!(sum, 42);
    }
}
