//! Where the log ends, and what its end proves: read before the first write, by recovery and by who
//! only reads.

use std::collections::VecDeque;
use std::io;

use uarr_layout::Defect;
use uarr_layout::group::GroupHeader;
use uarr_layout::superblock::{Checkpoint, Superblock};
use uarr_uring::{OpenMode, Storage, StorageFile};

use crate::checkpoint::root::SlotsSay;
use crate::error::{Error, ErrorKind, Result};
use crate::files::segment_path;
use crate::log::position::{LogPosition, start_of};
use crate::log::reader::{LogReader, Next, ReadEnd};
use crate::log::segment::full_bytes;
use crate::options::RecoveryMode;
use crate::recovery::decision::{LogEnding, LogTail, Proof, ending, reach};
use crate::report::{RecoveryReport, TornTail};
use crate::structure::Structure;

/// Where the log is read from.
pub(crate) struct LogSource<'a, S: Storage> {
    pub storage: &'a S,
    /// Numbers of the segment files, ascending.
    pub present: &'a [u64],
    pub checkpoint: Checkpoint,
    /// How segments are opened.
    pub mode: OpenMode,
}

impl<S: Storage> LogSource<'_, S> {
    pub fn reader(&self, root: &Superblock) -> LogReader<'_, S> {
        let block_bytes = u64::from(root.block_bytes.get());
        let start = start_of(&self.checkpoint);
        let present = self.present;
        LogReader::new(self.storage, root.database, block_bytes, present, start).opening(self.mode)
    }
}

/// The log as far as it can be read.
pub(crate) struct ReadLog {
    pub end: LogPosition,
    /// Groups at the end that no later group proves durable.
    pub unproven: Vec<GroupHeader>,
    pub latest_life: u64,
    pub bytes: u64,
}

/// Reads the log from the checkpoint to its end and writes nothing. Fails if an acknowledged record
/// is missing.
pub(crate) fn read_log<S: Storage>(
    source: &LogSource<'_, S>,
    named: SlotsSay<'_>,
    mode: RecoveryMode,
    report: &mut RecoveryReport,
) -> Result<ReadLog> {
    let start = start_of(&source.checkpoint);
    let durable_lsn = named.checkpoints().map(|named| named.end_lsn.get()).max().unwrap_or(0);
    let lens = check_segments(source, named.block)?;
    let mut reader = source.reader(named.block);
    let mut unproven = VecDeque::<GroupHeader>::new();
    let mut frame_count = 0;
    let end = loop {
        match reader.advance()? {
            Next::Group(header) => {
                report.replayed_group_count += 1;
                frame_count += u64::from(header.frame_count.get());
                unproven.push_back(header);
                let proven_lsn = durable_lsn.max(reader.proven_lsn());
                while unproven.front().is_some_and(|group| group.last_lsn() <= proven_lsn) {
                    unproven.pop_front();
                }
            }
            Next::End(end) => break end,
        }
    };
    let found = reader.position();
    let missing = reader.missing(reach(mode))?.or_else(|| found.ends_before(durable_lsn));
    report.torn_tail = judge(mode, end, missing)?;
    assert!(found.lsn >= start.lsn);
    assert!((found.segment, found.offset) >= (start.segment, start.offset), "readers go forward");
    let lsn_count = found.lsn - start.lsn;
    assert!(frame_count <= lsn_count, "each frame has an LSN of its own");
    let follow = |pair: &[GroupHeader]| pair[1].previous_lsn.get() == pair[0].last_lsn();
    let unproven = Vec::from(unproven);
    assert!(unproven.windows(2).all(follow), "no group at the end is left out");
    assert!(unproven.last().is_none_or(|last| last.last_lsn() == found.lsn));
    let (lives, latest) = (unproven.iter().map(|group| group.life.get()), reader.latest_life());
    assert!(lives.max().is_none_or(|life| life >> 32 <= latest >> 32), "the next life is later");
    let before = lens.iter().filter(|(number, _)| *number < found.segment);
    let bytes = before.map(|(_, bytes)| bytes).sum::<u64>() + found.offset;
    Ok(ReadLog {
        end: found,
        unproven,
        latest_life: reader.latest_life(),
        bytes: bytes.saturating_sub(start.offset),
    })
}

/// What the mode says of a log that ends so, where `missing` may prove that it should go on: an
/// error, or the torn tail that does not count.
pub(crate) fn judge(
    mode: RecoveryMode,
    end: ReadEnd,
    missing: Option<Error>,
) -> Result<Option<TornTail>> {
    let proof = if missing.is_some() { Proof::Missing } else { Proof::Nothing };
    let tail = if end.torn.is_some() { LogTail::Torn } else { LogTail::Clean };
    match (ending(mode, proof, tail), missing, end.torn) {
        (LogEnding::Missing, Some(damage), _) => Err(damage),
        (LogEnding::Refused, _, Some(defect)) => Err(refused(&torn_tail(end.position, &defect))),
        (LogEnding::Cut, _, Some(defect)) => Ok(Some(torn_tail(end.position, &defect))),
        (ending, ..) => {
            assert_eq!(ending, LogEnding::Whole, "the others have a cause");
            Ok(None)
        }
    }
}

fn torn_tail(place: LogPosition, defect: &Defect) -> TornTail {
    let LogPosition { segment, offset, lsn } = place;
    let detail = format!("a group that was not written completely: {defect}");
    TornTail { file: segment_path(segment), offset, lsn, detail }
}

fn refused(tail: &TornTail) -> Error {
    let TornTail { file, offset, detail, .. } = tail;
    let message = format!(
        "the log ends in a torn group at offset {offset} of {file} ({detail}); nothing \
         acknowledged is lost, recovery mode TolerateTornTail cuts it"
    );
    Error::new(ErrorKind::TornTail, message)
}

/// The segment in which replay starts must be there, and all from it on must have their full
/// length: the engine gives a segment its number only when all of it is durable, so a shorter one
/// was cut by others. Returns their lengths.
//= WAL-12
pub(crate) fn check_segments<S: Storage>(
    source: &LogSource<'_, S>,
    root: &Superblock,
) -> Result<Vec<(u64, u64)>> {
    let LogSource { storage, present, checkpoint, mode } = *source;
    let start = start_of(&checkpoint);
    let mut lens = Vec::new();
    for number in present.iter().copied().filter(|number| *number >= start.segment) {
        let path = segment_path(number);
        let failed = |error| Error::io(format!("cannot read {path}"), error);
        let file = match storage.open(&path, mode) {
            // A writer that is there has renamed or removed it, beside who only reads. If it was
            // needed, something proves that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(failed)?,
        };
        let bytes = file.len().map_err(failed)?;
        let expected = full_bytes(&file, root, number).map_err(failed)?;
        if bytes < expected {
            let detail = format!("expected {expected} bytes, the file has {bytes}");
            return Err(Structure::segment(number).at(bytes).lsn(start.lsn + 1).damage(detail));
        }
        lens.push((number, bytes));
    }
    if lens.first().is_none_or(|(first, _)| *first != start.segment) {
        let what = "the segment where replay starts is missing";
        return Err(Structure::log(start.segment).lsn(start.lsn + 1).damage(what));
    }
    Ok(lens)
}
