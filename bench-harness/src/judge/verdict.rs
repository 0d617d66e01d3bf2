//! Judges the rows of a run by its targets.
//!
//! Rules, each with its reason:
//! 1. A ratio is formed within each round, whose two sides met the same device and the same
//!    neighbours; the median of these ratios counts, and their range stands beside it. The verdict
//!    says if some round is on the other side of the bound.
//! 2. Rows of different promises are never divided: the target is unjudged and says so.
//! 3. A number that was not measured (store not built in, too few samples) leaves its target
//!    unjudged.
//! 4. A floor that moved more than the limit makes the whole run inconclusive: the device was not
//!    the same for all contenders. So does one whose drift is not known.
//! 5. So does other work on the machine, or not knowing of it: it shows as the store's latency.
//! 6. Else one missed target is a miss; else one unjudged target is inconclusive; else it is a
//!    pass.

use serde::{Deserialize, Serialize};

use crate::judge::targets::{Against, Bound, Target, Targets};
use crate::measure::rows::{DRIFT_FLOORS, Drift, RowResult, find, find_class, write_floor};
use crate::measure::sample::{median, ratios};
use crate::measure::store::Contender;

/// The verdict of a run; its exit code is the contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every target is met: exit code 0.
    Pass,
    /// At least one target is missed: exit code 1.
    Miss,
    /// Not enough to judge: exit code 2.
    Inconclusive,
}

impl Outcome {
    /// The exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Miss => 1,
            Self::Inconclusive => 2,
        }
    }

    /// The word printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Miss => "MISS",
            Self::Inconclusive => "INCONCLUSIVE",
        }
    }
}

/// Exit code of set-up errors and of wrong data.
pub const EXIT_CODE_ERROR: u8 = 3;

/// The outcome of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The target's name.
    pub id: String,
    /// What is compared with what, in words.
    pub question: String,
    /// The bound in words, such as `<= 1.2`.
    pub bound: String,
    /// The ratio or number; `None` if it was not measured.
    pub value: Option<f64>,
    /// The lowest and highest value of single rounds; `None` if a round has none.
    pub range: Option<(f64, f64)>,
    /// Whether some round is on the other side of the bound than the value.
    #[serde(default)]
    pub differs_by_round: bool,
    /// Met, missed, or unjudged and why.
    pub finding: Finding,
}

/// What was found about one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Finding {
    /// The number is on the right side of the bound.
    Met,
    /// It is on the other side.
    Missed,
    /// There is no number to judge.
    Unjudged {
        /// Why.
        reason: String,
    },
}

/// What is judged.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The measurements.
    pub rows: &'a [RowResult],
    /// How far the floors moved during the run.
    pub drift: &'a [Drift],
    /// Share of all processors' time that others used during the run, 0 to 1.
    pub others_cpu: Option<f64>,
}

/// Judges every target and sums up. Drift and others count with the limits of the targets' file.
pub fn judge(evidence: Evidence<'_>, targets: &Targets) -> (Vec<Judgement>, Outcome, Vec<String>) {
    let judgements: Vec<Judgement> =
        targets.targets.iter().map(|target| judge_one(evidence.rows, target)).collect();
    let mut notes = Vec::new();
    for drift in evidence.drift.iter().filter(|drift| is_too_much(drift, targets)) {
        notes.push(format!(
            "inconclusive: the floor {} moved by {:.0} % during the run (limit {:.0} %); \
             something else \
             used the device or the processor",
            drift.row.name(),
            drift.relative() * 100.0,
            targets.noise.floor_drift_max * 100.0,
        ));
    }
    let is_known = |row| evidence.drift.iter().any(|drift| drift.row == row);
    for row in DRIFT_FLOORS.into_iter().filter(|&row| !is_known(row)) {
        notes.push(format!("inconclusive: how far the floor {} moved is not known", row.name()));
    }
    let others_max = targets.noise.others_cpu_max;
    match evidence.others_cpu {
        Some(others) if others <= others_max => (),
        Some(others) => notes.push(format!(
            "inconclusive: others used {:.0} % of the processors during the run (limit {:.0} %)",
            others * 100.0,
            others_max * 100.0,
        )),
        None => notes.push("inconclusive: what others used of the processors is not known".into()),
    }
    let outcome = if !notes.is_empty() {
        Outcome::Inconclusive
    } else if judgements.iter().any(|judgement| judgement.finding == Finding::Missed) {
        Outcome::Miss
    } else if judgements.iter().any(|judgement| judgement.finding != Finding::Met) {
        Outcome::Inconclusive
    } else {
        Outcome::Pass
    };
    (judgements, outcome, notes)
}

/// Also of a drift that is no number.
fn is_too_much(drift: &Drift, targets: &Targets) -> bool {
    let is_within = drift.relative() <= targets.noise.floor_drift_max;
    !is_within
}

fn judge_one(rows: &[RowResult], target: &Target) -> Judgement {
    let measured = measure(rows, target);
    let mut question = format!("{} {}", target.row.name(), target.metric.name());
    if let Some(against) = target.against {
        question += &format!(" / {}", in_words(against));
    }
    let bound = match target.bound {
        Bound::AtMost(bound) => format!("<= {bound}"),
        Bound::AtLeast(bound) => format!(">= {bound}"),
    };
    let mut judgement = Judgement {
        id: target.id.clone(),
        question,
        bound,
        value: None,
        range: None,
        differs_by_round: false,
        finding: Finding::Met,
    };
    match measured {
        Ok((value, rounds)) => {
            let is_met = target.bound.is_met(value);
            judgement.value = Some(value);
            judgement.differs_by_round =
                rounds.iter().any(|&round| target.bound.is_met(round) != is_met);
            judgement.range = range(&rounds);
            judgement.finding = if is_met { Finding::Met } else { Finding::Missed };
        }
        Err(reason) => judgement.finding = Finding::Unjudged { reason },
    }
    judgement
}

fn in_words(against: Against) -> String {
    match against {
        Against::WriteFloor => "the faster floor".to_owned(),
        Against::Floor(row) => row.name().to_owned(),
        Against::Peer(peer) => peer.name().to_owned(),
        Against::Own(row) => format!("own {}", row.name()),
    }
}

/// The value that a target is about, and that of each round; no rounds where one of them has none.
fn measure(rows: &[RowResult], target: &Target) -> Result<(f64, Vec<f64>), String> {
    let (row, metric) = (target.row.name(), target.metric.name());
    let own =
        find(rows, target.row, Contender::Uarr).ok_or_else(|| format!("{row} was not measured"))?;
    let no_number = |who: &str| format!("{who} has no {metric} (not counted, or too few samples)");
    let own_rounds = own.rounds(target.metric);
    let Some(against) = target.against else {
        let value = own.value(target.metric).ok_or_else(|| no_number(row))?;
        return Ok((value, own_rounds.unwrap_or_default()));
    };
    let other = other_row(rows, own, against)?;
    let name = format!("{} {}", other.contender, other.row.name());
    if own.class != other.class {
        let (own, other) = (own.class.name(), other.class.name());
        return Err(format!("durability differs: {own} against {other}"));
    }
    let own_rounds = own_rounds.ok_or_else(|| no_number(row))?;
    let other_rounds = other.rounds(target.metric).ok_or_else(|| no_number(&name))?;
    let ratios =
        ratios(&own_rounds, &other_rounds).ok_or_else(|| format!("{name} is 0: no ratio"))?;
    Ok((median(&ratios).ok_or_else(|| no_number(row))?, ratios))
}

/// The row that `own` is divided by: that of its class, if there is one.
fn other_row<'r>(
    rows: &'r [RowResult],
    own: &RowResult,
    against: Against,
) -> Result<&'r RowResult, String> {
    let found = match against {
        Against::WriteFloor => write_floor(rows),
        Against::Floor(row) => find(rows, row, Contender::Floor),
        Against::Peer(peer) => {
            find_class(rows, own.row, peer, own.class).or_else(|| find(rows, own.row, peer))
        }
        Against::Own(row) => find(rows, row, Contender::Uarr),
    };
    found.ok_or_else(|| match against {
        Against::Peer(peer) if !peer.is_built_in() => {
            format!("{peer} is not built in (needs --features {})", peer.feature())
        }
        Against::Peer(peer) => format!("{peer} {} was not measured", own.row.name()),
        other => format!("{} was not measured", in_words(other)),
    })
}

/// The lowest and the highest.
fn range(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().reduce(f64::min)?;
    Some((low, values.iter().copied().reduce(f64::max)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::rows::Row;
    use crate::measure::store::Class;
    use crate::report::Report;
    use crate::report::sample_report::sample_report;

    const P1: &str = "schema = 1\n[[target]]\nid = \"P1\"\nrow = \"durable-put1\"\n\
        metric = \"p50_ns\"\n\
        against = \"floor:write-fdatasync\"\n";

    fn outcome(report: &Report, targets: &str) -> (Judgement, Outcome, Vec<String>) {
        let targets = Targets::parse(targets).unwrap();
        let (mut judgements, outcome, notes) = judge(report.evidence(), &targets);
        (judgements.remove(0), outcome, notes)
    }

    fn reason(judgement: &Judgement) -> &str {
        match &judgement.finding {
            Finding::Unjudged { reason } => reason,
            other => panic!("judged: {other:?}"),
        }
    }

    #[test]
    fn every_outcome_and_its_exit_code() {
        // The sample's engine takes 130 us, its floor 120 us, RocksDB 200 us.
        let report = sample_report();
        let (judgement, verdict, _) = outcome(&report, &format!("{P1}at_most = 1.2"));
        assert_eq!((verdict, verdict.exit_code()), (Outcome::Pass, 0));
        assert!((judgement.value.unwrap() - 130.0 / 120.0).abs() < 1e-9);

        let (judgement, verdict, _) = outcome(&report, &format!("{P1}at_most = 1.05"));
        assert_eq!((verdict, verdict.exit_code()), (Outcome::Miss, 1));
        assert_eq!(judgement.finding, Finding::Missed);

        let mut drifting = report.clone();
        drifting.drift[0].end_ns = drifting.drift[0].start_ns * 1.2;
        for bound in ["at_most = 1.2", "at_most = 0.1"] {
            let (_, verdict, notes) = outcome(&drifting, &format!("{P1}{bound}"));
            assert_eq!((verdict, verdict.exit_code()), (Outcome::Inconclusive, 2));
            assert!(notes[0].contains("20 %"), "{notes:?}");
        }
        let mut busy = report.clone();
        busy.others_cpu = Some(0.4);
        let (_, verdict, notes) = outcome(&busy, &format!("{P1}at_most = 1.2"));
        assert_eq!(verdict, Outcome::Inconclusive);
        assert!(notes[0].contains("others used 40 %"), "{notes:?}");
        assert_eq!(EXIT_CODE_ERROR, 3);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let mut report = sample_report();
        report.rows.retain(|row| row.contender != Contender::Rocksdb);
        let peer = P1.replace("floor:write-fdatasync", "peer:rocksdb") + "at_most = 1.0";
        let (judgement, verdict, _) = outcome(&report, &peer);
        assert_eq!(verdict, Outcome::Inconclusive);
        assert!(reason(&judgement).contains("rocksdb"));

        let mut report = sample_report();
        for row in &mut report.rows {
            row.repetitions[0].p50_ns = None;
        }
        let (judgement, verdict, _) = outcome(&report, &format!("{P1}at_most = 1.2"));
        assert_eq!(verdict, Outcome::Inconclusive);
        assert!(reason(&judgement).contains("too few samples"));
    }

    #[test]
    fn a_miss_counts_more_than_an_unjudged_target() {
        let mut report = sample_report();
        report.rows.retain(|row| row.contender != Contender::Rocksdb);
        let second =
            P1.replace("schema = 1\n", "").replace("floor:write-fdatasync", "peer:rocksdb");
        let (_, verdict, _) =
            outcome(&report, &format!("{P1}at_most = 1.0\n{second}at_most = 1.0"));
        assert_eq!(verdict, Outcome::Miss);
    }

    #[test]
    fn rows_of_different_promises_are_never_divided() {
        let mut report = sample_report();
        let put = report.find(Row::DurablePut1, Contender::Uarr).unwrap().clone();
        let memory_first =
            |contender, class| RowResult { row: Row::UnsyncedPut, contender, class, ..put.clone() };
        report.rows.push(memory_first(Contender::Uarr, Class::Interval));
        report.rows.push(memory_first(Contender::Rocksdb, Class::OsCache));
        let targets = P1
            .replace("durable-put1", "unsynced-put")
            .replace("floor:write-fdatasync", "peer:rocksdb")
            + "at_most = 9";
        let (judgement, verdict, _) = outcome(&report, &targets);
        assert_eq!(verdict, Outcome::Inconclusive);
        assert_eq!(reason(&judgement), "durability differs: interval-100ms against os-cache");
        // The row of the same promise is found beside the other.
        report.rows.push(memory_first(Contender::Rocksdb, Class::Interval));
        let (judgement, verdict, _) = outcome(&report, &targets);
        assert_eq!((judgement.value, verdict), (Some(1.0), Outcome::Pass));
    }

    #[test]
    fn the_median_of_the_ratios_of_rounds_counts() {
        let mut report = sample_report();
        let floor = &mut report.rows[0];
        assert_eq!(floor.row, Row::WriteFdatasync);
        for (round, p50_ns) in floor.repetitions.iter_mut().zip([260e3, 64e3, 66e3]) {
            round.p50_ns = Some(p50_ns);
        }
        // 130/260, 128/64, 132/66: the ratio of the medians is below 2.
        let (judgement, verdict, _) = outcome(&report, &format!("{P1}at_most = 1.99"));
        assert_eq!((judgement.value, judgement.range), (Some(2.0), Some((0.5, 2.0))));
        assert_eq!((judgement.differs_by_round, verdict), (true, Outcome::Miss));
    }

    #[test]
    fn the_faster_floor_counts() {
        let mut report = sample_report();
        let faster = |change: f64| {
            let mut floor = sample_report().rows.remove(0);
            floor.row = Row::WriteDsync;
            for round in &mut floor.repetitions {
                round.p50_ns = round.p50_ns.map(|p50_ns| p50_ns * change);
            }
            floor
        };
        let targets = P1.replace("write-fdatasync", "durable-write") + "at_most = 9";
        for (change, divisor) in [(2.0, 120.0), (0.5, 60.0)] {
            report.rows.push(faster(change));
            let (judgement, ..) = outcome(&report, &targets);
            assert!((judgement.value.unwrap() - 130.0 / divisor).abs() < 0.01, "{judgement:?}");
            assert_eq!(judgement.question, "durable-put1 p50_ns / the faster floor");
            report.rows.pop();
        }
    }

    #[test]
    fn what_is_not_known_of_the_noise_does_not_pass() {
        let targets = format!("{P1}at_most = 1.2");
        let mut report = sample_report();
        report.drift.pop();
        let (_, verdict, notes) = outcome(&report, &targets);
        assert_eq!(verdict, Outcome::Inconclusive);
        assert!(notes[0].contains("read-direct moved is not known"), "{notes:?}");
        let mut report = sample_report();
        report.drift[0].start_ns = f64::NAN;
        assert_eq!(outcome(&report, &targets).1, Outcome::Inconclusive);
        let mut report = sample_report();
        report.others_cpu = None;
        assert_eq!(outcome(&report, &targets).1, Outcome::Inconclusive);
    }

    #[test]
    fn a_number_is_judged_by_itself_without_a_comparison() {
        let text = P1.replace("against = \"floor:write-fdatasync\"\n", "");
        let (judgement, verdict, _) =
            outcome(&sample_report(), &format!("{text}at_least = 129000"));
        assert_eq!((judgement.value, verdict), (Some(130_000.0), Outcome::Pass));
        assert_eq!(judgement.range, Some((128_000.0, 132_000.0)));
    }
}
