//! The phases of a run, in their order.
//!
//! Each opens its stores, lets them take turns, reads back what it wrote and removes it.

use super::{Check, OpenStores};
use crate::check::reopen;
use crate::error::BenchError;
use crate::measure::floor::{MappedFloor, Via};
use crate::measure::job::{Job, Timing, Work};
use crate::measure::rows::Row;
use crate::measure::store::{Class, Contender, Writes};
use crate::stores;

/// Threads of the row `durable-put16`.
const MANY_THREADS: u32 = 16;
/// At most this many records are read back after a phase without a fixed number of records.
const VERIFY_READS_MAX: u64 = 500_000;

impl Check<'_> {
    pub(super) fn durable_puts(&mut self) -> Result<(), BenchError> {
        self.progress.phase("durable puts");
        let stores = self.open_all("durable", Writes::Durable)?;
        let mut written: Vec<Vec<_>> = stores.iter().map(|_| Vec::new()).collect();
        for ((_, store), written) in stores.iter().zip(&mut written) {
            store.prepare_durable()?;
            let first = self.fresh_numbers();
            let mut job = self.job(Work::Put { first }, Timing::Each, 0);
            job.duration /= 8;
            written.extend(store.run(&job)?.written);
            self.progress.step();
        }
        for round in 0..self.rounds() {
            self.measure_floor(Row::WriteFdatasync, Class::Sync, 1, round)?;
            self.measure_floor(Row::WriteDsync, Class::Sync, 2, round)?;
            for (row, threads) in [(Row::DurablePut1, 1), (Row::DurablePut16, MANY_THREADS)] {
                for ((contender, store), written) in stores.iter().zip(&mut written) {
                    self.progress.now(format!("{}: {contender}, round {}", row.name(), round + 1));
                    let first = self.fresh_numbers();
                    let job = self.job(Work::Put { first }, Timing::Each, round);
                    let mut sample = self.measure(&**store, &Job { threads, ..job })?;
                    written.append(&mut sample.written);
                    self.results.add(row, *contender, Class::Sync, &sample, None);
                    self.progress.step();
                }
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

    pub(super) fn unsynced_puts(&mut self) -> Result<(), BenchError> {
        self.progress.phase("puts that are not waited for");
        for round in 0..self.rounds() {
            for contender in self.contenders.clone() {
                let store = self.open(contender, "unsynced", Writes::Unsynced)?;
                self.progress.now(format!("unsynced-put: {contender}, round {}", round + 1));
                let first = self.fresh_numbers();
                let mut job = self.job(Work::Put { first }, Timing::Whole, round);
                job.op_count_max = self.records();
                let whole = self.measure(&*store, &job)?;
                let first = self.fresh_numbers();
                let mut job = self.job(Work::Put { first }, Timing::Each, round);
                job.op_count_max = self.records() / 2;
                job.duration /= 2;
                let timed = self.measure(&*store, &job)?;
                let class = stores::class(contender, Writes::Unsynced);
                self.results.add(Row::UnsyncedPut, contender, class, &whole, Some(&timed));
                let written = [whole.written, timed.written].concat();
                store.verify(&written, VERIFY_READS_MAX / 5)?;
                store.close()?;
                self.remove(contender, "unsynced")?;
                self.progress.step();
            }
        }
        Ok(())
    }

    pub(super) fn gets_and_mixed(&mut self) -> Result<(), BenchError> {
        self.progress.phase("loading the stores for reading");
        let record_count = self.records();
        let mapped = MappedFloor::create(self.folder, record_count)?;
        let stores = self.open_all("loaded", Writes::Unsynced)?;
        for (contender, store) in &stores {
            self.progress.now(format!("loading {contender}"));
            store.load(record_count)?;
            store.settle()?;
            // Reads every record once: the check, and the warm-up of every cache.
            store.verify(std::slice::from_ref(&(0..record_count)), record_count)?;
            self.progress.step();
        }
        self.progress.phase("gets");
        for round in 0..self.rounds() {
            self.measure_floor(Row::ReadDirect, Class::Read, 2, round)?;
            let sample = mapped.measure(Via::Number, self.seconds / 2, u64::from(round))?;
            self.results.add(Row::ReadMapped, Contender::Floor, Class::Read, &sample, None);
            self.progress.step();
            self.whole_and_timed(&stores, Row::Get, Work::Get { record_count }, round)?;
        }
        self.progress.phase("reads and writes, not waited for");
        for round in 0..self.rounds() {
            let work = Work::Mixed { record_count, version: u64::from(round) + 1 };
            self.whole_and_timed(&stores, Row::MixedUnsynced, work, round)?;
        }
        for (contender, store) in stores {
            self.progress.now(format!("closing {contender}"));
            store.verify(std::slice::from_ref(&(0..record_count)), VERIFY_READS_MAX)?;
            store.close()?;
        }
        self.mixed_durable()
    }

    /// One round of a row whose operations are shorter than reading the clock allows: two thirds of
    /// the time without a clock, one third with.
    fn whole_and_timed(
        &mut self,
        stores: &OpenStores,
        row: Row,
        work: Work,
        round: u32,
    ) -> Result<(), BenchError> {
        for (contender, store) in stores {
            self.progress.now(format!("{}: {contender}, round {}", row.name(), round + 1));
            let mut job = self.job(work, Timing::Whole, round);
            job.duration = self.seconds * 2 / 3;
            let whole = self.measure(&**store, &job)?;
            let mut job = self.job(work, Timing::Each, round);
            job.duration = self.seconds / 3;
            let timed = self.measure(&**store, &job)?;
            let class = match work {
                Work::Get { .. } => Class::Read,
                _ => stores::class(*contender, Writes::Unsynced),
            };
            self.results.add(row, *contender, class, &whole, Some(&timed));
            self.progress.step();
        }
        Ok(())
    }

    fn mixed_durable(&mut self) -> Result<(), BenchError> {
        self.progress.phase("reads and durable writes");
        let record_count = self.records();
        let stores = self.open_all("loaded", Writes::Durable)?;
        for (_, store) in &stores {
            store.prepare_durable()?;
            self.progress.step();
        }
        for round in 0..self.rounds() {
            for (contender, store) in &stores {
                self.progress.now(format!("mixed-durable: {contender}, round {}", round + 1));
                let version = (1 << 32) + u64::from(round);
                let work = Work::Mixed { record_count, version };
                let sample = self.measure(&**store, &self.job(work, Timing::Each, round))?;
                self.results.add(Row::MixedDurable, *contender, Class::Sync, &sample, None);
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
        for round in 0..self.rounds() {
            for contender in self.contenders.clone() {
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
