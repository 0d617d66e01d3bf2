//! What recovery decides: functions of what was found, and a test that asks them everything.
//!
//! [`crate::recovery::recover`] asks for the next step, takes it, notes what it found, and asks
//! again, until a step says how to open the database. Nothing here reads a file, so the test below
//! goes through every combination of facts and finds one row of its table for each.

use uarr_layout::limits::{LIFE_COUNT_MAX, LSN_MAX, NUMBER_MAX};

use crate::limits::{LSN_SKIP, NUMBERS_LEFT_MIN};
use crate::log::reader::Reach;
use crate::options::RecoveryMode;

// The count of opens is the high half of a life number.
const _: () = assert!(LIFE_COUNT_MAX <= 1 << 32);

/// What is known of a checkpoint that the superblock may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageState {
    /// The superblock names none here.
    Unnamed,
    /// It is the empty database, which has no image.
    Empty,
    Unread,
    Whole,
    Damaged,
}

/// Whether the slots of the superblock that were written can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slots {
    Readable,
    /// The last open may have written what cannot be read.
    OneUnreadable,
}

/// How the last open ended, by the slot in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastOpen {
    Closed,
    Unclosed,
}

/// The newest checkpoint that any slot names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Newest {
    /// The first of the slot in force.
    InForce,
    /// Another one, which a next open might find and believe.
    Elsewhere,
}

/// What the log holds behind the first checkpoint of the slot in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    Unknown,
    Nothing,
    Groups,
}

/// What was found before the log is read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenFacts {
    pub mode: RecoveryMode,
    pub slots: Slots,
    /// Of the newest checkpoint in the slot in force, and the one before it.
    pub images: [ImageState; 2],
    pub last_open: LastOpen,
    pub newest: Newest,
    pub behind: Behind,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenStep {
    /// Read the image of this checkpoint, and ask again.
    ReadImage(usize),
    /// See whether the log goes on behind the first checkpoint, and ask again.
    LookBehind,
    /// The database is not opened.
    Refuse,
    /// The last open ended in order: the log goes on where the first checkpoint says, under the
    /// next LSN, and nothing is renewed.
    GoOn,
    /// The log is read and replayed, its unproven end and the data file behind all checkpoints are
    /// renewed, and LSNs skip.
    Replay(ReplayPlan),
}

/// How a database that was not closed in order is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplayPlan {
    /// Which checkpoint replay starts from.
    pub used: usize,
    /// How many opens may have followed those of which something can be read, this one included:
    /// each has skipped LSNs, and had a life of its own.
    pub opens: u64,
    pub names: Names,
}

/// What the slots of the superblock name while the log is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// What they named before.
    AsFound,
    /// The used checkpoint alone, both of them.
    UsedAlone,
}

/// The next step of opening.
//= SUP-6, SUP-8
pub(crate) fn next_step(facts: &OpenFacts) -> OpenStep {
    let OpenFacts { mode, slots, images, last_open, newest, behind } = *facts;
    let is_strict = mode == RecoveryMode::Strict;
    if is_strict && slots == Slots::OneUnreadable {
        return OpenStep::Refuse;
    }
    let used = match used_image(mode, images) {
        Ok(used) => used,
        Err(step) => return step,
    };
    let serves = matches!(images[used], ImageState::Empty | ImageState::Whole);
    assert!(serves, "nothing is replayed upon an image that was not read or is damaged");
    let is_closed = used == 0 && last_open == LastOpen::Closed;
    if is_closed && behind == Behind::Unknown {
        return OpenStep::LookBehind;
    }
    // The slot that said "open again" is lost.
    let goes_on = is_closed && behind == Behind::Groups;
    if is_strict && goes_on {
        return OpenStep::Refuse;
    }
    // A slot that says "closed" proves nothing if another one, perhaps of a later open, cannot be
    // read.
    let is_sound = slots == Slots::Readable && images[0] != ImageState::Damaged && !goes_on;
    assert!(is_sound || !is_strict, "mode Strict opens nothing that is damaged");
    if is_closed && is_sound {
        return OpenStep::GoOn;
    }
    let is_newest = used == 0 && newest == Newest::InForce;
    OpenStep::Replay(ReplayPlan {
        used,
        // If a slot cannot be read, so perhaps cannot the start of the last open.
        opens: if is_sound { 1 } else { 2 },
        names: if is_sound && is_newest { Names::AsFound } else { Names::UsedAlone },
    })
}

/// Which image serves, or what to do before that is known.
fn used_image(mode: RecoveryMode, images: [ImageState; 2]) -> Result<usize, OpenStep> {
    for (index, image) in images.into_iter().enumerate() {
        match image {
            ImageState::Empty | ImageState::Whole => return Ok(index),
            ImageState::Unread => return Err(OpenStep::ReadImage(index)),
            ImageState::Damaged if mode == RecoveryMode::Strict => return Err(OpenStep::Refuse),
            ImageState::Damaged | ImageState::Unnamed => {}
        }
    }
    Err(OpenStep::Refuse)
}

/// Whether something proves that the log held more than can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Nothing,
    /// A group, or a checkpoint, says that more was durable.
    Missing,
}

/// What stands where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogTail {
    /// Nothing of this log.
    Clean,
    /// Part of a group.
    Torn,
}

/// How the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogEnding {
    /// With its last whole group.
    Whole,
    /// The same, and a torn group behind it is cut.
    Cut,
    /// It does not: acknowledged records are missing.
    Missing,
    /// The caller wants to hear of torn groups.
    Refused,
}

/// How a log ends that was read as far as it can be.
//= WAL-4
pub(crate) fn ending(mode: RecoveryMode, proof: Proof, tail: LogTail) -> LogEnding {
    match (proof, tail, mode) {
        (Proof::Missing, _, _) => LogEnding::Missing,
        (Proof::Nothing, LogTail::Clean, _) => LogEnding::Whole,
        (Proof::Nothing, LogTail::Torn, RecoveryMode::Strict) => LogEnding::Refused,
        (Proof::Nothing, LogTail::Torn, RecoveryMode::TolerateTornTail) => LogEnding::Cut,
    }
}

/// How far behind the end of the log proofs are looked for.
pub(crate) fn reach(mode: RecoveryMode) -> Reach {
    match mode {
        RecoveryMode::Strict => Reach::Everywhere,
        RecoveryMode::TolerateTornTail => Reach::Near,
    }
}

/// The first LSN that was surely never given out, when `highest` may have been and `opens` opens
/// have skipped since. `None`: none is left.
//= WAL-10
pub(crate) fn skipped_lsn(highest: u64, opens: u64) -> Option<u64> {
    assert!(opens > 0, "at least this open skips");
    let after = (highest / LSN_SKIP).checked_add(opens)?.checked_mul(LSN_SKIP)?;
    assert!(after > highest);
    assert!((after - highest) / LSN_SKIP >= opens - 1, "each of the opens has a skip of its own");
    usable_lsn(after)
}

/// How many opens have begun a segment and left no slot, when the slots and the log know these
/// lives last. Each may have died before it wrote its slot, or the device has lost the slot: then
/// its writers may have got LSNs of which nothing is left.
//= WAL-10
pub(crate) fn lost_opens(slots_life: u64, log_life: u64) -> u64 {
    (log_life >> 32).saturating_sub(slots_life >> 32)
}

/// `next_lsn`, if enough LSNs are left behind it for an open.
pub(crate) fn usable_lsn(next_lsn: u64) -> Option<u64> {
    (next_lsn <= LSN_MAX - NUMBERS_LEFT_MIN).then_some(next_lsn)
}

/// The high half of a life that no open had, when `latest` is the latest life known. `None`: none
/// is left.
//= SUP-5
pub(crate) fn next_life_count(latest: u64, opens: u64) -> Option<u64> {
    assert!(opens > 0, "this open has a life of its own");
    let count = (latest >> 32) + opens;
    (count < LIFE_COUNT_MAX).then_some(count)
}

/// Whether enough numbers are left for segments, or images, behind `highest`. One under a higher
/// number would be a file of others at the next open.
//= WAL-1
pub(crate) fn leaves_numbers(highest: u64) -> bool {
    highest <= NUMBER_MAX - NUMBERS_LEFT_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [RecoveryMode; 2] = [RecoveryMode::Strict, RecoveryMode::TolerateTornTail];
    const SLOTS: [Slots; 2] = [Slots::Readable, Slots::OneUnreadable];
    const IMAGES: [ImageState; 5] = [
        ImageState::Unnamed,
        ImageState::Empty,
        ImageState::Unread,
        ImageState::Whole,
        ImageState::Damaged,
    ];
    const LAST_OPENS: [LastOpen; 2] = [LastOpen::Closed, LastOpen::Unclosed];
    const NEWEST: [Newest; 2] = [Newest::InForce, Newest::Elsewhere];
    const BEHIND: [Behind; 3] = [Behind::Unknown, Behind::Nothing, Behind::Groups];

    /// Every combination of facts.
    fn all_facts() -> Vec<OpenFacts> {
        let mut all = Vec::new();
        for (mode, slots) in MODES.into_iter().flat_map(|mode| SLOTS.map(|slots| (mode, slots))) {
            for images in IMAGES.into_iter().flat_map(|first| IMAGES.map(|second| [first, second]))
            {
                for (last_open, newest) in
                    LAST_OPENS.into_iter().flat_map(|last| NEWEST.map(|newest| (last, newest)))
                {
                    all.extend(BEHIND.map(|behind| OpenFacts {
                        mode,
                        slots,
                        images,
                        last_open,
                        newest,
                        behind,
                    }));
                }
            }
        }
        all
    }

    /// A row of the table: facts of any of these, and the step.
    struct Row {
        modes: &'static [RecoveryMode],
        slots: &'static [Slots],
        images: [&'static [ImageState]; 2],
        last_opens: &'static [LastOpen],
        newest: &'static [Newest],
        behind: &'static [Behind],
        step: OpenStep,
    }

    impl Row {
        fn holds(&self, facts: &OpenFacts) -> bool {
            self.modes.contains(&facts.mode)
                && self.slots.contains(&facts.slots)
                && self.images[0].contains(&facts.images[0])
                && self.images[1].contains(&facts.images[1])
                && self.last_opens.contains(&facts.last_open)
                && self.newest.contains(&facts.newest)
                && self.behind.contains(&facts.behind)
        }
    }

    const fn replay(used: usize, opens: u64, names: Names) -> OpenStep {
        OpenStep::Replay(ReplayPlan { used, opens, names })
    }

    /// What is decided, row by row. Where a row does not matter for a fact, it has all of them.
    fn table() -> Vec<Row> {
        use Behind::{Groups, Nothing, Unknown};
        use ImageState::{Damaged, Empty, Unnamed, Unread, Whole};
        use LastOpen::{Closed, Unclosed};
        use Names::{AsFound, UsedAlone};
        use Newest::{Elsewhere, InForce};
        use OpenStep::{GoOn, LookBehind, ReadImage, Refuse};
        use RecoveryMode::{Strict, TolerateTornTail};
        use Slots::{OneUnreadable, Readable};
        const SERVES: &[ImageState] = &[Empty, Whole];
        type Any = (&'static [RecoveryMode], &'static [Slots], [&'static [ImageState]; 2]);
        let of = |(modes, slots, images): Any, last_opens, newest, behind, step| Row {
            modes,
            slots,
            images,
            last_opens,
            newest,
            behind,
            step,
        };
        // The first facts, with any last open, newest checkpoint and log behind it.
        let early = |facts, step| of(facts, &LAST_OPENS, &NEWEST, &BEHIND, step);
        // Where the newer image serves.
        let served = |(modes, slots)| (modes, slots, [SERVES, &IMAGES[..]]);
        let closed = |facts, behind, step| of(served(facts), &[Closed], &NEWEST, behind, step);
        let unclosed = |facts, newest, step| of(served(facts), &[Unclosed], newest, &BEHIND, step);
        let strict: &[_] = &[Strict];
        let tolerant: &[_] = &[TolerateTornTail];
        let (sound, lost): (&[_], &[_]) = (&[Readable], &[OneUnreadable]);
        vec![
            // Mode Strict opens nothing of which a part cannot be read.
            early((strict, lost, [&IMAGES, &IMAGES]), Refuse),
            early((strict, sound, [&[Damaged], &IMAGES]), Refuse),
            early((strict, sound, [&[Unnamed], &[Damaged]]), Refuse),
            // The newer image is read first, the older one only if the newer does not serve.
            early((strict, sound, [&[Unread], &IMAGES]), ReadImage(0)),
            early((tolerant, &SLOTS, [&[Unread], &IMAGES]), ReadImage(0)),
            early((strict, sound, [&[Unnamed], &[Unread]]), ReadImage(1)),
            early((tolerant, &SLOTS, [&[Unnamed, Damaged], &[Unread]]), ReadImage(1)),
            // Neither serves.
            early((strict, sound, [&[Unnamed], &[Unnamed]]), Refuse),
            early((tolerant, &SLOTS, [&[Unnamed, Damaged], &[Unnamed, Damaged]]), Refuse),
            // The older one serves: no later open may find the newer one whole again.
            early((strict, sound, [&[Unnamed], SERVES]), replay(1, 1, UsedAlone)),
            early((tolerant, sound, [&[Unnamed], SERVES]), replay(1, 1, UsedAlone)),
            early((tolerant, lost, [&[Unnamed], SERVES]), replay(1, 2, UsedAlone)),
            early((tolerant, &SLOTS, [&[Damaged], SERVES]), replay(1, 2, UsedAlone)),
            // The newer one serves, and the database is said to be closed.
            closed((strict, sound), &[Unknown], LookBehind),
            closed((tolerant, &SLOTS), &[Unknown], LookBehind),
            closed((&MODES, sound), &[Nothing], GoOn),
            closed((tolerant, lost), &[Nothing], replay(0, 2, UsedAlone)),
            closed((strict, sound), &[Groups], Refuse),
            closed((tolerant, &SLOTS), &[Groups], replay(0, 2, UsedAlone)),
            // The newer one serves, and the database was not closed.
            unclosed((&MODES, sound), &[InForce], replay(0, 1, AsFound)),
            unclosed((&MODES, sound), &[Elsewhere], replay(0, 1, UsedAlone)),
            unclosed((tolerant, lost), &NEWEST, replay(0, 2, UsedAlone)),
        ]
    }

    //= test SUP-6, SUP-8
    #[test]
    fn every_combination_of_facts_has_one_row_and_its_step() {
        let (all, table) = (all_facts(), table());
        assert_eq!(all.len(), 2 * 2 * 25 * 2 * 2 * 3);
        let mut counts = vec![0; table.len()];
        for facts in &all {
            let rows: Vec<_> = (0..table.len()).filter(|row| table[*row].holds(facts)).collect();
            let &[row] = rows.as_slice() else { panic!("{facts:?} is in the rows {rows:?}") };
            assert_eq!(next_step(facts), table[row].step, "{facts:?}");
            counts[row] += 1;
        }
        assert!(counts.iter().all(|count| *count > 0), "a row of nothing: {counts:?}");
    }

    /// What must hold whatever the table says.
    #[test]
    fn steps_come_to_an_end_and_trust_nothing_that_is_damaged() {
        for facts in all_facts() {
            match next_step(&facts) {
                OpenStep::ReadImage(index) => {
                    assert_eq!(facts.images[index], ImageState::Unread);
                    for image in [ImageState::Whole, ImageState::Damaged] {
                        let mut read = facts;
                        read.images[index] = image;
                        assert_ne!(next_step(&read), OpenStep::ReadImage(index), "{facts:?}");
                    }
                }
                OpenStep::LookBehind => {
                    assert_eq!(facts.behind, Behind::Unknown);
                    for behind in [Behind::Nothing, Behind::Groups] {
                        let looked = OpenFacts { behind, ..facts };
                        assert_ne!(next_step(&looked), OpenStep::LookBehind, "{facts:?}");
                    }
                }
                OpenStep::Refuse => {}
                OpenStep::GoOn => {
                    assert_eq!((facts.slots, facts.behind), (Slots::Readable, Behind::Nothing));
                    assert!(matches!(facts.images[0], ImageState::Whole | ImageState::Empty));
                    assert_eq!(facts.last_open, LastOpen::Closed);
                }
                OpenStep::Replay(plan) => {
                    assert!(matches!(
                        facts.images[plan.used],
                        ImageState::Whole | ImageState::Empty
                    ));
                    let is_damaged = facts.slots == Slots::OneUnreadable
                        || facts.images[..plan.used].contains(&ImageState::Damaged);
                    assert!(!is_damaged || plan.opens == 2, "{facts:?}");
                    assert!(plan.opens == 1 || plan.names == Names::UsedAlone, "{facts:?}");
                    let names_newer = facts.newest == Newest::Elsewhere || plan.used == 1;
                    assert!(!names_newer || plan.names == Names::UsedAlone, "{facts:?}");
                }
            }
            // Damage never makes opening more careless.
            if facts.slots == Slots::OneUnreadable {
                let sound = OpenFacts { slots: Slots::Readable, ..facts };
                if next_step(&sound) == OpenStep::Refuse {
                    assert_eq!(next_step(&facts), OpenStep::Refuse, "{facts:?}");
                }
            }
        }
    }

    //= test WAL-4
    #[test]
    fn a_log_ends_where_nothing_proves_that_more_was_durable() {
        let mut count = 0;
        for mode in MODES {
            for (proof, tail, expected) in [
                (Proof::Missing, LogTail::Clean, [LogEnding::Missing; 2]),
                (Proof::Missing, LogTail::Torn, [LogEnding::Missing; 2]),
                (Proof::Nothing, LogTail::Clean, [LogEnding::Whole; 2]),
                (Proof::Nothing, LogTail::Torn, [LogEnding::Refused, LogEnding::Cut]),
            ] {
                let expected = expected[usize::from(mode == RecoveryMode::TolerateTornTail)];
                assert_eq!(ending(mode, proof, tail), expected, "{mode:?} {proof:?} {tail:?}");
                count += 1;
            }
        }
        assert_eq!(count, 2 * 2 * 2);
    }

    //= test WAL-1, WAL-10, SUP-5
    #[test]
    fn numbers_go_on_behind_all_that_were_given_out_or_not_at_all() {
        for (highest, opens, expected) in [
            (0, 1, Some(LSN_SKIP)),
            (LSN_SKIP - 1, 1, Some(LSN_SKIP)),
            (LSN_SKIP, 1, Some(2 * LSN_SKIP)),
            (LSN_SKIP, 2, Some(3 * LSN_SKIP)),
            (LSN_MAX - NUMBERS_LEFT_MIN - 1, 1, Some(LSN_MAX - NUMBERS_LEFT_MIN)),
            (LSN_MAX - NUMBERS_LEFT_MIN - 1, 2, None),
            (LSN_MAX - NUMBERS_LEFT_MIN, 1, None),
            (LSN_MAX, 1, None),
            (u64::MAX, 2, None),
        ] {
            assert_eq!(skipped_lsn(highest, opens), expected, "{highest} {opens}");
        }
        let lost = [(1, 1, 0), (2, 1, 0), (1, 2, 1), (1, 4, 3)];
        for (slots, log, expected) in lost {
            assert_eq!(lost_opens(slots << 32 | 9, log << 32 | 7), expected, "{slots} {log}");
        }
        assert_eq!(usable_lsn(7), Some(7));
        assert_eq!(usable_lsn(LSN_MAX - NUMBERS_LEFT_MIN + 1), None);
        assert_eq!(next_life_count(3 << 32 | 77, 1), Some(4));
        assert_eq!(next_life_count(3 << 32 | 77, 2), Some(5));
        assert_eq!(next_life_count((LIFE_COUNT_MAX - 2) << 32, 1), Some(LIFE_COUNT_MAX - 1));
        assert_eq!(next_life_count((LIFE_COUNT_MAX - 2) << 32, 2), None);
        assert_eq!(next_life_count(u64::MAX, 2), None);
        assert!(leaves_numbers(NUMBER_MAX - NUMBERS_LEFT_MIN));
        assert!(!leaves_numbers(NUMBER_MAX - NUMBERS_LEFT_MIN + 1));
    }
}
