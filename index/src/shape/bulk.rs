//! Builds a subtree from sorted entries: after a restart, and where a leaf turned bad.
//!
//! A set becomes one leaf if it is small enough and its model fits. Otherwise an inner node is laid
//! tightly over the keys present, with about one slot per 512 keys, or more where samples of
//! lookups say that they pay; neighbouring slots are joined, buddy by buddy, while the joined leaf
//! is no worse than its halves; pieces that are too big or badly modelled are built the same way,
//! one level down. First and last key never share a slot, so every level strips keys and, with at
//! least 16 slots, four bits: depth is at most 16. Cost: O(n log n) in the worst case, 20 to 75 ns
//! per key measured.

use super::limits::{COST_JOIN_NS, COST_SPLIT_NS, KEYS_PER_SLOT, LEAF_KEYS_SMALL};
use crate::huge::Memory;
use crate::leaf::{Density, Fit, Growth, Leaf};
use crate::node::{Child, FANOUT_MAX, FANOUT_MIN, Inner};

/// Depth from which on a leaf that is small enough stays, even with a useless model.
const DEPTH_WORTH_MAX: usize = 4;

/// Lookups that are tried out to compare them: one per so many keys, at least and at most.
const KEYS_PER_SAMPLE: usize = 512;
const SAMPLES: (usize, usize) = (4, 64);

/// What one more level costs a lookup.
const COST_LEVEL_NS: f32 = 30.0;

/// Up to so many keys a search costs nothing; each doubling of them costs this.
const PIECE_KEYS_TINY: usize = 16;
const COST_TINY_NS: f32 = 3.0;

/// What narrower slots have to save a lookup.
const COST_FINER_NS: f32 = 3.0;

/// What slots cost, if there are as many as keys.
const COST_SLOT_NS: f32 = 40.0;

/// What joining may cost beyond the mean of both, and again per leaf saved, over its keys.
const COST_JOIN_EXTRA_NS: f32 = 1.0;
const COST_LEAF_NS: f32 = 400.0;

/// Builds the node for `entries` (strictly ascending), which answers for `range`.
pub(crate) fn build(
    memory: &Memory,
    entries: &[(u64, u64)],
    range: (u64, u64),
    density: Density,
) -> Child {
    build_at(memory, 0, entries, range, density)
}

fn build_at(
    memory: &Memory,
    depth: usize,
    entries: &[(u64, u64)],
    range: (u64, u64),
    density: Density,
) -> Child {
    if entries.len() <= density.keys_max() {
        let fit = Fit::within(entries, density);
        let good = entries.len() <= LEAF_KEYS_SMALL || fit.cost_ns() <= COST_SPLIT_NS;
        if good || depth >= DEPTH_WORTH_MAX {
            return Child::from_leaf(Leaf::filled(memory, range, entries, &fit, Growth::Within));
        }
    }
    build_inner(memory, depth, entries, range, density)
}

/// Neighbouring slots that become one child.
struct Piece {
    slot_first: usize,
    slot_count: usize,
    entry_first: usize,
    entry_end: usize,
    cost_ns: f32,
}

fn build_inner(
    memory: &Memory,
    depth: usize,
    entries: &[(u64, u64)],
    range: (u64, u64),
    density: Density,
) -> Child {
    let low = entries[0].0;
    let span = entries[entries.len() - 1].0 - low;
    let shift = shift_for(entries, density);
    let slot_count = (span >> shift) as usize + 1;
    let pieces = join_slots(entries, low, shift, slot_count, density);
    if let [whole] = pieces.as_slice() {
        assert!(whole.entry_end <= density.keys_max());
        let fit = Fit::within(entries, density);
        return Child::from_leaf(Leaf::filled(memory, range, entries, &fit, Growth::Within));
    }
    let ends: usize = pieces.iter().map(|piece| piece.slot_first).fold(0, |all, one| all | one);
    let spared = ends.trailing_zeros();
    let mut slots = Vec::with_capacity(slot_count >> spared);
    for piece in &pieces {
        let run = (piece.slot_first, piece.slot_first + piece.slot_count);
        let last = run.1 == slot_count;
        let child_low = if run.0 == 0 { range.0 } else { low + ((run.0 as u64) << shift) };
        let child_high = if last { range.1 } else { low + ((run.1 as u64) << shift) - 1 };
        let own = &entries[piece.entry_first..piece.entry_end];
        let child = build_at(memory, depth + 1, own, (child_low, child_high), density);
        let end = if last { slot_count.div_ceil(1 << spared) } else { run.1 >> spared };
        slots.resize(end, child);
    }
    Child::from_inner(Inner::new(memory, low, shift + spared, slots))
}

/// The width of the slots: the widest of those tried that no narrower one beats by enough.
fn shift_for(entries: &[(u64, u64)], density: Density) -> u32 {
    let low = entries[0].0;
    let span = entries[entries.len() - 1].0 - low;
    let bits = u64::BITS - span.leading_zeros();
    let fanout = |keys_per_slot: usize| {
        let slots = (entries.len() / keys_per_slot).max(1).next_power_of_two();
        slots.clamp(FANOUT_MIN, FANOUT_MAX)
    };
    let shift = |keys_per_slot| bits.saturating_sub(fanout(keys_per_slot).trailing_zeros());
    let mut best = (f32::INFINITY, 0);
    for keys_per_slot in KEYS_PER_SLOT {
        let shift = shift(keys_per_slot);
        if best.0 == f32::INFINITY || shift != best.1 {
            let cost = lookup_cost(entries, shift, density);
            if cost + COST_FINER_NS < best.0 {
                best = (cost, shift);
            }
        }
    }
    best.1
}

/// What lookups will cost below a node with slots of `2^shift` keys, from samples.
fn lookup_cost(entries: &[(u64, u64)], shift: u32, density: Density) -> f32 {
    let low = entries[0].0;
    let samples = (entries.len() / KEYS_PER_SAMPLE).clamp(SAMPLES.0, SAMPLES.1);
    let cost_of = |sample: usize| {
        let rank = (2 * sample + 1) * entries.len() / (2 * samples);
        let slot = (entries[rank].0 - low) >> shift;
        let first = entries[..rank].partition_point(|entry| (entry.0 - low) >> shift < slot);
        let count = entries[rank..].partition_point(|entry| (entry.0 - low) >> shift == slot);
        let own = &entries[first..rank + count];
        match piece_cost(own, density) {
            cost if own.len() <= LEAF_KEYS_SMALL => cost,
            // Too large or badly modelled: it will be cut again.
            cost => cost.min(COST_LEVEL_NS + COST_JOIN_NS),
        }
    };
    let cost = (0..samples).map(cost_of).sum::<f32>() / samples as f32;
    let slots = ((entries[entries.len() - 1].0 - low) >> shift) + 1;
    cost + COST_SLOT_NS * slots as f32 / entries.len() as f32
}

/// Cuts the entries by slot and joins buddies: two pieces of equal, power-of-two size at an aligned
/// place.
fn join_slots(
    entries: &[(u64, u64)],
    low: u64,
    shift: u32,
    slot_count: usize,
    density: Density,
) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::with_capacity(64);
    let mut entry_first = 0;
    for slot in 0..slot_count {
        let mut entry_end = entry_first;
        while entry_end < entries.len() && (entries[entry_end].0 - low) >> shift == slot as u64 {
            entry_end += 1;
        }
        let own = &entries[entry_first..entry_end];
        let cost_ns = piece_cost(own, density);
        pieces.push(Piece { slot_first: slot, slot_count: 1, entry_first, entry_end, cost_ns });
        entry_first = entry_end;
        while let [.., left, right] = pieces.as_slice() {
            let Some(joined) = join(entries, left, right, density) else { break };
            pieces.truncate(pieces.len() - 2);
            pieces.push(joined);
        }
    }
    assert!(entry_first == entries.len(), "every entry has a slot");
    pieces
}

fn piece_cost(entries: &[(u64, u64)], density: Density) -> f32 {
    if entries.len() <= PIECE_KEYS_TINY {
        entries.len().max(1).ilog2() as f32 * COST_TINY_NS
    } else if entries.len() <= density.keys_max() {
        Fit::within(entries, density).cost_ns()
    } else {
        f32::INFINITY
    }
}

fn join(entries: &[(u64, u64)], left: &Piece, right: &Piece, density: Density) -> Option<Piece> {
    let aligned = left.slot_first.is_multiple_of(2 * left.slot_count);
    if left.slot_count != right.slot_count || !aligned {
        return None;
    }
    let (count_left, count_right) =
        (left.entry_end - left.entry_first, right.entry_end - right.entry_first);
    let count = count_left + count_right;
    if count > density.keys_max() {
        return None;
    }
    let joined = |cost_ns| Piece {
        slot_first: left.slot_first,
        slot_count: 2 * left.slot_count,
        entry_first: left.entry_first,
        entry_end: right.entry_end,
        cost_ns,
    };
    // Joining with an empty piece changes nothing for the keys of the other one.
    if count_left == 0 || count_right == 0 {
        return Some(joined(left.cost_ns.max(right.cost_ns)));
    }
    let cost_ns = piece_cost(&entries[left.entry_first..right.entry_end], density);
    let apart =
        (left.cost_ns * count_left as f32 + right.cost_ns * count_right as f32) / count as f32;
    let tolerated = (apart + COST_JOIN_EXTRA_NS + COST_LEAF_NS / count as f32).max(COST_JOIN_NS);
    (cost_ns <= tolerated).then(|| joined(cost_ns))
}
