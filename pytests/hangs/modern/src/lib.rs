//! The zoo of hangs: every class of hang and crash that native code under Python is known for, each provoked on purpose.
//!
//! One small Rust file a theme, one function a class, and `tests/test_<theme>.py` that calls it between tests that
//! pass. What breaks a whole session stands in `sessions/`, a file a class, and runs only where it is named. The line
//! at which a class hangs ends in a comment `hangs here: <class>`; `../zoo_test.go` looks for that line in the report.
//!
//! A `black_box` there keeps an instruction of that line behind the call: py-spy looks up the address to which a call
//! returns, and the optimiser may have put another line there. What waits alike must not look alike either, or the linker
//! takes one for both.

mod channels;
mod crashes;
mod exits;
mod forks;
mod initialisers;
mod locks;
mod pools;
mod threads;
mod waits;

use pyo3::prelude::*;

#[pymodule]
mod hangs {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::channels::{channel_full, recv_attached};
    #[pymodule_export]
    use crate::crashes::{abort, extern_panic, out_of_memory, segfault, stack_overflow};
    #[pymodule_export]
    use crate::exits::{Session, join_at_c_exit, join_worker};
    #[pymodule_export]
    use crate::forks::{hold_lock, rayon_sum, take_lock, tokio_answer};
    #[pymodule_export]
    use crate::initialisers::{lazy_gil, lazy_reentrant};
    #[pymodule_export]
    use crate::locks::{
        call_locked, call_locked_again, gil_mutex, gil_parking_lot, rust_lock_order, stop_the_world,
    };
    #[pymodule_export]
    use crate::pools::{idle_pool, rayon_reentry, tokio_block_on};
    #[pymodule_export]
    use crate::threads::{
        Worker, call_from_thread, drop_elsewhere, join_attached, log_from_thread,
    };
    #[pymodule_export]
    use crate::waits::{native_park, native_park_attached, native_sleep_attached, spin};

    /// Never returns where HANGS_IN is "import", as an initialiser that waits for a licence server.
    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        if std::env::var_os("HANGS_IN").is_some_and(|place| place == "import") {
            loop {
                std::thread::park(); // hangs here: import
            }
        }
        Ok(())
    }
}
