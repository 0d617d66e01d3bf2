//! The must-be-caught list: for each mechanism that keeps a promise, a world in which it is worth
//! nothing.
//!
//! The engine runs unchanged. The disk breaks the promise on which the mechanism rests ([`Lie`]),
//! or answers the question that the mechanism asks (`filters`); or users call verbs so that they
//! do what they would without it. A mechanism without a switch would be one that no test needs; a
//! switch that no seed catches shows a blind simulator.

use uarr_disk_sim::{Lie, Memory};
use uarr_uring::Storage;

use super::chunk_filters::{
    Hidden, WrongTable, a_page_more_is_durable, every_second_table_is, nothing_is_quarantined,
    openings_are_hidden, places_are_moved, quarantine_is_older,
};
use super::filters::{
    Stale, checksums_fit, no_log_is_there, no_time_is_known, oldest_place_counts,
    pages_change_places, stale_groups_fit,
};
use super::unordered_filters::{a_key_is_another, a_key_is_there_twice};
use super::{Checked, Faults, Outcome, Plan, run_plan};

/// What makes a new disk break a promise.
pub type Prepare = fn(&Memory);
/// What changes the plan of a run.
pub type Focus = fn(&mut Plan);

/// One mechanism that means nothing.
pub struct Switch {
    /// Name of the switch.
    pub name: &'static str,
    /// What it takes away.
    pub takes_away: &'static str,
    /// What kind of runs show it.
    pub faults: Faults,
    /// It must be caught within so many seeds.
    pub seed_count_max: u64,
    /// Makes a new disk so.
    pub prepare: Prepare,
    /// Changes the plan of a run, where what the mechanism is for is rare in others.
    pub focus: Option<Focus>,
}

/// The list.
pub const SWITCHES: &[Switch] = &[
    Switch {
        name: "no-checksum",
        takes_away: "checksums of groups: torn ones look whole",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.filter_reads(checksums_fit()),
        focus: None,
    },
    Switch {
        name: "position-not-in-checksum",
        takes_away: "the address in the checksum of a record",
        faults: Faults::Illegal,
        seed_count_max: 300,
        prepare: |disk| disk.filter_reads(pages_change_places(true)),
        // Records of other keys would be noticed by their keys.
        focus: Some(Plan::write_versions_alike),
    },
    Switch {
        name: "no-directory-fsync",
        takes_away: "the flush of directories",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.lie(Lie::DirectoryFlushSkipped),
        focus: None,
    },
    Switch {
        name: "unlinked-fsync",
        takes_away: "the order of write and flush",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.lie(Lie::FlushBeforeWrite),
        focus: None,
    },
    Switch {
        name: "ack-before-completion",
        takes_away: "waiting for the device before a write is acknowledged",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.lie(Lie::EarlyCompletion),
        focus: None,
    },
    Switch {
        name: "retry-after-failed-fsync",
        takes_away: "poison: a failed flush is repeated until it says fine",
        faults: Faults::Legal,
        seed_count_max: 1000,
        prepare: |disk| disk.lie(Lie::FlushRetried),
        focus: None,
    },
    Switch {
        name: "retry-after-full-flush",
        takes_away: "poison by a flush that found no room: ENOSPC, EDQUOT, EFBIG",
        faults: Faults::Legal,
        seed_count_max: 2000,
        prepare: |disk| disk.lie(Lie::FullFlushRetried),
        focus: Some(Plan::fail_often),
    },
    Switch {
        name: "poison-not-heard",
        takes_away: "the refusal of writes after poisoning: callers take it for success",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |_| {},
        focus: Some(Plan::hear_no_poison),
    },
    Switch {
        name: "image-number-reused",
        takes_away: "a number of its own for each attempt at an index image",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.lie(Lie::NewestReplaced { directory: "index" }),
        focus: None,
    },
    Switch {
        name: "unproven-groups-only-flushed",
        takes_away: "the copy of groups that nothing proves durable",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.lie(Lie::CopiesLost { prefix: "wal/" }),
        focus: Some(Plan::fail_often),
    },
    Switch {
        name: "oldest-place-counts",
        takes_away: "the rule that of two places with the same groups the newest life counts",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| {
            disk.filter_reads(oldest_place_counts(disk.facts().block_bytes as usize));
        },
        focus: Some(Plan::fail_often),
    },
    Switch {
        name: "lock-ends-with-process",
        takes_away: "the lock that lasts until the last write of a killed process has ended",
        faults: Faults::Legal,
        seed_count_max: 1000,
        prepare: |disk| disk.lie(Lie::LockEndsWithProcess),
        focus: Some(Plan::kill_often),
    },
    Switch {
        name: "lock-by-name",
        takes_away: "the lock of the directory beside that of the file",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.lie(Lie::LockByName),
        focus: None,
    },
    Switch {
        name: "no-fresh-space-after-failed-write-back",
        takes_away: "giving up the space of the data file that recovery writes again",
        faults: Faults::Legal,
        seed_count_max: 2000,
        prepare: |disk| disk.lie(Lie::NothingRenewed),
        focus: Some(Plan::fail_often),
    },
    Switch {
        name: "no-life-in-recycled-segments",
        takes_away: "segment number, life and chain of groups that a recycled file held before",
        faults: Faults::Legal,
        seed_count_max: 2000,
        prepare: |disk| {
            let block_bytes = disk.facts().block_bytes as usize;
            disk.filter_reads(stale_groups_fit(Stale::OtherSegment, block_bytes));
        },
        focus: None,
    },
    Switch {
        name: "hole-skipped",
        takes_away: "the chain of groups: one behind a hole looks as if it followed what is before \
                     it",
        faults: Faults::Legal,
        seed_count_max: 1000,
        prepare: |disk| {
            let block_bytes = disk.facts().block_bytes as usize;
            disk.filter_reads(stale_groups_fit(Stale::SameSegment, block_bytes));
        },
        focus: Some(Plan::load_in_equal_groups),
    },
    Switch {
        name: "trim-before-data-durable",
        takes_away: "the flush of the data file before a checkpoint",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.lie(Lie::FlushSkipped { prefix: "data/" }),
        focus: None,
    },
    Switch {
        name: "image-not-durable",
        takes_away: "the flush of an index image before the superblock names it",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.lie(Lie::FlushSkipped { prefix: "index/" }),
        focus: None,
    },
    Switch {
        name: "log-not-durable-at-open",
        takes_away: "the flush of what recovery has read, and of new segments",
        faults: Faults::Legal,
        seed_count_max: 2000,
        prepare: |disk| disk.lie(Lie::FlushSkipped { prefix: "wal/" }),
        focus: None,
    },
    Switch {
        name: "superblock-not-durable",
        takes_away: "the flush of a superblock slot",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.lie(Lie::FlushSkipped { prefix: "superblock" }),
        focus: None,
    },
    Switch {
        name: "durable-block-rewritten",
        takes_away: "groups starting on fresh blocks",
        faults: Faults::Legal,
        seed_count_max: 2000,
        prepare: |disk| disk.lie(Lie::NeighbourRewritten),
        focus: None,
    },
    Switch {
        name: "superblock-in-place",
        takes_away: "the second slot of the superblock",
        faults: Faults::Legal,
        seed_count_max: 1000,
        prepare: |disk| {
            disk.lie(Lie::Redirected { path: "superblock", source: 64 << 10, target: 0 });
        },
        focus: None,
    },
    Switch {
        name: "durable-page-too-many",
        takes_away: "the border of durable bytes: a page behind it counts as durable too",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.filter_reads(a_page_more_is_durable()),
        focus: None,
    },
    Switch {
        name: "named-once",
        takes_away: "the opening of a chunk in each group until one that says it is settled",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| {
            let block_bytes = disk.facts().block_bytes as usize;
            disk.filter_reads(openings_are_hidden(Hidden::Repeated, block_bytes));
        },
        focus: Some(Plan::refuse_groups),
    },
    Switch {
        name: "freed-one-checkpoint-early",
        takes_away: "the wait for the older checkpoint before a place is used again",
        faults: Faults::Legal,
        seed_count_max: 2000,
        prepare: |disk| disk.filter_reads(quarantine_is_older()),
        focus: Some(Plan::give_back),
    },
    Switch {
        name: "moved-record-not-durable",
        takes_away: "the flush of copies before the checkpoint that names them",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.lie(Lie::FlushSkipped { prefix: "data/" }),
        focus: Some(Plan::give_back),
    },
    Switch {
        name: "no-time-known",
        takes_away: "how late it was, as superblock and groups say: the wall clock counts",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.filter_reads(no_time_is_known()),
        focus: Some(Plan::expire),
    },
    Switch {
        name: "touch-lost",
        takes_away: "the other time of a record that is touched",
        faults: Faults::Legal,
        seed_count_max: 100,
        prepare: |_| {},
        focus: Some(Plan::lose_touches),
    },
    Switch {
        name: "counted-twice",
        takes_away: "the result in the log in place of the amount: a change counts again",
        faults: Faults::Legal,
        seed_count_max: 100,
        prepare: |_| {},
        focus: Some(Plan::count_twice),
    },
    Switch {
        name: "premise-too-early",
        takes_away: "the question under the staging lock: a condition is asked before",
        faults: Faults::Legal,
        seed_count_max: 100,
        prepare: |_| {},
        focus: Some(Plan::ask_too_early),
    },
    Switch {
        name: "unordered-key-is-another",
        takes_away: "the key beside the locator, in images of tables without order",
        faults: Faults::Legal,
        seed_count_max: 100,
        prepare: |disk| disk.filter_reads(a_key_is_another()),
        focus: Some(Plan::use_unordered_table),
    },
    Switch {
        name: "freed-before-superblock",
        takes_away: "the flush of the superblock before places are used again",
        faults: Faults::Legal,
        seed_count_max: 300,
        prepare: |disk| disk.lie(Lie::FlushSkipped { prefix: "superblock" }),
        focus: Some(Plan::give_back),
    },
];

/// Damage to what the log and images say of chunks, with right checksums, that opening must notice:
/// what it is, how many seeds are tried (few of them open what is damaged), the disk that has it,
/// and the runs that show it.
pub const NOTICED: &[(&str, u64, Prepare, Focus)] = &[
    (
        "openings-hidden",
        40,
        |disk| {
            let block_bytes = disk.facts().block_bytes as usize;
            disk.filter_reads(openings_are_hidden(Hidden::All, block_bytes));
        },
        Plan::fill_chunks_honestly,
    ),
    ("place-moved", 40, |disk| disk.filter_reads(places_are_moved()), Plan::fill_chunks_honestly),
    (
        "two-chunks-one-place",
        40,
        |disk| disk.filter_reads(every_second_table_is(WrongTable::OnePlaceTwice)),
        Plan::fill_chunks_honestly,
    ),
    (
        "table-behind-log",
        40,
        |disk| disk.filter_reads(every_second_table_is(WrongTable::LacksChunk)),
        Plan::fill_chunks_honestly,
    ),
    (
        "unordered-key-twice",
        60,
        |disk| disk.filter_reads(a_key_is_there_twice()),
        Plan::use_unordered_table_honestly,
    ),
    (
        "quarantine-hidden",
        240,
        |disk| disk.filter_reads(nothing_is_quarantined()),
        Plan::give_back_honestly,
    ),
];

/// Runs `seed` on a disk that `prepare` has made, and that does not lie besides.
pub fn run_noticing(seed: u64, prepare: Prepare, focus: Focus) -> Checked<Outcome> {
    let mut plan = Plan::new(seed, Faults::Illegal);
    focus(&mut plan);
    run_plan(plan, &prepare)
}

/// The first seed whose run shows that the mechanism of `switch` is missing, and how.
pub fn catch(switch: &Switch) -> Option<(u64, String)> {
    (0..switch.seed_count_max).find_map(|seed| {
        let mut plan = Plan::new(seed, switch.faults);
        // They would show it, too, and something else is meant to.
        plan.reads = false;
        if let Some(focus) = switch.focus {
            focus(&mut plan);
        }
        let violation = run_plan(plan, &switch.prepare).err()?;
        Some((seed, violation.0))
    })
}

/// The switch whose damage to a whole format is noticed: pages change places, and checksums know
/// their place.
pub fn pages_in_wrong_places(disk: &Memory) {
    disk.filter_reads(pages_change_places(false));
}

/// The first of so many seeds that shows that readers which skip the log behind the checkpoint find
/// something else than opening, and how.
pub fn catch_readers_without_log(seed_count: u64) -> Option<(u64, String)> {
    (0..seed_count).find_map(|seed| {
        let mut plan = Plan::new(seed, Faults::Legal);
        plan.deceives_readers = Some(no_log_is_there());
        let violation = run_plan(plan, &|_| {}).err()?;
        Some((seed, violation.0))
    })
}
