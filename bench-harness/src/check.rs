//! The main job: floor, engine and peers side by side in one run on one directory.
//!
//! In every phase the contenders take turns within a round, and rounds repeat (A B C, B C A, ...),
//! so that a disturbance of the machine hits all of them alike and none always follows the same
//! one. A turn ends when the store has settled, and begins when no thread of the process works.
//! Each phase checks what it wrote before it ends. The run measures the floor first and last; the
//! difference is its drift.
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

use crate::check::results::Results;
use crate::error::BenchError;
use crate::judge::verdict::Outcome;
use crate::machine::device::{Device, DeviceCounters};
use crate::machine::folder::RunFolder;
use crate::measure::drive::Driven;
use crate::measure::floor::DeviceFloor;
use crate::measure::job::{Job, Timing, View, Work};
use crate::measure::rotation;
use crate::measure::rows::{DRIFT_FLOORS, Drift, Row};
use crate::measure::sample::{Sample, percentile};
use crate::measure::store::{Class, Contender, OpenSpec, Writes};
use crate::measure::workload::RECORD_BYTES;
use crate::progress::Progress;
use crate::report::{Report, RunSpec, SCHEMA};
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
    let Check { results, drift, notes, machine, .. } = check;
    Ok(Report {
        schema: SCHEMA,
        run: options.run.clone(),
        started_unix_s: started.as_secs(),
        elapsed_s: start.elapsed().as_secs_f64(),
        arrival: "closed loop: each thread starts its next operation when the last is done"
            .to_owned(),
        machine,
        stores: stores::facts(&Contender::STORES, folder.path())?,
        rows: results.into_rows(),
        drift,
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

/// A run under way.
struct Check<'o> {
    options: &'o CheckOptions,
    folder: &'o Path,
    contenders: Vec<Contender>,
    device: Option<Device>,
    floor: DeviceFloor,
    results: Results,
    drift: Vec<Drift>,
    notes: Vec<String>,
    machine: BTreeMap<String, String>,
    progress: Progress,
    seconds: Duration,
    job_count: u64,
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
        // Floors at both ends, then per round: two floors of writes and two of reads, and the rows;
        // each store is prepared three times.
        let rows = 6 * stores + (memory_first + snapshots) as u64;
        let step_count = 2 + rounds * (4 + rows) + 3 * stores;
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
            results: Results::default(),
            drift: Vec::new(),
            notes,
            machine: machine::facts(folder),
            progress,
            seconds: Duration::from_secs_f64(options.run.seconds),
            job_count: 0,
        })
    }

    fn run(&mut self) -> Result<(), BenchError> {
        self.progress.phase("the floor, before");
        let floors = DRIFT_FLOORS;
        // The first second after a large write is not typical of any device.
        self.floor.measure(Row::WriteFdatasync, self.seconds / 4, 0)?;
        let before = self.floor_medians(floors)?;
        self.durable_puts()?;
        self.unsynced_puts()?;
        self.gets_and_mixed()?;
        self.reopen()?;
        self.progress.phase("the floor, after");
        let after = self.floor_medians(floors)?;
        for (row, (start_ns, end_ns)) in floors.into_iter().zip(before.into_iter().zip(after)) {
            if let (Some(start_ns), Some(end_ns)) = (start_ns, end_ns) {
                self.drift.push(Drift { row, start_ns, end_ns });
            } else {
                self.notes.push(format!("the drift of {} is unknown: too few samples", row.name()));
            }
        }
        Ok(())
    }

    fn rounds(&self) -> u32 {
        self.options.run.repetitions
    }

    fn records(&self) -> u64 {
        self.options.run.records
    }

    /// Medians of device floors, not added to the results.
    fn floor_medians<const N: usize>(
        &mut self,
        rows: [Row; N],
    ) -> Result<[Option<f64>; N], BenchError> {
        let mut medians = [None; N];
        for (median, row) in medians.iter_mut().zip(rows) {
            let sample = self.floor.measure(row, self.seconds / 2, 1)?;
            *median = sample.latencies.and_then(|all| percentile(&all, 0.5));
        }
        self.progress.step();
        Ok(medians)
    }

    fn measure_floor(
        &mut self,
        row: Row,
        class: Class,
        part: u32,
        round: u32,
    ) -> Result<(), BenchError> {
        self.progress.now(format!("{}: floor, round {}", row.name(), round + 1));
        self.wait_until_others_are_still();
        let before = self.device.as_ref().and_then(Device::counters);
        let mut sample = self.floor.measure(row, self.seconds / part, u64::from(round))?;
        self.add_device(&mut sample, before);
        self.results.add(row, Contender::Floor, class, &sample, None);
        self.progress.step();
        Ok(())
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
        let data_bytes = self.records() * RECORD_BYTES;
        stores::open(contender, &self.path(contender, phase), OpenSpec { writes, data_bytes })
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
            op_count_max: u64::MAX,
            timing,
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
