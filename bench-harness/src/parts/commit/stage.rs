//! The parts: who takes part, and what a sample is.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use uarr::{CommitPath, CommitStrategy, KeyKind};

mod loads;

use super::part::CommitPart as Part;
use super::tasks;
use crate::error::BenchError;
use crate::measure::drive::Driven;
use crate::measure::floor::{DeviceFloor, Span};
use crate::measure::job::{Arrival, ENDLESS, Job, Timing, View, Work};
use crate::measure::rotation;
use crate::measure::rows::Row;
use crate::measure::sample::Sample;
use crate::measure::store::{Class, Contender, OpenSpec, Writes};
use crate::measure::usage::Usage;
use crate::measure::workload::{VALUE_BYTES, fill, key_of};
use crate::parts::rounds::{Contestant, Options, Part as _, sample_in_rounds};
use crate::report::measured::Line;
use crate::stores;

/// Size of the floor's file.
const FLOOR_BYTES: u64 = 256 << 20;
/// Record numbers of one sample: up to 2^4 threads or 2^12 tasks.
const SAMPLE_NUMBERS_SHIFT: u32 = 46;
/// Records of a batch.
const BATCH_RECORDS: u64 = 1000;
/// Records read back at the end of a sample.
const VERIFY_READS_MAX: u64 = 20_000;
/// A log that never begins another segment in the time of a sample.
const LARGE_SEGMENT_BYTES: u64 = 1 << 30;

/// The class of durable writes.
const SYNC: Option<Class> = Some(Class::Sync);

pub(super) fn measure(
    part: Part,
    options: &Options<Part>,
    folder: &Path,
) -> Result<Vec<Line>, BenchError> {
    // Its stores are new: SQLite, for one, writes nothing for a record that it has already.
    let folder = &folder.join(part.name());
    fs::create_dir(folder).map_err(|error| BenchError::at(folder, "cannot create", &error))?;
    let stage = Stage { options, folder, sample_count: Cell::new(0) };
    let lines = match part {
        Part::Strategies => stage.strategies(),
        Part::Threads => stage.threads(),
        Part::Rotation => stage.rotation(),
        Part::Checkpoint => stage.checkpoint(),
        Part::Memory => stage.memory(),
        Part::Load => stage.load(),
        Part::Paced => stage.paced(),
        Part::PacedMemory => stage.paced_memory(),
    }?;
    remove(folder)?;
    Ok(lines)
}

/// What all parts share.
struct Stage<'o> {
    options: &'o Options<Part>,
    folder: &'o Path,
    sample_count: Cell<u64>,
}

fn failed(error: uarr::Error) -> BenchError {
    BenchError::Setup(format!("uarr: {error}"))
}

fn peers() -> impl Iterator<Item = Contender> {
    stores().filter(|store| *store != Contender::Uarr)
}

fn stores() -> impl Iterator<Item = Contender> {
    Contender::WRITE_STORES.into_iter().filter(|store| store.is_built_in())
}

/// The stores with each promise of their writes that are not waited for. The strongest has the name
/// of the store, others name their class too.
fn memory_first() -> impl Iterator<Item = (Contender, String, Writes)> {
    stores().flat_map(|store| {
        store.memory_first().iter().enumerate().map(move |(index, &writes)| {
            let who = match index {
                0 => store.name().to_owned(),
                _ => format!("{store} ({})", writes.class().name()),
            };
            (store, who, writes)
        })
    })
}

type Builder = uarr::Builder;
/// A name, and the options that it stands for.
type Configuration = (&'static str, fn(Builder) -> Builder);

impl Stage<'_> {
    /// Record numbers that no sample has used.
    fn fresh_numbers(&self) -> u64 {
        let number = self.sample_count.get();
        self.sample_count.set(number + 1);
        number << SAMPLE_NUMBERS_SHIFT
    }

    fn puts(&self, threads: u32, timing: Timing) -> Job {
        Job {
            work: Work::Put { first: self.fresh_numbers() },
            view: View::PerRead,
            threads,
            duration: self.options.duration,
            op_count_min: 0,
            op_count_max: u64::MAX,
            timing,
            checkpoint_at: None,
            readers: 0,
            seed: 0,
        }
    }

    fn spec(&self, writes: Writes) -> OpenSpec {
        OpenSpec::new(writes, self.options.records)
    }

    fn engine(
        &self,
        name: &str,
        writes: Writes,
        configure: impl FnOnce(Builder) -> Builder,
    ) -> Result<Box<dyn Driven>, BenchError> {
        stores::open_engine(&self.folder.join(name), self.spec(writes), configure)
    }

    fn peer(&self, peer: Contender, writes: Writes) -> Result<Box<dyn Driven>, BenchError> {
        stores::open(peer, &self.folder.join(peer.name()), self.spec(writes))
    }

    /// A sample of a store that stays open, and settles before the next one is measured.
    fn checked(&self, store: &dyn Driven, job: &Job) -> Result<Sample, BenchError> {
        let sample = store.run(job)?;
        store.verify(&sample.written, VERIFY_READS_MAX)?;
        store.settle()?;
        Ok(sample)
    }

    /// A sample of a store of its own, closed and removed after it.
    fn alone(
        &self,
        name: &str,
        open: impl FnOnce() -> Result<Box<dyn Driven>, BenchError>,
        job: &Job,
    ) -> Result<Sample, BenchError> {
        let store = open()?;
        // Opening has work of its own, such as preparing log files.
        rotation::wait_until_still();
        let sample = store.run(job)?;
        store.verify(&sample.written, VERIFY_READS_MAX)?;
        store.close()?;
        remove(&self.folder.join(name))?;
        Ok(sample)
    }

    fn strategies(&self) -> Result<Vec<Line>, BenchError> {
        let floor = RefCell::new(DeviceFloor::create(self.folder, FLOOR_BYTES)?);
        let mut stores: Vec<(String, Box<dyn Driven>)> = Vec::new();
        for (name, strategy) in [
            ("linked fdatasync", CommitStrategy::LinkedFdatasync),
            ("ring dsync", CommitStrategy::Dsync),
            ("syscall dsync", CommitStrategy::Syscall),
        ] {
            let path = CommitPath::Fixed(strategy);
            let store = self.engine(name, Writes::Durable, |builder| builder.commit_path(path))?;
            stores.push((format!("uarr, {name}"), store));
        }
        stores.push((
            "uarr, auto".to_owned(),
            self.engine("auto", Writes::Durable, |builder| builder)?,
        ));
        for peer in peers() {
            stores.push((peer.name().to_owned(), self.peer(peer, Writes::Durable)?));
        }
        for (_, store) in &stores {
            store.prepare_durable()?;
            store.run(&self.puts(1, Timing::Each))?;
            store.settle()?;
        }
        let (duration, floor) = (self.options.duration, &floor);
        let floors = [
            ("floor: pwrite + fdatasync", Row::WriteFdatasync),
            ("floor: pwritev2 with RWF_DSYNC", Row::WriteDsync),
        ];
        let mut contestants = Vec::new();
        for (name, row) in floors {
            contestants.push(Contestant::new(name, SYNC, move |round| {
                floor.borrow_mut().measure(row, Span::of(duration), u64::from(round))
            }));
        }
        for (name, store) in &stores {
            contestants.push(Contestant::new(name.clone(), SYNC, |_| {
                self.checked(&**store, &self.puts(1, Timing::Each))
            }));
        }
        let lines = sample_in_rounds(Part::Strategies.name(), self.options.rounds, contestants)?;
        self.close_all(stores)?;
        Ok(lines)
    }

    fn close_all(&self, stores: Vec<(String, Box<dyn Driven>)>) -> Result<(), BenchError> {
        stores.into_iter().try_for_each(|(_, store)| store.close())
    }

    fn threads(&self) -> Result<Vec<Line>, BenchError> {
        let engine = self.engine("threads", Writes::Durable, |builder| builder)?;
        let tasks_db = uarr::Db::builder(self.folder.join("tasks")).keys(KeyKind::U64).open();
        let tasks_db = tasks_db.map_err(failed)?;
        let mut stores = vec![("uarr".to_owned(), engine)];
        for peer in peers() {
            stores.push((peer.name().to_owned(), self.peer(peer, Writes::Durable)?));
        }
        for (_, store) in &stores {
            store.prepare_durable()?;
            store.run(&self.puts(16, Timing::Each))?;
            store.settle()?;
        }
        let mut contestants = Vec::new();
        for threads in [1, 4, 16, 64] {
            for (name, store) in &stores {
                let measure = move |_| self.checked(&**store, &self.puts(threads, Timing::Each));
                let contestant =
                    Contestant::new(format!("{name}, {threads} threads"), SYNC, measure);
                contestants.push(contestant.on_ladder(name.as_str()));
            }
        }
        for task_count in [256, 1024] {
            let db = &tasks_db;
            contestants.push(Contestant::new(
                format!("uarr, {task_count} tasks on 2 threads"),
                SYNC,
                move |_| {
                    let duration = self.options.duration;
                    let sample = tasks::measure(db, task_count, duration, self.fresh_numbers())?;
                    db.checkpoint().map_err(failed)?;
                    Ok(sample)
                },
            ));
        }
        let lines = sample_in_rounds(Part::Threads.name(), self.options.rounds, contestants)?;
        self.close_all(stores)?;
        tasks_db.close().map_err(failed)?;
        Ok(lines)
    }

    fn rotation(&self) -> Result<Vec<Line>, BenchError> {
        const SECOND: Duration = Duration::from_secs(1);
        let configurations: [Configuration; 3] = [
            ("no rotation", |builder| {
                builder.segment_bytes(LARGE_SEGMENT_BYTES).checkpoint_log_bytes(u64::MAX)
            }),
            ("new segments, all zeroed", |builder| {
                builder.segment_age(SECOND).checkpoint_log_bytes(u64::MAX)
            }),
            ("new segments, recycled after checkpoints", |builder| builder.segment_age(SECOND)),
        ];
        let contestant = |(index, (name, configure)): (usize, Configuration)| {
            let rotates = index > 0;
            Contestant::new(name, SYNC, move |_| {
                let open = || {
                    let store = self.engine(name, Writes::Durable, configure)?;
                    // The next segment is not prepared before something was written.
                    store.run(&Job { op_count_max: 1, ..self.puts(1, Timing::Whole) })?;
                    if rotates {
                        wait_for_segment(&self.folder.join(name))?;
                    }
                    Ok(store)
                };
                self.alone(name, open, &self.puts(1, Timing::Each))
            })
        };
        let contestants = configurations.into_iter().enumerate().map(contestant).collect();
        sample_in_rounds(Part::Rotation.name(), self.options.rounds, contestants)
    }

    /// Puts into stores with many records, and the same while the store brings its records to where
    /// it reads them best.
    fn checkpoint(&self) -> Result<Vec<Line>, BenchError> {
        let engine = self.engine("checkpoint", Writes::Durable, |builder| builder)?;
        let mut stores = vec![("uarr".to_owned(), engine)];
        for peer in peers() {
            stores.push((peer.name().to_owned(), self.peer(peer, Writes::Durable)?));
        }
        for (_, store) in &stores {
            store.load(self.options.records)?;
            store.prepare_durable()?;
            store.run(&self.puts(1, Timing::Each))?;
            store.settle()?;
        }
        let third = Some(self.options.duration / 3);
        let mut contestants = Vec::new();
        for (name, store) in &stores {
            for (what, checkpoint_at) in [("", None), (", a checkpoint meanwhile", third)] {
                let measure = move |_| {
                    let puts = self.puts(1, Timing::Each);
                    self.checked(&**store, &Job { checkpoint_at, ..puts })
                };
                contestants.push(Contestant::new(format!("{name}{what}"), SYNC, measure));
            }
        }
        let lines = sample_in_rounds(Part::Checkpoint.name(), self.options.rounds, contestants)?;
        self.close_all(stores)?;
        Ok(lines)
    }

    fn memory(&self) -> Result<Vec<Line>, BenchError> {
        let mut contestants = Vec::new();
        for (name, timing) in [("single", Timing::Whole), ("single, timed each", Timing::Each)] {
            for (store, who, writes) in memory_first() {
                let measure = move |_| {
                    let records = self.options.records;
                    let job = Job { op_count_max: records, ..self.puts(1, timing) };
                    self.alone(store.name(), || self.peer(store, writes), &job)
                };
                let name = format!("{who}, {name}");
                contestants.push(Contestant::new(name, Some(writes.class()), measure));
            }
        }
        contestants.push(Contestant::new("BTreeMap, insert and copy", None, |_| {
            Ok(map_inserts(self.fresh_numbers(), self.options.duration, self.options.records))
        }));
        for (store, who, writes) in memory_first() {
            let measure = move |_| {
                let job = self.batches(Timing::Each);
                self.alone(store.name(), || self.peer(store, writes), &job)
            };
            let name = format!("{who}, batches of 1000");
            let contestant = Contestant::new(name, Some(writes.class()), measure);
            contestants.push(contestant.of_batches(BATCH_RECORDS));
        }
        sample_in_rounds(Part::Memory.name(), self.options.rounds, contestants)
    }

    fn paced(&self) -> Result<Vec<Line>, BenchError> {
        let contestants = stores()
            .map(|store| self.at_rate((store, store.name().to_owned(), Writes::Durable), 1000));
        sample_in_rounds(Part::Paced.name(), self.options.rounds, contestants.collect())
    }

    fn paced_memory(&self) -> Result<Vec<Line>, BenchError> {
        let own = Contender::Uarr;
        let own = [100_000, 300_000]
            .map(|per_second| ((own, own.name().to_owned(), Writes::Interval), per_second));
        let contestants = memory_first().map(|store| (store, 10_000)).chain(own);
        let contestants = contestants.map(|(store, rate)| self.at_rate(store, rate));
        sample_in_rounds(Part::PacedMemory.name(), self.options.rounds, contestants.collect())
    }

    /// Puts of one thread at a fixed rate, into a store of its own.
    fn at_rate(
        &self,
        (store, who, writes): (Contender, String, Writes),
        per_second: u32,
    ) -> Contestant<'_> {
        let measure = move |_| {
            let job = self.puts(1, Timing::Paced { per_second, arrival: Arrival::Even });
            self.alone(store.name(), || self.peer(store, writes), &job)
        };
        let name = format!("{who}, {per_second} per second");
        Contestant::new(name, Some(writes.class()), measure).on_ladder(who)
    }

    /// Batches of records in random order, until all records are written.
    fn batches(&self, timing: Timing) -> Job {
        Job {
            work: Work::Batches { first: self.fresh_numbers(), records: BATCH_RECORDS },
            duration: ENDLESS,
            op_count_max: self.options.records / BATCH_RECORDS,
            ..self.puts(1, timing)
        }
    }
}

/// Removes a store's directory.
fn remove(path: &Path) -> Result<(), BenchError> {
    fs::remove_dir_all(path).map_err(|error| BenchError::at(path, "cannot remove", &error))
}

/// Waits until the background has prepared the segment behind the active one.
fn wait_for_segment(database: &Path) -> Result<(), BenchError> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let wal = database.join("wal");
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let names = fs::read_dir(&wal)
            .map_err(|error| BenchError::at(&wal, "cannot list", &error))?
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "wal"));
        if names.count() >= 2 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(BenchError::Setup("uarr prepared no segment within a minute".to_owned()))
}

/// What an ordered map in memory takes for the same records.
fn map_inserts(first: u64, duration: Duration, records: u64) -> Sample {
    let mut map = BTreeMap::new();
    let mut number = first;
    let start = Instant::now();
    let before = Usage::now();
    while number - first < records && start.elapsed() < duration {
        for _ in 0..64 {
            let key = key_of(number);
            let mut value = Box::new([0; VALUE_BYTES]);
            fill(key, 0, &mut value[..]);
            map.insert(key, value);
            number += 1;
        }
    }
    Sample::since(before, map.len() as u64, start.elapsed())
}
