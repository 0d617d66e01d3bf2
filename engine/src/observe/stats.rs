//! Numbers about an open database.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use uarr_index::IndexStats;
use uarr_uring::{Backend, CommitStrategy, Storage};

use crate::core::Core;
use crate::data::live::LINE_BYTES;
use crate::data::tables::OtherIndex;
use crate::log::strategy;
use crate::meters::counters::{Phases, WaitTimes};
use crate::meters::histogram::Distribution;
use crate::sync::lock;

/// Numbers about an open database. Counters start at 0 when it is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Keys; exact while no thread writes.
    pub key_count: u64,
    /// Commits that are durable: write calls, and of those of many steps each step.
    pub commit_count: u64,
    /// Records of these.
    pub record_count: u64,
    /// Groups they were written in.
    pub group_count: u64,
    /// Write operations of the log.
    pub write_count: u64,
    /// Cache flushes of the log, counting a write that carries its own flush as one.
    pub flush_count: u64,
    /// What the time of commits was spent on.
    pub phases: CommitPhases,
    /// What threads that write have waited for before they could begin.
    pub waits: WriteWaits,
    /// Bytes written to the log, padding included.
    pub log_bytes: u64,
    /// Checkpoints taken.
    pub checkpoint_count: u64,
    /// Records that had expired and were deleted since.
    pub expired_count: u64,
    /// Readers see records up to this LSN.
    pub visible_lsn: u64,
    /// Records up to this LSN survive a loss of power.
    pub durable_lsn: u64,
    /// Bytes of the data file that hold records.
    pub data_bytes: u64,
    /// What becomes of the data file.
    pub space: SpaceStats,
    /// Bytes of the data file that are allocated.
    pub data_allocated_bytes: u64,
    /// Address space reserved for the data file, which grows beyond it only after the next open.
    pub address_space_bytes: u64,
    /// Unit of log writes.
    pub block_bytes: u32,
    /// Which way operations reach the kernel.
    pub backend: Backend,
    /// Why that is not io_uring although the options ask for it.
    pub backend_warning: Option<String>,
    /// How groups are committed at present.
    pub strategy: CommitStrategy,
    /// Median commit with each strategy (linked, dsync, syscall) at the last measurement; 0 = not
    /// measured.
    pub strategy_ns: [u64; 3],
    /// Why the database takes no more writes, or else why the last step of a kind of background
    /// work failed: checkpoints, preparation of space, moves, deletions of what has expired.
    pub background_error: Option<crate::Error>,
    /// Shape of the default table's index: from keys, or from hashes of byte keys, to records. Of
    /// any table: [`crate::Db::table_stats`].
    pub index: IndexStats,
    /// Shape of its second index, which keeps byte keys in order.
    pub ordered_index: Option<IndexStats>,
}

impl fmt::Display for Stats {
    /// One line for a log: what is there, what came since it was opened, and what is wrong.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("a", b"1")?;
    /// let stats = db.stats();
    /// let line = stats.to_string();
    /// assert!(line.starts_with("keys 1, live 64 bytes, dead"), "{line}");
    /// assert!(line.contains("; commits 1, groups 1, p50"), "{line}");
    /// assert!(line.ends_with(&format!(", durable LSN {}", stats.durable_lsn)), "{line}");
    /// # Ok(())
    /// # }
    /// ```
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SpaceStats { live_bytes, dead_bytes, waiting_bytes, free_bytes, .. } = self.space;
        write!(f, "keys {}, live {live_bytes} bytes, dead {dead_bytes}, ", self.key_count)?;
        write!(f, "waiting {waiting_bytes}, free {free_bytes}; ")?;
        let io = &self.phases.io;
        write!(f, "commits {}, groups {}, ", self.commit_count, self.group_count)?;
        write!(f, "p50 {} ns, p99 {} ns at the device; ", io.p50, io.p99)?;
        write!(f, "visible LSN {}, durable LSN {}", self.visible_lsn, self.durable_lsn)?;
        match &self.background_error {
            Some(error) => write!(f, "; background error: {error}"),
            None => Ok(()),
        }
    }
}

/// What the bytes of the data file are there for. What is dead comes back in time, or by
/// [`crate::Db::compact`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceStats {
    /// Records that can be read now, to 64 bytes.
    pub live_bytes: u64,
    /// Old versions that were copied for iterators, which look at an earlier moment.
    pub retained_bytes: u64,
    /// What was overwritten or deleted, and what is left over between records.
    pub dead_bytes: u64,
    /// Chunks in which nothing lives, that an older checkpoint or a reader still needs.
    pub waiting_bytes: u64,
    /// Room that later records take first.
    pub free_bytes: u64,
    /// Bytes of records that were moved since the database was opened.
    pub moved_bytes: u64,
    /// The moment that the oldest iterator looks at, as an LSN: what was there then is kept.
    pub oldest_pin: Option<u64>,
    /// How long it has looked at it.
    pub oldest_pin_age: Option<Duration>,
}

/// What the time of commits was spent on since the database was opened, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CommitPhases {
    /// From the call of a durable write until the engine gave its group to the device.
    pub queue: Distribution,
    /// Applying a group to data file and index, while the device works. Only where writes are
    /// durable before they are visible.
    pub apply: Distribution,
    /// From giving a group to the device until it was durable.
    pub io: Distribution,
    /// From then until a member was running again.
    pub wake: Distribution,
    /// Commits in a group.
    pub group_commits: Distribution,
    /// Bytes of a written group.
    pub group_bytes: Distribution,
}

/// How long threads that write have waited before their records had a place, by what they waited
/// for, since the database was opened, in nanoseconds. A write that waited for nothing counts
/// nowhere, and one that waited for several things with each of them. Tasks do not count: they are
/// woken instead. With `background(false)` writers do all work themselves, and nothing counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct WriteWaits {
    /// A buffer for a group: the device has fallen behind. The thread may have written a group
    /// itself.
    pub buffer: Distribution,
    /// Space that it had to get itself, in the log or in the data file: the background has fallen
    /// behind, or has not begun.
    pub space: Distribution,
    /// Compaction: there was more garbage than `space_amplification_max` allows.
    pub garbage: Distribution,
    /// Room on a full disk.
    pub room: Distribution,
}

impl<S: Storage> Core<S> {
    pub fn stats(&self) -> Stats {
        let counter = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        // This thread releases each lock before it takes the next: writers take some of them in
        // another order. That of the superblock a checkpoint has for as long as it takes.
        let key_count = {
            let refused = self.committer.refused_tables();
            let is_there = |other: &OtherIndex| !refused.has(other.index.space.prefix);
            self.records().total_key_count(is_there)
        };
        let frontier = self.committer.frontier();
        let data_bytes = frontier.data_bytes;
        let failed = || lock(&self.background_errors).values().next().cloned();
        let background_error = self.committer.health.poison().or_else(failed);
        let facts = self.storage().facts();
        let (index, ordered_index) = self.records().index_stats();
        Stats {
            key_count,
            commit_count: counter(&self.committer.counters.commit_count),
            record_count: counter(&self.committer.counters.record_count),
            group_count: counter(&self.committer.counters.group_count),
            write_count: counter(&self.committer.counters.write_count),
            flush_count: counter(&self.committer.counters.flush_count),
            phases: phases(&self.committer.phases),
            waits: waits(&self.committer.waits),
            log_bytes: counter(&self.committer.counters.log_bytes),
            expired_count: counter(&self.committer.counters.expired_count),
            checkpoint_count: counter(&self.committer.counters.checkpoint_count),
            visible_lsn: self.records().visible.lsn(),
            durable_lsn: self.records().visible.durable_lsn(),
            data_bytes,
            space: self.space_stats(),
            data_allocated_bytes: self.committer.with_places(|places, _| places.allocated_bytes()),
            address_space_bytes: self.records().space.reserved_bytes(),
            block_bytes: u32::try_from(self.committer.identity.block_bytes)
                .expect("blocks are small"),
            backend: facts.backend,
            backend_warning: facts.warning.clone(),
            strategy: strategy::from_number(
                self.committer.counters.strategy.load(Ordering::Relaxed),
            ),
            strategy_ns: self.committer.counters.strategy_ns.each_ref().map(counter),
            background_error,
            index,
            ordered_index,
        }
    }
}

impl<S: Storage> Core<S> {
    fn space_stats(&self) -> SpaceStats {
        let chunk_bytes = self.records().chunk_bytes();
        let live_bytes = self.records().live_lines() * LINE_BYTES;
        let retained_bytes = self.records().retained.total_lines() * LINE_BYTES;
        let (used, waiting, free) = self.committer.with_places(|places, _| {
            (places.used_count(), places.quarantine.place_count(), places.free.ready_count())
        });
        let pin = self.records().pins.oldest_pinned();
        SpaceStats {
            live_bytes,
            retained_bytes,
            dead_bytes: (used * chunk_bytes).saturating_sub(live_bytes + retained_bytes),
            waiting_bytes: waiting * chunk_bytes,
            free_bytes: free * chunk_bytes,
            moved_bytes: self.committer.counters.moved_bytes.load(Ordering::Relaxed),
            oldest_pin: pin.map(|(lsn, _)| lsn),
            oldest_pin_age: pin.map(|(_, since)| self.storage().now().saturating_sub(since)),
        }
    }
}

fn waits(waits: &WaitTimes) -> WriteWaits {
    WriteWaits {
        buffer: waits.buffer.distribution(),
        space: waits.space.distribution(),
        garbage: waits.garbage.distribution(),
        room: waits.room.distribution(),
    }
}

fn phases(phases: &Phases) -> CommitPhases {
    CommitPhases {
        queue: phases.queue.distribution(),
        apply: phases.apply.distribution(),
        io: phases.io.distribution(),
        wake: phases.wake.distribution(),
        group_commits: phases.group_commits.distribution(),
        group_bytes: phases.group_bytes.distribution(),
    }
}

#[cfg(test)]
mod tests {
    use uarr_disk_sim::Memory;

    use super::*;

    /// A checkpoint holds the superblock for as long as it writes its image.
    #[test]
    fn stats_do_not_wait_for_a_checkpoint() {
        let core = crate::recovery::open::open_small(Memory::new()).unwrap();
        let root = lock(&core.root);
        let stats = core.stats();
        assert_eq!(stats.block_bytes, root.block.block_bytes.get());
        assert_eq!(stats.strategy_ns, root.block.strategy_ns.map(|ns| ns.get()));
    }
}
