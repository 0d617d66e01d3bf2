//! The owner of all that writers share: staging, groups, the leader's log, and the records that
//! they are applied to.
//!
//! ```text
//! caller  1. admission: room for the write in a group, in the log, in the data file
//!         2. stage:     next LSN, address in the data file, frame into the open group
//!            a thread leads already?  wait on the futex word of the group: done, failed, or "lead"
//!            none does?               lead: 3. submit the oldest group, and full ones behind it
//!                                           4. apply their records while the device is busy
//!                                           5. wait for the device
//!                                           6. durable, visible; wake the group; hand over
//! ```
//! A lone writer never changes threads. With many writers, all that arrive during one commit share
//! the next. Memory-first databases apply and show records when they are staged; the log thread
//! writes groups, or a caller of `sync`.
//!
//! Order of locks: root, leading, space, staging, applier. A checkpoint holds root throughout, the
//! leader holds leading while its group is written; no thread takes one of them while holding a
//! later one. User code, wakers above all, runs under none of them ([`crate::commit::wakes`]).
//!
//! Failure: if a write or flush fails, what reached the device is unknown. The group gets the
//! error, all later writes get `Poisoned` ([`crate::health`]), no thread retries anything; readers
//! do not see records above the visible LSN.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar};

use uarr_uring::{AlignedBuffer, CommitStrategy, Storage};

use crate::commit::flight::Leading;
use crate::commit::staging::Staging;
use crate::commit::turns::Waiting;
use crate::data::places::{Frontier, Places};
use crate::error::{Error, Result};
use crate::health::Health;
use crate::log::position::{LogIdentity, LogPosition};
use crate::log::segments::Segments;
use crate::log::writer::OpenLog;
use crate::meters::counters::{Counters, Phases, WaitTimes};
use crate::options::Options;
use crate::sync::{Rank, Ranked, Signal, lock};
use crate::versions::records::Records;

/// The writers' half of an open database.
pub(crate) struct Committer<S: Storage> {
    pub records: Records<S>,
    pub segments: Segments<S::File>,
    pub health: Health,
    pub counters: Counters,
    pub phases: Phases,
    pub waits: WaitTimes,
    /// Raised when the keeper has something to do.
    pub keeper: Signal,
    /// Raised when a checkpoint is due.
    pub checkpointer: Signal,
    /// Raised when there may be something to move, or a place to give back.
    pub mover: Signal,
    /// Wakes the sweeper.
    pub sweeper: Signal,
    /// The last step that gives space back found something to do.
    pub(super) mover_works: AtomicBool,
    /// How often the mover was asked for room, and up to which time it has looked for some.
    pub(super) asked_count: AtomicU64,
    pub(super) answered_count: AtomicU64,
    /// There was no room when some was last asked for.
    pub(super) lacks_room: AtomicBool,
    /// Raised when a place of the data file is free again.
    pub place_freed: Signal,
    /// No record is moved meanwhile, but by a call that asks for it.
    pub keeps_garbage: AtomicBool,
    /// The files, the clock and the kernel.
    pub storage: Arc<S>,
    /// What was chosen when the database was opened.
    pub options: Options,
    /// Whose log it is.
    pub identity: LogIdentity,
    pub(in crate::commit) leading: Ranked<Leading<S>>,
    pub(in crate::commit) staging: Ranked<Staging>,
    /// A group was settled; waited for with `staging`.
    pub(in crate::commit) settled: Condvar,
    /// A buffer came back; waited for with `staging`.
    pub(in crate::commit) buffer_free: Condvar,
    /// The log thread has something to do; waited for with `staging`.
    pub(in crate::commit) log_work: Condvar,
    /// Serialises growth of data file and log.
    pub(in crate::commit) space: Ranked<()>,
    pub(in crate::commit) log_end: Ranked<LogPosition>,
    pub(in crate::commit) buffer_bytes: usize,
    pub(in crate::commit) staged_bytes_max: u64,
    /// Writers whose turn it is not.
    pub(in crate::commit) waiting: Waiting,
}

/// How far staging has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StagedLsns {
    /// Every group up to it was written or has failed.
    pub settled_lsn: u64,
    /// The LSN that the next record gets.
    pub next_lsn: u64,
}

/// What recovery hands to the commit path.
pub(crate) struct LogState<S: Storage> {
    pub log: OpenLog<S>,
    pub segments: Segments<S::File>,
    pub identity: LogIdentity,
    /// The place behind the last group.
    pub end: LogPosition,
    /// The first LSN to give out.
    pub next_lsn: u64,
    /// Where the next record goes in the data file.
    pub places: Places,
    /// Buffers for groups.
    pub buffers: Vec<Arc<AlignedBuffer>>,
    pub buffer_bytes: usize,
    /// Bytes of log behind the newest checkpoint.
    pub recovered_bytes: u64,
}

impl<S: Storage> Committer<S> {
    /// Goes on where recovery ended.
    pub fn new(storage: Arc<S>, options: Options, records: Records<S>, state: LogState<S>) -> Self {
        let LogState { log, segments, identity, end, next_lsn, places, buffers, .. } = state;
        assert!(next_lsn > end.lsn, "no two records get the same LSN");
        assert_eq!(state.buffer_bytes % identity.block_bytes, 0, "the device takes whole blocks");
        let counters = Counters::default();
        counters.recovered_log_bytes.store(state.recovered_bytes, Ordering::Relaxed);
        counters.note_log(log.counters(), log.strategy());
        #[cfg(feature = "tracing")]
        counters.first_segment.store(end.segment, Ordering::Relaxed);
        assert_eq!(records.visible.lsn(), end.lsn, "readers see what the log holds");
        let is_pooled = |buffer: &Arc<AlignedBuffer>| buffer.len() == state.buffer_bytes;
        assert!(buffers.iter().all(is_pooled), "their length tells them from large ones");
        let staged_bytes_max = (buffers.len() * state.buffer_bytes) as u64;
        assert!(staged_bytes_max <= segments.room.regular_bytes(), "all fit into one segment");
        Self {
            records,
            segments,
            health: Health::default(),
            counters,
            phases: Phases::default(),
            waits: WaitTimes::default(),
            keeper: Signal::default(),
            checkpointer: Signal::default(),
            mover: Signal::default(),
            sweeper: Signal::default(),
            mover_works: AtomicBool::new(false),
            asked_count: AtomicU64::new(0),
            answered_count: AtomicU64::new(0),
            lacks_room: AtomicBool::new(false),
            place_freed: Signal::default(),
            keeps_garbage: AtomicBool::new(false),
            storage,
            options,
            identity,
            leading: Ranked::new(Rank::Leading, Leading::new(log)),
            staging: Ranked::new(Rank::Staging, Staging::new(next_lsn, places, buffers)),
            settled: Condvar::new(),
            buffer_free: Condvar::new(),
            log_work: Condvar::new(),
            space: Ranked::new(Rank::Space, ()),
            log_end: Ranked::new(Rank::Leaf, end),
            buffer_bytes: state.buffer_bytes,
            staged_bytes_max,
            waiting: Waiting::new(end.lsn),
        }
    }

    /// Where replay would start if all applied groups were in a checkpoint.
    pub fn log_end(&self) -> LogPosition {
        let durable_lsn = self.records.visible.durable_lsn();
        let end = *lock(&self.log_end);
        assert!(end.lsn >= durable_lsn, "what is durable is in the log");
        let applied_lsn = match self.options.durability.memory_first() {
            true => self.records.visible.lsn(),
            false => self.waiting.applied_lsn.load(Ordering::SeqCst),
        };
        assert!(applied_lsn >= end.lsn, "replay begins with what may be missing in an index image");
        end
    }

    /// The LSN that the next record gets.
    pub fn next_lsn(&self) -> u64 {
        lock(&self.staging).next_lsn
    }

    /// Has `act` look at the places of chunks, and change them, while no record is staged.
    pub fn with_places<T>(&self, act: impl FnOnce(&mut Places, StagedLsns) -> T) -> T {
        let mut staging = lock(&self.staging);
        let Staging { settled_lsn, next_lsn, .. } = *staging;
        act(&mut staging.places, StagedLsns { settled_lsn, next_lsn })
    }

    /// Bytes of chunks in use, and of those that wait in quarantine.
    pub fn taken_bytes(&self) -> (u64, u64) {
        let (used, waiting) =
            self.with_places(|places, _| (places.used_count(), places.quarantine.place_count()));
        let chunk_bytes = self.records.chunk_bytes();
        (used * chunk_bytes, waiting * chunk_bytes)
    }

    /// Room of the data file that the next records will take.
    pub fn frontier(&self) -> Frontier {
        lock(&self.staging).places.frontier()
    }

    /// Whether any group waits to be written.
    pub fn has_work(&self) -> bool {
        lock(&self.staging).has_work()
    }

    /// Whether a group should be written without waiting for the end of its interval.
    pub fn has_urgent_work(&self) -> bool {
        self.has_urgent_group(&lock(&self.staging))
    }

    /// From now on groups are committed with `strategy`.
    pub fn set_strategy(&self, strategy: CommitStrategy) -> Result<()> {
        let log = &mut lock(&self.leading).log;
        log.set_strategy(strategy)
            .map_err(|error| Error::io("cannot change the commit strategy", error))?;
        self.counters.note_log(log.counters(), log.strategy());
        Ok(())
    }

    /// The time in nanoseconds, by the clock of the storage.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.storage.now().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Nanoseconds since `begun_ns`.
    pub fn ns_since(&self, begun_ns: u64) -> u64 {
        self.now_ns().saturating_sub(begun_ns)
    }
}
