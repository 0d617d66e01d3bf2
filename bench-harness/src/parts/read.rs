//! The read path by itself: gets of one and two threads, misses, scans; and what stores take on the
//! disk.
//!
//! A part loads every store in random order, in batches of 1000, lets it bring the records to where
//! it reads them best (RocksDB compacts, SQLite checkpoints), and reads each once before it
//! measures. Each get opens its own read transaction, or what stands for it in the store; stores
//! that can read many records in one are shown with that too. The floor is what memory takes for
//! the same records without any index; a hash map stands beside it.

use std::path::Path;

use crate::error::BenchError;
use crate::machine::folder::RunFolder;
use crate::measure::drive::Driven;
use crate::measure::floor::{MappedFloor, Via};
use crate::measure::hash_floor::HashFloor;
use crate::measure::job::{ENDLESS, Job, Timing, View, Work};
use crate::measure::rotation;
use crate::measure::rows::Metric;
use crate::measure::store::{Class, Contender, OpenSpec};
use crate::parts::rounds::{self, Contestant, Options, Part, sample_in_rounds};
use crate::parts::sizes;
use crate::report::measured::{Line, Measured};
use crate::stores;

/// Records of a batch when stores are loaded.
const BATCH_RECORDS: u64 = 1000;
/// Records of a short scan.
const SCAN_RECORDS: u64 = 100;

/// Gets without an index: what memory takes.
const FLOORS: [(&str, Via); 2] =
    [("floor: slot, then record", Via::Slot), ("floor: record at a known place", Via::Number)];

/// A `HashMap` in memory, for comparison: it has no order, and nothing of it is on a disk.
const HASH_MAP: &str = "hash map, boxed values";

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPart {
    /// Single records that are there, by one thread and by two, beside the floor.
    Gets,
    /// Records that are not there.
    Misses,
    /// 100 records in key order.
    Scans,
    /// All records in key order.
    FullScans,
    /// What the stores take on the disk.
    Sizes,
}

impl Part for ReadPart {
    const ALL: &'static [Self] =
        &[Self::Gets, Self::Misses, Self::Scans, Self::FullScans, Self::Sizes];

    fn name(self) -> &'static str {
        match self {
            Self::Gets => "gets",
            Self::Misses => "misses",
            Self::Scans => "scans",
            Self::FullScans => "full-scans",
            Self::Sizes => "sizes",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Gets => {
                "uniform reads, each in a read transaction of its own or all in one snapshot; \
                 ratio: per second against the first row, between equal ways"
            }
            Self::Misses => {
                "reads of keys that are absent; ratio: per second against the first row"
            }
            Self::Scans => "100 records in key order; ratio: per second against the first row",
            Self::FullScans => "all records in key order; ratio: per second against the first row",
            Self::Sizes => "bytes on the disk",
        }
    }

    fn metric(self) -> Metric {
        Metric::OpsPerSecond
    }
}

/// Measures the parts.
pub fn run(options: &Options<ReadPart>) -> Result<Measured, BenchError> {
    let folder = RunFolder::create(&options.dir)?;
    let path = folder.path();
    let mut timed = options.clone();
    timed.parts.retain(|part| *part != ReadPart::Sizes);
    let stores = if timed.parts.is_empty() { Loaded::new() } else { load_all(options, path)? };
    let facts = stores::facts(&Contender::READ_STORES, path)?;
    let mut measured =
        rounds::measure_all(&timed, path, facts, |part| measure(part, options, &stores, path))?;
    stores.into_iter().try_for_each(|(_, store)| store.close())?;
    if options.parts.contains(&ReadPart::Sizes) {
        measured.sizes = sizes::measure(path, options.records)?;
    }
    Ok(measured)
}

fn measure(
    part: ReadPart,
    options: &Options<ReadPart>,
    stores: &Loaded,
    folder: &Path,
) -> Result<Vec<Line>, BenchError> {
    let record_count = options.records;
    let floor = match part {
        ReadPart::Gets => Some(MappedFloor::create(folder, record_count)?),
        _ => None,
    };
    let hash_map = (part == ReadPart::Gets).then(|| HashFloor::new(record_count));
    let mut contestants = Vec::new();
    let mut add = |threads: u32, view: View, work: Work, records: u64| {
        for (contender, store) in stores {
            if view == View::Snapshot && !contender.has_snapshots() {
                continue;
            }
            let mut name = contender.name().to_owned();
            if threads > 1 {
                name += &format!(", {threads} threads");
            }
            if view == View::Snapshot {
                name += ", one snapshot";
            }
            let measure = move |round| {
                let duration = options.duration;
                store.run(&Job { seed: u64::from(round), view, duration, ..job(work, threads) })
            };
            let class = match view {
                View::PerRead => Class::Read,
                View::Snapshot => Class::ReadSnapshot,
            };
            let contestant = Contestant::new(name, Some(class), measure);
            contestants.push(contestant.of_batches(records));
        }
    };
    let each = View::PerRead;
    match part {
        ReadPart::Gets => {
            for threads in [1, 2] {
                for view in [View::PerRead, View::Snapshot] {
                    add(threads, view, Work::Get { record_count }, 1);
                }
            }
            if let Some(floor) = &floor {
                for (name, via) in FLOORS {
                    let measure =
                        move |round| floor.measure(via, options.duration, u64::from(round));
                    contestants.push(Contestant::new(name, None, measure));
                }
            }
            if let Some(hash_map) = &hash_map {
                let measure = |round| hash_map.measure(options.duration, u64::from(round));
                contestants.push(Contestant::new(HASH_MAP, None, measure));
            }
        }
        ReadPart::Misses => add(1, each, Work::Miss, 1),
        ReadPart::Scans => {
            add(1, each, Work::Scan { record_count, records: SCAN_RECORDS }, SCAN_RECORDS);
        }
        ReadPart::FullScans => {
            add(1, each, Work::Scan { record_count, records: record_count }, record_count);
        }
        ReadPart::Sizes => unreachable!("nothing of it is timed"),
    }
    sample_in_rounds(part.name(), options.rounds, contestants)
}

fn job(work: Work, threads: u32) -> Job {
    let (duration, timing) = (ENDLESS, Timing::Whole);
    let view = View::PerRead;
    let (op_count_min, op_count_max) = (0, u64::MAX);
    Job {
        work,
        view,
        threads,
        readers: 0,
        duration,
        op_count_min,
        op_count_max,
        timing,
        checkpoint_at: None,
        seed: 0,
    }
}

type Loaded = Vec<(Contender, Box<dyn Driven>)>;

fn load_all(options: &Options<ReadPart>, folder: &Path) -> Result<Loaded, BenchError> {
    let built_in = Contender::READ_STORES.into_iter().filter(|store| store.is_built_in());
    let load = |contender: Contender| {
        let spec = OpenSpec::new(contender.load_writes(), options.records);
        let store = stores::open(contender, &folder.join(contender.name()), spec)?;
        let batches = Work::Batches { first: 0, records: BATCH_RECORDS };
        let op_count_max = options.records.div_ceil(BATCH_RECORDS);
        store.run(&Job { op_count_max, ..job(batches, 1) })?;
        store.prepare_reads()?;
        store.verify(std::slice::from_ref(&(0..options.records)), options.records)?;
        Ok((contender, store))
    };
    let stores = built_in.map(load).collect::<Result<_, _>>()?;
    rotation::sync_files(folder)?;
    Ok(stores)
}
