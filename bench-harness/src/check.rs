//! The main job: floor, engine and peers side by side in one run on one directory.
//!
//! In every phase the contenders take turns within a round, and rounds repeat (A B C, B C A, ...),
//! so that a disturbance of the machine hits all of them alike and none always follows the same
//! one. A turn ends when the store has settled, and begins when no thread of the process works.
//! Half of a floor comes right before the engine's turn, half right after it. A phase whose rounds
//! leave a target unclear has twice as many more, of those whom its targets ask about: two looks at
//! the numbers, so that looking often does not make a finding out of chance. Each phase checks what
//! it wrote before it ends.
//!
//! All files are in a folder of the run's own, which the run removes at the end, even after an
//! error.

mod phases;
pub mod reopen;
mod results;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::check::results::{Joined, Results};
use crate::error::BenchError;
use crate::judge::flushes::{self, BrokenPromise};
use crate::judge::targets::Targets;
use crate::judge::verdict::{Outcome, is_unclear};
use crate::machine::device::{Device, DeviceCounters};
use crate::machine::folder::RunFolder;
use crate::measure::drive::Driven;
use crate::measure::floor::{DeviceFloor, MappedFloor, Span, Via};
use crate::measure::job::{Job, Timing, View, Work};
use crate::measure::rotation;
use crate::measure::rows::Row;
use crate::measure::sample::Sample;
use crate::measure::store::{Class, Contender, OpenSpec, Writes};
use crate::measure::workload::RECORD_BYTES;
use crate::progress::Progress;
use crate::report::{Report, RunSpec, SCHEMA};
use crate::stores::faulty::Fault;
use crate::{machine, stores};

/// Smallest file for the floors: large enough that no device keeps all of it in a buffer of its
/// own.
const FLOOR_BYTES_MIN: u64 = 64 << 20;
/// Record numbers of one job: 16 threads, 2^40 each.
const JOB_NUMBERS_SHIFT: u32 = 44;
/// Free space that stores need even if a run writes little: their logs are written beforehand.
const FREE_BYTES_BASE: u64 = 2560 << 20;
/// Free space per record: three stores with log and data, and one more while it is reopened.
const FREE_BYTES_PER_RECORD: u64 = 2048;

/// Most rounds of what is asked about by no target.
pub const ROUNDS_UNASKED: u32 = 3;
/// How many times as many rounds follow in a phase whose rounds leave a target unclear.
const MORE_ROUNDS: u32 = 2;

/// The note if a store works on when it should have settled.
const NEVER_STILL: &str =
    "a store worked on in the turn of another: CPU/op and latencies are too high";

/// How to run.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// Where; must exist.
    pub dir: PathBuf,
    /// How long and how often.
    pub run: RunSpec,
    /// What the run is judged by, if it is.
    pub targets: Option<Targets>,
    /// What the engine does wrong on purpose.
    pub fault: Option<Fault>,
    /// Where latencies are written, row by row; must exist.
    pub histograms: Option<PathBuf>,
    /// This program, started again as the process that is killed.
    pub program: PathBuf,
}

/// Free space that a run with `records` records needs.
pub const fn free_bytes_needed(records: u64) -> u64 {
    FREE_BYTES_BASE + records * FREE_BYTES_PER_RECORD
}

/// Measures everything. The caller judges the report.
pub fn run(options: &CheckOptions) -> Result<Report, BenchError> {
    let dir = &options.dir;
    let folder = RunFolder::create(dir)?;
    require_free(dir, machine::free_bytes(dir)?, free_bytes_needed(options.run.records))?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = Instant::now();
    let times = machine::ProcessorTimes::now();
    let mut check = Check::new(options, folder.path())?;
    check.run()?;
    check.progress.finish();
    let others_cpu = times
        .zip(machine::ProcessorTimes::now())
        .and_then(|(before, after)| after.others_since(before));
    let Check { results, mut notes, machine, .. } = check;
    options.histograms.iter().try_for_each(|dir| results.write_histograms(dir))?;
    let rows = results.rows();
    let has_volatile_cache = machine::fact(&machine, "device write cache") == "write back";
    let broken = flushes::broken(&rows, has_volatile_cache);
    notes.extend(broken.iter().map(BrokenPromise::text));
    if let Some(fault) = options.fault {
        notes.push(format!("uarr misbehaves on purpose: {fault:?}"));
    }
    Ok(Report {
        schema: SCHEMA,
        run: options.run.clone(),
        started_unix_s: started.as_secs(),
        elapsed_s: start.elapsed().as_secs_f64(),
        arrival: "closed loop: each thread starts its next operation when the last is done"
            .to_owned(),
        machine,
        stores: stores::facts(&Contender::STORES, folder.path())?,
        rows,
        broken,
        others_cpu,
        notes,
        judgements: Vec::new(),
        outcome: Outcome::Inconclusive,
    })
}

fn require_free(dir: &Path, free: u64, needed: u64) -> Result<(), BenchError> {
    if free >= needed {
        return Ok(());
    }
    Err(BenchError::Setup(format!(
        "{} has {} MiB free, the run needs {} MiB: name another --dir or fewer --records",
        dir.display(),
        free >> 20,
        needed >> 20,
    )))
}

type OpenStores = Vec<(Contender, Box<dyn Driven>)>;

/// How many rounds of `rows` there are for everybody: fewer of what no target asks about, and of
/// reopening, which loads all records anew each time, unless one does.
fn rounds_of(options: &CheckOptions, rows: &[Row]) -> u32 {
    let asked = options.run.repetitions;
    let is_asked = match &options.targets {
        Some(targets) => targets.ask_about(rows, Contender::Uarr),
        None => rows != [Row::Reopen],
    };
    if is_asked { asked } else { asked.min(ROUNDS_UNASKED) }
}

/// A run under way.
struct Check<'o> {
    options: &'o CheckOptions,
    folder: &'o Path,
    contenders: Vec<Contender>,
    device: Option<Device>,
    floor: DeviceFloor,
    /// The floor of gets, once the records for reading are loaded.
    mapped: Option<MappedFloor>,
    results: Results,
    notes: Vec<String>,
    machine: BTreeMap<String, String>,
    progress: Progress,
    seconds: Duration,
    job_count: u64,
    /// The present phase goes on behind the rounds that were asked for.
    has_more_rounds: bool,
}

impl<'o> Check<'o> {
    fn new(options: &'o CheckOptions, folder: &'o Path) -> Result<Self, BenchError> {
        let contenders: Vec<_> =
            Contender::STORES.into_iter().filter(|store| store.is_built_in()).collect();
        let mut notes = Vec::new();
        for missing in Contender::STORES.into_iter().filter(|store| !store.is_built_in()) {
            notes.push(format!(
                "{missing} is NOT measured: this program was built without it (feature `{}`)",
                missing.feature()
            ));
        }
        let stores = contenders.len() as u64;
        let rounds = u64::from(options.run.repetitions);
        let memory_first: usize = contenders.iter().map(|store| store.memory_first().len()).sum();
        let snapshots = contenders.iter().filter(|store| store.has_snapshots()).count();
        // In each round two floors of writes and two of reads, and the rows; each store is prepared
        // three times.
        let rows = 5 * stores + (memory_first + snapshots) as u64;
        let kills = u64::from(rounds_of(options, &[Row::Reopen])) * stores;
        let step_count = rounds * (4 + rows) + kills + 3 * stores;
        let progress = Progress::new(step_count);
        progress.phase("preparing the floor's file");
        let bytes = (options.run.records * RECORD_BYTES).max(FLOOR_BYTES_MIN);
        let floor = DeviceFloor::create(folder, bytes)?;
        if !floor.is_direct {
            notes.push(
                "this file system has no direct I/O: the floors went through the page cache"
                    .to_owned(),
            );
        }
        if cfg!(debug_assertions) {
            notes.push(
                "built with debug assertions: the numbers say nothing, use --release".to_owned(),
            );
        }
        Ok(Self {
            options,
            folder,
            contenders,
            device: Device::of(folder),
            floor,
            mapped: None,
            results: Results::default(),
            notes,
            machine: machine::facts(folder),
            progress,
            seconds: Duration::from_secs_f64(options.run.seconds),
            job_count: 0,
            has_more_rounds: false,
        })
    }

    fn run(&mut self) -> Result<(), BenchError> {
        // The first second after a large write is not typical of any device.
        self.floor.measure(Row::WriteFdatasync, Span::of(self.seconds / 2), 0)?;
        self.durable_puts()?;
        self.unsynced_puts()?;
        self.gets_and_mixed()?;
        self.reopen()
    }

    /// Indices into `all` of the contenders of round `round` of the phase that measures `rows`, in
    /// the order of their turns: all of them in the rounds that were asked for, then, if a target
    /// is unclear, those that targets ask about. Empty when the phase is over.
    fn places<T>(&mut self, rows: &[Row], round: u32, all: &[(Contender, T)]) -> Vec<usize> {
        let asked = rounds_of(self.options, rows);
        let all = all.iter().map(|(contender, _)| *contender).enumerate();
        let take_part: Vec<_> = if round < asked {
            all.collect()
        } else if self.has_more(rows, round) {
            let targets = self.options.targets.iter();
            let is_asked = |who| targets.clone().any(|targets| targets.ask_about(rows, who));
            all.filter(|(_, contender)| is_asked(*contender)).collect()
        } else {
            Vec::new()
        };
        let order = rotation::order(take_part.len(), round);
        order.map(|nth| take_part[nth].0).collect()
    }

    fn add_joined(&mut self, joined: Joined, class: Class) {
        for ((row, contender), sample) in joined.samples {
            self.results.add(row, contender, class, &sample, None);
            self.progress.step();
        }
    }

    /// Whether there is a round with this number behind those that were asked for.
    fn has_more(&mut self, rows: &[Row], round: u32) -> bool {
        let asked = rounds_of(self.options, rows);
        let Some(targets) = &self.options.targets else { return false };
        if round == asked {
            self.has_more_rounds = is_unclear(&self.results.rows(), targets, rows);
            if self.has_more_rounds {
                let rows: Vec<_> = rows.iter().map(|row| row.name()).collect();
                let (rows, more) = (rows.join(", "), MORE_ROUNDS * asked);
                let note = format!("{rows}: {asked} rounds left a target unclear, so {more} more");
                self.notes.push(note);
            }
        }
        self.has_more_rounds && round < (1 + MORE_ROUNDS) * asked
    }

    fn records(&self) -> u64 {
        self.options.run.records
    }

    /// How many operations a round must time for the percentiles that targets ask for.
    fn samples_min(&self, row: Row, contender: Contender) -> u64 {
        self.options.targets.as_ref().map_or(0, |targets| targets.samples_min(row, contender))
    }

    /// Runs a turn, one of `laps` of a round, with half of each floor in `rows` before it, and in
    /// the opposite order the other half after it; these go to `joined`.
    fn beside_floors<T>(
        &mut self,
        (rows, seed, laps): (&[Row], u32, u32),
        joined: &mut Joined,
        measure: impl FnOnce(&mut Self) -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        for &row in rows {
            joined.add(row, Contender::Floor, self.half_a_floor(row, laps, seed << 1)?);
        }
        let measured = measure(self)?;
        for &row in rows.iter().rev() {
            joined.add(row, Contender::Floor, self.half_a_floor(row, laps, seed << 1 | 1)?);
        }
        Ok(measured)
    }

    fn half_a_floor(&mut self, row: Row, laps: u32, seed: u32) -> Result<Sample, BenchError> {
        self.progress.now(format!("{}: floor", row.name()));
        self.wait_until_others_are_still();
        let parts = 2 * laps;
        let samples_min = self.samples_min(row, Contender::Floor).div_ceil(parts.into());
        let least = Span::of(self.seconds / parts);
        let span = Span { samples_min: samples_min.max(least.samples_min), ..least };
        let before = self.device.as_ref().and_then(Device::counters);
        let mut sample = match (row, &self.mapped) {
            (Row::ReadMapped, Some(mapped)) => {
                mapped.measure(Via::Number, span.duration, seed.into())?
            }
            _ => self.floor.measure(row, span, seed.into())?,
        };
        self.add_device(&mut sample, before);
        Ok(sample)
    }

    fn add_device(&self, sample: &mut Sample, before: Option<DeviceCounters>) {
        let after = self.device.as_ref().and_then(Device::counters);
        sample.device = before.zip(after).map(|(before, after)| after.since(before));
    }

    /// Waits until what came before is over.
    fn wait_until_others_are_still(&mut self) {
        if !rotation::wait_until_still() && !self.notes.iter().any(|note| note == NEVER_STILL) {
            self.notes.push(NEVER_STILL.to_owned());
        }
    }

    /// Runs a job and counts what the device did meanwhile.
    fn measure(&mut self, store: &dyn Driven, job: &Job) -> Result<Sample, BenchError> {
        self.wait_until_others_are_still();
        let before = self.device.as_ref().and_then(Device::counters);
        let mut sample = store.run(job)?;
        self.add_device(&mut sample, before);
        Ok(sample)
    }

    fn path(&self, contender: Contender, phase: &str) -> PathBuf {
        self.folder.join(format!("{phase}-{contender}"))
    }

    fn open(
        &self,
        contender: Contender,
        phase: &str,
        writes: Writes,
    ) -> Result<Box<dyn Driven>, BenchError> {
        self.progress.now(format!("{phase}: opening {contender}"));
        let spec = OpenSpec::new(writes, self.records());
        let path = self.path(contender, phase);
        match self.options.fault {
            Some(fault) if contender == Contender::Uarr => stores::open_faulty(&path, spec, fault),
            _ => stores::open(contender, &path, spec),
        }
    }

    fn open_all(
        &self,
        phase: &str,
        writes: impl Fn(Contender) -> Writes,
    ) -> Result<OpenStores, BenchError> {
        let open = |&contender| Ok((contender, self.open(contender, phase, writes(contender))?));
        self.contenders.iter().map(open).collect()
    }

    fn remove(&self, contender: Contender, phase: &str) -> Result<(), BenchError> {
        let path = self.path(contender, phase);
        fs::remove_dir_all(&path).map_err(|error| BenchError::at(&path, "cannot remove", &error))
    }

    /// Record numbers that no job has used.
    fn fresh_numbers(&mut self) -> u64 {
        self.job_count += 1;
        self.job_count << JOB_NUMBERS_SHIFT
    }

    fn job(&self, work: Work, timing: Timing, round: u32) -> Job {
        Job {
            work,
            view: View::PerRead,
            threads: 1,
            duration: self.seconds,
            op_count_min: 0,
            op_count_max: u64::MAX,
            timing,
            checkpoint_at: None,
            readers: 0,
            seed: u64::from(round) << 8 | u64::from(timing == Timing::Each),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_is_said_before_anything_is_written() {
        let needed = free_bytes_needed(1_000_000);
        assert_eq!(needed >> 20, 2560 + 1953);
        assert!(require_free(Path::new("d"), needed, needed).is_ok());
        let error = require_free(Path::new("d"), needed - (1 << 20), needed).unwrap_err();
        let text =
            "d has 4512 MiB free, the run needs 4513 MiB: name another --dir or fewer --records";
        assert_eq!(error.to_string(), text);
    }
}
