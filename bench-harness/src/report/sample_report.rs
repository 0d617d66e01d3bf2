//! A small report with known numbers, for the tests of what is made of reports.

use std::collections::BTreeMap;

use crate::judge::verdict::{Finding, Judgement, Outcome};
use crate::measure::rows::{Row, RowResult};
use crate::measure::sample::Repetition;
use crate::measure::store::{Class, Contender, StoreFacts};
use crate::report::{Report, RunSpec, SCHEMA};

/// A durable row whose p50 is `p50_us` in the median of nine rounds.
fn durable(row: Row, contender: Contender, p50_us: f64) -> RowResult {
    let round = |change_us: f64| {
        let p50_ns = (p50_us + change_us) * 1000.0;
        Repetition {
            op_count: 15_000,
            ops_per_second: 1e9 / p50_ns,
            mean_ns: p50_ns * 1.1,
            p50_ns: Some(p50_ns),
            p90_ns: Some(p50_ns * 1.2),
            p99_ns: Some(p50_ns * 2.0),
            p999_ns: Some(p50_ns * 4.0),
            p9999_ns: None,
            max_ns: Some(p50_ns * 9.0),
            cpu_ns_per_op: 21_000.0,
            flushes_per_commit: (contender == Contender::Uarr).then_some(1.0),
            writes_per_commit: None,
            device_flushes_per_op: Some(1.0),
            device_written_bytes_per_op: Some(4096.0),
            major_faults: 0,
        }
    };
    RowResult {
        row,
        contender,
        class: Class::Sync,
        threads: 1,
        repetitions: [0.0, -2.0, 2.0].repeat(3).into_iter().map(round).collect(),
        curve: (0..60)
            .map(|step| (1.0 - 0.5f64.powf(f64::from(step) / 8.0), p50_us * 1e3 + f64::from(step)))
            .collect(),
        merged: None,
    }
}

/// The report: a floor of 120 us, the engine at 130 us, RocksDB at 200 us.
pub fn sample_report() -> Report {
    Report {
        schema: SCHEMA,
        run: RunSpec { seconds: 2.0, repetitions: 9, records: 1000, quick: false },
        started_unix_s: 1_790_000_000,
        elapsed_s: 42.5,
        arrival: "closed loop".to_owned(),
        machine: BTreeMap::from([("kernel".to_owned(), "6.18".to_owned())]),
        stores: vec![StoreFacts {
            contender: Contender::Uarr,
            version: "0.1.0".to_owned(),
            settings: "default".to_owned(),
        }],
        rows: vec![
            durable(Row::WriteFdatasync, Contender::Floor, 120.0),
            durable(Row::DurablePut1, Contender::Uarr, 130.0),
            durable(Row::DurablePut1, Contender::Rocksdb, 200.0),
        ],
        broken: Vec::new(),
        others_cpu: Some(0.05),
        notes: vec!["a note".to_owned()],
        judgements: vec![Judgement {
            id: "P1-floor".to_owned(),
            question: "durable-put1 p50_ns / write-fdatasync".to_owned(),
            bound: "<= 1.2".to_owned(),
            value: Some(130.0 / 120.0),
            interval: Some((1.081, 1.085)),
            range: Some((1.08, 1.09)),
            finding: Finding::Met,
        }],
        outcome: Outcome::Pass,
    }
}
