//! Keys that are byte strings: a hash side for points and an ordered side for scans.

mod byte_index;
mod hash;
mod ordered;
mod points;

pub use byte_index::{ByteIndex, ByteIndexOptions, ByteIndexStats, KeySource};
#[cfg(all(test, loom))]
pub(crate) use ordered::Ordered;
