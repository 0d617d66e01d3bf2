//! docs/BENCHMARKS.md, made of reports: `uarr-bench report --markdown FILE.json...`.
//!
//! The prose is a template (`page.md`). A line `{{name}}` in it stands for the table of the promise
//! with that name, `{{runs}}` for what was run and where. A row's numbers come from the first
//! report that has the engine's, so all of them are of one run. Ratios are formed within a round,
//! between rows of one promise; a goal is judged by their median. A number of a weaker or stronger
//! promise than the engine's stands in its column with a star.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::error::BenchError;
use crate::judge::targets::{Bound, Noise};
use crate::machine;
use crate::measure::rows::{Metric, Row, find_class, write_floor};
use crate::measure::sample::{median, ratios};
use crate::measure::store::{Class, Contender};
use crate::report::measured::Size;
use crate::report::promises::{Goal, Number, Of, PROMISES, PageRow, Promise, Source};
use crate::report::saved::Saved;
use crate::report::{text, words};

const TEMPLATE: &str = include_str!("page.md");

/// From this day on runs follow the rules that the page states.
const RULES_SINCE_UNIX_S: u64 = 1_795_996_800;

/// Contenders and the heads of their columns.
const COLUMNS: [(Contender, &str); 5] = [
    (Contender::Uarr, "uarr"),
    (Contender::Rocksdb, "RocksDB"),
    (Contender::Sqlite, "SQLite"),
    (Contender::Lmdb, "LMDB"),
    (Contender::Floor, "floor"),
];

/// The numbers of a contender in a row.
struct Numbers {
    /// Of each round.
    rounds: Vec<f64>,
    /// Of all rounds together.
    value: f64,
    /// What writes promise; `None` of what is no store.
    class: Option<Class>,
}

impl Numbers {
    /// Whether the two may be divided.
    fn is_comparable(&self, other: &Self) -> bool {
        self.class == other.class || self.class.is_none() || other.class.is_none()
    }
}

/// The reports behind the page.
pub struct Page {
    reports: Vec<Saved>,
}

impl Page {
    /// Reads the reports.
    pub fn read(paths: &[PathBuf]) -> Result<Self, BenchError> {
        Ok(Self { reports: paths.iter().map(|path| Saved::read(path)).collect::<Result<_, _>>()? })
    }

    /// The page.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for line in TEMPLATE.lines() {
            match line.strip_prefix("{{").and_then(|line| line.strip_suffix("}}")) {
                None => text.push_str(&format!("{line}\n")),
                Some("runs") => text.push_str(&self.runs()),
                Some(name) => {
                    let promise = PROMISES.iter().find(|promise| promise.name == name);
                    text.push_str(&self.table(promise.expect("the template names promises only")));
                }
            }
        }
        text
    }

    /// The table of a promise. All tables have the same columns, so that any row can be quoted.
    fn table(&self, promise: &Promise) -> String {
        let cell = |row: &PageRow, who| {
            let run = self.run_of(row)?;
            let numbers = run.numbers(row, who)?;
            let own = run.numbers(row, Contender::Uarr);
            let is_other = own.is_some_and(|own| !own.is_comparable(&numbers));
            Some(show(row.number, numbers.value) + if is_other { " \\*" } else { "" })
        };
        let heads: Vec<_> = COLUMNS.iter().map(|(_, head)| *head).collect();
        let mut text = format!("| | {} | goals |\n", heads.join(" | "));
        text.push_str(&format!("|---|{}---|\n", "---|".repeat(heads.len())));
        for row in promise.rows {
            let cells: Vec<_> =
                COLUMNS.iter().map(|(who, _)| cell(row, *who).unwrap_or_default()).collect();
            let goals: Vec<_> = row.goals.iter().map(|goal| self.judged(row, goal)).collect();
            let goals = goals.join("; ");
            text.push_str(&format!("| {} | {} | {goals} |\n", row.what, cells.join(" | ")));
        }
        text
    }

    /// The report that a row's numbers come from.
    fn run_of(&self, row: &PageRow) -> Option<&Saved> {
        let mut who = COLUMNS.iter().map(|(who, _)| *who);
        who.find_map(|who| self.reports.iter().find(|run| run.numbers(row, who).is_some()))
    }

    /// A goal in words, and whether it is met.
    fn judged(&self, row: &PageRow, goal: &Goal) -> String {
        let (sign, bound) = match goal.bound {
            Bound::AtMost(bound) => ("<=", bound),
            Bound::AtLeast(bound) => (">=", bound),
        };
        let (asked, other) = match goal.of {
            Of::Nothing => (format!("{sign} {}", show(row.number, bound)), None),
            Of::Contender(who) => {
                let (_, head) = COLUMNS.iter().find(|(other, _)| *other == who).expect("a column");
                (format!("{sign} {bound} {head}"), Some((*row, who)))
            }
            Of::Own(name, source) => {
                let other = PageRow { source, ..*row };
                (format!("{sign} {bound} {name}"), Some((other, Contender::Uarr)))
            }
        };
        let verdict = |value| if goal.bound.is_met(value) { "met" } else { "**missed**" };
        let run = self.run_of(row);
        let own = run.and_then(|run| run.numbers(row, Contender::Uarr));
        let ratios = match (own, other) {
            (Some(own), None) => return format!("{asked}: {}", verdict(own.value)),
            (Some(own), Some((row, who))) => {
                let other = run.and_then(|run| run.numbers(&row, who));
                let other = other.filter(|other| own.is_comparable(other));
                other.and_then(|other| ratios(&own.rounds, &other.rounds))
            }
            (None, _) => None,
        };
        let ratios = ratios.unwrap_or_default();
        let Some(value) = median(&ratios) else { return format!("{asked}: not measured") };
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let verdict = verdict(value);
        format!("{asked}: {} ({} .. {}) {verdict}", digits(value), digits(low), digits(high))
    }

    /// What was run, on which machine, with which stores.
    fn runs(&self) -> String {
        let mut text =
            "| measured by | started, UTC | commit | rounds | records | used by others | \
                        floor moved by |\n|---|---|---|---|---|---|---|\n"
                .to_owned();
        let mut places = BTreeSet::new();
        let mut stores = BTreeSet::new();
        for run in &self.reports {
            let spec = run.spec();
            let quick = if spec.quick { ", quick" } else { "" };
            text.push_str(&format!(
                "| {} | {} | {} | {} of {} s{quick} | {} | {} | {} |\n",
                run.command(),
                date(run.started_unix_s()),
                machine::fact(run.machine(), "git commit"),
                spec.repetitions,
                spec.seconds,
                spec.records,
                run.others(),
                run.moved(),
            ));
            places.insert(machine::line(run.machine()));
            stores.extend(run.stores().iter().map(text::store_line));
        }
        for line in &places {
            text.push_str(&format!("\n{line}.\n"));
        }
        text.push_str(&format!("Stores: {}.\n", Vec::from_iter(stores).join("; ")));
        if self.reports.iter().any(|run| run.started_unix_s() < RULES_SINCE_UNIX_S) {
            text.push_str(&format!(
                "Runs before {} are older than these rules: SQLite's log was not checkpointed \
                 before reads,\n\
                 loads of peers ended in the page cache, the order of stores was fixed, \
                 percentiles are medians over rounds, uarr gave no space back.\n",
                date(RULES_SINCE_UNIX_S)
            ));
        }
        let is_measured = |who| {
            let mut stores = self.reports.iter().flat_map(Saved::stores);
            stores.any(|store| store.contender == who)
        };
        let missing =
            COLUMNS.iter().filter(|(who, _)| *who != Contender::Floor && !is_measured(*who));
        let missing: Vec<_> = missing.map(|(_, head)| *head).collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            text.push_str(&format!("Not built into the program of these runs: {missing}.\n"));
        }
        text
    }
}

impl Saved {
    /// The numbers of `row`; `None` if a round lacks one.
    fn numbers(&self, row: &PageRow, who: Contender) -> Option<Numbers> {
        match (self, row.source) {
            (Self::Check(report), Source::Check(source)) => {
                let Number::Of(metric) = row.number else { return None };
                let own = report.find(source, Contender::Uarr).map(|own| own.class);
                let result = match (who, source) {
                    (Contender::Floor, Row::DurablePut1) => write_floor(&report.rows)?,
                    (Contender::Floor, source) => report.find(source.floor()?, who)?,
                    _ => own
                        .and_then(|class| find_class(&report.rows, source, who, class))
                        .or_else(|| report.find(source, who))?,
                };
                let (rounds, value) = (result.rounds(metric)?, result.value(metric)?);
                Some(Numbers { rounds, value, class: Some(result.class) })
            }
            (Self::Parts(measured), Source::Part { part, own, peer, floor }) => {
                let name = match who {
                    Contender::Uarr => own.to_owned(),
                    Contender::Floor => floor.to_owned(),
                    peer_name => peer.replace("{}", peer_name.name()),
                };
                let line = measured.find(part, &name).filter(|line| line.invalid().is_none())?;
                let time = |rate: f64| 1e9 / rate;
                let (rounds, value) = match row.number {
                    Number::Of(metric) => (line.of(metric), line.value(metric)?),
                    Number::TimePerRecord => (
                        line.of(Metric::OpsPerSecond).into_iter().map(time).collect(),
                        time(line.value(Metric::OpsPerSecond)?),
                    ),
                    _ => return None,
                };
                let is_whole = rounds.len() == line.rounds.len();
                is_whole.then_some(Numbers { rounds, value, class: line.class })
            }
            (Self::Parts(measured), Source::Sizes) => {
                let size = measured.sizes.iter().find(|size| size.contender == who)?;
                let value = bytes(row.number, size)?;
                Some(Numbers { rounds: vec![value], value, class: None })
            }
            _ => None,
        }
    }

    fn command(&self) -> String {
        match self {
            Self::Check(_) => "`check`".to_owned(),
            Self::Parts(measured) => {
                let parts = measured.parts.iter().map(|part| part.name.as_str());
                let sizes = (!measured.sizes.is_empty()).then_some("sizes");
                format!("parts {}", parts.chain(sizes).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// The share of the processors that others used, and whether it is too much.
    fn others(&self) -> String {
        let others = match self {
            Self::Check(report) => report.others_cpu,
            Self::Parts(measured) => measured.others_cpu,
        };
        others.map_or_else(
            || "unknown".to_owned(),
            |others| share(others, Noise::default().others_cpu_max),
        )
    }

    /// How far the floors moved.
    fn moved(&self) -> String {
        let Self::Check(report) = self else { return String::new() };
        let moved = report.floors_moved().into_iter();
        let moved = moved.map(|(row, moved)| format!("{} {:.0} %", row.name(), moved * 100.0));
        moved.collect::<Vec<_>>().join(", ")
    }
}

fn bytes(number: Number, size: &Size) -> Option<f64> {
    let per_byte = |bytes: u64| bytes as f64 / size.user_bytes as f64;
    match number {
        Number::BytesPerByte => Some(per_byte(size.loaded_bytes)),
        Number::BytesPerByteTwice => Some(per_byte(size.overwritten_bytes)),
        Number::FreshBytes => Some(size.fresh_bytes as f64),
        Number::Of(_) | Number::TimePerRecord => None,
    }
}

fn share(part: f64, most: f64) -> String {
    let is_noisy = if part > most { ", too much" } else { "" };
    format!("{:.0} %{is_noisy}", part * 100.0)
}

fn show(number: Number, value: f64) -> String {
    match number {
        Number::Of(Metric::OpsPerSecond) => words::rate(value),
        Number::Of(_) | Number::TimePerRecord => words::duration(Some(value)),
        Number::BytesPerByte | Number::BytesPerByteTwice => digits(value),
        Number::FreshBytes => format!("{:.0} MiB", value / f64::from(1 << 20)),
    }
}

fn digits(value: f64) -> String {
    if value.abs() < 1.0 { format!("{value:.3}") } else { format!("{value:.2}") }
}

/// The day of a second since 1970, in the Gregorian calendar.
fn date(unix_s: u64) -> String {
    let mut days = unix_s / 86_400;
    let mut year = 1970;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for len in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::sample::Repetition;
    use crate::report::measured::{Line, Measured, MeasuredPart, SCHEMA};
    use crate::report::sample_report::sample_report;

    fn line(name: &str, rates: [f64; 3]) -> Line {
        let round = |rate| Repetition { ops_per_second: rate, ..Repetition::default() };
        Line {
            records_per_op: 100,
            rounds: rates.map(round).to_vec(),
            ..Line::new(name.to_owned(), Some(Class::Read))
        }
    }

    fn scans() -> Measured {
        let report = sample_report();
        Measured {
            parts_schema: SCHEMA,
            run: report.run,
            started_unix_s: report.started_unix_s,
            machine: report.machine,
            stores: report.stores,
            others_cpu: Some(0.5),
            parts: vec![MeasuredPart {
                recipe: None,
                name: "scans".to_owned(),
                title: "a title".to_owned(),
                metric: Metric::OpsPerSecond,
                lines: vec![line("uarr", [2e5, 1e5, 1.5e5]), line("lmdb", [1e5, 1e5, 1e5])],
                notes: Vec::new(),
            }],
            sizes: vec![Size {
                contender: Contender::Uarr,
                user_bytes: 1000,
                loaded_bytes: 1400,
                overwritten_bytes: 2500,
                fresh_bytes: 129 << 20,
            }],
        }
    }

    fn page() -> Page {
        let reports =
            vec![Saved::Check(Box::new(sample_report())), Saved::Parts(Box::new(scans()))];
        Page { reports }
    }

    fn rows(name: &str) -> String {
        page().table(PROMISES.iter().find(|promise| promise.name == name).unwrap())
    }

    #[test]
    fn each_goal_is_judged_by_the_median_of_its_ratios() {
        let put = rows("durable put");
        let head =
            "| | uarr | RocksDB | SQLite | LMDB | floor | goals |\n|---|---|---|---|---|---|---|\n";
        assert!(put.starts_with(head), "{put}");
        let goals = "<= 1.05 floor: 1.08 (1.08 .. 1.08) **missed**; <= 1 RocksDB: 0.650 (0.646 .. \
                     0.653) met; <= 1 SQLite: not measured";
        let p50 =
            format!("| durable put, 1 thread, p50 | 130 us | 200 us |  |  | 120 us | {goals} |\n");
        assert!(put.contains(&p50), "{put}");
        // 100 records at a time: 50, 100 and 67 ns a record against 100.
        let goal = "<= 0.8 LMDB: 0.667 (0.500 .. 1.00) met";
        let scan =
            format!("| scan of 100 records, per record | 66.7 ns |  |  | 100 ns |  | {goal} |\n");
        assert!(rows("scan").contains(&scan), "{}", rows("scan"));
        let size = rows("size");
        assert!(size.contains("| 1.40 |  |  |  |  | <= 1.50: met |\n"), "{size}");
        assert!(size.contains("| 2.50 |  |  |  |  | <= 1.50: **missed** |\n"), "{size}");
        assert!(size.contains("| 129 MiB |  |  |  |  | <= 64 MiB: **missed** |\n"), "{size}");
    }

    #[test]
    fn a_number_of_another_promise_is_shown_and_never_divided() {
        let single = |name: &str, class| {
            let line = line(name, [1e6, 2e6, 3e6]);
            Line { class: Some(class), records_per_op: 1, ..line }
        };
        let mut measured = scans();
        measured.parts[0].name = "memory".to_owned();
        measured.parts[0].lines = vec![
            single("uarr, single", Class::Interval),
            single("rocksdb, single", Class::Interval),
            single("rocksdb (os-cache), single", Class::OsCache),
            single("sqlite, single", Class::OsCache),
        ];
        let page =
            |measured: &Measured| Page { reports: vec![Saved::Parts(Box::new(measured.clone()))] };
        let promise = PROMISES.iter().find(|promise| promise.name == "memory-first put").unwrap();
        let text = page(&measured).table(promise);
        let start = "| puts per second, random keys | 2.00 M | 2.00 M | 2.00 M \\* |  |  | \
            >= 5 RocksDB: 1.00 (1.00 .. 1.00) **missed**;";
        assert!(text.contains(start), "{text}");
        measured.parts[0].lines[1].class = Some(Class::OsCache);
        let text = page(&measured).table(promise);
        let start = "| puts per second, random keys | 2.00 M | 2.00 M \\* | 2.00 M \\* |  |  | \
            >= 5 RocksDB: not measured;";
        assert!(text.contains(start), "{text}");
    }

    #[test]
    fn the_page_has_each_promise_once_and_says_where_it_was_measured() {
        for promise in PROMISES {
            let place = format!("\n{{{{{}}}}}\n", promise.name);
            assert_eq!(TEMPLATE.matches(&place).count(), 1, "{}", promise.name);
        }
        let text = page().render();
        assert!(!text.contains("{{"), "{text}");
        assert!(text.contains("kernel 6.18"), "{text}");
        assert!(text.contains("| 50 %, too much |"), "{text}");
        assert!(text.contains("Runs before 2026-11-30 are older than these rules"), "{text}");
        let missing = "Not built into the program of these runs: RocksDB, SQLite, LMDB.\n";
        assert!(text.contains(missing), "{text}");
        assert!(
            text.contains("| `check` | 2026-09-21 | unknown | 9 of 2 s | 1000 | 5 % |"),
            "{text}"
        );
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_798_761_599, "2026-12-31"),
        ] {
            assert_eq!(date(seconds), day);
        }
    }
}
