//! The device and the memory alone: the floors of durable writes and of reads.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use crate::error::BenchError;
use crate::machine::folder::RunFolder;
use crate::measure::floor::{DeviceFloor, MappedFloor, Span, Via};
use crate::measure::rows::{Metric, Row};
use crate::measure::store::Class;
use crate::measure::workload::RECORD_BYTES;
use crate::parts::rounds::{Contestant, measure_run, sample_in_rounds};
use crate::report::RunSpec;
use crate::report::measured::{Measured, MeasuredPart};

/// Measures the floors in a file of so many bytes on the disk of `dir`.
pub fn run(
    dir: &Path,
    duration: Duration,
    rounds: u32,
    bytes: u64,
) -> Result<Measured, BenchError> {
    let folder = RunFolder::create(dir)?;
    let record_count = bytes / RECORD_BYTES;
    let spec = RunSpec {
        seconds: duration.as_secs_f64(),
        repetitions: rounds,
        records: record_count,
        quick: false,
    };
    measure_run(spec, folder.path(), Vec::new(), || {
        let device = DeviceFloor::create(folder.path(), bytes)?;
        let is_direct = device.is_direct;
        let device = &RefCell::new(device);
        let mapped = &MappedFloor::create(folder.path(), record_count)?;
        let name = |row: Row| format!("{}: {}", row.name(), row.meaning());
        let rows = [
            (Row::WriteFdatasync, Class::Sync),
            (Row::WriteDsync, Class::Sync),
            (Row::ReadDirect, Class::Read),
        ];
        let mut contestants: Vec<_> = rows
            .into_iter()
            .map(|(row, class)| {
                Contestant::new(name(row), Some(class), move |round| {
                    device.borrow_mut().measure(row, Span::of(duration), u64::from(round))
                })
            })
            .collect();
        contestants.push(Contestant::new(name(Row::ReadMapped), Some(Class::Read), |round| {
            mapped.measure(Via::Number, duration, u64::from(round))
        }));
        let lines = sample_in_rounds("floors", rounds, contestants)?;
        let cached = "this file system has no direct I/O: all went through the page cache";
        Ok(vec![MeasuredPart {
            recipe: None,
            name: "floors".to_owned(),
            title: "what device and memory take; ratio: p50 against the first row".to_owned(),
            metric: Metric::P50Ns,
            lines,
            notes: if is_direct { Vec::new() } else { vec![cached.to_owned()] },
        }])
    })
}
