//! Runs workloads: every store loads the records, then they take turns, rate by rate.
//!
//! The stores of a workload are open together and still while another one is measured. What was
//! inserted is read back, and all loaded records at the end.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::BenchError;
use crate::machine::cache;
use crate::machine::folder::RunFolder;
use crate::machine::memory_limit::MemoryLimit;
use crate::measure::drive::Driven;
use crate::measure::job::{Job, Timing, View, Work};
use crate::measure::rotation;
use crate::measure::rows::Metric;
use crate::measure::sample::Sample;
use crate::measure::store::{Class, Contender};
use crate::parts::rounds::{Contestant, measure_run, sample_in_rounds};
use crate::parts::workload::{Cache, Rates, Workload};
use crate::report::RunSpec;
use crate::report::measured::{Line, Measured, MeasuredPart};
use crate::report::words;
use crate::stores;
use crate::stores::faulty::Fault;

/// Record numbers of one sample: 64 threads, 2^40 each.
const SAMPLE_NUMBERS_SHIFT: u32 = 46;
/// Inserted records read back after a sample.
const VERIFY_READS_MAX: u64 = 20_000;
/// Of the operations that a rate asks for, the part that must be begun: else it is not kept.
const KEPT_PART_MIN: f64 = 0.95;

/// What the cache of a cold round is.
const COLD: &str = "cold: before each round the store is closed and its files leave the page cache \
    (posix_fadvise); what opening reads counts for no operation";

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where; must exist.
    pub dir: PathBuf,
    /// Length of each measurement.
    pub duration: Duration,
    /// How often each is repeated.
    pub rounds: u32,
    /// Stores that take part.
    pub stores: Vec<Contender>,
    /// What is asked of them.
    pub workloads: Vec<Workload>,
    /// What the engine does wrong, to see that the run notices.
    pub fault: Option<Fault>,
}

/// Measures the workloads.
pub fn run(options: &RunOptions) -> Result<Measured, BenchError> {
    let folder = RunFolder::create(&options.dir)?;
    let facts = stores::facts(&options.stores, folder.path())?;
    let spec = RunSpec {
        seconds: options.duration.as_secs_f64(),
        repetitions: options.rounds,
        records: options.workloads.iter().map(|workload| workload.records).max().unwrap_or(0),
        quick: false,
    };
    measure_run(spec, folder.path(), facts, || {
        let measure = |workload| {
            Stage { options, workload, folder: folder.path(), sample_count: Cell::new(0) }.measure()
        };
        options.workloads.iter().map(measure).collect()
    })
}

/// One workload under way.
struct Stage<'o> {
    options: &'o RunOptions,
    workload: &'o Workload,
    folder: &'o Path,
    sample_count: Cell<u64>,
}

type Open = (Contender, Box<dyn Driven>);
/// Takes a sample of a store, with this timing, in this round.
type Measure<'s> = Box<dyn Fn(Timing, u32) -> Result<Sample, BenchError> + 's>;

impl Stage<'_> {
    fn measure(&self) -> Result<MeasuredPart, BenchError> {
        let workload = self.workload;
        let path = self.folder.join(&workload.name);
        fs::create_dir(&path).map_err(|error| BenchError::at(&path, "cannot create", &error))?;
        let limit = workload.memory_mib.map(MemoryLimit::enter).transpose()?;
        let mut notes = Vec::new();
        let lines = if workload.is_apart() { self.apart(&path) } else { self.together(&path) }?;
        if let Some(peak) = limit.as_ref().and_then(MemoryLimit::peak_bytes) {
            notes.push(format!("memory used, page cache included: at most {} MiB", peak >> 20));
        }
        if workload.readers > 0 {
            notes.push("CPU/op counts the threads that read beside it, too".to_owned());
        }
        if workload.cache == Cache::Cold {
            notes.push(COLD.to_owned());
        }
        fs::remove_dir_all(&path)
            .map_err(|error| BenchError::at(&path, "cannot remove", &error))?;
        let rates = workload.arrival.as_ref();
        let (metric, what) = match rates {
            None => (Metric::OpsPerSecond, "per second"),
            Some(_) => (Metric::P99Ns, "p99"),
        };
        notes.extend(rates.map_or(Vec::new(), |rates| self.knees(rates, &lines)));
        Ok(MeasuredPart {
            recipe: None,
            name: workload.name.clone(),
            title: format!("{}; ratio: {what} against the first row", workload.text()),
            metric,
            notes,
            lines,
        })
    }

    /// All stores are open, and still while another is measured.
    fn together(&self, path: &Path) -> Result<Vec<Line>, BenchError> {
        let stores: Vec<Open> = self
            .options
            .stores
            .iter()
            .map(|&store| self.load(path, store))
            .collect::<Result<_, _>>()?;
        // What is left in the page cache must not be written in the turn of another.
        rotation::sync_files(path)?;
        let mut each: Vec<(Contender, Measure<'_>)> = Vec::new();
        for (contender, store) in &stores {
            let measure = |timing, round| self.sample(*contender, &**store, timing, round);
            each.push((*contender, Box::new(measure)));
        }
        let lines =
            sample_in_rounds(&self.workload.name, self.options.rounds, self.contestants(&each))?;
        drop(each);
        for (_, store) in stores {
            self.verify_all(&*store)?;
            store.close()?;
        }
        Ok(lines)
    }

    /// A store is open only while it is measured, and has all memory then.
    fn apart(&self, path: &Path) -> Result<Vec<Line>, BenchError> {
        let stores = &self.options.stores;
        for &contender in stores {
            self.load(path, contender)?.1.close()?;
        }
        let mut each: Vec<(Contender, Measure<'_>)> = Vec::new();
        for &contender in stores {
            let measure = move |timing, round| self.sample_alone(path, contender, timing, round);
            each.push((contender, Box::new(measure)));
        }
        sample_in_rounds(&self.workload.name, self.options.rounds, self.contestants(&each))
    }

    /// A sample of a store that is opened for it.
    fn sample_alone(
        &self,
        path: &Path,
        contender: Contender,
        timing: Timing,
        round: u32,
    ) -> Result<Sample, BenchError> {
        let dir = path.join(contender.name());
        rotation::sync_files(path)?;
        if self.workload.cache == Cache::Cold {
            cache::give_up(&dir)?;
        }
        let store = self.open(contender, &dir)?;
        rotation::wait_until_still();
        let sample = self.sample(contender, &*store, timing, round)?;
        store.close()?;
        Ok(sample)
    }

    fn open(&self, contender: Contender, dir: &Path) -> Result<Box<dyn Driven>, BenchError> {
        let spec = self.workload.spec(contender);
        match self.options.fault {
            Some(fault) if contender == Contender::Uarr => stores::open_faulty(dir, spec, fault),
            _ => stores::open(contender, dir, spec),
        }
    }

    fn verify_all(&self, store: &dyn Driven) -> Result<(), BenchError> {
        let all = 0..self.workload.records;
        store.verify(std::slice::from_ref(&all), VERIFY_READS_MAX).map(drop)
    }

    fn load(&self, path: &Path, contender: Contender) -> Result<Open, BenchError> {
        let (_, class) = self.workload.writes(contender);
        let spec = self.workload.spec(contender);
        let store = self.open(contender, &path.join(contender.name()))?;
        store.load(spec.record_count)?;
        // What a store writes for this lies behind all records, in the way of scans.
        if class == Class::Sync && !self.workload.has_scans() {
            store.prepare_durable()?;
        }
        store.prepare_reads()?;
        // Reads every record once: the check, and the warm-up of every cache.
        store.verify(std::slice::from_ref(&(0..spec.record_count)), spec.record_count)?;
        Ok((contender, store))
    }

    /// Each store at each rate; at none, each store once.
    fn contestants<'s>(&'s self, stores: &'s [(Contender, Measure<'s>)]) -> Vec<Contestant<'s>> {
        let class = |contender| Some(self.workload.writes(contender).1);
        let contestant = |timing, name: fn(Contender, u32) -> String, number: u32| {
            stores.iter().map(move |(contender, measure)| {
                let name = name(*contender, number);
                let measure = move |round| measure(timing, round);
                Contestant::new(name, class(*contender), measure).on_ladder(contender.name())
            })
        };
        let Some(rates) = &self.workload.arrival else {
            let name = |contender: Contender, _| contender.name().to_owned();
            return contestant(Timing::Each, name, 0).collect();
        };
        let at_rate = |&per_second: &u32| {
            let timing = Timing::Paced { per_second, arrival: rates.process };
            contestant(timing, named, per_second)
        };
        rates.per_second.iter().flat_map(at_rate).collect()
    }

    fn sample(
        &self,
        contender: Contender,
        store: &dyn Driven,
        timing: Timing,
        round: u32,
    ) -> Result<Sample, BenchError> {
        let modified_count = || match self.workload.has_transactions() {
            true => store.version_sum(self.workload.records),
            false => Ok(0),
        };
        let before = modified_count()?;
        let number = self.sample_count.get() + 1;
        self.sample_count.set(number);
        let sample = store.run(&Job {
            work: Work::Mix(self.workload.mix(number << SAMPLE_NUMBERS_SHIFT, number)),
            view: View::PerRead,
            threads: self.workload.threads,
            duration: self.options.duration,
            op_count_min: 0,
            op_count_max: u64::MAX,
            timing,
            checkpoint_at: None,
            readers: self.workload.readers,
            seed: u64::from(round),
        })?;
        store.verify(&sample.written, VERIFY_READS_MAX)?;
        let added = modified_count()?.saturating_sub(before);
        let done = sample.modified.as_ref().map_or(0, |modified| modified.count);
        if added != done {
            let text = format!("{contender} acknowledged {done} transactions, {added} took effect");
            return Err(BenchError::WrongData(text));
        }
        store.settle()?;
        Ok(sample)
    }

    /// Up to which rate each store kept what the workload asks of response times.
    fn knees(&self, rates: &Rates, lines: &[Line]) -> Vec<String> {
        let Some(p99_ns_max) = rates.p99_ns_max else { return Vec::new() };
        let knee = |&contender: &Contender| {
            let keeps = |&&rate: &&u32| {
                let name = format!("{}, response", named(contender, rate));
                let line = lines.iter().find(|line| line.name == name);
                line.is_some_and(|line| keeps(line, rate, p99_ns_max))
            };
            let knee = rates.per_second.iter().take_while(keeps).max();
            let bound = words::duration(Some(p99_ns_max));
            match knee {
                Some(rate) => format!("knee: {contender} keeps p99 <= {bound} up to {rate}/s"),
                None => format!("knee: {contender} keeps p99 <= {bound} at none of these rates"),
            }
        };
        self.options.stores.iter().map(knee).collect()
    }
}

fn named(contender: Contender, per_second: u32) -> String {
    format!("{contender}, {per_second} per second")
}

/// Whether a store answered at this rate, fast enough, and the generator of the load was in time.
fn keeps(line: &Line, rate: u32, p99_ns_max: f64) -> bool {
    let is_fast = line.value(Metric::P99Ns).is_some_and(|p99_ns| p99_ns <= p99_ns_max);
    let begun = line.value(Metric::OpsPerSecond).unwrap_or(0.0);
    is_fast && begun >= KEPT_PART_MIN * f64::from(rate) && line.invalid().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::latencies::Percentiles;
    use crate::measure::sample::Repetition;

    #[test]
    fn the_knee_is_the_last_rate_that_is_kept() {
        let line = |contender, rate: u32, begun: f64, p99_ns| Line {
            rounds: vec![Repetition { ops_per_second: begun, ..Repetition::default() }],
            merged: Some(Percentiles { p99_ns: Some(p99_ns), ..Percentiles::default() }),
            ..Line::new(format!("{}, response", named(contender, rate)), None)
        };
        let (uarr, sqlite) = (Contender::Uarr, Contender::Sqlite);
        let mut lines = vec![
            line(uarr, 500, 500.0, 1e6),
            line(uarr, 1000, 990.0, 1.9e6),
            line(uarr, 2000, 1500.0, 1.9e6),
            line(uarr, 4000, 4000.0, 1e6),
            line(sqlite, 500, 500.0, 3e6),
        ];
        let options = RunOptions {
            dir: PathBuf::new(),
            duration: Duration::ZERO,
            rounds: 1,
            stores: vec![uarr, sqlite],
            workloads: vec![Workload::find("put-poisson").unwrap()],
            fault: None,
        };
        let workload = &options.workloads[0];
        let (folder, sample_count) = (Path::new(""), Cell::new(0));
        let stage = Stage { options: &options, workload, folder, sample_count };
        let rates = workload.arrival.as_ref().unwrap();
        let told = stage.knees(rates, &lines);
        assert_eq!(
            told,
            [
                "knee: uarr keeps p99 <= 2.00 ms up to 1000/s",
                "knee: sqlite keeps p99 <= 2.00 ms at none of these rates",
            ]
        );
        lines[1].lag = Some(Percentiles { p99_ns: Some(1e6), ..Percentiles::default() });
        assert!(stage.knees(rates, &lines)[0].ends_with("up to 500/s"));
    }
}
