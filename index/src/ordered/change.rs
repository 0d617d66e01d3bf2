//! The writer of the ordered side. The caller holds the index's lock.
//!
//! A change copies one leaf (and, when leaves are cut or joined, the branches above as far as they
//! change), then publishes the copy with one store. Records are read before anything is published,
//! so an error changes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering::Release;

use crossbeam_epoch::{self as epoch, Atomic, Guard, Shared};

use super::node::{
    Branch, CHILDREN_MAX, ENTRIES_MAX, Entry, Leaf, Node, common_len, head_of, separator,
};
use super::{Ordered, Step, Target, Way};
use crate::byte_index::KeySource;

/// A leaf with fewer entries looks for a neighbour to join.
const ENTRIES_FEW: usize = 16;

/// Entries of a joined leaf, at most: room for some inserts is left.
const ENTRIES_JOINED_MAX: usize = 48;

/// Prefix of a leaf with a single entry, at most.
const PREFIX_ALONE_MAX: usize = 64;

/// The entry that is being inserted: its key need not be read from its record.
struct Newcomer<'a, K> {
    key: &'a [u8],
    payload: u64,
    keys: &'a K,
}

impl<'a, K: KeySource> Newcomer<'a, K> {
    fn key_of(&self, entry: &Entry) -> Result<&'a [u8], K::Error> {
        let payload = entry.payload();
        if payload == self.payload { Ok(self.key) } else { self.keys.key(payload) }
    }
}

impl Ordered {
    /// Adds `key`, which is absent.
    pub(crate) fn insert<K: KeySource>(
        &self,
        key: &[u8],
        payload: u64,
        keys: &K,
    ) -> Result<(), K::Error> {
        let guard = epoch::pin();
        let way = self.way(Target::Key(key), &guard);
        let place = way.leaf.find(key, keys)?;
        let at = place.expect_err("the hash side found no entry of this key");
        let leaf = way.leaf.with(at, key, payload);
        if leaf.entries.len() <= ENTRIES_MAX {
            self.publish_leaf(&way, leaf, &guard);
            return Ok(());
        }
        let newcomer = Newcomer { key, payload, keys };
        let cut = cut_of(&leaf, at);
        let (left, right) = leaf.entries.split_at(cut);
        let between = separator(newcomer.key_of(&left[cut - 1])?, newcomer.key_of(&right[0])?);
        let left = part(&leaf, left, &newcomer)?;
        let right = part(&leaf, right, &newcomer)?;
        let pair = [left, right].map(|leaf| Atomic::new(Node::Leaf(leaf)));
        self.publish_pair(&way, pair, between, &guard);
        Ok(())
    }

    /// Replaces the payload of `key`, which is present with `before`. In place.
    pub(crate) fn replace(&self, key: &[u8], before: u64, payload: u64) {
        let guard = epoch::pin();
        let way = self.way(Target::Key(key), &guard);
        let at = way.leaf.position(key, before).expect("both sides hold the same entries");
        way.leaf.entries[at].set_payload(payload);
    }

    /// Removes `key`, which is present with `payload`.
    pub(crate) fn remove(&self, key: &[u8], payload: u64) {
        let guard = epoch::pin();
        let way = self.way(Target::Key(key), &guard);
        let at = way.leaf.position(key, payload).expect("both sides hold the same entries");
        let leaf = way.leaf.without(at);
        let Some(step) = way.steps.last() else {
            self.publish_leaf(&way, leaf, &guard);
            return;
        };
        if leaf.entries.is_empty() {
            self.unlink(&way, &guard);
            return;
        }
        if leaf.entries.len() < ENTRIES_FEW {
            for other in [step.slot.wrapping_sub(1), step.slot + 1] {
                if self.join(&way, &leaf, other, &guard) {
                    return;
                }
            }
        }
        self.publish_leaf(&way, leaf, &guard);
    }

    fn publish_leaf(&self, way: &Way, leaf: Leaf, guard: &Guard) {
        self.publish(&way.steps, Node::Leaf(leaf), guard);
        retire(way.word, guard);
    }

    /// Puts `node` where `steps` lead.
    fn publish(&self, steps: &[Step], node: Node, guard: &Guard) {
        self.publish_word(steps, Atomic::new(node), guard);
    }

    fn publish_word(&self, steps: &[Step], word: Atomic<Node>, guard: &Guard) {
        let target = match steps.last() {
            None => &self.root,
            Some(step) => &step.branch.children[step.slot],
        };
        target.store(word.load(std::sync::atomic::Ordering::Relaxed, guard), Release);
    }

    /// Puts two nodes where the leaf was; branches that overflow are cut in turn.
    fn publish_pair(
        &self,
        way: &Way,
        mut pair: [Atomic<Node>; 2],
        mut between: Arc<[u8]>,
        guard: &Guard,
    ) {
        retire(way.word, guard);
        for level in (0..way.steps.len()).rev() {
            let step = &way.steps[level];
            retire(step.word, guard);
            let mut separators = step.branch.separators.to_vec();
            separators.insert(step.slot, between);
            let mut children = step.branch.child_words(guard);
            children.splice(step.slot..=step.slot, pair);
            if children.len() <= CHILDREN_MAX {
                let branch = Node::Branch(Branch::new(separators, children));
                self.publish(&way.steps[..level], branch, guard);
                return;
            }
            // A branch that grows at its end is left nearly full.
            let appended = step.slot + 2 == children.len();
            let cut = if appended { children.len() * 9 / 10 } else { children.len() / 2 };
            let right = Branch::new(separators.split_off(cut), children.split_off(cut));
            between = separators.pop().expect("a cut branch has separators on both sides");
            let left = Branch::new(separators, children);
            pair = [left, right].map(|branch| Atomic::new(Node::Branch(branch)));
        }
        let root = Branch::new(vec![between], pair.into());
        self.publish(&[], Node::Branch(root), guard);
    }

    /// Takes the leaf out of its branch, and branches that become empty out of theirs.
    fn unlink(&self, way: &Way, guard: &Guard) {
        retire(way.word, guard);
        for level in (0..way.steps.len()).rev() {
            let step = &way.steps[level];
            retire(step.word, guard);
            let mut children = step.branch.child_words(guard);
            children.remove(step.slot);
            if children.is_empty() {
                continue;
            }
            let mut separators = step.branch.separators.to_vec();
            separators.remove(step.slot.saturating_sub(1));
            self.publish_branch(&way.steps[..level], separators, children, guard);
            return;
        }
        self.publish(&[], Node::Leaf(Leaf::empty()), guard);
    }

    /// Joins `leaf`, the new form of the leaf at the end of the way, with its neighbour `other`.
    fn join(&self, way: &Way, leaf: &Leaf, other: usize, guard: &Guard) -> bool {
        let (step, above) = way.steps.split_last().expect("the leaf has a parent");
        let Some(word) = step.branch.children.get(other) else { return false };
        let word = word.load(std::sync::atomic::Ordering::Acquire, guard);
        // SAFETY: loaded while pinned from a node of the live tree; see `Way::down`.
        let Node::Leaf(neighbour) = (unsafe { word.deref() }) else { return false };
        if neighbour.entries.len() + leaf.entries.len() > ENTRIES_JOINED_MAX {
            return false;
        }
        let (left, right) = if other < step.slot { (neighbour, leaf) } else { (leaf, neighbour) };
        let joined = Atomic::new(Node::Leaf(left.joined(right)));
        let first = step.slot.min(other);
        let mut children = step.branch.child_words(guard);
        children.splice(first..first + 2, [joined]);
        let mut separators = step.branch.separators.to_vec();
        separators.remove(first);
        self.publish_branch(above, separators, children, guard);
        retire(way.word, guard);
        retire(word, guard);
        retire(step.word, guard);
        true
    }

    /// Puts a branch where `steps` lead; a root with one child gives way to it.
    fn publish_branch(
        &self,
        steps: &[Step],
        separators: Vec<Arc<[u8]>>,
        mut children: Vec<Atomic<Node>>,
        guard: &Guard,
    ) {
        match children.pop() {
            Some(only) if children.is_empty() && steps.is_empty() => {
                self.publish_word(&[], only, guard);
            }
            last => {
                children.extend(last);
                self.publish(steps, Node::Branch(Branch::new(separators, children)), guard);
            }
        }
    }
}

/// Destroys the node when no reader can hold it any more.
fn retire(word: Shared<'_, Node>, guard: &Guard) {
    // SAFETY: the caller unlinks this node, once, before it lets go of the writer's lock and of the
    // guard; readers that are pinned now are waited for. Destroying a node leaves its children.
    unsafe { guard.defer_destroy(word) };
}

/// Where to cut a leaf that became too large by the entry at `at`: behind or before it if it went
/// to an end, else where neighbouring heads differ earliest, so that both parts share long
/// prefixes.
fn cut_of(leaf: &Leaf, at: usize) -> usize {
    let count = leaf.entries.len();
    if at + 1 == count {
        return count - 1;
    }
    if at == 0 {
        return 1;
    }
    let middle = count / 2;
    let alike =
        |cut: usize| (leaf.entries[cut - 1].head ^ leaf.entries[cut].head).leading_zeros() / 8;
    (count / 4..=count * 3 / 4)
        .min_by_key(|&cut| (alike(cut), cut.abs_diff(middle)))
        .unwrap_or(middle)
}

/// A leaf of some neighbouring entries of another, behind the longest prefix they share.
fn part<K: KeySource>(
    whole: &Leaf,
    entries: &[Entry],
    newcomer: &Newcomer<K>,
) -> Result<Leaf, K::Error> {
    let first = newcomer.key_of(&entries[0])?;
    let last = newcomer.key_of(&entries[entries.len() - 1])?;
    let shared = common_len(first, last);
    let skip = if entries.len() == 1 { shared.min(PREFIX_ALONE_MAX) } else { shared };
    if skip == whole.prefix.len() {
        return Ok(Leaf { prefix: Arc::clone(&whole.prefix), entries: entries.into() });
    }
    let moved = entries
        .iter()
        .map(|entry| Ok(Entry::new(head_of(newcomer.key_of(entry)?, skip), entry.payload())))
        .collect::<Result<_, K::Error>>()?;
    Ok(Leaf { prefix: Arc::from(&first[..skip]), entries: moved })
}

impl Leaf {
    /// A copy with one entry more, behind a prefix that its key shares.
    fn with(&self, at: usize, key: &[u8], payload: u64) -> Self {
        if self.entries.is_empty() {
            let skip = key.len().min(PREFIX_ALONE_MAX);
            let entry = Entry::new(head_of(key, skip), payload);
            return Self { prefix: Arc::from(&key[..skip]), entries: Box::new([entry]) };
        }
        let skip = common_len(&self.prefix, key);
        let mut entries = Vec::with_capacity(self.entries.len() + 1);
        self.push_behind(&self.entries[..at], skip, &mut entries);
        entries.push(Entry::new(head_of(key, skip), payload));
        self.push_behind(&self.entries[at..], skip, &mut entries);
        Self { prefix: self.prefix_of(skip), entries: entries.into() }
    }

    fn without(&self, at: usize) -> Self {
        let mut entries = Vec::with_capacity(self.entries.len() - 1);
        entries.extend_from_slice(&self.entries[..at]);
        entries.extend_from_slice(&self.entries[at + 1..]);
        Self { prefix: Arc::clone(&self.prefix), entries: entries.into() }
    }

    /// One leaf of this one's entries and those of its right neighbour.
    fn joined(&self, right: &Self) -> Self {
        let skip = common_len(&self.prefix, &right.prefix);
        let mut entries = Vec::with_capacity(self.entries.len() + right.entries.len());
        self.push_behind(&self.entries, skip, &mut entries);
        right.push_behind(&right.entries, skip, &mut entries);
        Self { prefix: self.prefix_of(skip), entries: entries.into() }
    }

    fn prefix_of(&self, skip: usize) -> Arc<[u8]> {
        if skip == self.prefix.len() {
            Arc::clone(&self.prefix)
        } else {
            Arc::from(&self.prefix[..skip])
        }
    }

    /// Copies entries of this leaf to stand behind the first `skip` bytes of its prefix.
    fn push_behind(&self, entries: &[Entry], skip: usize, out: &mut Vec<Entry>) {
        if skip == self.prefix.len() {
            out.extend_from_slice(entries);
        } else {
            let moved = |entry| Entry::new(self.head_behind(entry, skip), entry.payload());
            out.extend(entries.iter().map(moved));
        }
    }
}
