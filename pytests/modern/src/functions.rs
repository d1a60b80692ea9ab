//! Functions: signatures, conversions both ways, warnings, and output that Python does not see.

use std::collections::BTreeMap;

use pyo3::exceptions::{PyDeprecationWarning, PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The sum; what does not fit is Python's own `OverflowError`, not a wrapped number.
#[pyfunction]
pub fn add(a: i64, b: i64) -> PyResult<i64> {
    a.checked_add(b)
        .ok_or_else(|| PyOverflowError::new_err("sum does not fit in 64 bits"))
}

#[pyfunction]
#[pyo3(signature = (name, greeting="Hello", *, shout=false))]
pub fn greet(name: &str, greeting: &str, shout: bool) -> String {
    let text = format!("{greeting}, {name}!");
    if shout { text.to_uppercase() } else { text }
}

#[pyfunction]
#[pyo3(signature = (*values))]
pub fn mean(values: Vec<f64>) -> PyResult<f64> {
    if values.is_empty() {
        return Err(PyValueError::new_err("mean of nothing"));
    }
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

/// Letters and how often each occurs, sorted, so that the answer does not depend on a hash seed.
#[pyfunction]
pub fn tally(text: &str) -> BTreeMap<char, usize> {
    let mut counts = BTreeMap::new();
    for letter in text.chars() {
        *counts.entry(letter).or_default() += 1;
    }
    counts
}

/// Variants are tried in order: a `bool` would also be an `int`, so it comes first.
#[derive(FromPyObject)]
pub enum Value {
    Flag(bool),
    Number(i64),
    Text(String),
    List(Vec<i64>),
}

#[pyfunction]
#[pyo3(signature = (value=None))]
pub fn describe(value: Option<Value>) -> String {
    match value {
        None => "nothing".into(),
        Some(Value::Flag(flag)) => format!("flag {flag}"),
        Some(Value::Number(number)) => format!("number {number}"),
        Some(Value::Text(text)) => format!("text of {}", text.chars().count()),
        Some(Value::List(list)) => format!("list of {}", list.len()),
    }
}

/// Calls back into Python; what the callable raises passes through unchanged.
#[pyfunction]
#[pyo3(signature = (callable, *args))]
pub fn apply<'py>(
    callable: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    callable.call1(args)
}

#[pyfunction]
pub fn fibonacci(n: u32) -> PyResult<u64> {
    let (mut a, mut b) = (0u64, Some(1u64));
    for _ in 0..n {
        let next =
            b.ok_or_else(|| PyOverflowError::new_err(format!("fibonacci({n}) needs 65 bits")))?;
        b = a.checked_add(next);
        a = next;
    }
    Ok(a)
}

/// An alias kept for old callers: warns with the caller's line, hence the stack level.
#[pyfunction]
pub fn old_name(py: Python<'_>) -> PyResult<i64> {
    let category = py.get_type::<PyDeprecationWarning>();
    PyErr::warn(py, &category, c"old_name is deprecated, use add", 1)?;
    add(40, 2)
}

/// Prints by Rust, past `sys.stdout`: only a capture of the file descriptor sees it.
#[pyfunction]
pub fn native_print(text: &str) {
    println!("{text}");
}
