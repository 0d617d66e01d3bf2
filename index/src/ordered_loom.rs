//! Model checks of the ordered side: the epoch frees what a change replaces behind the readers that
//! are in it, at every level. The code is the real one, with three entries a leaf and two children
//! a branch, and the epoch's (see `leaf_loom`). Each node has a `Life`, and loom fails if a
//! reader's visit and its end are not ordered.
//!
//! The writer's bag of garbage is nearly full when it begins, so that it overflows, and is sealed,
//! in the middle of what the change retires. Seen to fail: nodes retired before the store that
//! unlinks them, any one of them.

use std::convert::Infallible;
use std::ops::Bound;

use crossbeam_epoch as epoch;
use loom::sync::Arc;
use loom::thread;

use crate::bytes::{KeySource, Ordered};
use crate::leaf_loom::{EPOCHS_UNTIL_FREED, explore_switches};

/// Places in a thread's bag of garbage.
const BAG: usize = 64;

/// To the reader while nodes are unlinked, and back to free them.
const SWITCHES_MAX: usize = 2;

/// Records of one byte, their payload.
struct Bytes;

impl KeySource for Bytes {
    type Error = Infallible;

    fn key(&self, payload: u64) -> Result<&[u8], Infallible> {
        const KEYS: &[u8] = b"0123456789";
        let at = usize::try_from(payload).expect("payloads are digits");
        Ok(&KEYS[at..=at])
    }
}

fn insert(index: &Ordered, payload: u64) {
    let Ok(key) = Bytes.key(payload);
    index.insert(key, payload, &Bytes);
}

fn remove(index: &Ordered, payload: u64) {
    let Ok(key) = Bytes.key(payload);
    index.remove(key, payload);
}

fn scan(index: &Ordered) -> Vec<u64> {
    let mut out = Vec::new();
    index.scan(Bound::Unbounded, usize::MAX, &Bytes, &mut out);
    out
}

/// Changes an index beside a reader, which has to see what was there before or what is there
/// afterwards.
fn check(
    make: impl Fn(&Ordered) + Copy + Send + Sync + 'static,
    change: impl Fn(&Ordered) + Copy + Send + Sync + 'static,
    after: &'static [u64],
) {
    explore_switches(SWITCHES_MAX, move || {
        let index = Arc::new(Ordered::new());
        make(&index);
        let before = scan(&index);
        assert_ne!(before, after);
        let read = Arc::clone(&index);
        // The writer is this thread, so that it comes first without being preempted.
        let reading = thread::spawn(move || {
            // So that the reader may be an epoch later than the writer.
            epoch::pin().flush();
            let seen = scan(&read);
            assert!(seen == before || seen == after, "{seen:?}");
        });
        let guard = epoch::pin();
        guard.flush();
        // The first node that is retired still fits, the second seals the bag.
        (1..BAG).for_each(|_| guard.defer(|| ()));
        drop(guard);
        change(&index);
        for _ in 0..EPOCHS_UNTIL_FREED {
            epoch::pin().flush();
        }
        reading.join().unwrap();
        assert_eq!(scan(&index), after);
    });
}

/// With a full leaf before another that has one entry.
fn two_leaves(index: &Ordered) {
    [1, 3, 5, 7].into_iter().for_each(|payload| insert(index, payload));
}

#[test]
fn loom_a_copied_leaf_of_the_ordered_side_is_freed_behind_its_readers() {
    check(|index| insert(index, 1), |index| insert(index, 3), &[1, 3]);
}

#[test]
fn loom_a_cut_leaf_is_freed_behind_its_readers() {
    let full = |index: &Ordered| [1, 3, 5].into_iter().for_each(|payload| insert(index, payload));
    check(full, |index| insert(index, 2), &[1, 2, 3, 5]);
}

#[test]
fn loom_a_cut_branch_is_freed_behind_its_readers() {
    check(two_leaves, |index| insert(index, 2), &[1, 2, 3, 5, 7]);
}

#[test]
fn loom_joined_leaves_and_their_root_are_freed_behind_their_readers() {
    let few = |index: &Ordered| {
        two_leaves(index);
        remove(index, 5);
    };
    check(few, |index| remove(index, 3), &[1, 7]);
}

#[test]
fn loom_an_unlinked_leaf_is_freed_behind_its_readers() {
    check(two_leaves, |index| remove(index, 7), &[1, 3, 5]);
}
