//! An ALEX-style learned ordered index with readers that never wait.
//!
//! [`IntIndex`] maps `u64` keys to `u64` payloads. [`ByteIndex`] maps byte strings to payloads and
//! keeps none of the strings: a [`KeySource`] gives the key that a payload stands for.
//!
//! Invariants of the crate:
//! - no I/O and no thread of its own; the clock is read only to time changes of shape;
//! - threads read and write shared memory through atomics alone, so a reader that runs beside the
//!   writer may have to look again, but there is no data race;
//! - readers take no lock; epochs free what readers may still look at, when these have left;
//! - no value of key or payload is reserved.
//!
//! Map of the modules, each using only those that come later: `bytes` and `int_index` are what
//! callers use, `stats` what they may know. `shape` builds the tree, changes and checks it; `tree`
//! reads it; `node` has inner nodes and the words that lead to nodes; `leaf` has leaves, what
//! predicts a slot in them and what lays entries out. `huge` is where nodes lie; `life` notices a
//! node that is used too late; `sync` has the atomics, `prefetch` a hint to the processor. `epoch`
//! is for callers with many lookups.

#![allow(unexpected_cfgs, reason = "`loom` is set by hand to model-check the leaf protocol")]

mod bytes;
mod epoch;
mod huge;
mod int_index;
mod leaf;
#[cfg(all(test, loom))]
mod leaf_loom;
mod life;
mod node;
#[cfg(all(test, loom))]
mod ordered_loom;
mod prefetch;
mod shape;
mod stats;
mod sync;
mod tree;

pub use bytes::{ByteIndex, ByteIndexOptions, ByteIndexStats, KeySource, WalkEntry, WalkPlace};
pub use epoch::Epoch;
pub use huge::Memory;
pub use int_index::IntIndex;
pub use stats::IndexStats;
pub use tree::LOOKUPS_TOGETHER;
