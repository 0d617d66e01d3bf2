//! The phases of a run, in their order.
//!
//! Each opens its stores, lets them take turns, reads back what it wrote and removes it.

use std::ops::Range;

use super::{Check, OpenStores, rounds_of};
use crate::check::reopen;
use crate::check::results::Joined;
use crate::error::BenchError;
use crate::measure::drive::Driven;
use crate::measure::floor::MappedFloor;
use crate::measure::job::{Job, Timing, View, Work};
use crate::measure::rotation;
use crate::measure::rows::Row;
use crate::measure::store::{Class, Contender, Writes};

/// Threads of the row `durable-put16`.
const MANY_THREADS: u32 = 16;
/// At most this many records are read back after a phase without a fixed number of records.
const VERIFY_READS_MAX: u64 = 500_000;
/// Laps in which the stores take turns in a round of durable puts.
const LAPS: u32 = 5;
/// The ways to make one write durable.
const FLOORS: [Row; 2] = [Row::WriteFdatasync, Row::WriteDsync];
/// What a get is compared with.
const FLOORS_OF_READS: [Row; 2] = [Row::ReadDirect, Row::ReadMapped];

fn strongest_memory_first(contender: Contender) -> Writes {
    *contender.memory_first().first().expect("every store has writes that are not waited for")
}

impl Check<'_> {
    pub(super) fn durable_puts(&mut self) -> Result<(), BenchError> {
        self.progress.phase("durable puts");
        let stores = self.open_all("durable", |_| Writes::Durable)?;
        let mut written: Vec<Vec<Range<u64>>> = stores.iter().map(|_| Vec::new()).collect();
        for ((_, store), written) in stores.iter().zip(&mut written) {
            store.prepare_durable()?;
            let first = self.fresh_numbers();
            let mut job = self.job(Work::Put { first }, Timing::Each, 0);
            job.duration /= 8;
            written.extend(store.run(&job)?.written);
            store.settle()?;
            self.progress.step();
        }
        let rows = [(Row::DurablePut1, 1), (Row::DurablePut16, MANY_THREADS)];
        for round in 0.. {
            let places = self.places(&rows.map(|(row, _)| row), round, &stores);
            if places.is_empty() {
                break;
            }
            for row in rows {
                self.durable_round(&stores, &places, (row, round), &mut written)?;
            }
        }
        for ((contender, store), written) in stores.into_iter().zip(written) {
            self.progress.now(format!("durable puts: reading back {contender}"));
            store.verify(&written, VERIFY_READS_MAX)?;
            store.close()?;
            self.remove(contender, "durable")?;
        }
        Ok(())
    }

    /// A round of a row, of the stores at `places`. Turns are short: what the device does to one of
    /// them within a second, it does to the floors and to all others.
    fn durable_round(
        &mut self,
        stores: &OpenStores,
        places: &[usize],
        ((row, threads), round): ((Row, u32), u32),
        written: &mut [Vec<Range<u64>>],
    ) -> Result<(), BenchError> {
        let mut samples = Joined::default();
        for lap in 0..LAPS {
            let seed = round * LAPS + lap;
            for &place in rotation::order(places.len(), lap).map(|place| &places[place]) {
                let (contender, store) = &stores[place];
                self.progress.now(format!("{}: {contender}, round {}", row.name(), round + 1));
                let first = self.fresh_numbers();
                let op_count_min = self.samples_min(row, *contender).div_ceil(LAPS.into());
                let mut job = self.job(Work::Put { first }, Timing::Each, seed);
                job = Job { threads, op_count_min, duration: job.duration / LAPS, ..job };
                let has_floors = *contender == Contender::Uarr && threads == 1;
                let floors: &[Row] = if has_floors { &FLOORS } else { &[] };
                let measure = |check: &mut Self| check.measure(&**store, &job);
                let sample = self.beside_floors((floors, seed, LAPS), &mut samples, measure)?;
                written[place].extend(sample.written.clone());
                samples.add(row, *contender, sample);
                store.settle()?;
            }
        }
        self.add_joined(samples, Class::Sync);
        Ok(())
    }

    pub(super) fn unsynced_puts(&mut self) -> Result<(), BenchError> {
        self.progress.phase("puts that are not waited for");
        let promises = |&contender: &Contender| {
            contender.memory_first().iter().map(move |&writes| (contender, writes))
        };
        let all: Vec<_> = self.contenders.iter().flat_map(promises).collect();
        for round in 0.. {
            let places = self.places(&[Row::UnsyncedPut], round, &all);
            if places.is_empty() {
                break;
            }
            for place in places {
                let (contender, writes) = all[place];
                self.unsynced_puts_of(contender, writes, round)?;
                self.progress.step();
            }
        }
        Ok(())
    }

    fn unsynced_puts_of(
        &mut self,
        contender: Contender,
        writes: Writes,
        round: u32,
    ) -> Result<(), BenchError> {
        let store = self.open(contender, "unsynced", writes)?;
        let class = writes.class();
        let name = class.name();
        self.progress.now(format!("unsynced-put: {contender}, {name}, round {}", round + 1));
        let first = self.fresh_numbers();
        let mut job = self.job(Work::Put { first }, Timing::Whole, round);
        job.op_count_max = self.records();
        let whole = self.measure(&*store, &job)?;
        let first = self.fresh_numbers();
        let mut job = self.job(Work::Put { first }, Timing::Each, round);
        job.op_count_max = self.records() / 2;
        job.duration /= 2;
        let timed = self.measure(&*store, &job)?;
        self.results.add(Row::UnsyncedPut, contender, class, &whole, Some(&timed));
        let written = [whole.written, timed.written].concat();
        store.verify(&written, VERIFY_READS_MAX / 5)?;
        store.close()?;
        self.remove(contender, "unsynced")
    }

    pub(super) fn gets_and_mixed(&mut self) -> Result<(), BenchError> {
        self.progress.phase("loading the stores for reading");
        let record_count = self.records();
        self.mapped = Some(MappedFloor::create(self.folder, record_count)?);
        let stores = self.open_all("loaded", strongest_memory_first)?;
        for (contender, store) in &stores {
            self.progress.now(format!("loading {contender}"));
            store.load(record_count)?;
            store.prepare_reads()?;
            // Reads every record once: the check, and the warm-up of every cache.
            store.verify(std::slice::from_ref(&(0..record_count)), record_count)?;
            self.progress.step();
        }
        // What is left in the page cache must not be written in the turn of another.
        rotation::sync_files(self.folder)?;
        self.gets(&stores)?;
        self.mixed_unsynced(&stores)?;
        for (contender, store) in stores {
            self.progress.now(format!("closing {contender}"));
            store.verify(std::slice::from_ref(&(0..record_count)), VERIFY_READS_MAX)?;
            store.close()?;
        }
        self.mixed_durable()
    }

    fn gets(&mut self, stores: &[(Contender, Box<dyn Driven>)]) -> Result<(), BenchError> {
        self.progress.phase("gets");
        let work = Work::Get { record_count: self.records() };
        for round in 0.. {
            let places = self.places(&[Row::Get, Row::GetSnapshot], round, stores);
            if places.is_empty() {
                break;
            }
            for place in places {
                let (contender, store) = &stores[place];
                let floors: &[Row] =
                    if *contender == Contender::Uarr { &FLOORS_OF_READS } else { &[] };
                let mut of_floors = Joined::default();
                self.beside_floors((floors, round, 1), &mut of_floors, |check| {
                    let whose = (*contender, &**store, Class::Read);
                    check.whole_and_timed(whose, Row::Get, (work, View::PerRead), round)
                })?;
                self.add_joined(of_floors, Class::Read);
                if contender.has_snapshots() {
                    let whose = (*contender, &**store, Class::ReadSnapshot);
                    self.whole_and_timed(whose, Row::GetSnapshot, (work, View::Snapshot), round)?;
                }
            }
        }
        Ok(())
    }

    fn mixed_unsynced(
        &mut self,
        stores: &[(Contender, Box<dyn Driven>)],
    ) -> Result<(), BenchError> {
        self.progress.phase("reads and writes, not waited for");
        let record_count = self.records();
        for round in 0.. {
            let places = self.places(&[Row::MixedUnsynced], round, stores);
            if places.is_empty() {
                break;
            }
            let work = Work::Mixed { record_count, version: u64::from(round) + 1 };
            for place in places {
                let (contender, store) = &stores[place];
                let whose = (*contender, &**store, strongest_memory_first(*contender).class());
                self.whole_and_timed(whose, Row::MixedUnsynced, (work, View::PerRead), round)?;
                store.settle()?;
            }
        }
        Ok(())
    }

    /// One round of a row whose operations are shorter than reading the clock allows: two thirds of
    /// the time without a clock, one third with.
    fn whole_and_timed(
        &mut self,
        (contender, store, class): (Contender, &dyn Driven, Class),
        row: Row,
        (work, view): (Work, View),
        round: u32,
    ) -> Result<(), BenchError> {
        self.progress.now(format!("{}: {contender}, round {}", row.name(), round + 1));
        let duration = self.seconds * 2 / 3;
        let whole = Job { view, duration, ..self.job(work, Timing::Whole, round) };
        let whole = self.measure(store, &whole)?;
        let duration = self.seconds / 3;
        let op_count_min = self.samples_min(row, contender);
        let timed = Job { view, duration, op_count_min, ..self.job(work, Timing::Each, round) };
        let timed = self.measure(store, &timed)?;
        self.results.add(row, contender, class, &whole, Some(&timed));
        self.progress.step();
        Ok(())
    }

    fn mixed_durable(&mut self) -> Result<(), BenchError> {
        self.progress.phase("reads and durable writes");
        let record_count = self.records();
        let stores = self.open_all("loaded", |_| Writes::Durable)?;
        for (_, store) in &stores {
            store.prepare_reads()?;
            store.prepare_durable()?;
            // Caches that ended with the process that filled them are warm again.
            store.verify(std::slice::from_ref(&(0..record_count)), record_count)?;
            self.progress.step();
        }
        for round in 0.. {
            let places = self.places(&[Row::MixedDurable], round, &stores);
            if places.is_empty() {
                break;
            }
            for place in places {
                let (contender, store) = &stores[place];
                self.progress.now(format!("mixed-durable: {contender}, round {}", round + 1));
                let version = (1 << 32) + u64::from(round);
                let work = Work::Mixed { record_count, version };
                let op_count_min = self.samples_min(Row::MixedDurable, *contender);
                let job = Job { op_count_min, ..self.job(work, Timing::Each, round) };
                let sample = self.measure(&**store, &job)?;
                self.results.add(Row::MixedDurable, *contender, Class::Sync, &sample, None);
                store.settle()?;
                self.progress.step();
            }
        }
        for (contender, store) in stores {
            store.verify(std::slice::from_ref(&(0..record_count)), VERIFY_READS_MAX)?;
            store.close()?;
            self.remove(contender, "loaded")?;
        }
        Ok(())
    }

    pub(super) fn reopen(&mut self) -> Result<(), BenchError> {
        self.progress.phase("killing and reopening");
        let options = self.options;
        for round in 0..rounds_of(options, &[Row::Reopen]) {
            for place in rotation::order(self.contenders.len(), round) {
                let contender = self.contenders[place];
                self.progress.now(format!("reopen: {contender}, round {}", round + 1));
                let dir = self.path(contender, "killed");
                let (store, sample) =
                    reopen::measure(&self.options.program, contender, &dir, self.records())?;
                self.results.add(Row::Reopen, contender, Class::Sync, &sample, None);
                store.verify(&sample.written, VERIFY_READS_MAX / 5)?;
                store.close()?;
                self.remove(contender, "killed")?;
                self.progress.step();
            }
        }
        Ok(())
    }
}
