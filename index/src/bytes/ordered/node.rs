//! Nodes of the ordered side, and where a key falls in them.
//!
//! A node keeps the bytes that all its keys begin with once, and of each key the next eight bytes
//! as one big-endian number, its head (short keys are padded with zeros). Heads decide all
//! comparisons but ties; ties are decided by whole keys: separators hold theirs, entries are read
//! from their records. Among ties the place of an entry that cannot be read, or whose record has
//! another key, is not known; it is passed over, and decides nothing about others.
//!
//! Invariants: nodes never change, except for payloads (replaced in place) and child words; both
//! are atomics. Heads never fall; equal heads are in the order of the whole keys.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crossbeam_epoch::Guard;

use super::word;
use crate::bytes::KeySource;

/// Most entries of a leaf: copied for every insert, 1 KiB.
pub(super) const ENTRIES_MAX: usize = if cfg!(loom) { 3 } else { 64 };

/// Most children of a branch.
pub(super) const CHILDREN_MAX: usize = if cfg!(loom) { 2 } else { 64 };

/// A node of either kind.
pub(super) enum Node {
    Leaf(Leaf),
    Branch(Branch),
}

/// A place that holds a node.
pub(super) type Word = word::Word<Node>;

/// A node that a word named.
pub(super) type Named<'g> = word::Named<'g, Node>;

impl Node {
    /// The words that lead to the nodes below.
    pub(super) fn words(&self) -> &[Word] {
        match self {
            Self::Leaf(_) => &[],
            Self::Branch(branch) => &branch.children,
        }
    }
}

/// A payload and the eight bytes of its key behind the leaf's prefix.
pub(super) struct Entry {
    pub(super) head: u64,
    payload: AtomicU64,
}

impl Entry {
    pub(super) fn new(head: u64, payload: u64) -> Self {
        Self { head, payload: AtomicU64::new(payload) }
    }

    pub(super) fn payload(&self) -> u64 {
        self.payload.load(Acquire)
    }

    pub(super) fn set_payload(&self, payload: u64) {
        self.payload.store(payload, Release);
    }
}

impl Clone for Entry {
    fn clone(&self) -> Self {
        Self::new(self.head, self.payload.load(Relaxed))
    }
}

/// What a reader finds that comes too late, see `life`.
#[cfg(debug_assertions)]
impl Drop for Entry {
    fn drop(&mut self) {
        self.payload.store(crate::life::FREED_WORD, Relaxed);
    }
}

/// Entries in key order.
pub(super) struct Leaf {
    pub(super) prefix: Arc<[u8]>,
    pub(super) entries: Box<[Entry]>,
}

/// Children in key order; `separators[i]` is the least key that may lie below `children[i + 1]`,
/// and greater than every key below `children[i]`.
pub(super) struct Branch {
    prefix: Box<[u8]>,
    heads: Box<[u64]>,
    pub(super) separators: Box<[Arc<[u8]>]>,
    pub(super) children: Box<[Word]>,
}

/// Where a key lies against the keys that share a prefix.
enum Side {
    Before,
    /// Shares the prefix; the head behind it.
    Within(u64),
    After,
}

/// The eight bytes of `key` from `skip` on, as a number; zeros where the key has ended.
pub(super) fn head_of(key: &[u8], skip: usize) -> u64 {
    let rest = &key[skip.min(key.len())..];
    let mut head = [0; 8];
    let len = rest.len().min(8);
    head[..len].copy_from_slice(&rest[..len]);
    u64::from_be_bytes(head)
}

/// How many bytes both begin with.
pub(super) fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The shortest string above `left` that `right` begins with, if `left < right`.
pub(super) fn separator(left: &[u8], right: &[u8]) -> Option<Arc<[u8]>> {
    (left < right).then(|| Arc::from(&right[..common_len(left, right) + 1]))
}

fn side_of(prefix: &[u8], key: &[u8]) -> Side {
    let shared = common_len(prefix, key);
    if shared == prefix.len() {
        Side::Within(head_of(key, shared))
    } else if shared < key.len() && key[shared] > prefix[shared] {
        Side::After
    } else {
        Side::Before
    }
}

impl Leaf {
    pub(super) fn empty() -> Self {
        Self { prefix: Arc::from([]), entries: Box::default() }
    }

    /// Bytes of the leaf. A prefix shared with a leaf it was copied from counts in both.
    pub(super) fn size_bytes(&self) -> usize {
        size_of::<Node>() + self.prefix.len() + self.entries.len() * size_of::<Entry>()
    }

    /// The place of `key`: `Ok` where it is, `Err` where it would be inserted: anywhere in a gap
    /// whose entries cannot be read, and which is empty as a rule.
    pub(super) fn find<K: KeySource>(&self, key: &[u8], keys: &K) -> Result<usize, Range<usize>> {
        let count = self.entries.len();
        let head = match side_of(&self.prefix, key) {
            Side::Before => return Err(0..0),
            Side::After => return Err(count..count),
            Side::Within(head) => head,
        };
        let mut low = self.entries.partition_point(|entry| entry.head < head);
        let mut high = low;
        while high < count && self.entries[high].head == head {
            high += 1;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            // The nearest one that can be read, the middle itself as a rule.
            let readable = (middle..high).chain((low..middle).rev());
            let read = |at: usize| Some((at, self.key_of(&self.entries[at], keys)?));
            let Some((at, found)) = { readable }.find_map(read) else { break };
            match found.cmp(key) {
                std::cmp::Ordering::Less => low = at + 1,
                std::cmp::Ordering::Equal => return Ok(at),
                std::cmp::Ordering::Greater => high = at,
            }
        }
        Err(low..high)
    }

    /// The key of an entry, if its record can be read and has the bytes that the entry has of it.
    pub(super) fn key_of<'k, K: KeySource>(&self, entry: &Entry, keys: &'k K) -> Option<&'k [u8]> {
        keys.key(entry.payload()).ok().filter(|key| self.fits(entry, key))
    }

    /// Whether `key` has the bytes that `entry` has of its own.
    pub(super) fn fits(&self, entry: &Entry, key: &[u8]) -> bool {
        matches!(side_of(&self.prefix, key), Side::Within(head) if head == entry.head)
    }

    /// The entry of `key`, which is present with this payload. Reads no record.
    pub(super) fn position(&self, key: &[u8], payload: u64) -> Option<usize> {
        let Side::Within(head) = side_of(&self.prefix, key) else { return None };
        let first = self.entries.partition_point(|entry| entry.head < head);
        let ties = self.entries[first..].iter().take_while(|entry| entry.head == head);
        ties.into_iter().position(|entry| entry.payload() == payload).map(|i| first + i)
    }

    /// The head an entry has behind the shorter prefix of `skip` bytes: all its bytes are known.
    pub(super) fn head_behind(&self, entry: &Entry, skip: usize) -> u64 {
        assert!(skip <= self.prefix.len());
        let known = self.prefix.len() - skip;
        let lead = head_of(&self.prefix, skip);
        if known >= 8 { lead } else { lead | entry.head >> (8 * known) }
    }
}

impl Branch {
    /// A branch over `children` with the separators between them.
    pub(super) fn new(separators: Vec<Arc<[u8]>>, children: Vec<Word>) -> Self {
        assert!(children.len() == separators.len() + 1);
        assert!(children.len() <= CHILDREN_MAX);
        let prefix: Box<[u8]> = match (separators.first(), separators.last()) {
            (Some(first), Some(last)) => first[..common_len(first, last)].into(),
            _ => Box::default(),
        };
        let heads = separators.iter().map(|key| head_of(key, prefix.len())).collect();
        Self { prefix, heads, separators: separators.into(), children: children.into() }
    }

    /// The child below which `key` lies.
    pub(super) fn slot_of(&self, key: &[u8]) -> usize {
        let head = match side_of(&self.prefix, key) {
            Side::Before => return 0,
            Side::After => return self.separators.len(),
            Side::Within(head) => head,
        };
        let first = self.heads.partition_point(|&other| other < head);
        let ties = self.heads[first..].iter().take_while(|&&other| other == head).count();
        let tied = &self.separators[first..first + ties];
        first + tied.partition_point(|separator| **separator <= *key)
    }

    /// Bytes of the branch with its separators.
    pub(super) fn size_bytes(&self) -> usize {
        let separators: usize = self.separators.iter().map(|key| key.len() + 32).sum();
        let words = self.heads.len() + self.children.len();
        size_of::<Node>() + self.prefix.len() + separators + words * 8
    }

    /// The child words, to be used in another branch.
    pub(super) fn child_words(&self, guard: &Guard) -> Vec<Word> {
        self.children.iter().map(|child| child.copied(guard)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_follow_the_order_of_keys() {
        let keys: [&[u8]; 7] = [b"", b"\0", b"a", b"a\0", b"a\0\0", b"abcdefgh", b"abcdefghi"];
        for pair in keys.windows(2) {
            assert!(head_of(pair[0], 0) <= head_of(pair[1], 0));
        }
        assert_eq!(head_of(b"abc", 1), u64::from_be_bytes(*b"bc\0\0\0\0\0\0"));
        assert_eq!(head_of(b"abc", 9), 0);
    }

    #[test]
    fn separators_lie_between_their_neighbours() {
        for (left, right, expected) in [
            (&b"a"[..], &b"b"[..], &b"b"[..]),
            (b"a", b"a\0\0", b"a\0"),
            (b"abc", b"abdzzz", b"abd"),
            (b"\xff", b"\xff\xff", b"\xff\xff"),
        ] {
            let between = separator(left, right).expect("left < right");
            assert_eq!(&*between, expected);
            assert!(left < &*between && &*between <= right);
        }
    }

    #[test]
    fn shorter_prefixes_give_heads_without_reading_keys() {
        let key = b"0123456789abcdefXYZ";
        for prefix_len in 0..=11 {
            let prefix = Arc::from(&key[..prefix_len]);
            let entry = Entry::new(head_of(key, prefix_len), 1);
            let leaf = Leaf { prefix, entries: Box::new([entry.clone()]) };
            for skip in 0..=prefix_len {
                assert_eq!(leaf.head_behind(&entry, skip), head_of(key, skip));
            }
        }
    }
}
