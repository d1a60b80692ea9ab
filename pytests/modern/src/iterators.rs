//! Iterators and containers: giving, taking, and passing on lazily.

use std::collections::BTreeMap;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList};

/// `list(Countdown(3)) == [3, 2, 1]`
#[pyclass]
pub struct Countdown {
    left: usize,
}

#[pymethods]
impl Countdown {
    #[new]
    fn new(left: usize) -> Self {
        Countdown { left }
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&mut self) -> Option<usize> {
        let current = self.left;
        self.left = current.checked_sub(1)?;
        Some(current)
    }

    fn __length_hint__(&self) -> usize {
        self.left
    }
}

/// Lists of at most `size` items from any iterable; takes no more of it than was asked for.
#[pyclass]
pub struct Chunks {
    source: Py<PyIterator>,
    size: usize,
}

#[pymethods]
impl Chunks {
    #[new]
    fn new(source: &Bound<'_, PyAny>, size: usize) -> PyResult<Self> {
        if size == 0 {
            return Err(PyValueError::new_err("chunks of nothing"));
        }
        let source = source.try_iter()?.unbind();
        Ok(Chunks { source, size })
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let items = self
            .source
            .bind(py)
            .clone()
            .take(self.size)
            .collect::<PyResult<Vec<_>>>()?;
        if items.is_empty() {
            return Ok(None);
        }
        PyList::new(py, items).map(Some)
    }
}

/// A container by protocol alone: `len`, `in` and indexing, negative indexes too.
#[pyclass(sequence)]
pub struct Grid {
    width: usize,
    height: usize,
}

#[pymethods]
impl Grid {
    #[new]
    fn new(width: usize, height: usize) -> Self {
        Grid { width, height }
    }

    fn __len__(&self) -> usize {
        self.width * self.height
    }

    fn __contains__(&self, cell: (usize, usize)) -> bool {
        cell.0 < self.width && cell.1 < self.height
    }

    fn __getitem__(&self, index: isize) -> PyResult<(usize, usize)> {
        let len = self.__len__();
        let cell = match usize::try_from(index) {
            Ok(index) => Some(index),
            Err(_) => len.checked_sub(index.unsigned_abs()),
        };
        match cell {
            Some(cell) if cell < len => Ok((cell % self.width, cell / self.width)),
            _ => Err(PyIndexError::new_err(format!("no cell {index}"))),
        }
    }
}

/// The sum of any iterable; an error of the iterator ends it.
#[pyfunction]
pub fn total(items: &Bound<'_, PyAny>) -> PyResult<i64> {
    items.try_iter()?.map(|item| item?.extract::<i64>()).sum()
}

/// Turns a dictionary around, keys that share a value together.
#[pyfunction]
pub fn invert(source: &Bound<'_, PyDict>) -> PyResult<BTreeMap<i64, Vec<String>>> {
    let mut inverted = BTreeMap::<i64, Vec<String>>::new();
    for (key, value) in source {
        inverted
            .entry(value.extract()?)
            .or_default()
            .push(key.extract()?);
    }
    Ok(inverted)
}
