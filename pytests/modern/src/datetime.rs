//! Dates and times: the types of Python's C API, and those of Rust's standard library.

use std::time::{Duration, SystemTime};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{
    PyDate, PyDateAccess, PyDateTime, PyDelta, PyDeltaAccess, PyTzInfo, PyTzInfoAccess,
};

/// `elapsed(timedelta) -> seconds`, exact to the microsecond, also below zero.
#[pyfunction]
pub fn elapsed(delta: &Bound<'_, PyDelta>) -> f64 {
    let seconds = i64::from(delta.get_days()) * 86_400 + i64::from(delta.get_seconds());
    (seconds * 1_000_000 + i64::from(delta.get_microseconds())) as f64 / 1e6
}

#[pyfunction]
pub fn midnight<'py>(
    day: &Bound<'py, PyDate>,
    zone: Option<&Bound<'py, PyTzInfo>>,
) -> PyResult<Bound<'py, PyDateTime>> {
    let (year, month, date) = (day.get_year(), day.get_month(), day.get_day());
    PyDateTime::new(day.py(), year, month, date, 0, 0, 0, 0, zone)
}

/// Adds by Python's own arithmetic, so that months, leap years and the end of time are its business.
#[pyfunction]
pub fn add_days<'py>(day: &Bound<'py, PyDate>, days: i32) -> PyResult<Bound<'py, PyAny>> {
    day.add(PyDelta::new(day.py(), days, 0, 0, true)?)
}

#[pyfunction]
pub fn as_utc<'py>(moment: &Bound<'py, PyDateTime>) -> PyResult<Bound<'py, PyAny>> {
    if moment.get_tzinfo().is_none() {
        return Err(PyValueError::new_err("a naive datetime has no UTC"));
    }
    moment.call_method1("astimezone", (PyTzInfo::utc(moment.py())?,))
}

/// Two `datetime` in, a `timedelta` out, with Rust's own types in between.
#[pyfunction]
pub fn span(begin: SystemTime, end: SystemTime) -> PyResult<Duration> {
    end.duration_since(begin)
        .map_err(|_| PyValueError::new_err("ends before it begins"))
}
