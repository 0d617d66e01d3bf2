//! From keys to newest records: the learned index of one table.
//!
//! Callers give stored keys, and so do records. The index has them without what the keys of a table
//! begin with ([`crate::table_prefix`]).

use std::ops::Bound;

use uarr_index::{
    ByteIndex, ByteIndexOptions, IndexStats, IntIndex, KeySource, Memory, WalkEntry, WalkPlace,
};
use uarr_layout::record::Locator;
use uarr_uring::DataMap;

use crate::data::entries::Entries;
use crate::data::store::{Reader, misnamed};
use crate::error::{Error, Result};
use crate::key::{AsKey, KeyBytes, KeyKind, StoredKey, int_key};
use crate::key_space::KeySpace;
use crate::limits::TOGETHER_MAX;
use crate::table_prefix::{PREFIX_BYTES, TablePrefix};

/// What counts of the hashes in tables without order: all of them, but where the engine's own tests
/// have to see chains.
const UNORDERED_HASH_MASK: u64 = if cfg!(test) { 0x1ff } else { u64::MAX };

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

impl Direction {
    pub fn reversed(self) -> Self {
        match self {
            Self::Forward => Self::Backward,
            Self::Backward => Self::Forward,
        }
    }
}

/// The index of the records of one table.
pub(crate) struct KeyIndex {
    pub space: KeySpace,
    memory: Memory,
    index: Index,
}

/// Where the index reads keys that it does not hold.
struct OwnKeys<'r, 'p, M> {
    reader: &'r Reader<'p, M>,
    prefix: Option<TablePrefix>,
}

enum Index {
    Int(IntIndex),
    Bytes(ByteIndex),
}

impl KeyIndex {
    /// The index of the default table, of `entries`, whose keys ascend strictly.
    pub fn from_entries(kind: KeyKind, hash_seed: u128, entries: Entries) -> Self {
        assert_eq!(kind.is_int(), matches!(entries, Entries::Int(_)));
        let memory = Memory::new();
        let index = match entries {
            Entries::Int(entries) => Index::Int(IntIndex::from_sorted(&memory, &entries)),
            Entries::Bytes(entries) => {
                let options = ByteIndexOptions { ordered: true, hash_seed };
                Index::Bytes(ByteIndex::from_sorted(&memory, options, entries.iter()))
            }
        };
        Self { space: KeySpace::default_of(kind), memory, index }
    }

    /// The index of another table, of `entries`, whose stored keys ascend strictly, or are distinct
    /// if the table has no order.
    pub fn of_table(
        space: KeySpace,
        memory: &Memory,
        hash_seed: u128,
        entries: impl Iterator<Item = (Vec<u8>, u64)>,
    ) -> Self {
        assert!(space.prefix.is_some(), "the default table has an index already");
        let memory = memory.clone();
        let own = entries.map(|(mut stored, bits)| {
            assert_eq!(TablePrefix::of(&stored), space.prefix, "entries of one table");
            stored.drain(..PREFIX_BYTES);
            (stored, bits)
        });
        let index = match space.kind.is_int() {
            true => {
                let ints: Vec<_> = own.map(|(key, bits)| (stored_int(&key), bits)).collect();
                Index::Int(IntIndex::from_sorted(&memory, &ints))
            }
            false => {
                let options = ByteIndexOptions { ordered: space.is_ordered(), hash_seed };
                let mask = if options.ordered { u64::MAX } else { UNORDERED_HASH_MASK };
                Index::Bytes(ByteIndex::from_sorted_with_mask(&memory, options, own, mask))
            }
        };
        Self { space, memory, index }
    }

    /// Fills an empty index of integers with `entries`, whose keys ascend strictly.
    pub fn fill_ints(&mut self, entries: &[(u64, u64)]) {
        assert!(self.space.kind.is_int() && self.len() == 0, "an empty index of integers");
        self.index = Index::Int(IntIndex::from_sorted(&self.memory, entries));
    }

    /// The part of a stored key that the index has.
    #[inline(always)]
    fn own<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        match self.space.prefix {
            None => key,
            Some(_) => {
                debug_assert!(self.is_own(key), "a key of this table");
                &key[PREFIX_BYTES..]
            }
        }
    }

    /// Whether `key`, which a damaged record may say it has, is one of this table.
    pub fn is_own(&self, key: &[u8]) -> bool {
        TablePrefix::of(key) == self.space.prefix
    }

    /// Whether `key` is one that the table may have.
    pub fn holds(&self, key: &[u8]) -> bool {
        self.is_own(key) && self.space.kind.is_stored(self.own(key))
    }

    fn own_keys<'r, 'p, M: DataMap>(&self, reader: &'r Reader<'p, M>) -> OwnKeys<'r, 'p, M> {
        OwnKeys { reader, prefix: self.space.prefix }
    }

    /// What the index memory of other tables is part of, too.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// As [`KeyIndex::own`], of a bound, which need be no key.
    fn own_bound<'k>(&self, bound: &'k [u8]) -> &'k [u8] {
        bound.get(self.space.prefix_bytes()..).unwrap_or_default()
    }

    /// Has memory ready for an index that grows; see [`Memory::prepare`].
    pub fn prepare_memory(&self) -> bool {
        self.memory.prepare()
    }

    /// Locator of the newest record of `key`, tombstones included.
    // Left to the compiler, a get called it: 36 instructions more, of 302, when those of integers
    // came here, too.
    #[inline(always)]
    pub fn get<M: DataMap>(&self, key: &[u8], reader: Reader<'_, M>) -> Result<Option<Locator>> {
        let bits = match &self.index {
            Index::Int(index) => {
                int_key(self.own(key)).and_then(|key| index.get_in(key, reader.pin.guard()))
            }
            Index::Bytes(index) => index.get(self.own(key), &self.own_keys(&reader))?,
        };
        Ok(bits.and_then(Locator::from_bits))
    }

    /// As [`KeyIndex::get`], in a table of integers, for the number that is stored.
    #[inline(always)]
    pub fn get_int<M: DataMap>(&self, key: u64, reader: Reader<'_, M>) -> Option<Locator> {
        let Index::Int(index) = &self.index else { return None };
        index.get_in(key, reader.pin.guard()).and_then(Locator::from_bits)
    }

    /// As [`KeyIndex::get`] for up to [`TOGETHER_MAX`] keys, with their cache misses and those of
    /// the records, which are fetched, overlapping; `out` is as long as `keys`.
    pub fn get_group<K: AsKey, M: DataMap>(
        &self,
        keys: &[K],
        reader: Reader<'_, M>,
        out: &mut [Option<Locator>],
    ) -> Result<()> {
        assert_eq!(keys.len(), out.len());
        match &self.index {
            Index::Int(index) => {
                let mut ints = [0; TOGETHER_MAX];
                for (int, key) in ints.iter_mut().zip(keys) {
                    *int = stored_int(self.space.kind.encode(key)?.as_ref());
                }
                index.get_many(&ints[..keys.len()], |place, bits| {
                    out[place] = bits.and_then(Locator::from_bits);
                    out[place].iter().for_each(|locator| reader.store.prefetch(*locator));
                });
            }
            Index::Bytes(index) => {
                let none = |_| StoredKey::Plain(KeyBytes::Slice(&[]));
                let mut encoded: [StoredKey<'_>; TOGETHER_MAX] = std::array::from_fn(none);
                for (encoded, key) in encoded.iter_mut().zip(keys) {
                    *encoded = self.space.kind.encode(key)?;
                }
                index.prefetch(encoded[..keys.len()].iter().map(StoredKey::as_ref));
                let own_keys = self.own_keys(&reader);
                for (out, key) in out.iter_mut().zip(&encoded) {
                    *out = index.get(key.as_ref(), &own_keys)?.and_then(Locator::from_bits);
                    out.iter().for_each(|locator| reader.store.prefetch(*locator));
                }
            }
        }
        Ok(())
    }

    /// Asks the processor to fetch what a lookup or an update of `key` will touch.
    pub fn prefetch(&self, key: &[u8]) {
        match &self.index {
            Index::Int(index) => index.prefetch(&[stored_int(self.own(key))]),
            Index::Bytes(index) => index.prefetch(std::iter::once(self.own(key))),
        }
    }

    /// Makes the index name new records of `keys`, one after the other. `append` is given the place
    /// of a key in `keys` and the newest record of the key so far, and returns the new one, which
    /// can be read then. There are up to [`TOGETHER_MAX`] keys.
    pub fn append<'k, M: DataMap>(
        &self,
        keys: impl ExactSizeIterator<Item = &'k [u8]> + Clone,
        reader: Reader<'_, M>,
        mut append: impl FnMut(usize, Option<Locator>) -> Locator,
    ) {
        let mut append = |place: usize, present: Option<u64>| {
            append(place, present.and_then(Locator::from_bits)).bits()
        };
        match &self.index {
            Index::Int(index) => {
                let mut ints = [0; TOGETHER_MAX];
                let ints = &mut ints[..keys.len()];
                ints.iter_mut().zip(keys).for_each(|(int, key)| *int = stored_int(self.own(key)));
                index.upsert_many(ints, append);
            }
            Index::Bytes(index) => {
                let keys = keys.map(|key| self.own(key));
                if keys.len() > 1 {
                    index.prefetch(keys.clone());
                }
                let own_keys = self.own_keys(&reader);
                for (place, key) in keys.enumerate() {
                    index.upsert(key, &own_keys, |present| append(place, present));
                }
            }
        }
    }

    /// As [`KeyIndex::get`], for writers: a record that cannot be read counts, as far as it can
    /// only be the key's.
    pub fn newest<M: DataMap>(&self, key: &[u8], reader: Reader<'_, M>) -> Option<Locator> {
        let bits = match &self.index {
            Index::Int(index) => index.get(stored_int(self.own(key))),
            Index::Bytes(index) => index.newest(self.own(key), &self.own_keys(&reader)),
        };
        bits.and_then(Locator::from_bits)
    }

    /// Whether the index leads from `key` to `locator`. Reads no record, so it holds for damaged
    /// ones too.
    pub fn leads_to(&self, key: &[u8], locator: Locator) -> bool {
        if !self.is_own(key) {
            return false;
        }
        match &self.index {
            Index::Int(index) => {
                int_key(self.own(key)).and_then(|key| index.get(key)) == Some(locator.bits())
            }
            Index::Bytes(index) => index.leads_to(self.own(key), locator.bits()),
        }
    }

    /// Whether a lookup of `key` finds `locator` as long as a walk in order does.
    pub fn is_found(&self, key: &[u8], locator: Locator) -> bool {
        assert!(self.is_own(key), "the caller has found its table");
        match &self.index {
            // One structure serves both.
            Index::Int(_) => true,
            Index::Bytes(index) => index.sides_agree(self.own(key), locator.bits()),
        }
    }

    /// Forgets `key` if its newest record is still `locator`, and returns whether it was.
    pub fn remove_if<M: DataMap>(
        &self,
        key: &[u8],
        locator: Locator,
        reader: Reader<'_, M>,
    ) -> Result<bool> {
        match &self.index {
            Index::Int(index) => {
                let int = int_key(self.own(key));
                Ok(int.is_some_and(|key| index.remove_if(key, locator.bits())))
            }
            Index::Bytes(index) => {
                index.remove_if(self.own(key), locator.bits(), &self.own_keys(&reader))
            }
        }
    }

    /// Makes `key` lead to `to` if it leads to `from`; says whether it did.
    pub fn replace_if<M: DataMap>(
        &self,
        key: &[u8],
        from: Locator,
        to: Locator,
        reader: Reader<'_, M>,
    ) -> bool {
        match &self.index {
            Index::Int(index) => {
                index.replace_if(stored_int(self.own(key)), from.bits(), to.bits())
            }
            Index::Bytes(index) => {
                let own_keys = self.own_keys(&reader);
                index.replace_if(self.own(key), from.bits(), to.bits(), &own_keys)
            }
        }
    }

    /// Appends up to `count_max` locators in key order from `from`; fewer only at the end.
    pub fn scan<M: DataMap>(
        &self,
        direction: Direction,
        from: Bound<&[u8]>,
        count_max: usize,
        reader: Reader<'_, M>,
        out: &mut Vec<Locator>,
    ) {
        match &self.index {
            Index::Int(index) => {
                let from = from.map(|key| stored_int(self.own(key)));
                let mut entries = Vec::with_capacity(count_max);
                match direction {
                    Direction::Forward => index.scan(from, count_max, &mut entries),
                    Direction::Backward => index.scan_rev(from, count_max, &mut entries),
                }
                out.extend(entries.iter().filter_map(|(_, bits)| Locator::from_bits(*bits)));
            }
            Index::Bytes(index) => {
                let mut bits = Vec::with_capacity(count_max);
                let from = from.map(|key| self.own_bound(key));
                let own_keys = self.own_keys(&reader);
                let scanned = match direction {
                    Direction::Forward => index.scan(from, count_max, &own_keys, &mut bits),
                    Direction::Backward => index.scan_rev(from, count_max, &own_keys, &mut bits),
                };
                scanned.expect("a record that cannot be read is no error of a scan");
                out.extend(bits.into_iter().filter_map(Locator::from_bits));
            }
        }
    }

    /// The next entries of a walk through a table without order (asserted), as
    /// [`ByteIndex::walk`].
    pub fn walk(
        &self,
        from: Option<WalkPlace>,
        count: usize,
        out: &mut Vec<WalkEntry>,
    ) -> Option<WalkPlace> {
        self.unordered().walk(from, count, out)
    }

    /// Whether the entry of `key`, a stored one, may be what a walk has met as `entry`.
    pub fn is_met(&self, entry: &WalkEntry, key: &[u8]) -> bool {
        self.holds(key) && self.unordered().is_met(entry, self.own(key))
    }

    /// Whether a lookup of `key` comes to `entry`, which a walk has met, if that is there still.
    pub fn is_reached(&self, entry: &WalkEntry, key: &[u8]) -> bool {
        self.holds(key) && self.unordered().is_reached(entry, self.own(key))
    }

    fn unordered(&self) -> &ByteIndex {
        assert!(!self.space.is_ordered(), "the table is walked in the order of its keys");
        match &self.index {
            Index::Bytes(index) => index,
            Index::Int(_) => unreachable!("integer tables have an order"),
        }
    }

    /// All locators of a table to which no thread writes any more.
    pub fn locators<M: DataMap>(&self, reader: Reader<'_, M>) -> Vec<Locator> {
        let (mut locators, count) = (Vec::with_capacity(self.len()), self.len() + 1);
        match self.space.is_ordered() {
            true => {
                let from = Bound::Unbounded;
                self.scan(Direction::Forward, from, count, reader, &mut locators);
            }
            false => {
                let mut entries = Vec::with_capacity(count);
                let rest = self.walk(None, count, &mut entries);
                assert!(rest.is_none(), "one step has met all");
                let bits = entries.iter().map(|entry| entry.payload);
                locators.extend(bits.filter_map(Locator::from_bits));
            }
        }
        assert!(locators.len() < count, "no thread adds keys any more");
        locators
    }

    /// The stored key of an integer of the table.
    pub fn stored(&self, int: u64) -> StoredKey<'static> {
        let own = int.to_be_bytes();
        match &self.space.prefix {
            None => StoredKey::Plain(KeyBytes::Int(own)),
            Some(prefix) => StoredKey::of_parts(prefix.as_bytes(), &own),
        }
    }

    /// The integer of a stored key of the table; `None`: it has others, or this is none of its.
    pub fn int_of(&self, key: &[u8]) -> Option<u64> {
        let is_int = self.space.kind.is_int() && self.is_own(key);
        if is_int { int_key(self.own(key)) } else { None }
    }

    /// Entries of an integer table behind `after`, in order.
    pub fn int_entries(&self, after: Option<u64>, count_max: usize) -> Option<Vec<(u64, u64)>> {
        let Index::Int(index) = &self.index else { return None };
        let mut entries = Vec::with_capacity(count_max);
        index.scan(after.map_or(Bound::Unbounded, Bound::Excluded), count_max, &mut entries);
        Some(entries)
    }

    /// Number of keys, tombstones that are still indexed included.
    pub fn len(&self) -> usize {
        match &self.index {
            Index::Int(index) => index.len(),
            Index::Bytes(index) => index.len(),
        }
    }

    /// Shape of the index for points, and of the ordered one beside it if there are two.
    pub fn stats(&self) -> (IndexStats, Option<IndexStats>) {
        match &self.index {
            Index::Int(index) => (index.stats(), None),
            Index::Bytes(index) => {
                let stats = index.stats();
                (stats.points, stats.ordered)
            }
        }
    }
}

/// The number of a stored key of an integer table.
fn stored_int(key: &[u8]) -> u64 {
    int_key(key).expect("keys of integer tables are 8 bytes long")
}

impl<M: DataMap> KeySource for OwnKeys<'_, '_, M> {
    type Error = Error;

    fn key(&self, payload: u64) -> Result<&[u8]> {
        let key = self.reader.key(payload)?;
        match self.prefix {
            None => Ok(key),
            Some(prefix) if TablePrefix::of(key) == Some(prefix) => Ok(&key[PREFIX_BYTES..]),
            Some(_) => Err(Locator::from_bits(payload).map(misnamed).expect("a record has it")),
        }
    }

    fn misnamed(&self, payload: u64) -> Option<Error> {
        self.reader.misnamed(payload)
    }

    fn seeming_key(&self, payload: u64) -> Option<&[u8]> {
        let key = self.reader.seeming_key(payload)?;
        match self.prefix {
            None => Some(key),
            Some(prefix) => (TablePrefix::of(key) == Some(prefix)).then(|| &key[PREFIX_BYTES..]),
        }
    }
}
