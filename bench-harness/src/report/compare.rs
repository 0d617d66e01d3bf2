//! Two saved reports side by side: what became slower or faster, and how sure that is.
//!
//! A row that stands beside a floor is compared by its ratio to that, because the disk of one hour
//! is not that of another; all others by themselves. The factor between the runs has an interval
//! (see [`crate::measure::interval::of_factor`]). A number is worse, or better, if the whole
//! interval is beyond the margin: what differs from run to run on one machine is not in the rounds
//! of either.

use crate::judge::flushes::BrokenPromise;
use crate::measure::interval::of_factor;
use crate::measure::rows::{Metric, Row, RowResult, write_floor};
use crate::measure::sample::ratios;
use crate::measure::store::Contender;
use crate::report::saved::Saved;
use crate::report::table::Table;
use crate::report::words::ratio;
use crate::report::{Report, text};

/// How sure a finding is, and what counts as a difference.
#[derive(Clone, Copy, Debug)]
pub struct Sureness {
    /// The chance that an interval holds the true factor.
    pub confidence: f64,
    /// Relative difference that is not noise between runs, 0.05 for 5 %.
    pub margin: f64,
}

/// What became of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is worse, surely.
    Worse,
    /// It is better, surely.
    Better,
    /// Nothing that is sure.
    None,
    /// There are too few rounds to say.
    Unknown,
}

/// A number in the rounds of a run.
struct Series {
    name: String,
    who: String,
    metric: Metric,
    rounds: Vec<f64>,
}

/// A number in both runs.
pub struct Compared {
    name: String,
    who: String,
    what: String,
    /// New divided by old, with its interval.
    factor: Option<(f64, f64, f64)>,
    /// What that means.
    pub change: Change,
}

impl Compared {
    /// Whether it is a number of the engine.
    pub fn is_own(&self) -> bool {
        self.who.split([',', ' ']).next() == Some(Contender::Uarr.name())
    }
}

/// Numbers compared of each row that has them.
const METRICS: [Metric; 3] = [Metric::P50Ns, Metric::P99Ns, Metric::OpsPerSecond];

/// All numbers that both have.
pub fn compare(old: &Saved, new: &Saved, sureness: Sureness) -> Vec<Compared> {
    let (old, new) = (series(old), series(new));
    let partner = |one: &Series| {
        let is_it = |other: &&Series| {
            (&other.name, &other.who, other.metric) == (&one.name, &one.who, one.metric)
        };
        old.iter().find(is_it)
    };
    new.iter().filter_map(|new| Some(one(partner(new)?, new, sureness))).collect()
}

fn one(old: &Series, new: &Series, sureness: Sureness) -> Compared {
    let found = of_factor(&old.rounds, &new.rounds, sureness.confidence);
    let is_rate = new.metric == Metric::OpsPerSecond;
    let change = match found {
        None => Change::Unknown,
        Some((_, interval)) if interval.low > 1.0 + sureness.margin => {
            if is_rate {
                Change::Better
            } else {
                Change::Worse
            }
        }
        Some((_, interval)) if interval.high < 1.0 / (1.0 + sureness.margin) => {
            if is_rate {
                Change::Worse
            } else {
                Change::Better
            }
        }
        Some(_) => Change::None,
    };
    let factor = found.map(|(factor, interval)| (factor, interval.low, interval.high));
    let (name, who) = (new.name.clone(), new.who.clone());
    Compared { name, who, what: new.metric.name().to_owned(), factor, change }
}

fn series(saved: &Saved) -> Vec<Series> {
    match saved {
        Saved::Check(report) => report
            .rows
            .iter()
            .flat_map(|row| METRICS.map(|metric| of_row(report, row, metric)))
            .flatten()
            .collect(),
        Saved::Parts(measured) => {
            let lines = measured.parts.iter().flat_map(|part| {
                part.lines
                    .iter()
                    .filter(|line| line.invalid().is_none())
                    .map(move |line| (part, line))
            });
            let series = lines.flat_map(|(part, line)| {
                METRICS.map(|metric| Series {
                    name: part.name.clone(),
                    who: line.name.clone(),
                    metric,
                    rounds: line.of(metric),
                })
            });
            series.filter(|series| !series.rounds.is_empty()).collect()
        }
    }
}

/// A number of a row; divided by that of its floor, round by round, if there is one.
fn of_row(report: &Report, row: &RowResult, metric: Metric) -> Option<Series> {
    let rounds = row.rounds(metric)?;
    let who = row.contender.name();
    if report.broken.iter().any(|broken: &BrokenPromise| broken.is_of(row)) {
        return None;
    }
    let floor = match row.row {
        Row::DurablePut1 if metric != Metric::OpsPerSecond => write_floor(&report.rows),
        _ => None,
    };
    let name = format!("{} ({})", row.row.name(), row.class.name());
    let beside = floor.and_then(|floor| ratios(&rounds, &floor.rounds(metric)?));
    Some(match beside {
        Some(rounds) => Series { name: name + " / floor", who: who.to_owned(), metric, rounds },
        None => Series { name, who: who.to_owned(), metric, rounds },
    })
}

/// The comparison as text.
pub fn render(old: &Saved, new: &Saved, all: &[Compared], sureness: Sureness) -> String {
    let mut told = String::new();
    for name in ["cpu model", "kernel", "file system", "device"] {
        let fact = |saved: &Saved| crate::machine::fact(saved.machine(), name).to_owned();
        let (old, new) = (fact(old), fact(new));
        if old != new {
            told.push_str(&format!("NOT the same {name}: {old}, now {new}\n"));
        }
    }
    let row = |compared: &Compared| {
        let (factor, interval) = match compared.factor {
            None => ("-".to_owned(), "-".to_owned()),
            Some((factor, low, high)) => {
                (ratio(Some(factor)), format!("{} .. {}", ratio(Some(low)), ratio(Some(high))))
            }
        };
        let change = match compared.change {
            Change::Worse => "WORSE",
            Change::Better => "better",
            Change::None => "",
            Change::Unknown => "unknown: too few rounds",
        };
        let (name, who, what) = (&compared.name, &compared.who, &compared.what);
        vec![name.clone(), who.clone(), what.clone(), factor, interval, change.to_owned()]
    };
    let table = Table {
        head: vec!["row", "store", "number", "new/old", "interval", "change"],
        left_count: 3,
        rows: all.iter().map(row).collect(),
    };
    told.push_str(&table.to_text());
    told.push_str(&format!(
        "\nnew divided by old; interval: where the true factor is, {} % sure; WORSE or better: all \
         of it is beyond {} %\n",
        sureness.confidence * 100.0,
        sureness.margin * 100.0
    ));
    let stores = |saved: &Saved| saved.stores().iter().map(text::store_line).collect::<Vec<_>>();
    if stores(old) != stores(new) {
        told.push_str("the stores' versions or settings differ between the reports\n");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample_report::sample_report;

    const SURENESS: Sureness = Sureness { confidence: 0.95, margin: 0.05 };

    fn saved(change: impl Fn(&mut RowResult)) -> Saved {
        let mut report = sample_report();
        report.rows.iter_mut().for_each(change);
        Saved::Check(Box::new(report))
    }

    fn slower(contender: Contender, factor: f64) -> impl Fn(&mut RowResult) {
        move |row| {
            for round in row.repetitions.iter_mut().filter(|_| row.contender == contender) {
                round.p50_ns = round.p50_ns.map(|ns| ns * factor);
                round.ops_per_second /= factor;
            }
        }
    }

    fn changes(old: &Saved, new: &Saved) -> Vec<String> {
        let all = compare(old, new, SURENESS);
        let changed = all.iter().filter(|compared| compared.change != Change::None);
        let text = |one: &Compared| format!("{} {} {:?}", one.who, one.what, one.change);
        changed.map(text).collect()
    }

    #[test]
    fn what_became_slower_is_found_and_noise_is_not() {
        let old = saved(|_| ());
        assert_eq!(changes(&old, &saved(|_| ())), [""; 0]);
        assert_eq!(changes(&old, &saved(slower(Contender::Uarr, 1.04))), [""; 0]);
        let slow = saved(slower(Contender::Uarr, 1.2));
        assert_eq!(changes(&old, &slow), ["uarr p50_ns Worse", "uarr ops_per_second Worse"]);
        assert_eq!(changes(&slow, &old), ["uarr p50_ns Better", "uarr ops_per_second Better"]);
        let all = compare(&old, &slow, SURENESS);
        assert!(all.iter().any(|one| one.is_own() && one.change == Change::Worse));
        let text = render(&old, &slow, &all, SURENESS);
        assert!(text.contains("durable-put1 (sync) / floor  uarr"), "{text}");
        assert!(text.contains("WORSE") && !text.contains("NOT the same"), "{text}");
    }

    #[test]
    fn a_disk_that_became_slower_is_no_change_of_the_engine() {
        let old = saved(|_| ());
        let slow = saved(|row| {
            slower(Contender::Uarr, 2.0)(row);
            slower(Contender::Floor, 2.0)(row);
        });
        let changed = changes(&old, &slow);
        assert!(!changed.contains(&"uarr p50_ns Worse".to_owned()), "{changed:?}");
        assert!(changed.contains(&"floor p50_ns Worse".to_owned()), "{changed:?}");
    }

    #[test]
    fn too_few_rounds_and_other_machines_are_said() {
        let few = saved(|row| row.repetitions.truncate(2));
        let all = compare(&few, &few, SURENESS);
        assert!(all.iter().all(|one| one.change == Change::Unknown));
        let mut other = sample_report();
        other.machine.insert("kernel".to_owned(), "7.1".to_owned());
        let text = render(&few, &Saved::Check(Box::new(other)), &all, SURENESS);
        assert!(text.starts_with("NOT the same kernel: 6.18, now 7.1\n"), "{text}");
        assert!(text.contains("unknown: too few rounds"), "{text}");
    }
}
