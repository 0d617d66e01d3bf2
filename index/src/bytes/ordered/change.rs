//! The writer of the ordered side. The caller holds the index's lock.
//!
//! A change copies one leaf (and, when leaves are cut or joined, the branches above as far as they
//! change), then publishes the copy with one store.
//!
//! Records may fail to be read, or have other keys than they were entered with. What the nodes know
//! decides then: prefix and head of each entry. A leaf is cut between different heads, and keeps
//! its prefix, where its records do not say more; if neither is possible it grows beyond its usual
//! size.

use std::sync::Arc;

use crossbeam_epoch::{self as epoch, Guard};

use super::node::{
    Branch, CHILDREN_MAX, ENTRIES_MAX, Entry, Leaf, Named, Node, Word, common_len, head_of,
    separator,
};
use super::{Neighbour, Ordered, Target, Way};
use crate::bytes::KeySource;

/// A leaf with fewer entries looks for a neighbour to join.
const ENTRIES_FEW: usize = if cfg!(loom) { 2 } else { ENTRIES_MAX / 4 };

/// Entries of a joined leaf, at most: room for some inserts is left.
const ENTRIES_JOINED_MAX: usize = (ENTRIES_MAX * 3).div_ceil(4);

/// Prefix of a leaf with a single entry, at most.
const PREFIX_ALONE_MAX: usize = 64;

/// The entry that is being inserted: its key need not be read from its record.
struct Newcomer<'a, K> {
    key: &'a [u8],
    payload: u64,
    keys: &'a K,
}

impl<'a, K: KeySource> Newcomer<'a, K> {
    /// The key of an entry of `leaf`, if it can be read and is the one that was entered.
    fn key_of(&self, leaf: &Leaf, entry: &Entry) -> Option<&'a [u8]> {
        if entry.payload() == self.payload {
            return Some(self.key);
        }
        leaf.key_of(entry, self.keys)
    }
}

impl Ordered {
    /// Adds `key`, which is absent on the hash side.
    pub(crate) fn insert<K: KeySource>(&self, key: &[u8], payload: u64, keys: &K) {
        let guard = epoch::pin();
        let way = self.way(Target::Key(key), &guard);
        let at = match way.leaf.find(key, keys) {
            Err(gap) => gap.start,
            // Only where a record has another key than it was entered with.
            Ok(at) => return way.leaf.entries[at].set_payload(payload),
        };
        self.publish_grown(
            &way,
            way.leaf.with(at, key, payload),
            at,
            &Newcomer { key, payload, keys },
            &guard,
        );
    }

    /// Puts `leaf`, the new form of the leaf at the end of the way with one more entry at `at`, in
    /// its place: in two parts if it became too large.
    fn publish_grown<K: KeySource>(
        &self,
        way: &Way,
        leaf: Leaf,
        at: usize,
        newcomer: &Newcomer<K>,
        guard: &Guard,
    ) {
        let is_large = leaf.entries.len() > ENTRIES_MAX;
        let Some((cut, between)) = is_large.then(|| cut_of(&leaf, at, newcomer)).flatten() else {
            return self.publish_leaf(way, leaf, guard);
        };
        let (left, right) = leaf.entries.split_at(cut);
        let parts = [part(&leaf, left, newcomer), part(&leaf, right, newcomer)];
        let pair = parts.map(|leaf| Word::new(Node::Leaf(leaf)));
        self.publish_pair(way, pair, between, guard);
    }

    /// Whether `payload` lies where `key` does, as far as the nodes say. Reads no record.
    pub(crate) fn holds(&self, key: &[u8], payload: u64) -> bool {
        self.seat(key, payload, &epoch::pin()).is_some()
    }

    /// Way to and place of the entry that `key` has with `payload`. An entry that could not be read
    /// when a leaf was cut among keys that begin alike may lie in the leaf beside its own.
    fn seat<'g>(&self, key: &[u8], payload: u64, guard: &'g Guard) -> Option<(Way<'g>, usize)> {
        let own = || self.way(Target::Key(key), guard);
        let seat = |way: Way<'g>| way.leaf.position(key, payload).map(|at| (way, at));
        seat(own())
            .or_else(|| seat(own().beside(Neighbour::Next, guard)?))
            .or_else(|| seat(own().beside(Neighbour::Previous, guard)?))
    }

    /// Replaces the payload of `key`, which is present with `before`. In place.
    pub(crate) fn replace(&self, key: &[u8], before: u64, payload: u64) {
        // Both sides hold the same entries, unless records of one payload were entered under
        // several keys.
        let guard = epoch::pin();
        if let Some((way, at)) = self.seat(key, before, &guard) {
            way.leaf.entries[at].set_payload(payload);
        }
    }

    /// Replaces the payload of `key`, which is present with `before`, whose record cannot be read:
    /// only now is its place among keys that begin alike known. A scan beside it may meet both.
    pub(crate) fn renew<K: KeySource>(&self, key: &[u8], before: u64, payload: u64, keys: &K) {
        self.insert(key, payload, keys);
        self.remove(key, before);
    }

    /// Removes `key`, which is present with `payload`.
    pub(crate) fn remove(&self, key: &[u8], payload: u64) {
        let guard = epoch::pin();
        // As in `replace`.
        let Some((way, at)) = self.seat(key, payload, &guard) else { return };
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
        self.publish(way, way.steps.len(), Word::new(Node::Leaf(leaf)), None, guard);
    }

    /// Lets `new` stand in for the node at `level` of the way (0 is the root, `steps.len()` the
    /// leaf), and retires the nodes of the way from there down and the `neighbour` that was joined:
    /// of all that was below the node, `new` leads to the rest.
    fn publish<'g>(
        &self,
        way: &Way<'g>,
        level: usize,
        new: Word,
        neighbour: Option<Named<'g>>,
        guard: &'g Guard,
    ) {
        let word = match level.checked_sub(1) {
            None => &self.root,
            Some(above) => &way.steps[above].branch.children[way.steps[above].slot],
        };
        let unlinked = word.replace(new, guard);
        let branches = way.steps[level..].iter().map(|step| step.named);
        let gone = branches.chain([way.named]).chain(neighbour);
        // SAFETY: each node of a way is led to by the one before it, the neighbour by the last
        // branch, alone; changes put other nodes into the places of all of them.
        unsafe { unlinked.retire(gone, guard) };
    }

    /// Puts two nodes where the leaf was; branches that overflow are cut in turn.
    fn publish_pair(&self, way: &Way, mut pair: [Word; 2], mut between: Arc<[u8]>, guard: &Guard) {
        for level in (0..way.steps.len()).rev() {
            let step = &way.steps[level];
            let mut separators = step.branch.separators.to_vec();
            separators.insert(step.slot, between);
            let mut children = step.branch.child_words(guard);
            children.splice(step.slot..=step.slot, pair);
            if children.len() <= CHILDREN_MAX {
                let branch = Word::new(Node::Branch(Branch::new(separators, children)));
                self.publish(way, level, branch, None, guard);
                return;
            }
            // A branch that grows at its end is left nearly full.
            let appended = step.slot + 2 == children.len();
            let cut = if appended { children.len() * 9 / 10 } else { children.len() / 2 };
            let right = Branch::new(separators.split_off(cut), children.split_off(cut));
            between = separators.pop().expect("a cut branch has separators on both sides");
            let left = Branch::new(separators, children);
            pair = [left, right].map(|branch| Word::new(Node::Branch(branch)));
        }
        let root = Word::new(Node::Branch(Branch::new(vec![between], pair.into())));
        self.publish(way, 0, root, None, guard);
    }

    /// Takes the leaf out of its branch, and branches that become empty out of theirs.
    fn unlink(&self, way: &Way, guard: &Guard) {
        for (level, step) in way.steps.iter().enumerate().rev() {
            let mut children = step.branch.child_words(guard);
            children.remove(step.slot);
            if children.is_empty() {
                continue;
            }
            let mut separators = step.branch.separators.to_vec();
            separators.remove(step.slot.saturating_sub(1));
            let branch = branch_or_only_child(level, separators, children);
            self.publish(way, level, branch, None, guard);
            return;
        }
        self.publish(way, 0, Word::new(Node::Leaf(Leaf::empty())), None, guard);
    }

    /// Joins `leaf`, the new form of the leaf at the end of the way, with its neighbour `other`.
    fn join(&self, way: &Way, leaf: &Leaf, other: usize, guard: &Guard) -> bool {
        let level = way.steps.len() - 1;
        let step = &way.steps[level];
        let Some(word) = step.branch.children.get(other) else { return false };
        let named = word.load(guard);
        let Node::Leaf(neighbour) = named.node() else { return false };
        if neighbour.entries.len() + leaf.entries.len() > ENTRIES_JOINED_MAX {
            return false;
        }
        let (left, right) = if other < step.slot { (neighbour, leaf) } else { (leaf, neighbour) };
        let joined = Word::new(Node::Leaf(left.joined(right)));
        let first = step.slot.min(other);
        let mut children = step.branch.child_words(guard);
        children.splice(first..first + 2, [joined]);
        let mut separators = step.branch.separators.to_vec();
        separators.remove(first);
        let branch = branch_or_only_child(level, separators, children);
        self.publish(way, level, branch, Some(named), guard);
        true
    }
}

/// A branch for `level` of a way; a root with one child gives way to it.
fn branch_or_only_child(level: usize, separators: Vec<Arc<[u8]>>, mut children: Vec<Word>) -> Word {
    match children.pop() {
        Some(only) if children.is_empty() && level == 0 => only,
        last => {
            children.extend(last);
            Word::new(Node::Branch(Branch::new(separators, children)))
        }
    }
}

/// Where to cut a leaf that became too large by the entry at `at`, and the separator of the parts:
/// behind or before it if it went to an end, else where neighbouring heads differ earliest, so that
/// both parts share long prefixes. `None` if its records do not distinguish one key from the next
/// anywhere.
fn cut_of<K: KeySource>(
    leaf: &Leaf,
    at: usize,
    newcomer: &Newcomer<K>,
) -> Option<(usize, Arc<[u8]>)> {
    let count = leaf.entries.len();
    let middle = count / 2;
    let alike =
        |cut: usize| (leaf.entries[cut - 1].head ^ leaf.entries[cut].head).leading_zeros() / 8;
    let best = match at {
        0 => Some(1),
        at if at + 1 == count => Some(at),
        _ => (count / 4..=count * 3 / 4).min_by_key(|&cut| (alike(cut), cut.abs_diff(middle))),
    };
    let between = |cut: usize| Some((cut, between(leaf, cut, newcomer)?));
    best.and_then(between).or_else(|| {
        let mut others: Vec<_> = (1..count).collect();
        others.sort_unstable_by_key(|&cut| (alike(cut), cut.abs_diff(middle)));
        others.into_iter().find_map(between)
    })
}

/// A string above all keys before `cut` and not above those behind it.
fn between<K: KeySource>(leaf: &Leaf, cut: usize, newcomer: &Newcomer<K>) -> Option<Arc<[u8]>> {
    let (left, right) = (&leaf.entries[cut - 1], &leaf.entries[cut]);
    if left.head != right.head {
        let shared = (left.head ^ right.head).leading_zeros() as usize / 8;
        return Some([&*leaf.prefix, &right.head.to_be_bytes()[..=shared]].concat().into());
    }
    separator(newcomer.key_of(leaf, left)?, newcomer.key_of(leaf, right)?)
}

/// A leaf of some neighbouring entries of another, behind the longest prefix they share, as far as
/// it is known.
fn part<K: KeySource>(whole: &Leaf, entries: &[Entry], newcomer: &Newcomer<K>) -> Leaf {
    let renewed = || {
        let first = newcomer.key_of(whole, &entries[0])?;
        let last = newcomer.key_of(whole, &entries[entries.len() - 1])?;
        let shared = common_len(first, last);
        let skip = if entries.len() == 1 { shared.min(PREFIX_ALONE_MAX) } else { shared };
        if skip == whole.prefix.len() {
            return None;
        }
        let prefix: Arc<[u8]> = Arc::from(&first[..skip]);
        let mut moved: Vec<Entry> = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = newcomer.key_of(whole, entry)?;
            let head = head_of(key, skip);
            let ascends = moved.last().is_none_or(|last| last.head <= head);
            if !ascends || !key.starts_with(&prefix) {
                return None;
            }
            moved.push(Entry::new(head, entry.payload()));
        }
        Some(Leaf { prefix, entries: moved.into() })
    };
    let same = || Leaf { prefix: Arc::clone(&whole.prefix), entries: entries.into() };
    renewed().unwrap_or_else(same)
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
