//! Keys that are byte strings: a hash side for points and an ordered side for scans.

mod byte_index;
mod hash;
mod key_source;
mod ordered;
mod points;
mod walk;

pub use byte_index::{ByteIndex, ByteIndexOptions, ByteIndexStats};
pub use key_source::KeySource;
#[cfg(all(test, loom))]
pub(crate) use ordered::Ordered;
pub use walk::{WalkEntry, WalkPlace};
