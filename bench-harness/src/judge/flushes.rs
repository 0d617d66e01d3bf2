//! Whether a store flushes as often as its durability class promises.
//!
//! A lone writer shares no flush with anyone, so each of its acknowledged durable writes needs one
//! of its own. The store's own count shows that, where it has one; else the device's does, which
//! includes other processes and can only be too high. A device without a volatile cache is sent no
//! flushes: nothing is known then, and nothing said.

use serde::{Deserialize, Serialize};

use crate::measure::rows::{Metric, Row, RowResult};
use crate::measure::store::{Class, Contender};

/// Fewest flushes per durable write that count as one for each: a write that was acknowledged when
/// a round ended may have been flushed after it.
const FLUSHES_PER_WRITE_MIN: f64 = 0.98;

/// A store that acknowledged durable writes without a flush.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokenPromise {
    /// Who.
    pub contender: Contender,
    /// Flushes per durable write of a lone writer, in the round with the fewest.
    pub flushes_per_write: f64,
}

impl BrokenPromise {
    /// Whether `row` makes the promise that was broken.
    pub fn is_of(&self, row: &RowResult) -> bool {
        row.contender == self.contender && row.class == Class::Sync
    }

    /// What a reader must know.
    pub fn text(&self) -> String {
        format!(
            "{} acknowledged durable puts with {:.2} flushes each: they were NOT durable, and none \
             of its rows of class sync is compared",
            self.contender, self.flushes_per_write
        )
    }
}

/// The stores that broke their promise. `has_volatile_cache` is said of the device.
pub fn broken(rows: &[RowResult], has_volatile_cache: bool) -> Vec<BrokenPromise> {
    let lone = |row: &&RowResult| row.row == Row::DurablePut1 && row.class == Class::Sync;
    let broken = |row: &RowResult| {
        let own = row.rounds(Metric::FlushesPerCommit);
        let device = || row.rounds(Metric::DeviceFlushesPerOp).filter(|_| has_volatile_cache);
        let fewest = own.or_else(device)?.into_iter().reduce(f64::min)?;
        (fewest < FLUSHES_PER_WRITE_MIN)
            .then_some(BrokenPromise { contender: row.contender, flushes_per_write: fewest })
    };
    rows.iter().filter(lone).filter_map(broken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample_report::sample_report;

    #[test]
    fn a_store_that_skips_flushes_is_exposed() {
        let rows = |own: Option<f64>, device: f64| {
            let mut rows = sample_report().rows;
            for row in rows.iter_mut().filter(|row| row.contender == Contender::Rocksdb) {
                for round in &mut row.repetitions {
                    (round.flushes_per_commit, round.device_flushes_per_op) = (own, Some(device));
                }
                // One dishonest round is enough.
                let last = row.repetitions.last_mut().unwrap();
                last.flushes_per_commit = own.map(|own| own / 2.0);
            }
            rows
        };
        let who = |rows: &[RowResult], has_volatile_cache| {
            let broken = broken(rows, has_volatile_cache);
            broken.iter().map(|broken| broken.contender).collect::<Vec<_>>()
        };
        assert_eq!(who(&rows(None, 1.0), true), []);
        assert_eq!(who(&rows(None, 0.03), true), [Contender::Rocksdb]);
        assert_eq!(who(&rows(None, 0.03), false), []);
        // Others may flush the device meanwhile, but not the store.
        assert_eq!(who(&rows(Some(1.0), 3.0), true), [Contender::Rocksdb]);
        assert_eq!(who(&rows(Some(2.0), 0.0), false), []);
        let told = broken(&rows(Some(0.5), 3.0), true)[0].text();
        assert!(told.starts_with("rocksdb acknowledged durable puts with 0.25 flushes each"));
    }
}
