//! Judges the rows of a run by its targets.
//!
//! Rules, each with its reason:
//! 1. A ratio is formed within each round, whose two sides met the same device and the same
//!    neighbours. The floor is taken right before and right after the engine's turn, so what moves
//!    steadily moves both alike.
//! 2. The median of the rounds counts. Beside it stands the interval that holds the true median
//!    with the confidence that the targets ask for (see [`crate::measure::interval`]). On one side
//!    of the bound as a whole, it meets or misses the target. Across the bound, but as a whole as
//!    close to it as the targets call close, the median decides, and the finding says so: more
//!    rounds would tell little. Else the target is unclear, and the report says what to do.
//! 3. Rows of different promises are never divided, nor are those of a store that broke its own
//!    (see [`crate::judge::flushes`]): the target is unjudged and says so.
//! 4. A number that was not measured (store not built in, too few samples or rounds) leaves its
//!    target unjudged.
//! 5. Other work on the machine decides nothing: it widens the intervals. The report warns of it.
//! 6. One missed target is a miss; else one unclear or unjudged target is inconclusive; else it is
//!    a pass.

use serde::{Deserialize, Serialize};

use crate::judge::flushes::BrokenPromise;
use crate::judge::targets::{Against, Bound, Target, Targets};
use crate::measure::interval::{Interval, of_median, rounds_min};
use crate::measure::rows::{Row, RowResult, find, find_class, write_floor};
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
    /// The ratio or number, the median of the rounds; `None` if it was not measured.
    pub value: Option<f64>,
    /// Where the true median lies, with the confidence of the targets; `None` if there are too few
    /// rounds, and in older reports.
    #[serde(default)]
    pub interval: Option<(f64, f64)>,
    /// The lowest and highest value of single rounds.
    pub range: Option<(f64, f64)>,
    /// Met, missed, or not known and why.
    pub finding: Finding,
}

/// What was found about one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Finding {
    /// The whole interval is on the right side of the bound.
    Met,
    /// It is on the other side.
    Missed,
    /// The bound lies within the interval, and all of that is close to it.
    Close {
        /// Whether the median is on the right side.
        is_met: bool,
    },
    /// The bound lies within the interval.
    Unclear {
        /// What to do.
        advice: String,
    },
    /// There is no number to judge.
    Unjudged {
        /// Why.
        reason: String,
    },
}

impl Finding {
    /// That of a run whose only target this is about.
    const fn outcome(&self) -> Outcome {
        match self {
            Self::Met | Self::Close { is_met: true } => Outcome::Pass,
            Self::Missed | Self::Close { is_met: false } => Outcome::Miss,
            Self::Unclear { .. } | Self::Unjudged { .. } => Outcome::Inconclusive,
        }
    }
}

/// Most rounds that a run can be asked for; reports advise no more.
pub const ROUNDS_MAX: u32 = 100;

/// Relative distance from its bound up to which a number is as good as on it.
const ON_ITS_BOUND: f64 = 0.05;

/// What is judged.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The measurements.
    pub rows: &'a [RowResult],
    /// Stores whose durable writes were not durable.
    pub broken: &'a [BrokenPromise],
    /// Share of all processors' time that others used during the run, 0 to 1.
    pub others_cpu: Option<f64>,
}

/// Judges every target and sums up. The notes warn of other work on the machine.
pub fn judge(evidence: Evidence<'_>, targets: &Targets) -> (Vec<Judgement>, Outcome, Vec<String>) {
    let judge = |target| judge_one(evidence, target, targets);
    let judgements: Vec<Judgement> = targets.targets.iter().map(judge).collect();
    let others_max = targets.noise.others_cpu_max;
    let note = match evidence.others_cpu {
        Some(others) if others <= others_max => None,
        Some(others) => Some(format!(
            "others used {:.0} % of the processors during the run (limit {:.0} %): what is missed \
             or unclear may be their doing; run again when the machine is idle",
            others * 100.0,
            others_max * 100.0,
        )),
        None => Some("what others used of the processors during the run is not known".to_owned()),
    };
    let outcomes = judgements.iter().map(|judgement| judgement.finding.outcome());
    let outcome = match outcomes.clone().find(|outcome| *outcome == Outcome::Miss) {
        Some(miss) => miss,
        None => outcomes.clone().find(|one| *one != Outcome::Pass).unwrap_or(Outcome::Pass),
    };
    (judgements, outcome, note.into_iter().collect())
}

/// Whether more rounds of the rows `of` could tell what the rounds so far do not.
pub fn is_unclear(rows: &[RowResult], targets: &Targets, of: &[Row]) -> bool {
    let mut asked = targets.targets.iter().filter(|target| of.contains(&target.row));
    asked.any(|target| {
        let evidence = Evidence { rows, broken: &[], others_cpu: None };
        let finding = judge_one(evidence, target, targets).finding;
        matches!(finding, Finding::Unclear { .. })
    })
}

fn judge_one(evidence: Evidence<'_>, target: &Target, targets: &Targets) -> Judgement {
    let confidence = targets.confidence;
    let mut question = format!("{} {}", target.row.name(), target.metric.name());
    if let Some(against) = target.against {
        question += &format!(" / {}", in_words(against));
    }
    let bound = match target.bound {
        Bound::AtMost(bound) => format!("<= {bound}"),
        Bound::AtLeast(bound) => format!(">= {bound}"),
    };
    let measured = measure(evidence, target);
    let rounds = measured.as_deref().unwrap_or_default();
    let interval = of_median(rounds, confidence);
    let finding = match (&measured, interval) {
        (Err(reason), _) => Finding::Unjudged { reason: reason.clone() },
        (Ok(rounds), None) => Finding::Unjudged { reason: too_few(rounds.len(), confidence) },
        (Ok(rounds), Some(interval)) => find_out(target.bound, rounds, interval, targets.close),
    };
    Judgement {
        id: target.id.clone(),
        question,
        bound,
        value: median(rounds),
        interval: interval.map(|interval| (interval.low, interval.high)),
        range: range(rounds),
        finding,
    }
}

fn too_few(rounds: usize, confidence: f64) -> String {
    let (percent, needed) = (confidence * 100.0, rounds_min(confidence));
    format!("{percent} % confidence needs {needed} rounds, there are {rounds}: add --reps {needed}")
}

fn find_out(bound: Bound, rounds: &[f64], interval: Interval, close: f64) -> Finding {
    let distance = |end: f64| (end / bound.number() - 1.0).abs();
    match (bound.is_met(interval.low), bound.is_met(interval.high)) {
        (true, true) => Finding::Met,
        (false, false) => Finding::Missed,
        _ if distance(interval.low).max(distance(interval.high)) <= close => {
            Finding::Close { is_met: median(rounds).is_some_and(|median| bound.is_met(median)) }
        }
        _ => Finding::Unclear { advice: advice(bound, rounds, interval) },
    }
}

/// What to do about an interval across its bound. Its width falls with the square root of the
/// number of rounds.
fn advice(bound: Bound, rounds: &[f64], interval: Interval) -> String {
    let (value, bound) = (median(rounds).unwrap_or(f64::NAN), bound.number());
    let beyond = if value > bound { value - interval.low } else { interval.high - value };
    let needed = rounds.len() as f64 * (beyond / (value - bound)).powi(2) * 1.2;
    if needed <= f64::from(ROUNDS_MAX) {
        return format!("too close to call; run again on an idle machine, with --reps {needed:.0}");
    }
    let distance = (value / bound - 1.0).abs();
    if distance <= ON_ITS_BOUND {
        let percent = distance * 100.0;
        return format!(
            "within {percent:.1} % of its bound: {ROUNDS_MAX} rounds would not call it"
        );
    }
    "rounds differ too much to call; run again when the machine is idle".to_owned()
}

fn in_words(against: Against) -> String {
    match against {
        Against::WriteFloor => "the faster floor".to_owned(),
        Against::Floor(row) => row.name().to_owned(),
        Against::Peer(peer) => peer.name().to_owned(),
        Against::Own(row) => format!("own {}", row.name()),
    }
}

/// The number that a target is about, of each round.
fn measure(evidence: Evidence<'_>, target: &Target) -> Result<Vec<f64>, String> {
    let Evidence { rows, broken, .. } = evidence;
    let is_kept = |row: &RowResult| match broken.iter().find(|broken| broken.is_of(row)) {
        Some(broken) => Err(format!("{} skipped flushes", broken.contender)),
        None => Ok(()),
    };
    let (row, metric) = (target.row.name(), target.metric.name());
    let own =
        find(rows, target.row, Contender::Uarr).ok_or_else(|| format!("{row} was not measured"))?;
    is_kept(own)?;
    let no_number = |who: &str| {
        format!("{who} has no {metric} in each round (not counted, or too few samples: --seconds)")
    };
    let own_rounds = own.rounds(target.metric).ok_or_else(|| no_number(row))?;
    let Some(against) = target.against else { return Ok(own_rounds) };
    let other = other_row(rows, own, against)?;
    is_kept(other)?;
    let name = format!("{} {}", other.contender, other.row.name());
    if own.class != other.class {
        let (own, other) = (own.class.name(), other.class.name());
        return Err(format!("durability differs: {own} against {other}"));
    }
    let other_rounds = other.rounds(target.metric).ok_or_else(|| no_number(&name))?;
    ratios(&own_rounds, &other_rounds).ok_or_else(|| format!("{name} is 0: no ratio"))
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
    use crate::measure::sample::Repetition;
    use crate::measure::store::Class;
    use crate::report::Report;
    use crate::report::sample_report::sample_report;

    const P1: &str = "schema = 2\n[[target]]\nid = \"P1\"\nrow = \"durable-put1\"\n\
        percentile = 50\nunit = \"x-floor:write-fdatasync\"\n";

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

    /// Gives the rounds of a row these medians.
    fn set(report: &mut Report, row: Row, contender: Contender, p50_us: &[f64]) {
        let is_it = |result: &&mut RowResult| (result.row, result.contender) == (row, contender);
        let result = report.rows.iter_mut().find(is_it).unwrap();
        let first = result.repetitions[0].clone();
        let of = |us: &f64| Repetition { p50_ns: Some(us * 1e3), ..first.clone() };
        result.repetitions = p50_us.iter().map(of).collect();
    }

    #[test]
    fn every_outcome_and_its_exit_code() {
        // The sample's engine takes 130 us, its floor 120 us, RocksDB 200 us.
        let report = sample_report();
        let (judgement, verdict, notes) = outcome(&report, &format!("{P1}at_most = 1.2"));
        assert_eq!((verdict, verdict.exit_code()), (Outcome::Pass, 0));
        assert!((judgement.value.unwrap() - 130.0 / 120.0).abs() < 1e-9);
        assert_eq!(notes, [""; 0]);

        let (judgement, verdict, _) = outcome(&report, &format!("{P1}at_most = 1.05"));
        assert_eq!((verdict, verdict.exit_code()), (Outcome::Miss, 1));
        assert_eq!(judgement.finding, Finding::Missed);
        assert_eq!(Outcome::Inconclusive.exit_code(), 2);
        assert_eq!(EXIT_CODE_ERROR, 3);
    }

    #[test]
    fn a_floor_that_drifts_with_its_store_changes_nothing() {
        let mut report = sample_report();
        let drifting: Vec<f64> = (0..9).map(|round| 100.0 + 20.0 * f64::from(round)).collect();
        let own: Vec<f64> = drifting.iter().map(|floor| floor * 1.1).collect();
        set(&mut report, Row::WriteFdatasync, Contender::Floor, &drifting);
        set(&mut report, Row::DurablePut1, Contender::Uarr, &own);
        let (judgement, verdict, notes) = outcome(&report, &format!("{P1}at_most = 1.2"));
        assert_eq!((judgement.finding, verdict), (Finding::Met, Outcome::Pass));
        assert_eq!(notes, [""; 0]);
    }

    #[test]
    fn an_interval_across_its_bound_is_unclear_and_says_what_to_do() {
        let mut report = sample_report();
        set(&mut report, Row::WriteFdatasync, Contender::Floor, &[100.0; 9]);
        let own = [90.0, 100.0, 104.0, 106.0, 108.0, 111.0, 118.0, 122.0, 300.0];
        set(&mut report, Row::DurablePut1, Contender::Uarr, &own);
        for (at_most, finding, verdict) in [
            (1.23, Finding::Met, Outcome::Pass),
            (0.99, Finding::Missed, Outcome::Miss),
            (
                1.15,
                // 9 rounds, 14 to the end, 7 to the bound.
                Finding::Unclear {
                    advice: "too close to call; run again on an idle machine, with --reps 43"
                        .to_owned(),
                },
                Outcome::Inconclusive,
            ),
            (
                1.079,
                Finding::Unclear {
                    advice: "within 0.1 % of its bound: 100 rounds would not call it".to_owned(),
                },
                Outcome::Inconclusive,
            ),
        ] {
            let targets = format!("{P1}at_most = {at_most}");
            let (judgement, found, _) = outcome(&report, &targets);
            assert_eq!((judgement.value, judgement.interval), (Some(1.08), Some((1.0, 1.22))));
            assert_eq!(judgement.range, Some((0.9, 3.0)));
            let is_asked_again =
                is_unclear(&report.rows, &Targets::parse(&targets).unwrap(), &[Row::DurablePut1]);
            assert_eq!(is_asked_again, verdict == Outcome::Inconclusive);
            assert_eq!((judgement.finding, found), (finding, verdict), "{at_most}");
        }
        // Far from its bound, and still across it.
        set(&mut report, Row::DurablePut1, Contender::Uarr, &[50.0, 100.0, 250.0].repeat(3));
        let (judgement, ..) = outcome(&report, &format!("{P1}at_most = 1.1"));
        let advice =
            "rounds differ too much to call; run again when the machine is idle".to_owned();
        assert_eq!(judgement.finding, Finding::Unclear { advice });
        let unclear = Targets::parse(&format!("{P1}at_most = 1.15")).unwrap();
        assert!(!is_unclear(&report.rows, &unclear, &[Row::Get]));
    }

    #[test]
    fn the_median_decides_about_an_interval_that_is_close_to_its_bound() {
        let mut report = sample_report();
        set(&mut report, Row::WriteFdatasync, Contender::Floor, &[100.0; 9]);
        let own = [90.0, 100.0, 104.0, 106.0, 108.0, 111.0, 118.0, 122.0, 300.0];
        set(&mut report, Row::DurablePut1, Contender::Uarr, &own);
        for (at_most, close, is_met, verdict) in [
            (1.09, 0.15, true, Outcome::Pass),
            (1.07, 0.15, false, Outcome::Miss),
            (1.22, 0.15, true, Outcome::Pass),
            (1.01, 0.22, false, Outcome::Miss),
        ] {
            let targets = P1.replace("schema = 2", &format!("schema = 2\nclose = {close}"));
            let targets = format!("{targets}at_most = {at_most}");
            let (judgement, found, _) = outcome(&report, &targets);
            let finding = if at_most == 1.22 { Finding::Met } else { Finding::Close { is_met } };
            assert_eq!((judgement.finding, found), (finding, verdict), "{at_most}");
            let targets = Targets::parse(&targets).unwrap();
            assert!(!is_unclear(&report.rows, &targets, &[Row::DurablePut1]));
        }
        // One end is too far away: 1.22 of 1.05.
        let targets = P1.replace("schema = 2", "schema = 2\nclose = 0.15") + "at_most = 1.05";
        assert_eq!(outcome(&report, &targets).1, Outcome::Inconclusive);
    }

    #[test]
    fn too_few_rounds_give_no_verdict() {
        let mut report = sample_report();
        for (row, who) in
            [(Row::WriteFdatasync, Contender::Floor), (Row::DurablePut1, Contender::Uarr)]
        {
            set(&mut report, row, who, &[100.0; 5]);
        }
        let (judgement, verdict, _) = outcome(&report, &format!("{P1}at_most = 9"));
        assert_eq!((judgement.value, verdict), (Some(1.0), Outcome::Inconclusive));
        let told = "95 % confidence needs 6 rounds, there are 5: add --reps 6";
        assert_eq!(reason(&judgement), told);
    }

    #[test]
    fn other_work_is_warned_of_and_decides_nothing() {
        let targets = format!("{P1}at_most = 1.2");
        let mut busy = sample_report();
        busy.others_cpu = Some(0.4);
        let (_, verdict, notes) = outcome(&busy, &targets);
        assert_eq!(verdict, Outcome::Pass);
        assert!(notes[0].contains("others used 40 %"), "{notes:?}");
        busy.others_cpu = None;
        let (_, verdict, notes) = outcome(&busy, &targets);
        assert_eq!((verdict, notes.len()), (Outcome::Pass, 1));
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let mut report = sample_report();
        report.rows.retain(|row| row.contender != Contender::Rocksdb);
        let peer = P1.replace("x-floor:write-fdatasync", "x-peer:rocksdb") + "at_most = 1.0";
        let (judgement, verdict, _) = outcome(&report, &peer);
        assert_eq!(verdict, Outcome::Inconclusive);
        assert!(reason(&judgement).contains("rocksdb"));

        let mut report = sample_report();
        for row in &mut report.rows {
            row.repetitions[0].p50_ns = None;
        }
        let (judgement, verdict, _) = outcome(&report, &format!("{P1}at_most = 1.2"));
        assert_eq!(verdict, Outcome::Inconclusive);
        assert!(reason(&judgement).contains("too few samples: --seconds"));
    }

    #[test]
    fn a_store_that_skipped_flushes_is_not_compared() {
        let targets = P1.replace("x-floor:write-fdatasync", "x-peer:rocksdb") + "at_most = 9";
        let mut report = sample_report();
        for who in [Contender::Rocksdb, Contender::Uarr] {
            report.broken = vec![BrokenPromise { contender: who, flushes_per_write: 0.0 }];
            let (judgement, verdict, _) = outcome(&report, &targets);
            assert_eq!(verdict, Outcome::Inconclusive);
            assert_eq!(reason(&judgement), format!("{who} skipped flushes"));
        }
        report.broken =
            vec![BrokenPromise { contender: Contender::Sqlite, flushes_per_write: 0.0 }];
        assert_eq!(outcome(&report, &targets).1, Outcome::Pass);
    }

    #[test]
    fn a_miss_counts_more_than_an_unjudged_target() {
        let mut report = sample_report();
        report.rows.retain(|row| row.contender != Contender::Rocksdb);
        let second =
            P1.replace("schema = 2\n", "").replace("x-floor:write-fdatasync", "x-peer:rocksdb");
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
            .replace("x-floor:write-fdatasync", "x-peer:rocksdb")
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
        set(&mut report, Row::WriteFdatasync, Contender::Floor, &[260.0, 64.0, 66.0]);
        set(&mut report, Row::DurablePut1, Contender::Uarr, &[130.0, 128.0, 132.0]);
        // The ratio of the medians is below 2.
        let (judgement, ..) = outcome(&report, &format!("{P1}at_most = 1.99"));
        assert_eq!((judgement.value, judgement.range), (Some(2.0), Some((0.5, 2.0))));
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
        let targets = P1.replace("x-floor:write-fdatasync", "x-floor") + "at_most = 9";
        for (change, divisor) in [(2.0, 120.0), (0.5, 60.0)] {
            report.rows.push(faster(change));
            let (judgement, ..) = outcome(&report, &targets);
            assert!((judgement.value.unwrap() - 130.0 / divisor).abs() < 0.01, "{judgement:?}");
            assert_eq!(judgement.question, "durable-put1 p50_ns / the faster floor");
            report.rows.pop();
        }
    }

    #[test]
    fn a_number_is_judged_by_itself_without_a_comparison() {
        let text = P1.replace("x-floor:write-fdatasync", "absolute");
        let (judgement, verdict, _) =
            outcome(&sample_report(), &format!("{text}at_least = 127000"));
        assert_eq!((judgement.value, verdict), (Some(130_000.0), Outcome::Pass));
        assert_eq!(judgement.range, Some((128_000.0, 132_000.0)));
    }
}
