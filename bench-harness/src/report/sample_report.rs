//! A small report with known numbers, for the tests of what is made of reports.

use std::collections::BTreeMap;

use crate::judge::verdict::{Finding, Judgement, Outcome};
use crate::measure::latencies::Percentiles;
use crate::measure::phases::{PHASES, Phase};
use crate::measure::rows::{Metric, Row, RowResult};
use crate::measure::sample::Repetition;
use crate::measure::store::{Class, Contender, StoreFacts};
use crate::measure::timeline::{Mark, Series};
use crate::report::measured::{self, Line, Measured, MeasuredPart};
use crate::report::{Report, RunSpec, SCHEMA};

/// Three rounds of four slices.
fn series(p50_us: f64) -> Series {
    let slices: Vec<u32> = (0..12).collect();
    let ns = |factor: f64| {
        let wave = move |slice: &u32| Some(p50_us * 1e3 * factor * (1.0 + f64::from(slice % 3)));
        slices.iter().map(wave).collect()
    };
    Series {
        round: slices.iter().map(|slice| slice / 4).collect(),
        at_s: slices.iter().map(|slice| 0.025 + 0.05 * f64::from(slice % 4)).collect(),
        p50_ns: ns(1.0),
        max_ns: ns(9.0),
        marks: Vec::new(),
    }
}

/// What durable puts spend their time on.
fn phases() -> Vec<Phase> {
    let percentiles = Percentiles { p50_ns: Some(50_000.0), ..Percentiles::default() };
    let phase = |((name, _), mean_ns): (&(&str, _), f64)| Phase {
        name: (*name).to_owned(),
        mean_ns,
        percentiles,
    };
    PHASES.iter().zip([9e3, 110e3, 11e3]).map(phase).collect()
}

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
            slowest_hundredth_ns: None,
            max_ns: Some(p50_ns * 9.0),
            cpu_ns_per_op: 21_000.0,
            flushes_per_commit: (contender == Contender::Uarr).then_some(1.0),
            writes_per_commit: None,
            device_flushes_per_op: Some(1.0),
            device_written_bytes_per_op: Some(4096.0),
            major_faults: 0,
            retries_per_transaction: None,
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
        series: series(p50_us),
        phases: Vec::new(),
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
            RowResult { phases: phases(), ..durable(Row::DurablePut1, Contender::Uarr, 130.0) },
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

/// Two rates of one store, and a line beside them during which something went on.
pub fn sample_measured() -> Measured {
    let report = sample_report();
    let of = |name: &str, p50_us| {
        let row = durable(Row::DurablePut1, Contender::Uarr, p50_us);
        Line {
            rounds: row.repetitions,
            curve: row.curve,
            series: row.series,
            ..Line::new(name.to_owned(), Some(row.class))
        }
    };
    let on_ladder = |name, p50_us| Line { ladder: Some("uarr".to_owned()), ..of(name, p50_us) };
    let mut alone = of("sqlite", 90.0);
    alone.series.marks = vec![Mark { round: 1, from_s: 0.05, to_s: 0.12 }];
    let lines = vec![on_ladder("uarr, 1000/s", 50.0), on_ladder("uarr, 5000/s", 80.0), alone];
    Measured {
        parts_schema: measured::SCHEMA,
        run: report.run,
        started_unix_s: report.started_unix_s,
        machine: report.machine,
        stores: report.stores,
        others_cpu: report.others_cpu,
        parts: vec![MeasuredPart {
            name: "paced".to_owned(),
            title: "puts at rates".to_owned(),
            metric: Metric::P99Ns,
            lines,
            notes: vec!["a note".to_owned()],
            recipe: None,
        }],
        sizes: Vec::new(),
    }
}
