//! Buffers: reading and writing memory that Python owns, and lending memory of our own.

use std::ffi::c_int;
use std::ptr;

use pyo3::buffer::PyBuffer;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Adler-32 of whatever lends bytes, with or without strides: `bytes`, `bytearray`, `memoryview`, `mmap`.
#[pyfunction]
pub fn checksum(py: Python<'_>, data: PyBuffer<u8>) -> PyResult<u32> {
    let (a, b) = data.to_vec(py)?.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    Ok(b << 16 | a)
}

/// Multiplies in the caller's memory; a read-only buffer is refused by Python.
#[pyfunction]
pub fn scale(py: Python<'_>, data: PyBuffer<f64>, factor: f64) -> PyResult<()> {
    let scaled: Vec<f64> = data
        .to_vec(py)?
        .iter()
        .map(|value| value * factor)
        .collect();
    data.copy_from_slice(py, &scaled)
}

#[pyfunction]
pub fn reverse<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, data.len(), |out| {
        out.copy_from_slice(data);
        out.reverse();
        Ok(())
    })
}

/// Lends its bytes to Python, read-only. Frozen, so that they cannot move while they are lent.
#[pyclass(frozen)]
pub struct Blob {
    bytes: Vec<u8>,
}

#[pymethods]
impl Blob {
    #[new]
    fn new(bytes: Vec<u8>) -> Self {
        Blob { bytes }
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let bytes = &slf.get().bytes;
        // SAFETY: the view keeps a reference to the object, whose bytes neither change nor move.
        let result = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                bytes.as_ptr().cast_mut().cast(),
                bytes.len() as ffi::Py_ssize_t,
                1,
                flags,
            )
        };
        if result == -1 {
            // SAFETY: the caller's view is valid; the protocol wants `obj` null where we refuse.
            unsafe { (*view).obj = ptr::null_mut() };
            return Err(PyErr::fetch(slf.py()));
        }
        Ok(())
    }
}
