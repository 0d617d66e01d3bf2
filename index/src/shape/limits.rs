//! Sizes and costs that shapes are judged by, and how they bound each other.

use crate::leaf::{Density, LEAF_SLOTS_MAX, LEAF_SLOTS_MIN};
use crate::node::{FANOUT_MAX, FANOUT_MIN};

/// Up to here a leaf stays, even with a useless model: searching it is cheap.
pub(super) const LEAF_KEYS_SMALL: usize = 128;

/// A crowded leaf with more keys than this is split rather than laid out again.
pub(super) const CROWDED_KEYS_MAX: usize = 1024;

/// Cost from which a leaf is better cut into pieces (see `Fit::cost_ns`).
pub(super) const COST_SPLIT_NS: f32 = 24.0;

/// Cost up to which neighbouring pieces are always joined.
pub(super) const COST_JOIN_NS: f32 = 9.0;

/// Keys per slot that are tried.
pub(super) const KEYS_PER_SLOT: [usize; 4] = [512, 128, 32, 8];

/// Most slots of a leaf that grows at its edge: as many entries as one leaf holds when it is laid
/// out anew.
pub(super) const EDGE_SLOTS_MAX: usize = Density::CLOSED.keys_max();

/// Least slots of a leaf that grows at its edge.
pub(super) const EDGE_SLOTS_MIN: usize = 64;

/// Most slots of the leaf that takes over at an edge.
pub(super) const EDGE_SLOTS_TAKEN_OVER: usize = 1024;

/// Mean log2 of the error up to which a filled edge leaf stays as it is.
pub(super) const EDGE_ERROR_LOG2_MAX: f32 = 2.5;

/// The same for a leaf so small that its entries are found in about the time that another level
/// would take.
pub(super) const SMALL_KEYS: usize = 512;
pub(super) const SMALL_ERROR_LOG2_MAX: f32 = 6.0;

/// Slots of a new node above, at most; at least half as many.
pub(super) const ABOVE_SLOTS_MAX: u64 = 256;

/// Slots of a widened node for each of its children.
pub(super) const EXTENDED_SLOTS_PER_CHILD: usize = 256;

/// Slots that large nodes are widened by, and for how many children.
pub(super) const EXTENSION_MIN: usize = 256;
pub(super) const EXTENSION_CHILDREN: usize = 16;

/// Slots of a new leaf beside the edge, at least and at most.
pub(super) const BESIDE_SLOTS: (usize, usize) = (32, 1024);

/// Keys that one rebuild may move, by the depth from which on: about a third of a millisecond at
/// first. Hostile orders of keys that still nest pay more, rarely, to stay bounded.
pub(super) const REBUILD_KEYS_MAX: [(usize, usize); 3] =
    [(12, usize::MAX), (9, 65_536), (REBUILD_DEPTH_MIN, 8192)];

/// Inner nodes above a leaf from which on a rebuild is considered.
pub(super) const REBUILD_DEPTH_MIN: usize = 7;

/// Levels that a rebuild must cover to be worth it.
pub(super) const REBUILD_LEVELS_MIN: usize = 3;

// Each level strips four bits of the keys, so that no tree is deeper than sixteen.
const _: () = assert!(FANOUT_MIN.is_power_of_two() && FANOUT_MIN.trailing_zeros() == 4);
const _: () = assert!(FANOUT_MAX.is_power_of_two() && FANOUT_MIN <= FANOUT_MAX);
// What stays one leaf at any cost fits into one at every density.
const _: () = assert!(LEAF_KEYS_SMALL <= Density::EDGE.keys_max());
const _: () = assert!(LEAF_KEYS_SMALL <= Density::CLOSED.keys_max());
// A leaf may be laid out anew before it is too crowded for that.
const _: () = assert!(LEAF_KEYS_SMALL < CROWDED_KEYS_MAX);
const _: () = assert!(CROWDED_KEYS_MAX <= Density::GROWN.keys_max());
// What was joined is not cut again.
const _: () = assert!(COST_JOIN_NS < COST_SPLIT_NS);
// Slots are tried from the widest on, and an even share of a slot's keys fits into one leaf.
const _: () = assert!(KEYS_PER_SLOT[0] > KEYS_PER_SLOT[1] && KEYS_PER_SLOT[1] > KEYS_PER_SLOT[2]);
const _: () = assert!(KEYS_PER_SLOT[2] > KEYS_PER_SLOT[3] && KEYS_PER_SLOT[3] > 0);
const _: () = assert!(KEYS_PER_SLOT[0] <= Density::CLOSED.keys_max());
// Slots of leaves at the edge are clamped to these.
const _: () = assert!(LEAF_SLOTS_MIN <= EDGE_SLOTS_MIN && EDGE_SLOTS_MIN <= EDGE_SLOTS_TAKEN_OVER);
const _: () = assert!(EDGE_SLOTS_TAKEN_OVER <= EDGE_SLOTS_MAX && EDGE_SLOTS_MAX <= LEAF_SLOTS_MAX);
const _: () = assert!(LEAF_SLOTS_MIN <= BESIDE_SLOTS.0 && BESIDE_SLOTS.0 <= BESIDE_SLOTS.1);
const _: () = assert!(BESIDE_SLOTS.1 <= EDGE_SLOTS_MAX);
// A small leaf is one that may be wrong by more, and that an edge leaf can be.
const _: () = assert!(EDGE_ERROR_LOG2_MAX < SMALL_ERROR_LOG2_MAX && SMALL_KEYS <= EDGE_SLOTS_MAX);
// A node above may be widened in turn, and so may a node with one child.
const _: () = assert!(FANOUT_MIN <= ABOVE_SLOTS_MAX as usize / 2);
const _: () = assert!(2 * ABOVE_SLOTS_MAX as usize <= FANOUT_MAX);
const _: () = assert!(FANOUT_MIN <= EXTENSION_MIN && EXTENSION_MIN <= EXTENDED_SLOTS_PER_CHILD);
// A deeper leaf moves more keys, and every rebuild covers fewer levels than are above such a leaf.
const _: () = assert!(REBUILD_KEYS_MAX[0].0 > REBUILD_KEYS_MAX[1].0);
const _: () = assert!(REBUILD_KEYS_MAX[1].0 > REBUILD_KEYS_MAX[2].0);
const _: () = assert!(REBUILD_KEYS_MAX[0].1 > REBUILD_KEYS_MAX[1].1);
const _: () = assert!(REBUILD_KEYS_MAX[1].1 > REBUILD_KEYS_MAX[2].1);
const _: () = assert!(REBUILD_LEVELS_MIN < REBUILD_DEPTH_MIN);
