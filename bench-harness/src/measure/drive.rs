//! Runs work against a store from one or many threads and takes the numbers.
//!
//! The load is a closed loop, where each thread starts its next operation when the last one is
//! done, or an open one, where they start at a fixed rate (see `stopwatch`). Rows say which.
//!
//! Every value read is checked while it is measured (see [`crate::measure::workload`]); a scan
//! reads every byte and checks order, number and the last value. A wrong or missing one ends the
//! run.

use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::measure::clock::{Clock, Monotonic};
use crate::measure::job::{Job, View, nanos};
use crate::measure::keys::KeyOrder;
use crate::measure::latencies::merge;
use crate::measure::operations::{Lane, Operations, Whose, load_keys, read_checked, read_version};
use crate::measure::sample::Sample;
use crate::measure::store::{Contender, Counters, OpenSpec, Store};
use crate::measure::usage::Usage;

/// Records per batch when a store is loaded, at most.
const LOAD_BATCH_RECORDS: usize = 1000;
/// Bytes of values per batch when a store is loaded, but for a single record: a store holds a batch
/// in memory, several times maybe, and the memory of a run may be limited.
const LOAD_BATCH_BYTES: usize = 2 << 20;

/// An open store under test, whichever it is: one call per measurement.
pub trait Driven: Send + Sync {
    /// Runs one measurement.
    fn run(&self, job: &Job) -> Result<Sample, BenchError>;
    /// Writes records `0 .. record_count` in key order, in batches of at most 1000 records and
    /// 2 MiB.
    fn load(&self, record_count: u64) -> Result<(), BenchError>;
    /// Reads at most about `reads_max` of the records back, evenly spread; an absent or damaged one
    /// is [`BenchError::WrongData`]. Returns how many were read.
    fn verify(&self, written: &[Range<u64>], reads_max: u64) -> Result<u64, BenchError>;
    /// The sum of the versions of records `0 .. record_count`: each read-modify-write adds one.
    fn version_sum(&self, record_count: u64) -> Result<u64, BenchError>;
    /// See [`Store::prepare_durable`].
    fn prepare_durable(&self) -> Result<(), BenchError>;
    /// See [`Store::prepare_reads`].
    fn prepare_reads(&self) -> Result<(), BenchError>;
    /// See [`Store::settle`].
    fn settle(&self) -> Result<(), BenchError>;
    /// See [`Store::sync`].
    fn sync(&self) -> Result<(), BenchError>;
    /// See [`Store::close`].
    fn close(self: Box<Self>) -> Result<(), BenchError>;
}

/// Puts a store under the driver.
pub struct Driver<S, C = Monotonic> {
    /// Who it is, for messages.
    contender: Contender,
    /// The open store.
    store: S,
    value_bytes: usize,
    key_order: KeyOrder,
    clock: C,
}

impl<S: Store> Driver<S> {
    /// The `store` of `contender`, opened as `spec` says.
    pub fn new(contender: Contender, spec: OpenSpec, store: S) -> Self {
        let (value_bytes, key_order) = (spec.value_bytes, spec.key_order);
        Self { contender, store, value_bytes, key_order, clock: Monotonic }
    }
}

impl<S: Store, C: Clock> Driven for Driver<S, C> {
    fn run(&self, job: &Job) -> Result<Sample, BenchError> {
        assert!(job.threads > 0);
        let readers = job.of_readers();
        let reader_count = readers.map_or(0, |job| job.threads);
        let counters_before = self.store.counters();
        let before = Usage::now();
        let barrier = Barrier::new((job.threads + reader_count) as usize + 1);
        let (mut lanes, checkpoint) = thread::scope(|scope| {
            let spawn = |job: Job, number: u32| {
                let barrier = &barrier;
                scope.spawn(move || self.lane(&job, number, barrier))
            };
            let own = (0..job.threads).map(|number| spawn(*job, number));
            let mut workers: Vec<_> = own.collect();
            if let Some(job) = readers {
                workers.extend((0..job.threads).map(|number| spawn(job, number)));
            }
            barrier.wait();
            let begin = self.clock.now();
            let checkpoint = job.checkpoint_at;
            let checkpoint =
                checkpoint.map(|at| scope.spawn(move || self.checkpoint(begin, begin + at)));
            let lanes = workers.into_iter().map(thread::ScopedJoinHandle::join);
            let lanes: Vec<_> = lanes.collect();
            (lanes, checkpoint.map(thread::ScopedJoinHandle::join))
        });
        let panicked =
            |_| BenchError::Setup(format!("{}: a worker thread panicked", self.contender));
        let after = Usage::now();
        let beside = lanes.split_off(job.threads as usize);
        let all = |lanes: Vec<thread::Result<Result<Lane, BenchError>>>| {
            let lanes = lanes.into_iter().map(|lane| lane.map_err(panicked)?);
            lanes.collect::<Result<Vec<_>, _>>()
        };
        let (lanes, beside) = (all(lanes)?, all(beside)?);
        let mut sample = Sample {
            cpu_ns: after.cpu_ns.saturating_sub(before.cpu_ns),
            major_faults: after.major_faults.saturating_sub(before.major_faults),
            meanwhile: checkpoint.map(|done| done.map_err(panicked)?).transpose()?,
            readers: readers.map(|job| Box::new(Sample::of_lanes(job.threads, beside))),
            ..Sample::of_lanes(job.threads, lanes)
        };
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
        let mut keys: Vec<u64> =
            (0..record_count).map(|number| self.key_order.key_of(number)).collect();
        keys.sort_unstable();
        let fitting = LOAD_BATCH_BYTES / self.value_bytes.max(1);
        let batch_records = fitting.clamp(1, LOAD_BATCH_RECORDS);
        let mut batch: Vec<(u64, Vec<u8>)> = Vec::with_capacity(batch_records);
        self.store.with_session(View::PerRead, |session| {
            for part in keys.chunks(batch_records) {
                load_keys(session, &mut batch, self.value_bytes, part.iter().copied())?;
            }
            Ok(())
        })?
    }

    fn verify(&self, written: &[Range<u64>], reads_max: u64) -> Result<u64, BenchError> {
        let total: u64 = written.iter().map(|range| range.end - range.start).sum();
        let stride = total.div_ceil(reads_max.max(1)).max(1);
        let stride = usize::try_from(stride).unwrap_or(usize::MAX);
        self.store.with_session(View::PerRead, |session| {
            let mut read_count = 0;
            for number in written.iter().flat_map(|range| range.clone().step_by(stride)) {
                read_checked(session, self.whose(), number)?;
                read_count += 1;
            }
            Ok(read_count)
        })?
    }

    fn version_sum(&self, record_count: u64) -> Result<u64, BenchError> {
        self.store.with_session(View::PerRead, |session| {
            let mut numbers = 0..record_count;
            numbers.try_fold(0_u64, |sum, number| {
                Ok(sum.wrapping_add(read_version(session, self.whose(), number)?))
            })
        })?
    }

    fn prepare_durable(&self) -> Result<(), BenchError> {
        self.store.prepare_durable()
    }

    fn prepare_reads(&self) -> Result<(), BenchError> {
        self.store.prepare_reads()
    }

    fn settle(&self) -> Result<(), BenchError> {
        self.store.settle()
    }

    fn sync(&self) -> Result<(), BenchError> {
        self.store.sync()
    }

    fn close(self: Box<Self>) -> Result<(), BenchError> {
        self.store.close()
    }
}

impl<S: Store, C: Clock> Driver<S, C> {
    const fn whose(&self) -> Whose {
        let (contender, value_bytes, order) = (self.contender, self.value_bytes, self.key_order);
        Whose { contender, value_bytes, order }
    }

    /// Takes a checkpoint at a time, and returns when, counted from `begin`.
    fn checkpoint(&self, begin: Instant, at: Instant) -> Result<Range<Duration>, BenchError> {
        self.clock.wait_until(at);
        let from = self.clock.now();
        self.store.prepare_reads()?;
        Ok(from - begin..self.clock.now() - begin)
    }

    /// One thread's part. It passes the barrier exactly once, even if there is no session.
    fn lane(&self, job: &Job, number: u32, barrier: &Barrier) -> Result<Lane, BenchError> {
        let mut is_started = false;
        let lane = self.store.with_session(job.view, |session| {
            is_started = true;
            barrier.wait();
            let mut operations = Operations::new(self.whose(), job, number);
            operations.run(session, job, &self.clock)
        });
        if !is_started {
            barrier.wait();
        }
        lane?
    }
}

impl Sample {
    /// What the threads did together.
    fn of_lanes(threads: u32, lanes: Vec<Lane>) -> Self {
        let first = lanes.iter().map(|lane| lane.start).min();
        let last = lanes.iter().map(|lane| lane.end).max();
        let elapsed = first.zip(last).map(|(first, last)| last.saturating_duration_since(first));
        let elapsed_ns = nanos(elapsed.unwrap_or_default());
        let mut sample = Self { threads, elapsed_ns, ..Self::default() };
        lanes.into_iter().for_each(|lane| sample.add(lane));
        sample
    }

    fn add(&mut self, lane: Lane) {
        self.op_count += lane.op_count;
        self.written.extend(lane.written);
        let modified = lane.modified.iter();
        modified.for_each(|more| self.modified.get_or_insert_default().add(more));
        if let Some(stopwatch) = lane.stopwatch {
            self.add_slices(stopwatch.response.into_slices());
            if let Some(phases) = stopwatch.phases {
                self.phases.get_or_insert_default().merge(&phases);
            }
            if let Some(paced) = stopwatch.paced {
                merge(&mut self.service, &paced.service);
                merge(&mut self.lag, &paced.lag);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::measure::clock::Moved;
    use crate::measure::job::{Arrival, Timing, Work};
    use crate::measure::latencies::{Latencies, curve, percentile};
    use crate::measure::mix::{Keys, Mix, Parts};
    use crate::measure::sample::Repetition;
    use crate::measure::store::Session;
    use crate::measure::workload::VALUE_BYTES;

    /// What a store may do wrong.
    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        /// One byte of every 100th value read is another.
        DamagesValues,
        /// Every 100th write is acknowledged and forgotten.
        LosesWrites,
        /// Every 100th read-modify-write is acknowledged and forgotten.
        LosesUpdates,
        /// There is no session for the third and later threads.
        RefusesSessions,
    }

    /// What a put takes if nothing else is said.
    const PUT: Duration = Duration::from_micros(50);

    struct MapStore {
        map: Mutex<BTreeMap<u64, Vec<u8>>>,
        clock: Arc<Moved>,
        /// What each put takes, in their order; [`PUT`] beyond.
        takes: Vec<Duration>,
        fault: Fault,
        put_count: AtomicU64,
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
            _: View,
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
            let number = self.0.put_count.fetch_add(1, Ordering::Relaxed) as usize;
            self.0.clock.pass(self.0.takes.get(number).copied().unwrap_or(PUT));
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

        fn modify(
            &mut self,
            key: u64,
            mut change: impl FnMut(&[u8]) -> Vec<u8>,
        ) -> Result<Option<u64>, BenchError> {
            let mut map = self.0.map.lock().unwrap();
            let Some(value) = map.get_mut(&key) else { return Ok(None) };
            let changed = change(value);
            // Every tenth runs twice.
            let is_tenth = self.0.put_count.fetch_add(1, Ordering::Relaxed) % 10 == 9;
            if !(self.0.fault == Fault::LosesUpdates && self.0.is_hundredth_call()) {
                *value = changed;
            }
            Ok(Some(u64::from(is_tenth)))
        }
    }

    type TestDriver = Driver<MapStore, Arc<Moved>>;

    fn driver(fault: Fault) -> TestDriver {
        driver_that_takes(Vec::new(), fault, Moved::late_by(Duration::ZERO))
    }

    fn driver_that_takes(takes: Vec<Duration>, fault: Fault, clock: Arc<Moved>) -> TestDriver {
        let store = MapStore {
            map: Mutex::new(BTreeMap::new()),
            clock: Arc::clone(&clock),
            takes,
            fault,
            put_count: AtomicU64::new(0),
            call_count: AtomicU64::new(0),
            session_count: AtomicU64::new(0),
        };
        let (contender, value_bytes) = (Contender::Uarr, VALUE_BYTES);
        Driver { contender, store, value_bytes, key_order: KeyOrder::Spread, clock }
    }

    fn job(work: Work, threads: u32, timing: Timing) -> Job {
        let duration = Duration::from_secs(60);
        let view = View::PerRead;
        let (op_count_min, op_count_max) = (0, 2000);
        Job {
            work,
            view,
            threads,
            duration,
            op_count_min,
            op_count_max,
            timing,
            checkpoint_at: None,
            readers: 0,
            seed: 1,
        }
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
    fn readers_beside_a_writer_are_counted_apart() {
        let driver = driver(Fault::None);
        driver.load(500).unwrap();
        let (parts, keys) = (Parts { insert: 100, ..Parts::default() }, Keys::Uniform);
        let (record_count, scan_records_max, first) = (500, 1, 1 << 44);
        let mix = Mix { parts, keys, record_count, scan_records_max, first, version: 1 };
        let writer = job(Work::Mix(mix), 1, Timing::Each);
        let sample = driver.run(&Job { readers: 2, ..writer }).unwrap();
        let readers = sample.readers.unwrap();
        assert_eq!((sample.op_count, sample.threads), (2000, 1));
        assert_eq!((readers.op_count, readers.threads), (2000, 2));
        assert_eq!(readers.latencies.unwrap().len(), 2000);
        assert!(readers.written.is_empty());
        assert_eq!(driver.store.put_count.load(Ordering::Relaxed), 2000);
        assert!(driver.run(&writer).unwrap().readers.is_none());
    }

    #[test]
    fn modified_records_are_counted_and_a_lost_update_is_seen() {
        let (parts, keys) = (Parts { read_modify_write: 100, ..Parts::default() }, Keys::Zipf);
        let (record_count, scan_records_max, first) = (500, 1, 1 << 44);
        let mix = Mix { parts, keys, record_count, scan_records_max, first, version: 1 };
        let job = job(Work::Mix(mix), 4, Timing::Each);
        for (fault, lost) in [(Fault::None, 0), (Fault::LosesUpdates, 20)] {
            let driver = driver(fault);
            driver.load(500).unwrap();
            let mut sample = driver.run(&job).unwrap();
            assert_eq!(driver.version_sum(500).unwrap(), 2000 - lost);
            let modified = sample.modified.as_ref().unwrap();
            assert_eq!((modified.count, modified.retry_count), (2000, 200));
            let alone = Repetition::new(&sample.take_modified().unwrap(), None);
            assert_eq!((alone.op_count, alone.retries_per_transaction), (2000, Some(0.1)));
            assert_eq!(alone.p50_ns, Repetition::new(&sample, None).p50_ns);
        }
        let absent = driver(Fault::None).run(&job);
        assert!(matches!(absent, Err(BenchError::WrongData(text)) if text.contains("lost")));
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

    /// 2000 puts, each of which takes [`PUT`] but for number 99, which takes 100 ms.
    fn stalling() -> TestDriver {
        let mut takes = vec![PUT; 99];
        takes.push(Duration::from_millis(100));
        driver_that_takes(takes, Fault::None, Moved::late_by(Duration::ZERO))
    }

    #[test]
    fn at_a_fixed_rate_a_stall_is_charged_to_all_who_came_meanwhile() {
        const PUT_NS: f64 = 50e3;
        let put = Work::Put { first: 0 };
        let paced = |per_second| job(put, 1, Timing::Paced { per_second, arrival: Arrival::Even });
        let sample = stalling().run(&paced(1000)).unwrap();
        assert_eq!(sample.op_count, 2000);
        let at = |all: &Option<Latencies>, p| percentile(all.as_ref().unwrap(), p).unwrap();
        // A hundred operations were to begin in these 100 ms: 5 % of all.
        assert!(at(&sample.latencies, 0.99) > 70e6, "{}", at(&sample.latencies, 0.99));
        assert!(at(&sample.latencies, 0.94) < 1.01 * PUT_NS);
        assert!(at(&sample.service, 0.99) < 1.01 * PUT_NS);
        assert_eq!(sample.service.unwrap().max(), sample.latencies.unwrap().max());
        // The store is late, the generator is not.
        assert_eq!(sample.lag.unwrap().max(), 0);

        let closed = stalling().run(&job(put, 1, Timing::Each)).unwrap();
        assert!(at(&closed.latencies, 0.99) < 1.01 * PUT_NS);
        assert!(closed.service.is_none() && closed.lag.is_none());
    }

    #[test]
    fn known_latencies_are_reported_within_a_percent() {
        // 1, 2, 3 ... 20,000 times 100 ns, in an order without meaning.
        const COUNT: u64 = 20_000;
        let steps = (0..COUNT).map(|number| number * 7919 % COUNT + 1);
        let takes: Vec<_> = steps.map(|step| Duration::from_nanos(100 * step)).collect();
        let driver = driver_that_takes(takes, Fault::None, Moved::late_by(Duration::ZERO));
        let each = job(Work::Put { first: 0 }, 1, Timing::Each);
        let sample = driver.run(&Job { op_count_max: COUNT, ..each }).unwrap();
        let told = Repetition::new(&sample, None);
        let exact = |p: f64| Some(p * 100.0 * COUNT as f64);
        for (what, told, exact) in [
            ("p50", told.p50_ns, exact(0.5)),
            ("p90", told.p90_ns, exact(0.9)),
            ("p99", told.p99_ns, exact(0.99)),
            ("p99.9", told.p999_ns, exact(0.999)),
            ("max", told.max_ns, exact(1.0)),
            ("mean", Some(told.mean_ns), exact(0.5)),
            ("rate", Some(told.ops_per_second), Some(1e9 / (0.5 * 100.0 * COUNT as f64))),
        ] {
            let (told, exact) = (told.unwrap(), exact.unwrap());
            assert!((told / exact - 1.0).abs() < 0.01, "{what}: {told} for {exact}");
        }
        assert_eq!(told.p9999_ns, None);
        for (p, ns) in curve(sample.latencies.as_ref().unwrap()) {
            let exact = (p * COUNT as f64).ceil().max(1.0) * 100.0;
            assert!((ns / exact - 1.0).abs() < 0.01, "{p}: {ns} for {exact}");
        }
    }

    #[test]
    fn a_generator_that_is_late_shows_as_lag_and_in_the_response() {
        let late = Duration::from_micros(30);
        let driver = driver_that_takes(Vec::new(), Fault::None, Moved::late_by(late));
        let paced = job(
            Work::Put { first: 0 },
            1,
            Timing::Paced { per_second: 1000, arrival: Arrival::Even },
        );
        let sample = driver.run(&paced).unwrap();
        let max = |all: &Option<Latencies>| all.as_ref().unwrap().max() as f64 / 1e3;
        for (told, exact_us) in
            [(&sample.lag, 30.0), (&sample.service, 50.0), (&sample.latencies, 80.0)]
        {
            assert!((max(told) / exact_us - 1.0).abs() < 0.01, "{} for {exact_us}", max(told));
        }
    }

    #[test]
    fn a_measurement_goes_on_until_it_has_operations_enough() {
        let put = |duration, op_count_min| {
            let each = job(Work::Put { first: 0 }, 1, Timing::Each);
            let job = Job { duration, op_count_min, ..each };
            driver(Fault::None).run(&job).unwrap().op_count
        };
        assert_eq!(put(PUT * 20, 0), 20);
        assert_eq!(put(PUT * 20, 100), 100);
        // Not for more than eight times as long.
        assert_eq!(put(PUT * 20, 1000), 160);
    }

    #[test]
    fn threads_keep_a_rate_together() {
        let driver = driver(Fault::None);
        let paced = job(
            Work::Put { first: 0 },
            4,
            Timing::Paced { per_second: 4000, arrival: Arrival::Even },
        );
        let sample = driver.run(&paced).unwrap();
        assert_eq!(sample.op_count, 2000);
        // 500 operations of each thread, 1 ms apart.
        assert!(sample.elapsed_ns >= 499_000_000, "{}", sample.elapsed_ns);
    }

    #[test]
    fn a_refused_session_is_an_error_and_no_thread_waits_for_ever() {
        let result =
            driver(Fault::RefusesSessions).run(&job(Work::Put { first: 0 }, 4, Timing::Each));
        assert!(matches!(result, Err(BenchError::Setup(text)) if text == "no more sessions"));
    }
}
