//! Model checks of the hand-offs between the writer and its readers, over the real code: a leaf
//! changed under its version, a leaf replaced behind a link, and a replaced leaf freed by the epoch
//! (crossbeam's own code, which loom drives too).
//!
//! `scripts/sanitize loom`, which is `RUSTFLAGS="--cfg loom --cfg crossbeam_loom" cargo test -p
//! uarr-index --lib --release loom`, explores interleavings with up to three forced switches, in
//! half a minute; the models of `ordered_loom` take some more. Seen to fail: `Leaf::read` or
//! `Leaf::write` without its fence; a leaf retired before it is unlinked; a reader that uses a leaf
//! behind its guard. Weakening the Release store of `Link` was not noticed by any, so that one
//! rests on its argument in `grow`.

use crossbeam_epoch as epoch;
use loom::sync::Arc;
use loom::thread;

use crate::huge::{HugeBox, Memory};
use crate::leaf::{Growth, Inserted, Leaf, Model};
use crate::node::{Child, Link, Node};

const PREEMPTIONS_MAX: usize = 3;

/// Steps of the epoch after which no reader holds what was retired before.
pub(crate) const EPOCHS_UNTIL_FREED: usize = 3;

fn explore(check: impl Fn() + Sync + Send + 'static) {
    explore_switches(PREEMPTIONS_MAX, check);
}

/// Explores interleavings with up to `switches_max` forced switches.
pub(crate) fn explore_switches(switches_max: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches_max);
    builder.check(check);
}

/// Keys 10 and 20 in neighbouring slots, one free slot on either side.
fn small_leaf() -> HugeBox<Leaf> {
    let leaf = Leaf::empty(&Memory::new(), (0, u64::MAX), 5, Model::constant(1), Growth::Within);
    assert_eq!(leaf.insert(10, 100), Inserted::Added);
    assert_eq!(leaf.insert(20, 200), Inserted::Added);
    leaf
}

#[test]
fn loom_entries_that_are_moved_are_always_found() {
    explore(|| {
        let leaf = Arc::new(small_leaf());
        let writer = Arc::clone(&leaf);
        let writing = thread::spawn(move || {
            assert_eq!(writer.insert(15, 150), Inserted::Added);
        });
        assert_eq!(leaf.get(20), Some(200));
        let seen = leaf.get(15);
        assert!(seen.is_none() || seen == Some(150));
        writing.join().unwrap();
        assert_eq!(leaf.get(15), Some(150));
    });
}

#[test]
fn loom_entries_are_found_beside_a_push_at_the_edge() {
    for (growth, keys, pushed) in [(Growth::Append, [10, 20], 30), (Growth::Prepend, [20, 10], 5)] {
        explore(move || {
            let leaf = Leaf::empty(&Memory::new(), (0, u64::MAX), 4, Model::constant(1), growth);
            for key in keys {
                assert_eq!(leaf.insert(key, key * 10), Inserted::Added);
            }
            let leaf = Arc::new(leaf);
            let writer = Arc::clone(&leaf);
            let writing = thread::spawn(move || {
                assert!(writer.push(pushed, |_| pushed * 10));
                writer.learn();
            });
            assert_eq!(leaf.get(20), Some(200));
            let seen = leaf.get(pushed);
            assert!(seen.is_none() || seen == Some(pushed * 10));
            writing.join().unwrap();
            assert_eq!(leaf.get(pushed), Some(pushed * 10));
        });
    }
}

#[test]
fn loom_a_payload_is_never_older_than_one_seen_before() {
    explore(|| {
        let leaf = Arc::new(small_leaf());
        let writer = Arc::clone(&leaf);
        let writing = thread::spawn(move || {
            assert_eq!(writer.insert(10, 101), Inserted::Replaced(100));
            assert_eq!(writer.insert(10, 102), Inserted::Replaced(101));
        });
        let first = leaf.get(10).unwrap();
        let second = leaf.get(10).unwrap();
        assert!((100..=102).contains(&first));
        assert!(first <= second);
        writing.join().unwrap();
    });
}

#[test]
fn loom_a_copied_leaf_is_of_one_moment() {
    explore(|| {
        let leaf = Arc::new(small_leaf());
        let writer = Arc::clone(&leaf);
        let writing = thread::spawn(move || {
            writer.insert(10, 101);
            assert_eq!(writer.remove(20, |_| true), Some(200));
        });
        let mut entries = Vec::new();
        leaf.copy_ascending(0, 10, &mut entries);
        let legal: [&[(u64, u64)]; 3] =
            [&[(10, 100), (20, 200)], &[(10, 101), (20, 200)], &[(10, 101)]];
        assert!(legal.contains(&entries.as_slice()), "{entries:?}");
        writing.join().unwrap();
    });
}

#[test]
fn loom_a_replaced_leaf_loses_nothing() {
    explore(|| {
        let old = Child::from_leaf(small_leaf());
        let link = Arc::new(Link::new(old));
        let writer = Arc::clone(&link);
        let writing = thread::spawn(move || {
            let new = Child::from_leaf(small_leaf());
            // The old leaf is freed below.
            std::mem::forget(Link::replace(std::slice::from_ref(&*writer), 1, [new, new]));
            // SAFETY: the node is freed below, after both threads are done with it.
            let Node::Leaf(leaf) = (unsafe { new.node() }) else {
                unreachable!("a leaf was stored")
            };
            assert_eq!(leaf.insert(15, 150), Inserted::Added);
        });
        // SAFETY: nodes are freed below, after both threads are done with them.
        let Node::Leaf(leaf) = (unsafe { link.load().node() }) else {
            unreachable!("only leaves were stored")
        };
        assert_eq!(leaf.get(20), Some(200));
        let seen = leaf.get(15);
        assert!(seen.is_none() || seen == Some(150));
        writing.join().unwrap();
        let new = link.load();
        // SAFETY: the writer has ended and this thread uses neither node any more.
        unsafe { old.free() };
        // SAFETY: as above; the two nodes are different.
        unsafe { new.free() };
    });
}

/// A replaced leaf is freed by a later step of the epoch, and not while a reader may look at it:
/// loom fails if what readers do in a leaf and the end of its `Life` are not ordered.
#[test]
fn loom_a_retired_leaf_is_freed_behind_its_readers() {
    explore(|| {
        let link = Arc::new(Link::new(Child::from_leaf(small_leaf())));
        let writer = Arc::clone(&link);
        let writing = thread::spawn(move || {
            let guard = epoch::pin();
            let new = Child::from_leaf(small_leaf());
            Link::replace(std::slice::from_ref(&*writer), 1, [new, new]).retire(&guard);
            guard.flush();
            drop(guard);
            for _ in 0..EPOCHS_UNTIL_FREED {
                epoch::pin().flush();
            }
        });
        let guard = epoch::pin();
        let child = link.load();
        // SAFETY: this thread was pinned before it loaded the pointer, and stays pinned.
        let Node::Leaf(leaf) = (unsafe { child.node() }) else {
            unreachable!("only leaves were stored")
        };
        assert_eq!(leaf.get(20), Some(200));
        drop(guard);
        writing.join().unwrap();
        // SAFETY: the writer has ended, this thread does not use the node any more, and it was
        // never retired.
        unsafe { link.load().free() };
    });
}
