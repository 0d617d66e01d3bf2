//! What results are held against, and what comes of it.

pub mod flushes;
pub mod targets;
pub mod verdict;
