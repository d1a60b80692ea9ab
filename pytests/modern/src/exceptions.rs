//! Exceptions: a hierarchy of our own, Rust errors on their way out, causes, notes and a panic.

use std::fmt;
use std::num::ParseIntError;

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyKeyError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(
    modern,
    ModernError,
    PyException,
    "The base of what this module raises."
);
create_exception!(modern, EmptyInput, ModernError);

/// A Rust error as a library would have it; `From` decides what Python sees of it.
#[derive(Debug)]
pub enum PortError {
    Empty,
    NotANumber(ParseIntError),
    OutOfRange(u32),
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortError::Empty => write!(f, "no port given"),
            PortError::NotANumber(err) => write!(f, "port is no number: {err}"),
            PortError::OutOfRange(port) => write!(f, "port {port} is out of range"),
        }
    }
}

impl From<PortError> for PyErr {
    fn from(err: PortError) -> Self {
        match err {
            PortError::Empty => EmptyInput::new_err(err.to_string()),
            PortError::NotANumber(_) => PyValueError::new_err(err.to_string()),
            PortError::OutOfRange(_) => ModernError::new_err(err.to_string()),
        }
    }
}

#[pyfunction]
pub fn parse_port(text: &str) -> Result<u16, PortError> {
    if text.is_empty() {
        return Err(PortError::Empty);
    }
    let port: u32 = text.parse().map_err(PortError::NotANumber)?;
    u16::try_from(port).map_err(|_| PortError::OutOfRange(port))
}

/// Raises with a cause, as `raise ... from ...` does.
#[pyfunction]
pub fn wrapped(py: Python<'_>) -> PyResult<()> {
    let err = PyRuntimeError::new_err("outer");
    err.set_cause(py, Some(PyKeyError::new_err("inner")));
    Err(err)
}

/// Raises with a note (PEP 678), which a traceback prints below the message.
#[pyfunction]
pub fn annotated(py: Python<'_>) -> PyResult<()> {
    let err = PyRuntimeError::new_err("something went wrong");
    err.add_note(py, "said by Rust")?;
    Err(err)
}

/// A panic arrives as `PanicException`, which is no `Exception`: `except Exception` does not hide it.
#[pyfunction]
pub fn panic_now(message: &str) {
    panic!("{message}");
}
