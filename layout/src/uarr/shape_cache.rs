//! The shapes a writer knows: those of the record being written and those of earlier records.
//!
//! A shape blob is built once and copied afterwards. Each object starts with a guess of its shape
//! (that of its elder sibling in a list, or of the object at the same place in the last record):
//! while the names agree with the guess, nothing is hashed or copied.
//!
//! Invariants: blobs are unpadded-free (multiples of 8 bytes) and canonical, so equal name lists
//! have one entry; `record_offset` is meaningful only if `epoch` is the current one; the cache is
//! dropped between records once it outgrows its limit, never inside a record.

use super::error::BuildError;
use super::key::{fingerprint, hash32, name_hash, names_equal};
use super::spec::{
    FINGERPRINT_NAMES_MAX, NAMES_MAX, SHAPES_BYTES_MAX, align8, end_bytes, perm_bytes,
};

/// No shape: the id of a wrong guess.
pub(crate) const NONE: u32 = u32::MAX;

const CACHE_BYTES_MAX: usize = 64 << 10;
const CACHE_SHAPES_MAX: usize = 1024;
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// One known shape.
struct Entry {
    /// Hash over all names.
    hash: u64,
    /// Where the blob lies in `blobs`.
    blob_first: usize,
    /// Where it ends.
    blob_end: usize,
    /// Where the names lie in `blobs`.
    names_first: usize,
    /// Where the decoded end offsets lie in `ends`.
    ends_first: usize,
    /// Number of names.
    count: u32,
    /// Record the offset belongs to.
    epoch: u64,
    /// Offset in the shapes area of that record.
    record_offset: u32,
    /// Whether the names ascend.
    is_sorted: bool,
    /// Address of the static blob this was found equal to, else 0. Statics never move or change.
    static_address: usize,
}

/// Names of objects under construction, innermost last.
#[derive(Default)]
pub(crate) struct NameStack {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl NameStack {
    /// Number of names on the stack.
    #[inline]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Puts a name on top.
    #[inline]
    pub fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len() as u32);
    }

    /// Removes all names from `first` on.
    #[inline]
    pub fn truncate(&mut self, first: usize) {
        self.ends.truncate(first);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    /// Bytes on the stack.
    #[inline]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    fn name(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    fn hash_from(&self, first: usize) -> u64 {
        (first..self.len()).fold(0, |hash, index| shape_hash_step(hash, self.name(index)))
    }
}

/// Folds one more name into the hash of a shape.
#[inline]
pub(crate) const fn shape_hash_step(hash: u64, name: &[u8]) -> u64 {
    (hash.rotate_left(23) ^ name_hash(name)).wrapping_mul(MIX)
}

/// All shapes a writer knows.
#[derive(Default)]
pub(crate) struct ShapeCache {
    blobs: Vec<u8>,
    ends: Vec<u32>,
    entries: Vec<Entry>,
    /// Open-addressed ids by hash; a power of two long, at most half full.
    table: Vec<u32>,
    /// Ids in the order of the record's shapes area.
    order: Vec<u32>,
    area_bytes: usize,
    epoch: u64,
}

impl ShapeCache {
    /// Begins a record. True if the shapes of earlier records were dropped.
    pub fn restart(&mut self) -> bool {
        self.epoch += 1;
        self.order.clear();
        self.area_bytes = 0;
        let full = self.blobs.len() > CACHE_BYTES_MAX || self.entries.len() > CACHE_SHAPES_MAX;
        if full {
            let epoch = self.epoch;
            *self = Self { epoch, ..Self::default() };
        }
        full
    }

    /// Number of names of shape `id`.
    #[inline]
    pub fn count(&self, id: u32) -> usize {
        self.entries[id as usize].count as usize
    }

    /// Whether name `index` of shape `id` is `name`.
    #[inline]
    pub fn name_is(&self, id: u32, index: usize, name: &[u8]) -> bool {
        let entry = &self.entries[id as usize];
        if index >= entry.count as usize {
            return false;
        }
        names_equal(self.name(entry, index), name)
    }

    /// Pushes the first `count` names of shape `id`.
    pub fn push_names(&self, id: u32, count: usize, names: &mut NameStack) {
        let entry = &self.entries[id as usize];
        for index in 0..count {
            names.push(self.name(entry, index));
        }
    }

    #[inline]
    fn name(&self, entry: &Entry, index: usize) -> &[u8] {
        let at = entry.ends_first + index;
        let start = if index == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.blobs[entry.names_first + start..entry.names_first + self.ends[at] as usize]
    }

    /// Id of the shape whose names are those on the stack from `first` on.
    ///
    /// # Errors
    /// `DuplicateName` and `TooLong`.
    pub fn intern(&mut self, names: &NameStack, first: usize) -> Result<u32, BuildError> {
        let hash = names.hash_from(first);
        let count = names.len() - first;
        let start = if first == 0 { 0 } else { names.ends[first - 1] as usize };
        let found = self.lookup(hash, |cache, entry| {
            entry.count as usize == count
                && cache.blobs[entry.names_first..].starts_with(&names.bytes[start..])
                && (0..count).all(|i| {
                    cache.ends[entry.ends_first + i] as usize + start
                        == names.ends[first + i] as usize
                })
        });
        if found != NONE {
            return Ok(found);
        }
        let blob_first = self.blobs.len();
        if let Err(error) = append_blob(&mut self.blobs, names, first) {
            self.blobs.truncate(blob_first);
            return Err(error);
        }
        let is_sorted = (first + 1..names.len()).all(|i| names.name(i - 1) < names.name(i));
        let ends = names.ends[first..].iter().map(|end| *end - start as u32);
        let ends_first = self.ends.len();
        self.ends.extend(ends);
        Ok(self.insert(hash, blob_first, ends_first, is_sorted))
    }

    /// Id of the shape with this ready-made blob, which must be canonical.
    pub fn intern_blob(&mut self, hash: u64, blob: &[u8], names: &[&str]) -> u32 {
        let found = self.lookup(hash, |cache, entry| cache.blob(entry) == blob);
        if found != NONE {
            return found;
        }
        let blob_first = self.blobs.len();
        self.blobs.extend_from_slice(blob);
        let ends_first = self.ends.len();
        let mut end = 0;
        for name in names {
            end += name.len() as u32;
            self.ends.push(end);
        }
        let is_sorted = names.is_sorted_by(|a, b| a < b);
        self.insert(hash, blob_first, ends_first, is_sorted)
    }

    /// Whether shape `id` is the one with this blob.
    #[inline]
    pub fn blob_is(&mut self, id: u32, hash: u64, blob: &'static [u8]) -> bool {
        let entry = &self.entries[id as usize];
        let address = blob.as_ptr().addr();
        if entry.static_address == address {
            return true;
        }
        let is_equal = entry.hash == hash && self.blob(entry) == blob;
        if is_equal {
            self.entries[id as usize].static_address = address;
        }
        is_equal
    }

    #[inline]
    fn blob(&self, entry: &Entry) -> &[u8] {
        &self.blobs[entry.blob_first..entry.blob_end]
    }

    fn insert(&mut self, hash: u64, blob_first: usize, ends_first: usize, is_sorted: bool) -> u32 {
        let count = self.ends.len() - ends_first;
        let names_bytes = self.ends.last().map_or(0, |end| *end as usize);
        let blob_end = self.blobs.len();
        let before_names = 8 + super::spec::lookup_bytes(count) + count * end_bytes(names_bytes);
        assert!(blob_end - blob_first >= before_names + names_bytes, "a blob holds its names");
        let id = self.entries.len() as u32;
        self.entries.push(Entry {
            hash,
            blob_first,
            blob_end,
            names_first: blob_first + before_names,
            ends_first,
            count: count as u32,
            epoch: 0,
            record_offset: 0,
            is_sorted,
            static_address: 0,
        });
        if self.entries.len() * 2 > self.table.len() {
            self.rebuild_table();
        } else {
            place(&mut self.table, hash, id);
        }
        id
    }

    #[inline]
    fn lookup(&self, hash: u64, is_match: impl Fn(&Self, &Entry) -> bool) -> u32 {
        if self.table.is_empty() {
            return NONE;
        }
        let mask = self.table.len() - 1;
        let mut at = (hash >> 32) as usize & mask;
        loop {
            let id = self.table[at];
            if id == NONE {
                return NONE;
            }
            let entry = &self.entries[id as usize];
            if entry.hash == hash && is_match(self, entry) {
                return id;
            }
            at = (at + 1) & mask;
        }
    }

    fn rebuild_table(&mut self) {
        let slots = (self.entries.len() * 4).next_power_of_two().max(16);
        self.table.clear();
        self.table.resize(slots, NONE);
        for (id, entry) in self.entries.iter().enumerate() {
            place(&mut self.table, entry.hash, id as u32);
        }
    }

    /// Offset of shape `id` in the current record's shapes area, given on first use.
    ///
    /// # Errors
    /// `TooLong` if the area would outgrow its limit.
    #[inline]
    pub fn offset_in_record(&mut self, id: u32) -> Result<u32, BuildError> {
        let entry = &mut self.entries[id as usize];
        if entry.epoch != self.epoch {
            let bytes = entry.blob_end - entry.blob_first;
            if self.area_bytes + bytes > SHAPES_BYTES_MAX {
                return Err(BuildError::TooLong);
            }
            entry.epoch = self.epoch;
            entry.record_offset = self.area_bytes as u32;
            self.area_bytes += bytes;
            self.order.push(id);
        }
        Ok(entry.record_offset)
    }

    /// Whether the names of shape `id` ascend; else the index of the first that does not.
    pub fn first_unsorted(&self, id: u32) -> Option<u32> {
        let entry = &self.entries[id as usize];
        if entry.is_sorted {
            return None;
        }
        (1..entry.count)
            .find(|i| self.name(entry, *i as usize - 1) >= self.name(entry, *i as usize))
    }

    /// Bytes of the record's shapes area.
    #[inline]
    pub fn area_bytes(&self) -> usize {
        self.area_bytes
    }

    /// Writes the shapes area to `area`, which has exactly its size.
    #[inline]
    pub fn write_area(&self, mut area: &mut [u8]) {
        for id in &self.order {
            let blob = self.blob(&self.entries[*id as usize]);
            let (part, rest) = area.split_at_mut(blob.len());
            part.copy_from_slice(blob);
            area = rest;
        }
        assert!(area.is_empty(), "the area is as large as its shapes");
    }
}

fn place(table: &mut [u32], hash: u64, id: u32) {
    let mask = table.len() - 1;
    let mut at = (hash >> 32) as usize & mask;
    while table[at] != NONE {
        at = (at + 1) & mask;
    }
    table[at] = id;
}

/// Appends the blob of the names from `first` on, padded to 8.
fn append_blob(blobs: &mut Vec<u8>, names: &NameStack, first: usize) -> Result<(), BuildError> {
    let count = names.len() - first;
    let start = if first == 0 { 0 } else { names.ends[first - 1] as usize };
    let names_bytes = names.bytes.len() - start;
    if count > NAMES_MAX || names_bytes > SHAPES_BYTES_MAX {
        return Err(BuildError::TooLong);
    }
    let blob_first = blobs.len();
    blobs.extend_from_slice(&(count as u32).to_le_bytes());
    blobs.extend_from_slice(&(names_bytes as u32).to_le_bytes());
    if count <= FINGERPRINT_NAMES_MAX {
        append_fingerprints(blobs, names, first)?;
    } else {
        append_sorted_hashes(blobs, names, first)?;
    }
    let width = end_bytes(names_bytes);
    for end in &names.ends[first..] {
        blobs.extend_from_slice(&(end - start as u32).to_le_bytes()[..width]);
    }
    blobs.extend_from_slice(&names.bytes[start..]);
    let padded = blob_first + align8(blobs.len() - blob_first);
    blobs.resize(padded, 0);
    Ok(())
}

fn append_fingerprints(
    blobs: &mut Vec<u8>,
    names: &NameStack,
    first: usize,
) -> Result<(), BuildError> {
    let at = blobs.len();
    for index in first..names.len() {
        let name = names.name(index);
        let print = fingerprint(name_hash(name));
        let repeated = blobs[at..]
            .iter()
            .enumerate()
            .any(|(i, other)| *other == print && names_equal(names.name(first + i), name));
        if repeated {
            return Err(BuildError::DuplicateName { field_index: (index - first) as u32 });
        }
        blobs.push(print);
    }
    blobs.resize(at + align8(names.len() - first), 0);
    Ok(())
}

fn append_sorted_hashes(
    blobs: &mut Vec<u8>,
    names: &NameStack,
    first: usize,
) -> Result<(), BuildError> {
    let count = names.len() - first;
    let mut order: Vec<(u32, u32)> = (0..count)
        .map(|index| (hash32(name_hash(names.name(first + index))), index as u32))
        .collect();
    // The index decides between equal names, so the later one is found to be the repetition.
    order.sort_unstable_by(|a, b| {
        let by_name = || names.name(first + a.1 as usize).cmp(names.name(first + b.1 as usize));
        a.0.cmp(&b.0).then_with(by_name).then(a.1.cmp(&b.1))
    });
    let repeated = order.windows(2).filter(|pair| {
        pair[0].0 == pair[1].0
            && names.name(first + pair[0].1 as usize) == names.name(first + pair[1].1 as usize)
    });
    if let Some(field_index) = repeated.map(|pair| pair[1].1).min() {
        return Err(BuildError::DuplicateName { field_index });
    }
    for (hash, _) in &order {
        blobs.extend_from_slice(&hash.to_le_bytes());
    }
    let width = perm_bytes(count);
    for (_, index) in &order {
        blobs.extend_from_slice(&index.to_le_bytes()[..width]);
    }
    Ok(())
}
