//! [`LogSpan`]: the log behind a checkpoint, up to where it ended when it was read.

use std::collections::BTreeMap;

use uarr_layout::superblock::{Checkpoint, Superblock};
use uarr_uring::{OpenMode, Storage};

use crate::checkpoint::root::SlotsSay;
use crate::data::applier::Replayed;
use crate::error::Result;
use crate::files::{LOCK_FILE, list_segments};
use crate::key::KeyKind;
use crate::log::position::{LogPosition, start_of};
use crate::log::reader::{LogReader, LoggedGroup, Next, ReadEnd};
use crate::options::RecoveryMode;
use crate::recovery::decision::reach;
use crate::recovery::frames::{Landing, LoggedFrame, each_frame};
use crate::recovery::tail::{LogSource, check_segments, judge};
use crate::report::RecoveryReport;

/// See [`self`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSpan {
    pub checkpoint: Checkpoint,
    pub end: LogPosition,
    /// How segments are opened.
    pub mode: OpenMode,
    /// Whether it has a frame.
    pub is_empty: bool,
}

/// What replay would find of the frames it applies.
struct LogWalk {
    landing: Landing,
    /// Where the last record of a chunk ends, by its number.
    ends: BTreeMap<u64, u64>,
    floor_ms: u64,
    record_count: u64,
}

impl LogWalk {
    /// Checks what replay checks, but for values.
    fn pass(&mut self, group: &LoggedGroup<'_>, kind: KeyKind) -> Result<()> {
        let Self { landing, ends, record_count, .. } = self;
        self.floor_ms = each_frame(group, kind, self.floor_ms, |logged| {
            if logged.frame.opens_chunk() {
                return landing.open_chunk(logged, u64::MAX);
            }
            let end_of = |number: u64| {
                ends.get(&number).copied().unwrap_or_else(|| landing.durable_bytes(number))
            };
            let record = landing.find(logged, end_of)?;
            *record_count += 1;
            if record == Replayed::Missing {
                let address = logged.frame.header.address.get();
                let (number, offset) =
                    (address / landing.chunk_bytes, address % landing.chunk_bytes);
                let end = offset + logged.frame.record_bytes() as u64;
                ends.insert(number, end.min(landing.chunk_bytes));
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl LogSpan {
    /// Of a database that was closed in order: nothing.
    pub fn empty(checkpoint: Checkpoint, mode: OpenMode) -> Self {
        Self { checkpoint, end: start_of(&checkpoint), mode, is_empty: true }
    }

    /// Reads the log behind the checkpoint of `source` to its end. Also returns how late it was
    /// there. Errors are those of recovery.
    pub fn read<S: Storage>(
        source: &LogSource<'_, S>,
        named: SlotsSay<'_>,
        (recovery, kind): (RecoveryMode, KeyKind),
        landing: Landing,
        report: &mut RecoveryReport,
    ) -> Result<(Self, u64)> {
        let block = named.block;
        check_segments(source, block)?;
        let floor_ms = block.expiry_floor_ms.get();
        let mut walk = LogWalk { landing, ends: BTreeMap::new(), floor_ms, record_count: 0 };
        let mut reader = source.reader(block);
        let mut found = loop {
            match reader.next()? {
                Next::Group(group) => {
                    report.replayed_group_count += 1;
                    walk.pass(&group, kind)?;
                }
                Next::End(end) => break end,
            }
        };
        let end = reader.position();
        let durable_lsn = named.checkpoints().map(|named| named.end_lsn.get()).max().unwrap_or(0);
        let mut missing = reader.missing(reach(recovery))?.or_else(|| end.ends_before(durable_lsn));
        if (missing.is_some() || found.torn.is_some()) && goes_on(source.storage, &reader)? {
            (missing, found) = (None, ReadEnd { torn: None, ..found });
        }
        // A writer is about to make it whole.
        let is_written = || source.storage.holder(LOCK_FILE).is_ok_and(|holder| holder.is_some());
        if found.torn.is_some() && is_written() {
            found.torn = None;
        }
        report.torn_tail = judge(recovery, found, missing)?;
        report.replayed_record_count = walk.record_count;
        let is_empty = report.replayed_group_count == 0;
        let span = Self { checkpoint: source.checkpoint, end, mode: source.mode, is_empty };
        Ok((span, walk.floor_ms))
    }

    /// Gives `each` the frames that have records, in their order, and where these are; `landing`
    /// has the chunks of the checkpoint.
    pub fn each_change<S: Storage>(
        &self,
        storage: &S,
        block: &Superblock,
        (kind, landing): (KeyKind, &Landing),
        mut each: impl FnMut(&LoggedFrame<'_>, Replayed),
    ) -> Result<()> {
        let present = list_segments(storage)?;
        let Self { checkpoint, end, mode, .. } = *self;
        let source = LogSource { storage, present: &present, checkpoint, mode };
        let mut reader = source.reader(block);
        while reader.position().lsn < end.lsn {
            match reader.next()? {
                Next::Group(group) => {
                    each_frame(&group, kind, 0, |logged| {
                        let address = logged.frame.header.address.get();
                        let (number, offset) =
                            (address / landing.chunk_bytes, address % landing.chunk_bytes);
                        let is_in_file = offset < landing.durable_bytes(number);
                        if !logged.frame.opens_chunk() {
                            let in_file =
                                if is_in_file { Replayed::InFile } else { Replayed::Missing };
                            each(logged, in_file);
                        }
                        Ok(())
                    })?;
                }
                Next::End(ReadEnd { position, .. }) => {
                    return Err(position.behind().damage("it changed while it was read"));
                }
            }
        }
        Ok(())
    }
}

/// Whether the log, which has seemed to end where `reader` is, has only been written on: what was
/// met behind its end proves no loss then.
fn goes_on<S: Storage>(storage: &S, reader: &LogReader<'_, S>) -> Result<bool> {
    let present = list_segments(storage)?;
    Ok(matches!(reader.anew(&present).advance()?, Next::Group(_)))
}
