//! A PyO3 crate with breadth: one small Rust file a topic, and one `tests/test_<topic>.py` for each.
//!
//! It is the ordinary case. Nothing here is meant to fail, so that whatever does is the harness's fault.
//! The module (`modern`), the crate and the distribution (`pyo3test-modern`) differ in name, as they
//! often do.

mod buffers;
mod classes;
mod datetime;
mod exceptions;
mod functions;
mod iterators;
mod threads;

use pyo3::prelude::*;

#[pymodule]
mod modern {
    #[pymodule_export]
    use crate::buffers::{Blob, checksum, reverse, scale};
    #[pymodule_export]
    use crate::classes::{Account, Animal, Color, Dog, Node, Point, Shape};
    #[pymodule_export]
    use crate::datetime::{add_days, as_utc, elapsed, midnight, span};
    #[pymodule_export]
    use crate::exceptions::{EmptyInput, ModernError, annotated, panic_now, parse_port, wrapped};
    #[pymodule_export]
    use crate::functions::{
        add, apply, describe, fibonacci, greet, mean, native_print, old_name, tally,
    };
    #[pymodule_export]
    use crate::iterators::{Chunks, Countdown, Grid, invert, total};
    #[pymodule_export]
    use crate::threads::{Worker, call_from_thread, parallel_sum, rest, started_at};
}
