//! A disk with a volatile write cache, as bytes.
//!
//! Each sector has a durable content and the contents that were written since, oldest first. A
//! flush makes the newest durable. A power cut leaves for each sector its durable content or any
//! that was written since: caches write back in any order, at any time.
//!
//! A flush that fails loses what it should have written: readers still see it, as from the cache,
//! but it is not durable, even if later flushes succeed, until a caller writes it again.

use std::collections::BTreeMap;

use crate::Random;

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// Granularity of the note where anything was ever written.
const REGION_BYTES: usize = 1 << 16;

/// A content of a sector that is not durable.
#[derive(Debug)]
struct Version {
    sequence: u64,
    bytes: [u8; SECTOR_BYTES],
    lost: bool,
}

/// The image of a block device with a volatile cache; see the top of this file.
#[derive(Debug)]
pub struct Medium {
    now: Vec<u8>,
    durable: Vec<u8>,
    unflushed: BTreeMap<usize, Vec<Version>>,
    /// Number of writes so far.
    sequence: u64,
    used_regions: Vec<bool>,
}

/// How much of the volatile cache a power cut leaves.
#[derive(Clone, Copy, Debug)]
enum Survival {
    Nothing,
    Everything,
    AnyVersion,
    /// The newest version, of so many sectors in 100.
    Share(u64),
}

impl Survival {
    fn choose(random: &mut Random) -> Self {
        match random.below(6) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 | 3 => Self::AnyVersion,
            _ => Self::Share([5, 50, 95][random.below(3) as usize]),
        }
    }

    /// Which of `count` versions, oldest first, survives.
    fn version(self, count: usize, random: &mut Random) -> Option<usize> {
        assert!(count > 0);
        match self {
            Self::Nothing => None,
            Self::Everything => Some(count - 1),
            Self::AnyVersion => (random.below(count as u64 + 1) as usize).checked_sub(1),
            Self::Share(percent) => (random.below(100) < percent).then_some(count - 1),
        }
    }
}

impl Medium {
    /// A disk of zeros.
    pub fn new(len_bytes: usize) -> Self {
        assert!(len_bytes.is_multiple_of(REGION_BYTES), "{len_bytes}");
        Self {
            now: vec![0; len_bytes],
            durable: vec![0; len_bytes],
            unflushed: BTreeMap::new(),
            sequence: 0,
            used_regions: vec![false; len_bytes / REGION_BYTES],
        }
    }

    /// Its size.
    pub fn len_bytes(&self) -> usize {
        self.now.len()
    }

    /// Number of writes so far. A flush that begins now is for them.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What a reader gets, cut at the end.
    pub fn read(&self, offset: usize, len: usize) -> &[u8] {
        let end = self.now.len().min(offset.saturating_add(len));
        &self.now[offset.min(end)..end]
    }

    /// Takes a write into the cache.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset.is_multiple_of(SECTOR_BYTES), "offset {offset}");
        self.sequence += 1;
        for (index, sector) in sectors(offset, bytes) {
            let version = Version { sequence: self.sequence, bytes: *sector, lost: false };
            self.unflushed.entry(index).or_default().push(version);
            self.used_regions[index * SECTOR_BYTES / REGION_BYTES] = true;
        }
        self.now[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Makes the writes up to `sequence` durable.
    pub fn flush(&mut self, sequence: u64) {
        let durable = &mut self.durable;
        self.unflushed.retain(|index, versions| {
            let count = versions.partition_point(|version| version.sequence <= sequence);
            if let Some(newest) = versions[..count].iter().rfind(|version| !version.lost) {
                durable[index * SECTOR_BYTES..][..SECTOR_BYTES].copy_from_slice(&newest.bytes);
            }
            versions.drain(..count);
            !versions.is_empty()
        });
    }

    /// A flush that fails: the writes up to `sequence` that it would have made durable never will
    /// be, in the sectors that `is_lost` names by their offset.
    pub fn lose(&mut self, sequence: u64, is_lost: impl Fn(u64) -> bool) {
        for (index, versions) in &mut self.unflushed {
            if is_lost((index * SECTOR_BYTES) as u64) {
                let until = versions.iter_mut().take_while(|version| version.sequence <= sequence);
                until.for_each(|version| version.lost = true);
            }
        }
    }

    /// What a power cut leaves now: the parts of the disk that were ever written. `under_way` are
    /// writes that the disk has not taken yet: each of their sectors may be there too.
    pub fn cut(&self, under_way: &[(usize, &[u8])], random: &mut Random) -> Vec<(usize, Vec<u8>)> {
        let survival = Survival::choose(random);
        let mut left: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for region in (0..self.used_regions.len()).filter(|region| self.used_regions[*region]) {
            let at = region * REGION_BYTES;
            left.insert(at, self.durable[at..at + REGION_BYTES].to_vec());
        }
        let mut place = |index: usize, bytes: &[u8; SECTOR_BYTES]| {
            let at = index * SECTOR_BYTES;
            let region = left.entry(at / REGION_BYTES * REGION_BYTES).or_insert_with(|| {
                let at = at / REGION_BYTES * REGION_BYTES;
                self.durable[at..at + REGION_BYTES].to_vec()
            });
            region[at % REGION_BYTES..][..SECTOR_BYTES].copy_from_slice(bytes);
        };
        for (index, versions) in &self.unflushed {
            let versions: Vec<_> = versions.iter().filter(|version| !version.lost).collect();
            if versions.is_empty() {
                continue;
            }
            if let Some(chosen) = survival.version(versions.len(), random) {
                place(*index, &versions[chosen].bytes);
            }
        }
        for (offset, bytes) in under_way {
            for (index, sector) in sectors(*offset, bytes) {
                if survival.version(1, random).is_some() {
                    place(index, sector);
                }
            }
        }
        left.into_iter().collect()
    }
}

/// The whole sectors of a write, by their number.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8; SECTOR_BYTES])> {
    let (sectors, rest) = bytes.as_chunks::<SECTOR_BYTES>();
    assert!(rest.is_empty(), "a write of {} bytes", bytes.len());
    sectors.iter().enumerate().map(move |(index, sector)| (offset / SECTOR_BYTES + index, sector))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = REGION_BYTES * 4;

    fn sector(byte: u8) -> [u8; SECTOR_BYTES] {
        [byte; SECTOR_BYTES]
    }

    /// First bytes of the first sector that many power cuts leave, each once.
    fn left(medium: &Medium, under_way: &[(usize, &[u8])]) -> Vec<u8> {
        let mut random = Random::new(1);
        let cuts = (0..200).map(|_| medium.cut(under_way, &mut random));
        let mut bytes: Vec<u8> =
            cuts.map(|left| left.first().map_or(0, |(_, bytes)| bytes[0])).collect();
        bytes.sort_unstable();
        bytes.dedup();
        bytes
    }

    #[test]
    fn a_power_cut_leaves_any_version_since_the_last_flush() {
        let mut medium = Medium::new(LEN);
        medium.write(0, &sector(1));
        assert_eq!(left(&medium, &[]), [0, 1]);
        medium.flush(medium.sequence());
        assert_eq!(left(&medium, &[]), [1]);
        medium.write(0, &sector(2));
        medium.write(0, &sector(3));
        assert_eq!(medium.read(0, 1), [3]);
        assert_eq!(left(&medium, &[]), [1, 2, 3]);
        assert_eq!(left(&medium, &[(0, &sector(4))]), [1, 2, 3, 4]);
    }

    #[test]
    fn a_flush_is_for_the_writes_before_it_began() {
        let mut medium = Medium::new(LEN);
        medium.write(0, &sector(1));
        let begun = medium.sequence();
        medium.write(0, &sector(2));
        medium.flush(begun);
        assert_eq!(left(&medium, &[]), [1, 2]);
        medium.flush(medium.sequence());
        assert_eq!(left(&medium, &[]), [2]);
    }

    #[test]
    fn what_a_failed_flush_lost_is_readable_and_never_durable() {
        let mut medium = Medium::new(LEN);
        medium.write(0, &sector(1));
        medium.lose(medium.sequence(), |offset| offset == 0);
        medium.flush(medium.sequence());
        assert_eq!(medium.read(0, 1), [1]);
        assert_eq!(left(&medium, &[]), [0]);
        medium.write(0, &sector(1));
        medium.flush(medium.sequence());
        assert_eq!(left(&medium, &[]), [1]);
    }
}
