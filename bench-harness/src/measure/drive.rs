//! Runs work against a store from one or many threads and takes the numbers.
//!
//! The load is a closed loop, where each thread starts its next operation when the last one is
//! done, or an open one, where they start at a fixed rate (see `stopwatch`). Rows say which.
//!
//! Every value read is checked while it is measured (see [`crate::measure::workload`]); of a scan every byte
//! is read, and order, number and the last value are checked. A wrong or missing one ends the run.

use std::fs;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::measure::sample::{Sample, merge};
use crate::measure::stopwatch::Stopwatch;
use crate::measure::store::{Contender, Counters, Session, Store};
use crate::measure::workload::{Random, VALUE_BYTES, fill, is_right, key_of};

/// Operations between two readings of the clock when operations are not timed one by one.
const BURST_OPS: u64 = 64;
/// Records per batch when a store is loaded.
const LOAD_BATCH_RECORDS: usize = 1000;
/// Each thread writes record numbers from its own range of this size.
const LANE_NUMBERS: u64 = 1 << 40;
/// Record numbers from here on are never written.
const ABSENT_NUMBER_FIRST: u64 = 1 << 63;

/// What the threads do.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Writes records never written before, from number `first` on.
    Put {
        /// The first record number; thread `t` starts `t * 2^40` later.
        first: u64,
    },
    /// Writes records as `Put` does, `records` of them in one atomic batch per operation.
    Batches {
        /// See `Put`.
        first: u64,
        /// Records of a batch.
        records: u64,
    },
    /// Reads records chosen uniformly from `0 .. record_count`, all of which exist.
    Get {
        /// How many records there are.
        record_count: u64,
    },
    /// Looks for records that do not exist.
    Miss,
    /// Reads `records` of `record_count` records in key order, from a record chosen uniformly on;
    /// all of them where `records` is `record_count`.
    Scan {
        /// How many records there are.
        record_count: u64,
        /// How many are read.
        records: u64,
    },
    /// Reads like `Get` four times out of five, else overwrites a record chosen the same way.
    Mixed {
        /// How many records there are.
        record_count: u64,
        /// The version written.
        version: u64,
    },
}

/// How time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Only the whole: for operations that take less time than reading the clock does.
    Whole,
    /// Every operation.
    Each,
    /// Every operation, and they begin at a fixed rate, even if those before are late. A run may
    /// begin fewer if the store cannot keep up.
    Paced {
        /// Operations per second of all threads together.
        per_second: u32,
    },
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// What the threads do.
    pub work: Work,
    /// How many threads, at least 1.
    pub threads: u32,
    /// How long.
    pub duration: Duration,
    /// Ends earlier after about this many operations.
    pub op_count_max: u64,
    /// How time is taken.
    pub timing: Timing,
    /// Chooses the records.
    pub seed: u64,
}

/// An open store under test, whichever it is: one call per measurement.
pub trait Driven: Send + Sync {
    /// Runs one measurement.
    fn run(&self, job: &Job) -> Result<Sample, BenchError>;
    /// Writes records `0 .. record_count` in key order, in batches of 1000.
    fn load(&self, record_count: u64) -> Result<(), BenchError>;
    /// Reads at most about `reads_max` of the records back, evenly spread; an absent or damaged one
    /// is [`BenchError::WrongData`]. Returns how many were read.
    fn verify(&self, written: &[Range<u64>], reads_max: u64) -> Result<u64, BenchError>;
    /// See [`Store::prepare_durable`].
    fn prepare_durable(&self) -> Result<(), BenchError>;
    /// See [`Store::settle`].
    fn settle(&self) -> Result<(), BenchError>;
    /// See [`Store::close`].
    fn close(self: Box<Self>) -> Result<(), BenchError>;
}

/// Puts a store under the driver.
pub struct Driver<S> {
    /// Who it is, for messages.
    pub contender: Contender,
    /// The open store.
    pub store: S,
}

impl<S: Store> Driven for Driver<S> {
    fn run(&self, job: &Job) -> Result<Sample, BenchError> {
        assert!(job.threads > 0);
        let counters_before = self.store.counters();
        let before = Usage::now();
        let barrier = Barrier::new(job.threads as usize + 1);
        let (start, lanes) = thread::scope(|scope| {
            let workers: Vec<_> = (0..job.threads)
                .map(|number| {
                    let barrier = &barrier;
                    scope.spawn(move || self.lane(job, number, barrier))
                })
                .collect();
            barrier.wait();
            let start = Instant::now();
            let lanes: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            (start, lanes)
        });
        let after = Usage::now();
        let mut sample = Sample {
            threads: job.threads,
            cpu_ns: after.cpu_ns.saturating_sub(before.cpu_ns),
            major_faults: after.major_faults.saturating_sub(before.major_faults),
            ..Sample::default()
        };
        for lane in lanes {
            let lane = lane.map_err(|_| {
                BenchError::Setup(format!("{}: a worker thread panicked", self.contender))
            })??;
            sample.add(lane, start);
        }
        if let (Some(before), Some(after)) = (counters_before, self.store.counters()) {
            sample.counters = Some(Counters {
                commit_count: after.commit_count - before.commit_count,
                flush_count: after.flush_count - before.flush_count,
                write_count: after.write_count - before.write_count,
            });
        }
        Ok(sample)
    }

    fn load(&self, record_count: u64) -> Result<(), BenchError> {
        let mut keys: Vec<u64> = (0..record_count).map(key_of).collect();
        keys.sort_unstable();
        let mut batch: Vec<(u64, Vec<u8>)> = Vec::with_capacity(LOAD_BATCH_RECORDS);
        self.store.with_session(|session| {
            for part in keys.chunks(LOAD_BATCH_RECORDS) {
                load_keys(session, &mut batch, part.iter().copied())?;
            }
            Ok(())
        })?
    }

    fn verify(&self, written: &[Range<u64>], reads_max: u64) -> Result<u64, BenchError> {
        let total: u64 = written.iter().map(|range| range.end - range.start).sum();
        let stride = total.div_ceil(reads_max.max(1)).max(1);
        let stride = usize::try_from(stride).unwrap_or(usize::MAX);
        self.store.with_session(|session| {
            let mut read_count = 0;
            for number in written.iter().flat_map(|range| range.clone().step_by(stride)) {
                read_checked(session, self.contender, number)?;
                read_count += 1;
            }
            Ok(read_count)
        })?
    }

    fn prepare_durable(&self) -> Result<(), BenchError> {
        self.store.prepare_durable()
    }

    fn settle(&self) -> Result<(), BenchError> {
        self.store.settle()
    }

    fn close(self: Box<Self>) -> Result<(), BenchError> {
        self.store.close()
    }
}

impl<S: Store> Driver<S> {
    /// One thread's part. It passes the barrier exactly once, even if there is no session.
    fn lane(&self, job: &Job, number: u32, barrier: &Barrier) -> Result<Lane, BenchError> {
        let mut is_started = false;
        let lane = self.store.with_session(|session| {
            is_started = true;
            barrier.wait();
            let mut operations = Operations::new(self.contender, job, number);
            operations.run(session, job)
        });
        if !is_started {
            barrier.wait();
        }
        lane?
    }
}

/// What one thread did.
struct Lane {
    op_count: u64,
    end: Instant,
    stopwatch: Option<Stopwatch>,
    written: Option<Range<u64>>,
}

impl Sample {
    /// What one lane did in `elapsed`, since `before`, whose operations were not timed one by one.
    pub fn since(before: Usage, op_count: u64, elapsed: Duration) -> Self {
        let after = Usage::now();
        Self {
            op_count,
            elapsed_ns: nanos(elapsed),
            threads: 1,
            cpu_ns: after.cpu_ns.saturating_sub(before.cpu_ns),
            major_faults: after.major_faults.saturating_sub(before.major_faults),
            ..Self::default()
        }
    }

    fn add(&mut self, lane: Lane, start: Instant) {
        let elapsed = lane.end.saturating_duration_since(start);
        self.elapsed_ns = self.elapsed_ns.max(nanos(elapsed));
        self.op_count += lane.op_count;
        self.written.extend(lane.written);
        if let Some(stopwatch) = lane.stopwatch {
            merge(&mut self.latencies, &stopwatch.response);
            stopwatch.service.iter().for_each(|service| merge(&mut self.service, service));
        }
    }
}

/// The sequence of operations of one thread.
struct Operations {
    contender: Contender,
    /// Of the thread.
    number: u32,
    work: Work,
    first: u64,
    next: u64,
    random: Random,
    value: [u8; VALUE_BYTES],
    batch: Vec<(u64, Vec<u8>)>,
}

impl Operations {
    fn new(contender: Contender, job: &Job, number: u32) -> Self {
        let first = match job.work {
            Work::Put { first } | Work::Batches { first, .. } => {
                first + u64::from(number) * LANE_NUMBERS
            }
            Work::Get { .. } | Work::Miss | Work::Scan { .. } | Work::Mixed { .. } => 0,
        };
        let random = Random::new(job.seed ^ (u64::from(number) << 32));
        let (value, batch) = ([0; VALUE_BYTES], Vec::new());
        Self { contender, number, work: job.work, first, next: first, random, value, batch }
    }

    fn run<S: Session>(&mut self, session: &mut S, job: &Job) -> Result<Lane, BenchError> {
        let deadline = Instant::now() + job.duration;
        let op_count_max = (job.op_count_max / u64::from(job.threads)).max(1);
        let mut stopwatch = Stopwatch::new(job, self.number);
        let mut op_count = 0;
        let mut end;
        loop {
            if let Some(stopwatch) = &mut stopwatch {
                end = stopwatch.time(|| self.step(session))?;
                op_count += 1;
            } else if matches!(self.work, Work::Batches { .. } | Work::Scan { .. }) {
                self.step(session)?;
                end = Instant::now();
                op_count += 1;
            } else {
                for _ in 0..BURST_OPS {
                    self.step(session)?;
                }
                end = Instant::now();
                op_count += BURST_OPS;
            }
            if end >= deadline || op_count >= op_count_max {
                break;
            }
        }
        let writes_new = matches!(self.work, Work::Put { .. } | Work::Batches { .. });
        let written = writes_new.then_some(self.first..self.next);
        Ok(Lane { op_count, end, stopwatch, written })
    }

    #[inline]
    fn step<S: Session>(&mut self, session: &mut S) -> Result<(), BenchError> {
        match self.work {
            Work::Put { .. } => {
                let key = key_of(self.next);
                fill(key, 0, &mut self.value);
                session.put(key, &self.value)?;
                self.next += 1;
                Ok(())
            }
            Work::Batches { records, .. } => {
                let keys = (self.next..self.next + records).map(key_of);
                load_keys(session, &mut self.batch, keys)?;
                self.next += records;
                Ok(())
            }
            Work::Get { record_count } => {
                read_checked(session, self.contender, self.random.below(record_count))
            }
            Work::Miss => read_absent(session, self.contender, self.random.next_u64()),
            Work::Scan { record_count, records } => {
                let is_whole = records == record_count;
                let from = if is_whole { 0 } else { key_of(self.random.below(record_count)) };
                let seen = scan_checked(session, self.contender, from, records)?;
                match is_whole && seen < records {
                    true => Err(wrong(self.contender, from, "left records out of a scan")),
                    false => Ok(()),
                }
            }
            Work::Mixed { record_count, version } => {
                let number = self.random.below(record_count);
                if self.random.below(5) > 0 {
                    return read_checked(session, self.contender, number);
                }
                let key = key_of(number);
                fill(key, version, &mut self.value);
                session.put(key, &self.value)
            }
        }
    }
}

/// Writes the records of `keys` as one batch.
fn load_keys<S: Session>(
    session: &mut S,
    batch: &mut Vec<(u64, Vec<u8>)>,
    keys: impl Iterator<Item = u64>,
) -> Result<(), BenchError> {
    batch.clear();
    batch.extend(keys.map(|key| {
        let mut value = [0; VALUE_BYTES];
        fill(key, 0, &mut value);
        (key, value.to_vec())
    }));
    session.load(batch)
}

/// Reads record `number`, which must exist, and checks every byte.
#[inline]
fn read_checked<S: Session>(
    session: &mut S,
    contender: Contender,
    number: u64,
) -> Result<(), BenchError> {
    let key = key_of(number);
    match session.get(key, |value| is_right(key, value))? {
        Some(true) => Ok(()),
        Some(false) => Err(wrong(contender, key, "returned other bytes than were written")),
        None => Err(wrong(contender, key, "lost a record that it had acknowledged")),
    }
}

/// Reads a record that does not exist.
#[inline]
fn read_absent<S: Session>(
    session: &mut S,
    contender: Contender,
    random: u64,
) -> Result<(), BenchError> {
    let key = key_of(ABSENT_NUMBER_FIRST | random);
    match session.get(key, |_| ())? {
        Some(()) => Err(wrong(contender, key, "has a record that was never written")),
        None => Ok(()),
    }
}

/// Reads up to `records` records in key order from `from` on, and returns how many there were.
/// Reads every byte, checks the order, and checks every byte of the last record.
fn scan_checked<S: Session>(
    session: &mut S,
    contender: Contender,
    from: u64,
    records: u64,
) -> Result<u64, BenchError> {
    let mut next = Some(from);
    let (mut is_ordered, mut is_last_right, mut sum) = (true, true, 0_u64);
    let mut left = records;
    let seen = session.scan(from, records, |key, value| {
        is_ordered &= next.is_some_and(|next| next <= key);
        next = key.checked_add(1);
        let (words, _) = value.as_chunks::<8>();
        sum = words.iter().fold(sum, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
        left -= 1;
        if left == 0 {
            is_last_right = is_right(key, value);
        }
    })?;
    black_box(sum);
    if !is_ordered {
        return Err(wrong(contender, from, "scanned out of order"));
    }
    if !is_last_right {
        return Err(wrong(contender, from, "scanned other bytes than were written"));
    }
    Ok(seen)
}

#[cold]
fn wrong(contender: Contender, key: u64, what: &str) -> BenchError {
    BenchError::WrongData(format!("{contender} {what} (key {key:#018x})"))
}

/// Nanoseconds of a duration, which is never centuries long here.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time of all its threads.
    pub cpu_ns: u64,
    /// Page faults that waited for the device; 0 where /proc is not mounted.
    pub major_faults: u64,
}

impl Usage {
    /// Reads the counters.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu_ns = time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is the name in parentheses and may hold blanks; major faults are field
        // 12.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let major_faults =
            rest.split_ascii_whitespace().nth(9).and_then(|field| field.parse().ok());
        Self { cpu_ns, major_faults: major_faults.unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// What a store may do wrong.
    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        /// One byte of every 100th value read is another.
        DamagesValues,
        /// Every 100th write is acknowledged and forgotten.
        LosesWrites,
        /// There is no session for the third and later threads.
        RefusesSessions,
        /// The write of record 99 takes 100 ms.
        Stalls,
    }

    struct MapStore {
        map: Mutex<BTreeMap<u64, Vec<u8>>>,
        fault: Fault,
        call_count: AtomicU64,
        session_count: AtomicU64,
    }

    struct MapSession<'s>(&'s MapStore);

    impl MapStore {
        fn is_hundredth_call(&self) -> bool {
            self.call_count.fetch_add(1, Ordering::Relaxed) % 100 == 99
        }
    }

    impl Store for MapStore {
        type Session<'s> = MapSession<'s>;

        fn with_session<R>(
            &self,
            body: impl FnOnce(&mut MapSession<'_>) -> R,
        ) -> Result<R, BenchError> {
            let number = self.session_count.fetch_add(1, Ordering::Relaxed);
            if self.fault == Fault::RefusesSessions && number >= 2 {
                return Err(BenchError::Setup("no more sessions".to_owned()));
            }
            Ok(body(&mut MapSession(self)))
        }

        fn counters(&self) -> Option<Counters> {
            let commit_count = self.map.lock().unwrap().len() as u64;
            Some(Counters { commit_count, flush_count: commit_count / 2, write_count: 0 })
        }

        fn close(self) -> Result<(), BenchError> {
            Ok(())
        }
    }

    impl Session for MapSession<'_> {
        fn put(&mut self, key: u64, value: &[u8]) -> Result<(), BenchError> {
            if self.0.fault == Fault::Stalls && key == key_of(99) {
                thread::sleep(Duration::from_millis(100));
            }
            if !(self.0.fault == Fault::LosesWrites && self.0.is_hundredth_call()) {
                self.0.map.lock().unwrap().insert(key, value.to_vec());
            }
            Ok(())
        }

        fn get<R>(
            &mut self,
            key: u64,
            read: impl FnOnce(&[u8]) -> R,
        ) -> Result<Option<R>, BenchError> {
            let value = self.0.map.lock().unwrap().get(&key).cloned();
            Ok(value.map(|mut value| {
                if self.0.fault == Fault::DamagesValues && self.0.is_hundredth_call() {
                    value[77] ^= 1;
                }
                read(&value)
            }))
        }

        fn scan(
            &mut self,
            from: u64,
            count: u64,
            mut read: impl FnMut(u64, &[u8]),
        ) -> Result<u64, BenchError> {
            let map = self.0.map.lock().unwrap();
            let mut seen = 0;
            for (key, value) in map.range(from..).take(count as usize) {
                let fault = self.0.fault;
                let is_dropped = fault == Fault::LosesWrites && self.0.is_hundredth_call();
                let mut value = value.clone();
                if fault == Fault::DamagesValues {
                    value[77] ^= 1;
                }
                if !is_dropped {
                    read(*key, &value);
                    seen += 1;
                }
            }
            Ok(seen)
        }

        fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), BenchError> {
            self.0.map.lock().unwrap().extend(records.iter().cloned());
            Ok(())
        }
    }

    fn driver(fault: Fault) -> Driver<MapStore> {
        let store = MapStore {
            map: Mutex::new(BTreeMap::new()),
            fault,
            call_count: AtomicU64::new(0),
            session_count: AtomicU64::new(0),
        };
        Driver { contender: Contender::Uarr, store }
    }

    fn job(work: Work, threads: u32, timing: Timing) -> Job {
        let duration = Duration::from_secs(60);
        Job { work, threads, duration, op_count_max: 2000, timing, seed: 1 }
    }

    #[test]
    fn puts_of_many_threads_are_all_counted_and_all_there() {
        for timing in [Timing::Each, Timing::Whole] {
            let driver = driver(Fault::None);
            let sample = driver.run(&job(Work::Put { first: 1 << 44 }, 4, timing)).unwrap();
            assert_eq!(sample.written.len(), 4);
            let written: u64 = sample.written.iter().map(|range| range.end - range.start).sum();
            assert_eq!(sample.op_count, written);
            assert_eq!(sample.counters.unwrap().commit_count, written);
            let timed = sample.latencies.map(|latencies| latencies.len());
            assert_eq!(timed, (timing == Timing::Each).then_some(written));
            assert_eq!(driver.verify(&sample.written, u64::MAX).unwrap(), written);
            let some = driver.verify(&sample.written, 100).unwrap();
            assert!((50..=150).contains(&some), "{some}");
        }
    }

    #[test]
    fn mixed_load_reads_four_of_five_and_overwrites_only_what_is_there() {
        let driver = driver(Fault::None);
        driver.load(500).unwrap();
        let work = Work::Mixed { record_count: 500, version: 9 };
        let sample = driver.run(&job(work, 2, Timing::Each)).unwrap();
        assert!(sample.written.is_empty());
        let map = driver.store.map.lock().unwrap();
        assert_eq!(map.len(), 500);
        let newer = map.values().filter(|value| value[0] == 9).count();
        // 400 overwrites fall on 500 records: 1 - exp(-0.8) of them are hit.
        assert!((200..350).contains(&newer), "{newer}");
    }

    #[test]
    fn wrong_and_lost_data_end_the_measurement() {
        let damaging = driver(Fault::DamagesValues);
        damaging.load(500).unwrap();
        let error = damaging.run(&job(Work::Get { record_count: 500 }, 1, Timing::Whole));
        assert!(matches!(error, Err(BenchError::WrongData(text)) if text.contains("other bytes")));

        let losing = driver(Fault::LosesWrites);
        let sample = losing.run(&job(Work::Put { first: 0 }, 1, Timing::Whole)).unwrap();
        let error = losing.verify(&sample.written, u64::MAX);
        assert!(matches!(error, Err(BenchError::WrongData(text)) if text.contains("lost")));
    }

    #[test]
    fn scans_and_misses_are_checked() {
        let sound = driver(Fault::None);
        sound.load(500).unwrap();
        let scan = |records| job(Work::Scan { record_count: 500, records }, 1, Timing::Whole);
        assert_eq!(sound.run(&scan(10)).unwrap().op_count, 2000);
        assert_eq!(sound.run(&scan(500)).unwrap().op_count, 2000);
        assert_eq!(sound.run(&job(Work::Miss, 1, Timing::Whole)).unwrap().op_count, 2048);

        let damaging = driver(Fault::DamagesValues);
        damaging.load(500).unwrap();
        let error = damaging.run(&scan(10));
        assert!(matches!(error, Err(BenchError::WrongData(text)) if text.contains("other bytes")));
        let losing = driver(Fault::LosesWrites);
        losing.load(500).unwrap();
        let error = losing.run(&scan(500));
        assert!(
            matches!(error, Err(BenchError::WrongData(text)) if text.contains("left records out"))
        );
    }

    #[test]
    fn at_a_fixed_rate_a_stall_is_charged_to_all_who_came_meanwhile() {
        const STALLED_MIN: f64 = 50e6;
        let put = Work::Put { first: 0 };
        let paced = |per_second| job(put, 1, Timing::Paced { per_second });
        let sample = driver(Fault::Stalls).run(&paced(1000)).unwrap();
        assert_eq!(sample.op_count, 2000);
        let p99 = |all: &Option<crate::measure::sample::Latencies>| {
            crate::measure::sample::percentile(all.as_ref().unwrap(), 0.99).unwrap()
        };
        assert!(p99(&sample.latencies) > STALLED_MIN, "{}", p99(&sample.latencies));
        assert!(p99(&sample.service) < STALLED_MIN, "{}", p99(&sample.service));
        assert!(sample.service.unwrap().max() as f64 > 2.0 * STALLED_MIN);

        let closed = driver(Fault::Stalls).run(&job(put, 1, Timing::Each)).unwrap();
        assert!(p99(&closed.latencies) < STALLED_MIN);
        assert!(closed.service.is_none());
    }

    #[test]
    fn threads_keep_a_rate_together() {
        let per_second = 4000;
        let started = Instant::now();
        let sample = driver(Fault::None)
            .run(&job(Work::Put { first: 0 }, 4, Timing::Paced { per_second }))
            .unwrap();
        assert_eq!(sample.op_count, 2000);
        // 500 operations of each thread, 1 ms apart.
        assert!(started.elapsed() >= Duration::from_millis(499));
    }

    #[test]
    fn a_refused_session_is_an_error_and_no_thread_waits_for_ever() {
        let result =
            driver(Fault::RefusesSessions).run(&job(Work::Put { first: 0 }, 4, Timing::Each));
        assert!(matches!(result, Err(BenchError::Setup(text)) if text == "no more sessions"));
    }
}
