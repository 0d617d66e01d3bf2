//! One thing that a check has found.

use std::fmt;

/// One thing that a check has found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, or the crate where the finding is about a whole crate.
    pub place: String,
    /// Its line, from 1; 0 where there is none.
    pub line: usize,
    /// How much of it: 1, or what the check measures (lines of a file, files of a circle).
    pub amount: usize,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Finding {
    /// A finding that counts as one.
    pub fn new(place: impl Into<String>, line: usize, what: impl Into<String>) -> Self {
        Self { place: place.into(), line, amount: 1, what: what.into() }
    }

    /// The same with another amount.
    pub fn of(self, amount: usize) -> Self {
        Self { amount, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.place, self.what),
            line => write!(f, "{}:{line}: {}", self.place, self.what),
        }
    }
}
