//! Operations mixed in parts of a hundred, and the records they fall on: what a workload asks of
//! each thread.
//!
//! A thread chooses each operation before the clock runs. Records that it inserts have numbers of
//! its own; reads fall on those that were loaded, and with [`Keys::Latest`] on its own too.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};
use serde::Deserialize;

/// The exponent of Zipf's law that YCSB uses.
const ZIPF_EXPONENT: f64 = 0.99;

/// Operations, in parts of a hundred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parts {
    /// Reads of a record.
    pub get: u8,
    /// Looks for a record that was never written.
    pub miss: u8,
    /// Overwrites of a record.
    pub update: u8,
    /// Reads of a record, each followed by overwriting it.
    pub get_update: u8,
    /// The same in one transaction, which counts the record's version up.
    pub read_modify_write: u8,
    /// New records.
    pub insert: u8,
    /// Reads of records in key order, from one of them on.
    pub scan: u8,
}

impl Parts {
    const fn all(self) -> [u8; 7] {
        let Self { get, miss, update, get_update, read_modify_write, insert, scan } = self;
        [get, miss, update, get_update, read_modify_write, insert, scan]
    }

    /// The sum of the parts, 100 if they are whole.
    pub fn sum(self) -> u32 {
        self.all().into_iter().map(u32::from).sum()
    }

    /// Whether any of them writes.
    pub const fn has_writes(self) -> bool {
        self.has_overwrites() || self.read_modify_write > 0 || self.insert > 0
    }

    /// Whether any of them overwrites a record without looking whether another one has.
    pub const fn has_overwrites(self) -> bool {
        self.update > 0 || self.get_update > 0
    }

    /// Words for them, such as `50 % get, 50 % update`.
    pub fn text(self) -> String {
        const NAMES: [&str; 7] = [
            "get",
            "miss",
            "update",
            "get and update",
            "read-modify-write in a transaction",
            "insert",
            "scan",
        ];
        let parts = self.all().into_iter().zip(NAMES).filter(|(part, _)| *part > 0);
        parts.map(|(part, name)| format!("{part} % {name}")).collect::<Vec<_>>().join(", ")
    }
}

/// Which records operations fall on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// Each record equally often.
    Uniform,
    /// By Zipf's law, exponent 0.99: of a million records, one gets a fifteenth of all operations.
    Zipf,
    /// The same, where the newest record of the thread gets most.
    Latest,
}

/// A mix of operations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// What they are.
    pub parts: Parts,
    /// What they fall on.
    pub keys: Keys,
    /// Records that were loaded.
    pub record_count: u64,
    /// Most records of a scan; fewest is one.
    pub scan_records_max: u64,
    /// The first number of new records; thread `t` starts `t * 2^40` later.
    pub first: u64,
    /// The version that updates write.
    pub version: u64,
}

/// An operation, and the number of the record it falls on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    Get(u64),
    Miss(u64),
    Update(u64),
    GetUpdate(u64),
    Modify(u64),
    Insert(u64),
    Scan { number: u64, records: u64 },
}

/// Chooses the operations of one thread.
pub(super) struct Chooser {
    mix: Mix,
    random: SmallRng,
    zipf: Zipf<f64>,
    first: u64,
    inserted_count: u64,
}

impl Chooser {
    /// `first` is the number of the first record that the thread inserts.
    pub fn new(mix: Mix, first: u64, seed: u64) -> Self {
        assert!(mix.parts.sum() == 100 && mix.record_count > 0 && mix.scan_records_max > 0);
        let zipf = Zipf::new(mix.record_count as f64, ZIPF_EXPONENT);
        let zipf = zipf.expect("there are records, and the exponent is a number above 0");
        Self { mix, random: SmallRng::seed_from_u64(seed), zipf, first, inserted_count: 0 }
    }

    pub fn choose(&mut self) -> Chosen {
        let parts = self.mix.parts;
        let mut left = self.random.random_range(0..100_u8);
        let mut is_within = |part: u8| {
            let is_within = left < part;
            left = left.saturating_sub(part);
            is_within
        };
        if is_within(parts.get) {
            Chosen::Get(self.number())
        } else if is_within(parts.miss) {
            Chosen::Miss(self.random.random())
        } else if is_within(parts.update) {
            Chosen::Update(self.number())
        } else if is_within(parts.get_update) {
            Chosen::GetUpdate(self.number())
        } else if is_within(parts.read_modify_write) {
            Chosen::Modify(self.number())
        } else if is_within(parts.insert) {
            self.inserted_count += 1;
            Chosen::Insert(self.first + self.inserted_count - 1)
        } else {
            let records = self.random.random_range(1..=self.mix.scan_records_max);
            Chosen::Scan { number: self.number(), records }
        }
    }

    /// The number of a record that is there.
    fn number(&mut self) -> u64 {
        let loaded = self.mix.record_count;
        if self.mix.keys == Keys::Uniform {
            return self.random.random_range(0..loaded);
        }
        let rank = (self.zipf.sample(&mut self.random) as u64).clamp(1, loaded);
        match self.mix.keys {
            Keys::Latest if rank <= self.inserted_count => self.first + self.inserted_count - rank,
            Keys::Latest => loaded - (rank - self.inserted_count),
            Keys::Uniform | Keys::Zipf => rank - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u64 = 1 << 44;

    fn chosen(parts: Parts, keys: Keys) -> Vec<Chosen> {
        let (record_count, scan_records_max) = (1000, 100);
        let mix = Mix { parts, keys, record_count, scan_records_max, first: FIRST, version: 1 };
        let mut chooser = Chooser::new(mix, FIRST, 7);
        (0..100_000).map(|_| chooser.choose()).collect()
    }

    #[test]
    fn each_part_gets_its_share_and_falls_on_records_that_are_there() {
        let parts = Parts {
            get: 35,
            miss: 5,
            update: 20,
            get_update: 10,
            read_modify_write: 5,
            insert: 15,
            scan: 10,
        };
        for keys in [Keys::Uniform, Keys::Zipf, Keys::Latest] {
            let mut counts = [0_u32; 7];
            let mut inserted = FIRST;
            for one in chosen(parts, keys) {
                let (place, number) = match one {
                    Chosen::Get(number) => (0, number),
                    Chosen::Miss(_) => (1, 0),
                    Chosen::Update(number) => (2, number),
                    Chosen::GetUpdate(number) => (3, number),
                    Chosen::Modify(number) => (4, number),
                    Chosen::Insert(number) => {
                        assert_eq!(number, inserted);
                        inserted += 1;
                        (5, number)
                    }
                    Chosen::Scan { number, records } => {
                        assert!((1..=100).contains(&records));
                        (6, number)
                    }
                };
                counts[place] += 1;
                assert!(number < 1000 || (FIRST..inserted).contains(&number), "{one:?}");
                assert!(number < 1000 || keys == Keys::Latest || place == 5, "{one:?}");
            }
            for (count, part) in counts.into_iter().zip(parts.all()) {
                let expected = u32::from(part) * 1000;
                assert!(count.abs_diff(expected) < 1000, "{counts:?} for {parts:?}");
            }
        }
        assert_eq!((parts.sum(), parts.has_writes()), (100, true));
        let text = "35 % get, 5 % miss, 20 % update, 10 % get and update, \
                    5 % read-modify-write in a transaction, 15 % insert, 10 % scan";
        assert_eq!(parts.text(), text);
    }

    #[test]
    fn records_are_as_popular_as_their_law_says() {
        let get = Parts { get: 100, ..Parts::default() };
        let share = |chosen: &[Chosen], of: &dyn Fn(u64) -> bool| {
            let is_it = |one: &&Chosen| matches!(one, Chosen::Get(number) if of(*number));
            chosen.iter().filter(is_it).count() as f64 / chosen.len() as f64
        };
        // The sum of 1 / rank^0.99 up to 1000 is 7.73.
        let zipf = chosen(get, Keys::Zipf);
        assert!((share(&zipf, &|number| number == 0) - 1.0 / 7.73).abs() < 0.01);
        assert!((share(&zipf, &|number| number == 1) - 0.503 / 7.73).abs() < 0.01);
        let uniform = chosen(get, Keys::Uniform);
        assert!((share(&uniform, &|number| number < 500) - 0.5).abs() < 0.01);
        let latest = chosen(Parts { get: 95, insert: 5, ..get }, Keys::Latest);
        assert!(share(&latest, &|number| number >= FIRST) > 0.8);
    }
}
