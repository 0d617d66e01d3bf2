//! What can end a run early.

use std::fmt;
use std::path::Path;

/// Why a run could not give a verdict. Both kinds end with exit code 3.
#[derive(Debug)]
pub enum BenchError {
    /// Something outside the measurement is missing or refused; the text says what to do.
    Setup(String),
    /// A store returned other bytes than were written, or lost an acknowledged record.
    WrongData(String),
}

impl BenchError {
    /// A set-up error of an operation on a path.
    pub fn at(path: &Path, what: &str, error: &dyn fmt::Display) -> Self {
        Self::Setup(format!("{what} {}: {error}", path.display()))
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(text) => f.write_str(text),
            Self::WrongData(text) => write!(f, "WRONG DATA: {text}"),
        }
    }
}

impl std::error::Error for BenchError {}
