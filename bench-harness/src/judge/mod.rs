//! What results are held against, and what comes of it.

pub mod targets;
pub mod verdict;
