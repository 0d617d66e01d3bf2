//! Where a range goes: to keys that the caller names, and behind records that are damaged.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::ops::Bound;

use uarr::{AsKey, Builder, Db, ErrorKind, KeyBytes, KeyKind, Record};
use uarr_disk_sim::Memory;
use uarr_uring::{OpenMode, Storage, StorageFile};

const KINDS: [KeyKind; 2] = [KeyKind::Bytes, KeyKind::U64];
const DATA_FILE: &str = "data/records.uarr";
const HEADER_BYTES: usize = 32;

/// The key with a number, in a table of either kind.
#[derive(Clone)]
struct Key(KeyKind, Vec<u8>);

impl Key {
    /// Byte keys begin alike for longer than the index compares without looking at the records.
    fn new(kind: KeyKind, number: u64) -> Self {
        match kind {
            KeyKind::Bytes => Self(kind, format!("a key of quite some length {number:06}").into()),
            _ => Self(kind, (number << 40 | 0xa5_a5a5_a5a5).to_be_bytes().to_vec()),
        }
    }
}

impl AsKey for Key {
    fn kind(&self) -> KeyKind {
        self.0
    }

    fn to_key(&self) -> KeyBytes<'_> {
        match self.0 {
            KeyKind::Bytes => KeyBytes::Slice(&self.1),
            _ => KeyBytes::Int(self.1.as_slice().try_into().unwrap()),
        }
    }
}

fn number_of(record: &Record<'_>) -> u64 {
    match record.key_u64() {
        Some(number) => number >> 40,
        None => {
            let digits = &record.key()[record.key().len() - 6..];
            std::str::from_utf8(digits).unwrap().parse().unwrap()
        }
    }
}

/// What an iterator gave: the number of the key, or damage.
fn told(record: uarr::Result<Record<'_>>) -> Result<u64, ErrorKind> {
    record.map(|record| number_of(&record)).map_err(|error| error.kind())
}

fn builder(kind: KeyKind) -> Builder {
    let sizes = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    sizes.address_space_bytes(1 << 26).keys(kind).background(false)
}

fn made(kind: KeyKind, numbers: impl Iterator<Item = u64>) -> Memory {
    let disk = Memory::new();
    let db = builder(kind).open_on(disk.clone()).unwrap();
    db.ingest(numbers.map(|number| (Key::new(kind, number), [7; 100]))).unwrap();
    db.close().unwrap();
    disk.crash()
}

/// Numbers that repeat.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Steps and seeks at both ends, against a set.
#[test]
fn seeks_and_steps_are_what_a_set_says() {
    for kind in KINDS {
        let numbers: BTreeSet<u64> = (0..400).map(|number| 3 * number).collect();
        let db = builder(kind).open_on(made(kind, numbers.iter().copied())).unwrap();
        let mut random = Random(kind as u64 + 88_172_645);
        for round in 0..60 {
            let (low, high) = (random.below(500), 400 + random.below(1000));
            let bounds = (Key::new(kind, low), Key::new(kind, high));
            let mut range = db.range(bounds.0..bounds.1).unwrap();
            let mut left = (Bound::Included(low), Bound::Excluded(high));
            for step in 0..60 {
                let what = format!("{kind} keys, round {round}, step {step}: {left:?}");
                let is_none = match left {
                    (Bound::Included(low), Bound::Included(high)) => low > high,
                    (Bound::Included(low) | Bound::Excluded(low), Bound::Excluded(high))
                    | (Bound::Excluded(low), Bound::Included(high)) => low >= high,
                    _ => unreachable!("both are bound"),
                };
                let mut rest = (!is_none).then(|| numbers.range(left)).into_iter().flatten();
                let to = random.below(1400);
                match random.below(8) {
                    0 => {
                        range.seek(Key::new(kind, to)).unwrap();
                        left.0 = Bound::Included(to.max(low));
                    }
                    1 => {
                        range.seek_back(Key::new(kind, to)).unwrap();
                        left.1 = match to < high {
                            true => Bound::Included(to),
                            false => Bound::Excluded(high),
                        };
                    }
                    2..5 => {
                        let expected = rest.next().copied();
                        assert_eq!(range.next().map(|r| told(r).unwrap()), expected, "{what}");
                        left.0 = expected.map_or(left.0, Bound::Excluded);
                    }
                    _ => {
                        let expected = rest.next_back().copied();
                        assert_eq!(range.next_back().map(|r| told(r).unwrap()), expected, "{what}");
                        left.1 = expected.map_or(left.1, Bound::Excluded);
                    }
                }
            }
        }
    }
}

#[test]
fn a_seek_stays_in_the_range_and_goes_on_after_its_end() {
    let kind = KeyKind::Bytes;
    let db = builder(kind).open_on(made(kind, 0..50)).unwrap();
    db.put([0xff, 7], b"a byte key that is escaped").unwrap();
    db.put(5u64, b"an integer").unwrap();
    let mut all = db.iter();
    all.seek("").unwrap();
    assert_eq!(told(all.next().unwrap()), Ok(0));
    all.seek_back("").unwrap();
    assert!(all.next_back().is_none() && all.next().is_none());
    all.seek_back([0xff, 0xff]).unwrap();
    assert_eq!(all.next_back().unwrap().unwrap().key(), [0xff, 7]);
    all.seek(5u64).unwrap();
    assert_eq!(all.next().unwrap().unwrap().key_u64(), Some(5));
    assert!(all.next().is_none(), "the other end has passed what is behind");

    let mut owned = db.range_owned(Key::new(kind, 10)..Key::new(kind, 20)).unwrap();
    assert_eq!(owned.by_ref().count(), 10);
    owned.seek(Key::new(kind, 3)).unwrap();
    owned.seek_back(Key::new(kind, 18)).unwrap();
    assert_eq!(told(owned.next_in_place().unwrap()), Ok(10));
    assert_eq!(told(owned.next_back_in_place().unwrap()), Ok(18));
    assert_eq!(owned.count(), 7);

    let db = builder(KeyKind::U64).open_on(Memory::new()).unwrap();
    db.put(5u64, b"").unwrap();
    let mut range = db.iter();
    let refused = [range.seek("5"), range.seek_back(5i64), range.seek((5u64,))];
    for refused in refused {
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::InvalidArgument));
    }
    assert_eq!(range.next().unwrap().unwrap().key_u64(), Some(5), "it stays where it was");
}

/// A seek shows the moment of the range, whatever is written meanwhile.
#[test]
fn a_seek_goes_to_records_that_were_replaced_since() {
    for kind in KINDS {
        let db = builder(kind).open_on(made(kind, 0..300)).unwrap();
        let mut range = db.iter();
        db.delete_range((Bound::Included(Key::new(kind, 100)), Bound::Unbounded)).unwrap();
        (0..300).for_each(|n| _ = db.put(Key::new(kind, 1000 + n), b"later").unwrap());
        db.compact().unwrap();
        for number in [299, 0, 150, 100, 99] {
            range.seek(Key::new(kind, number)).unwrap();
            assert_eq!(told(range.next().unwrap()), Ok(number));
        }
        assert_eq!(range.count(), 200, "those behind 99");
    }
}

/// What a loss of power leaves of `disk`, with a bit flipped of byte `at` of the record of each of
/// `numbers`.
fn damaged(disk: &Memory, kind: KeyKind, numbers: &[u64], at: usize) -> Memory {
    let disk = disk.crash();
    let file = disk.open(DATA_FILE, OpenMode::Mapped).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let places: Vec<_> = numbers
        .iter()
        .map(|number| {
            let Key(_, key) = Key::new(kind, *number);
            let place = bytes.windows(key.len()).position(|window| window == key).unwrap();
            place - HEADER_BYTES + at
        })
        .collect();
    for place in places {
        file.write_at(&[bytes[place] ^ 4], place as u64).unwrap();
    }
    file.make_durable().unwrap();
    drop(file);
    disk
}

/// Once, a range ended with the first damaged record. However many are damaged, in a row or not,
/// each is told once, in its place, and all others are found.
#[test]
fn a_range_goes_on_behind_damaged_records() {
    const COUNT: u64 = 1500;
    let sets: [Vec<u64>; 6] = [
        vec![0],
        vec![COUNT - 1],
        vec![15, 16, 17, 500],
        (0..40).collect(),
        (100..1100).collect(),
        (0..COUNT).collect(),
    ];
    for kind in KINDS {
        let disk = made(kind, 0..COUNT);
        for numbers in &sets {
            // In the value: the key is known; in the header: it may not be.
            for at in [HEADER_BYTES + 60, 25] {
                let what = format!("{kind} keys, {} damaged, byte {at}", numbers.len());
                let db = builder(kind).open_on(damaged(&disk, kind, numbers, at)).unwrap();
                let expected: Vec<_> = (0..COUNT)
                    .map(|number| match numbers.contains(&number) {
                        true => Err(ErrorKind::Corruption),
                        false => Ok(number),
                    })
                    .collect();
                let forward: Vec<_> = db.iter().map(told).collect();
                assert_eq!(forward, expected, "{what}");
                let mut backward: Vec<_> = db.iter().rev().map(told).collect();
                backward.reverse();
                assert_eq!(backward, expected, "{what}");

                // From both ends, which meet in the middle of the damage, or elsewhere.
                for front_count in [1, 16, 105, 600, COUNT as usize - 3] {
                    let mut range = db.iter();
                    let mut both: Vec<_> = range.by_ref().take(front_count).map(told).collect();
                    let mut rest: Vec<_> = range.by_ref().rev().map(told).collect();
                    assert!(range.next().is_none() && range.next_back().is_none());
                    rest.reverse();
                    both.append(&mut rest);
                    assert_eq!(both, expected, "{what}, {front_count} from the front");
                }
            }
        }
    }
}

#[test]
fn a_seek_goes_over_damaged_records() {
    for kind in KINDS {
        let disk = made(kind, 0..200);
        let numbers: Vec<_> = (50..100).collect();
        let db = builder(kind).open_on(damaged(&disk, kind, &numbers, HEADER_BYTES + 60)).unwrap();
        let mut range = db.iter();
        assert_eq!(range.by_ref().take(52).map(told).filter(Result::is_err).count(), 2);
        range.seek(Key::new(kind, 100)).unwrap();
        assert!(range.by_ref().map(|record| told(record).unwrap()).eq(100..200));
        range.seek(Key::new(kind, 90)).unwrap();
        assert_eq!(range.by_ref().map(told).filter(Result::is_err).count(), 10);
        // What it has seen of them is told again to those who go back.
        range.seek(Key::new(kind, 0)).unwrap();
        range.seek_back(Key::new(kind, 60)).unwrap();
        assert_eq!(range.by_ref().map(told).filter(Result::is_err).count(), 11);
        // Those behind the end that was sought were of no concern, and are now.
        range.seek_back(Key::new(kind, 150)).unwrap();
        assert_eq!(range.map(told).filter(Result::is_err).count(), 39);
    }
}
