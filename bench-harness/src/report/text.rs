//! The report as plain aligned text, and what each line of it says.

use crate::check::ROUNDS_UNASKED;
use crate::judge::verdict::{Finding, Judgement};
use crate::machine;
use crate::measure::rows::{Metric, Row, RowResult};
use crate::measure::sample::{median, ratios};
use crate::measure::store::{Class, Contender, StoreFacts};
use crate::measure::workload::RECORD_BYTES;
use crate::report::Report;
use crate::report::table::Table;
use crate::report::words::{count, duration, rate, ratio, three_digits};

/// Version and settings of a store.
pub fn store_line(store: &StoreFacts) -> String {
    format!("{} {}: {}", store.contender, store.version, store.settings)
}

/// The number by which rows are compared in the column of ratios.
pub const fn headline(row: Row) -> Metric {
    match row {
        Row::WriteFdatasync | Row::WriteDsync | Row::DurablePut1 => Metric::P50Ns,
        Row::DurablePut16 => Metric::OpsPerSecond,
        _ => Metric::MeanNs,
    }
}

/// The engine's headline number divided by that of `other`, if both make one promise: the median
/// of the ratios of the rounds. Floors of writes stand beside the lone durable put, the mapped
/// floor beside the get.
pub fn engine_against(report: &Report, other: &RowResult) -> Option<f64> {
    let own_row = match other.row {
        Row::WriteFdatasync | Row::WriteDsync => Row::DurablePut1,
        Row::ReadMapped => Row::Get,
        Row::ReadDirect => return None,
        row => row,
    };
    if other.contender == Contender::Uarr {
        return None;
    }
    let own = report.find(own_row, Contender::Uarr)?;
    let is_broken = |row: &RowResult| report.broken.iter().any(|broken| broken.is_of(row));
    if own.class != other.class || is_broken(own) || is_broken(other) {
        return None;
    }
    let metric = headline(own_row);
    median(&ratios(&own.rounds(metric)?, &other.rounds(metric)?)?)
}

/// All measurements.
pub fn results(report: &Report) -> Table {
    let mut table = Table {
        head: vec![
            "row",
            "store",
            "durability",
            "thr",
            "ops/s",
            "mean",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            "CPU/op",
            "flush/commit",
            "dev flush/op",
            "uarr/this",
        ],
        left_count: 3,
        rows: Vec::new(),
    };
    for row in &report.rows {
        let time = |metric: Metric| duration(row.value(metric));
        table.rows.push(vec![
            row.row.name().to_owned(),
            row.contender.name().to_owned(),
            row.class.name().to_owned(),
            row.threads.to_string(),
            row.value(Metric::OpsPerSecond).map_or_else(|| "n/a".to_owned(), rate),
            time(Metric::MeanNs),
            time(Metric::P50Ns),
            time(Metric::P90Ns),
            time(Metric::P99Ns),
            time(Metric::P999Ns),
            time(Metric::MaxNs),
            time(Metric::CpuNsPerOp),
            count(row.value(Metric::FlushesPerCommit)),
            count(row.value(Metric::DeviceFlushesPerOp)),
            ratio(engine_against(report, row)),
        ]);
    }
    table
}

/// The outcome of each target.
pub fn verdicts(judgements: &[Judgement]) -> Table {
    // Bounds have up to three decimals; a value just beside one must not look equal to it.
    let number = |value: f64| {
        if value.abs() < 1.0 { format!("{value:.3}") } else { three_digits(value) }
    };
    let between = |ends: Option<(f64, f64)>| {
        ends.map_or("-".to_owned(), |(low, high)| format!("{} .. {}", number(low), number(high)))
    };
    let row = |judgement: &Judgement| {
        vec![
            judgement.id.clone(),
            judgement.question.clone(),
            judgement.bound.clone(),
            judgement.value.map_or_else(|| "n/a".to_owned(), number),
            between(judgement.interval),
            between(judgement.range),
            verdict_word(judgement),
        ]
    };
    Table {
        head: vec!["target", "what", "bound", "value", "interval", "rounds", "verdict"],
        left_count: 3,
        rows: judgements.iter().map(row).collect(),
    }
}

fn verdict_word(judgement: &Judgement) -> String {
    match &judgement.finding {
        Finding::Met => "pass".to_owned(),
        Finding::Missed => "MISS".to_owned(),
        Finding::Close { is_met: true } => "pass, close to its bound".to_owned(),
        Finding::Close { is_met: false } => "MISS, close to its bound".to_owned(),
        Finding::Unclear { advice } => format!("unclear: {advice}"),
        Finding::Unjudged { reason } => format!("not judged: {reason}"),
    }
}

/// How to read the table of results.
pub fn legend(report: &Report) -> Vec<String> {
    let mut classes: Vec<Class> = Vec::new();
    for row in &report.rows {
        if !classes.contains(&row.class) {
            classes.push(row.class);
        }
    }
    let mut lines: Vec<String> =
        classes.iter().map(|class| format!("{}: {}", class.name(), class.promise())).collect();
    lines.push(format!(
        "{} rounds of {} s, at most {ROUNDS_UNASKED} of what no target asks about: medians; \
         percentiles and max of all rounds together; {}",
        report.run.repetitions, report.run.seconds, report.arrival
    ));
    lines.push(
        "n/a: not timed one by one, or fewer than 10 samples beyond the percentile; mean: wall \
         time x \
         threads / operations, without a clock reading per operation in memory-speed rows"
            .to_owned(),
    );
    lines.push(
        "flush/commit: the store's own count; dev flush/op: counted by the whole device, other \
         processes included"
            .to_owned(),
    );
    lines.push(
        "uarr/this: p50 (durable-put1), throughput (durable-put16), else mean; divided within each \
         round, the median of these ratios; only between rows of one promise"
            .to_owned(),
    );
    lines.push(
        "CPU/op: of all threads of the process, in which only this row's store works".to_owned(),
    );
    lines
}

/// How steady the floors were.
pub fn moved(report: &Report) -> Vec<String> {
    let moved = report.floors_moved().into_iter();
    let line = |(row, moved): (Row, f64)| {
        format!(
            "floor {}: highest median of a round {:.0} % above the lowest",
            row.name(),
            moved * 100.0
        )
    };
    moved.map(line).collect()
}

/// The whole report for a terminal.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    let machine = machine::line(&report.machine);
    line(&format!("{machine}, {} records of {RECORD_BYTES} bytes", report.run.records));
    for store in &report.stores {
        line(&store_line(store));
    }
    line("");
    line(results(report).to_text().trim_end());
    line("");
    for row in Row::ALL {
        if report.rows.iter().any(|result| result.row == row) {
            line(&format!("{:<16} {}", row.name(), row.meaning()));
        }
    }
    line("");
    for explanation in legend(report) {
        line(&explanation);
    }
    line("");
    for moved in moved(report) {
        line(&moved);
    }
    if let Some(others) = report.others_cpu {
        line(&format!("others used {:.0} % of the processors during the run", others * 100.0));
    }
    for note in &report.notes {
        line(&format!("note: {note}"));
    }
    line("");
    if report.judgements.is_empty() {
        line("no targets were given");
    } else {
        line(verdicts(&report.judgements).to_text().trim_end());
        line("");
        line(
            "value: median of the rounds; interval: where the true median is, see the targets file",
        );
        line(&format!(
            "VERDICT: {} (exit code {}), {:.0} s",
            report.outcome.name(),
            report.outcome.exit_code(),
            report.elapsed_s
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample_report::sample_report;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let cases = [
            (0.0, "0.00 ns"),
            (87.04, "87.0 ns"),
            (999.0, "999 ns"),
            (3355.0, "3.35 us"),
            (127_400.0, "127 us"),
            (1_798e6, "1.80 s"),
            (4.2e6, "4.20 ms"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(Some(ns)), text);
        }
        assert_eq!(duration(None), "n/a");
        assert_eq!(
            (rate(306_000.0), rate(1.2e6), rate(7.0)),
            ("306 K".into(), "1.20 M".into(), "7.00".into())
        );
        assert_eq!((ratio(Some(0.033)), ratio(None)), ("0.03x".into(), "-".into()));
    }

    #[test]
    fn columns_line_up() {
        let table = Table {
            head: vec!["name", "n"],
            left_count: 1,
            rows: vec![vec!["a".into(), "1".into()], vec!["longer".into(), "200".into()]],
        };
        assert_eq!(table.to_text(), "name      n\n------  ---\na         1\nlonger  200\n");
    }

    #[test]
    fn ratios_stay_between_rows_of_one_promise() {
        let mut report = sample_report();
        let floor = report.find(Row::WriteFdatasync, Contender::Floor).unwrap().clone();
        let ratio = engine_against(&report, &floor).unwrap();
        assert!((ratio - 130.0 / 120.0).abs() < 1e-9);
        for row in &mut report.rows {
            if row.contender == Contender::Uarr {
                row.class = Class::Interval;
            }
        }
        assert_eq!(engine_against(&report, &floor), None);
    }

    #[test]
    fn the_text_names_every_row_note_and_verdict() {
        let text = render(&sample_report());
        for part in [
            "durable-put1",
            "rocksdb",
            "note: a note",
            "P1-floor",
            "<= 1.2",
            "VERDICT: PASS",
            "3 % above the lowest",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(text.is_ascii());
    }
}
