//! Loading an empty store.

use std::time::Instant;

use uarr::KeyKind;

use super::{Part, SYNC, Stage, VERIFY_READS_MAX, failed, remove, stores};
use crate::error::BenchError;
use crate::measure::job::Timing;
use crate::measure::rotation;
use crate::measure::sample::Sample;
use crate::measure::store::Contender;
use crate::measure::usage::Usage;
use crate::measure::workload::{VALUE_BYTES, fill, key_of};
use crate::parts::rounds::{Contestant, Part as _, sample_in_rounds};
use crate::report::measured::Line;

/// The order in which keys are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Sorted,
    Random,
}

impl Order {
    const fn name(self) -> &'static str {
        match self {
            Self::Sorted => "sorted",
            Self::Random => "random",
        }
    }
}

impl Stage<'_> {
    pub(super) fn load(&self) -> Result<Vec<Line>, BenchError> {
        let mut contestants = Vec::new();
        for order in [Order::Sorted, Order::Random] {
            let name = format!("uarr, ingest, {}", order.name());
            contestants.push(Contestant::new(name, SYNC, move |_| self.ingest(order)));
            for peer in stores() {
                let name = format!("{peer}, batches of 1000, {}", order.name());
                let load = Contestant::new(name, SYNC, move |_| self.load_batches(peer, order));
                contestants.push(load);
            }
        }
        sample_in_rounds(Part::Load.name(), self.options.rounds, contestants)
    }

    fn ingest(&self, order: Order) -> Result<Sample, BenchError> {
        let path = self.folder.join("ingest");
        let db = uarr::Db::builder(&path).keys(KeyKind::U64).open().map_err(failed)?;
        let count = self.options.records;
        let mut keys: Vec<u64> = (0..count).map(key_of).collect();
        if order == Order::Sorted {
            keys.sort_unstable();
        }
        let sample = timed(count, || {
            let records = keys.iter().map(|&key| {
                let mut value = [0; VALUE_BYTES];
                fill(key, 0, &mut value);
                (key, value)
            });
            db.ingest(records).map(drop).map_err(failed)?;
            rotation::sync_files(self.folder)
        })?;
        if db.iter().count() as u64 != count {
            return Err(BenchError::WrongData("uarr lost a record of a load".to_owned()));
        }
        db.close().map_err(failed)?;
        remove(&path)?;
        Ok(sample)
    }

    /// Loads a store in batches that wait for as little as they can; the time ends when all is
    /// durable.
    fn load_batches(&self, peer: Contender, order: Order) -> Result<Sample, BenchError> {
        let count = self.options.records;
        let store = self.peer(peer, peer.load_writes())?;
        let mut in_batches = None;
        let sample = timed(count, || {
            match order {
                Order::Sorted => store.load(count)?,
                Order::Random => in_batches = Some(store.run(&self.batches(Timing::Whole))?),
            }
            store.sync()?;
            rotation::sync_files(self.folder)
        })?;
        let sorted = 0..count;
        let sorted = std::slice::from_ref(&sorted);
        let written = in_batches.as_ref().map_or(sorted, |sample| &sample.written);
        store.verify(written, VERIFY_READS_MAX)?;
        store.close()?;
        remove(&self.folder.join(peer.name()))?;
        Ok(sample)
    }
}

fn timed(
    op_count: u64,
    run: impl FnOnce() -> Result<(), BenchError>,
) -> Result<Sample, BenchError> {
    let before = Usage::now();
    let start = Instant::now();
    run()?;
    Ok(Sample::since(before, op_count, start.elapsed()))
}
