//! A crate as those that `pytest --forked` was adopted for: PyO3 0.20 with `auto-initialize`, and state
//! that lives as long as its process.
//!
//! The registry and the mode below cannot be reset. Two tests that use them depend on each other's order
//! in one process, and are independent where each has its own: that is what `--forked` buys.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

#[cfg(feature = "python")]
mod python;

static REGISTRY: Mutex<Vec<String>> = Mutex::new(Vec::new());
static MODE: OnceLock<String> = OnceLock::new();
static OWNER: OnceLock<u32> = OnceLock::new();

/// Why state that is set once was not set.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    Duplicate(String),
    ModeIsSet(String),
    NotInitialized,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Duplicate(name) => write!(f, "{name:?} is registered already"),
            Error::ModeIsSet(mode) => write!(f, "the mode is {mode:?} already"),
            Error::NotInitialized => write!(f, "initialize() was not called"),
        }
    }
}

impl std::error::Error for Error {}

/// Makes this process the owner of the library; whether this call did.
pub fn initialize() -> bool {
    OWNER.set(std::process::id()).is_ok()
}

/// The process that called [`initialize`]. A child that inherited it sees its parent's.
pub fn owner() -> Option<u32> {
    OWNER.get().copied()
}

/// Adds a name; its number, from 1.
pub fn register(name: &str) -> Result<usize, Error> {
    owner().ok_or(Error::NotInitialized)?;
    let mut names = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    if names.iter().any(|known| known == name) {
        return Err(Error::Duplicate(name.into()));
    }
    names.push(name.into());
    Ok(names.len())
}

/// All names, in the order of their registration.
pub fn names() -> Vec<String> {
    REGISTRY
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Sets the mode, which cannot be changed later.
pub fn set_mode(mode: &str) -> Result<(), Error> {
    MODE.set(mode.into())
        .map_err(|_| Error::ModeIsSet(self::mode().into()))
}

/// The mode; "default" where none was set.
pub fn mode() -> &'static str {
    MODE.get().map_or("default", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_registered_once() {
        initialize();
        assert_eq!(register("rust"), Ok(1));
        assert_eq!(register("rust"), Err(Error::Duplicate("rust".into())));
    }
}
