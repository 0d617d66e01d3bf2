//! Judges the rows of a run by its targets.
//!
//! Rules, each with its reason:
//! 1. A ratio is that of two medians over the same rounds; the lowest and highest ratio of single
//!    rounds are shown beside it. Readers can recompute it from the table.
//! 2. Rows of different durability groups are never divided: the target is unjudged and says so.
//! 3. A number that was not measured (store not built in, too few samples) leaves its target
//!    unjudged.
//! 4. A floor that moved more than the limit makes the whole run inconclusive: the device was not
//!    the same for all contenders.
//! 5. So does other work on the machine: it shows as the store's latency.
//! 6. Else one missed target is a miss; else one unjudged target is inconclusive; else it is a
//!    pass.

use serde::{Deserialize, Serialize};

use crate::judge::targets::{Bound, Target, Targets};
use crate::measure::rows::{Drift, RowResult, find};
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
    /// The lowest and highest value of single rounds.
    pub range: Option<(f64, f64)>,
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
    let others_max = targets.noise.others_cpu_max;
    if let Some(others) = evidence.others_cpu.filter(|&others| others > others_max) {
        notes.push(format!(
            "inconclusive: others used {:.0} % of the processors during the run (limit {:.0} %)",
            others * 100.0,
            others_max * 100.0,
        ));
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

fn is_too_much(drift: &Drift, targets: &Targets) -> bool {
    drift.relative() > targets.noise.floor_drift_max
}

fn judge_one(rows: &[RowResult], target: &Target) -> Judgement {
    let measured = measure(rows, target);
    let mut question = format!("{} {}", target.row.name(), target.metric.name());
    if let Some(against) = target.against {
        let name = match against.contender {
            Contender::Floor => against.row.name(),
            Contender::Uarr => &format!("own {}", against.row.name()),
            peer => peer.name(),
        };
        question += &format!(" / {name}");
    }
    let bound = match target.bound {
        Bound::AtMost(bound) => format!("<= {bound}"),
        Bound::AtLeast(bound) => format!(">= {bound}"),
    };
    let (value, range, finding) = match measured {
        Ok((value, range)) => {
            let is_met = target.bound.is_met(value);
            (Some(value), Some(range), if is_met { Finding::Met } else { Finding::Missed })
        }
        Err(reason) => (None, None, Finding::Unjudged { reason }),
    };
    Judgement { id: target.id.clone(), question, bound, value, range, finding }
}

/// The value that a target is about and its range over the rounds.
fn measure(rows: &[RowResult], target: &Target) -> Result<(f64, (f64, f64)), String> {
    let (row, metric) = (target.row.name(), target.metric.name());
    let own =
        find(rows, target.row, Contender::Uarr).ok_or_else(|| format!("{row} was not measured"))?;
    let no_number = |who: &str| format!("{who} has no {metric} (not counted, or too few samples)");
    let rounds = own.rounds(target.metric).ok_or_else(|| no_number(row))?;
    let value = own.median(target.metric).ok_or_else(|| no_number(row))?;
    let Some(against) = target.against else { return Ok((value, range(&rounds))) };

    let name = format!("{} {}", against.contender, against.row.name());
    let other = find(rows, against.row, against.contender).ok_or_else(|| {
        if against.contender.is_built_in() {
            format!("{name} was not measured")
        } else {
            let feature = against.contender.feature();
            format!("{} is not built in (needs --features {feature})", against.contender)
        }
    })?;
    if own.class.group() != other.class.group() {
        let (own, other) = (own.class.name(), other.class.name());
        return Err(format!("durability differs: {own} against {other}"));
    }
    let other_rounds = other.rounds(target.metric).ok_or_else(|| no_number(&name))?;
    let other_value = other.median(target.metric).ok_or_else(|| no_number(&name))?;
    if other_value <= 0.0 || other_rounds.iter().any(|&round| round <= 0.0) {
        return Err(format!("{name} is 0: no ratio"));
    }
    let ratios: Vec<f64> =
        rounds.iter().zip(&other_rounds).map(|(own, other)| own / other).collect();
    Ok((value / other_value, range(&ratios)))
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
        (low.min(value), high.max(value))
    })
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
    fn classes_of_different_groups_are_never_divided() {
        let mut report = sample_report();
        for row in report.rows.iter_mut().filter(|row| row.row == Row::WriteFdatasync) {
            row.class = Class::OsCache;
        }
        let (judgement, verdict, _) = outcome(&report, &format!("{P1}at_most = 9"));
        assert_eq!(verdict, Outcome::Inconclusive);
        assert_eq!(reason(&judgement), "durability differs: sync against os-cache");
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
