//! Opening a database that exists: superblock, index image, log.
//!
//! 1. The superblock slot with the highest generation names the last two checkpoints.
//! 2. The index image of the newer one is loaded; if it is damaged, the older one and more of the
//!    log serve.
//! 3. Recovery reads the log from the checkpoint to its end. So far it has written nothing: if
//!    something is missing, it leaves the files as it found them.
//! 4. If a slot names a newer checkpoint than the one in use, or is unreadable, recovery writes
//!    both slots so that they name only the one in use: the next steps change what a newer one
//!    calls durable, and a newer one may be readable again tomorrow.
//! 5. Recovery discards what stands in the data file behind all checkpoints
//!    ([`StorageFile::renew`]).
//! 6. Replay applies the log. Each frame names the address of its record: replay only indexes
//!    records before the checkpoint's `data_tail`, which are durable in the data file, and writes
//!    the others again to the same place. Replaying twice gives the same as once.
//! 7. Recovery writes the groups that no later one proves durable again, to a new segment
//!    ([`crate::recovery::relog`]), before a reader sees their records. Then it writes a new life
//!    number: from now on no reader of the log takes what stands behind its end for part of it.
//!
//! After an orderly close steps 3 to 7 have nothing to do but the life number.
//!
//! Recovery skips the LSNs that writers may have got before a crash, so no LSN has two records.

use std::collections::VecDeque;

use uarr_layout::Defect;
use uarr_layout::geometry::{PAGE_BYTES, align_up_u64};
use uarr_layout::group::GroupHeader;
use uarr_layout::limits::{LIFE_COUNT_MAX, LSN_MAX, NUMBER_MAX};
use uarr_layout::superblock::{Checkpoint, Superblock};
use uarr_uring::{OpenMode, Storage, StorageFile};

use crate::checkpoint::image::read_image;
use crate::checkpoint::root::Root;
use crate::data::entries::Entries;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{DATA_FILE, ROOT_FILE, list_segments, remove_old_images, segment_path};
use crate::key::KeyKind;
use crate::limits::{LSN_SKIP, NUMBERS_LEFT_MIN};
use crate::log::position::{LogPosition, start_of};
use crate::log::reader::{LogReader, Next, Reach, ReadEnd};
use crate::log::segment::full_bytes;
use crate::log::zeros::remove_unfinished;
use crate::options::{Options, RecoveryMode};
use crate::recovery::found::{FoundLog, Recovered};
use crate::recovery::relog::{OldLog, go_on_afresh};
use crate::recovery::replay::Replay;
use crate::report::{RecoveryReport, TornTail};

/// Rebuilds the state that `root` describes.
pub(crate) fn recover<S: Storage>(
    storage: &S,
    root: &mut Root<S>,
    options: &Options,
    notes: Vec<Error>,
) -> Result<Recovered<S>> {
    let strict = options.recovery == RecoveryMode::Strict;
    if let (true, Some(note)) = (strict, notes.first()) {
        return Err(note.clone());
    }
    let key_kind = key_kind(&root.block, options)?;
    let mut report = RecoveryReport { notes, ..RecoveryReport::default() };
    let (checkpoint, entries) =
        load_checkpoint(storage, &root.block, key_kind, strict, &mut report)?;
    remove_unfinished(storage)
        .map_err(|error| Error::io("cannot remove an unfinished log segment", error))?;
    let present = list_segments(storage)?;
    let data_file = open_data_file(storage, &checkpoint)?;
    report.checkpoint = checkpoint.number.get();
    check_segment_numbers(&present, &checkpoint)?;

    //= SUP-6
    let says_closed = root.block.closed.get() == 1 && checkpoint == root.block.checkpoints[0];
    if says_closed && goes_on(storage, &root.block, &present, &checkpoint)? {
        let what = "it notes a close, but the log has more: a newer superblock is lost";
        let lost = Error::corrupt(ROOT_FILE, 0, None, "superblock", what);
        if strict {
            return Err(lost);
        }
        report.notes.push(lost);
    }
    // A slot that says "closed" proves nothing if the other one is unreadable: it may be of a later
    // open.
    report.clean = says_closed && report.notes.is_empty();
    let source = Source { storage, present: &present, checkpoint };
    let table = (key_kind, entries);
    if report.clean {
        let position = start_of(&checkpoint);
        let log = FoundLog { last_segment: position.segment, position, bytes: 0, present };
        let next_lsn = with_lsns_left(root.block.next_lsn.get())?;
        let life = next_life(storage, root.latest_life(), 1)?;
        let replay = Replay::new(storage, &root.block, options, &checkpoint, data_file, table)?;
        return Ok(replay.into_recovered(log, next_lsn, life, report));
    }
    recover_unclean(&source, root, options, data_file, table, report)
}

/// Where the log is read from.
struct Source<'a, S: Storage> {
    storage: &'a S,
    /// Numbers of the segment files, ascending.
    present: &'a [u64],
    checkpoint: Checkpoint,
}

impl<S: Storage> Source<'_, S> {
    fn reader(&self, root: &Superblock) -> LogReader<'_, S> {
        let block_bytes = u64::from(root.block_bytes.get());
        let start = start_of(&self.checkpoint);
        LogReader::new(self.storage, root.database, block_bytes, self.present, start)
    }
}

/// Steps 3 to 7 of an open without an orderly close before it.
fn recover_unclean<S: Storage>(
    source: &Source<'_, S>,
    root: &mut Root<S>,
    options: &Options,
    data_file: S::File,
    table: (KeyKind, Entries),
    mut report: RecoveryReport,
) -> Result<Recovered<S>> {
    let Source { storage, present, checkpoint } = *source;
    let strict = options.recovery == RecoveryMode::Strict;
    let read = read_log(source, root, strict, &mut report)?;
    // An unreadable slot may have held the start of the last open, which had skipped LSNs already.
    let opens = if report.notes.is_empty() { 1 } else { 2 };
    let next_lsn = lsn_after(read.end.lsn.max(root.block.next_lsn.get()), opens)?;
    let life = next_life(storage, root.latest_life().max(read.latest_life), opens)?;

    let renewed_from = root.checkpoints().map(|named| named.data_tail.get()).max();
    let is_newest = root.checkpoints().all(|named| named.number <= checkpoint.number);
    if !is_newest || !report.notes.is_empty() {
        give_up_newer(storage, root, checkpoint, next_lsn, life)?;
    }
    renew_from(&data_file, renewed_from.unwrap_or(0))?;
    let mut replay = Replay::new(storage, &root.block, options, &checkpoint, data_file, table)?;
    report.indexed_record_count = replay.index.len() as u64;
    replay_log(source, &root.block, read.end, &mut replay)?;

    let unproven = read.unproven;
    let old = OldLog { root: &root.block, present, end: read.end, unproven: &unproven };
    let (position, present) = go_on_afresh(storage, &old, life)?;
    let log = FoundLog { present, last_segment: read.end.segment, position, bytes: read.bytes };
    Ok(replay.into_recovered(log, next_lsn, life, report))
}

/// The first LSN that surely no writer got, if one may have got `highest`, and `skips` opens after
/// it may have left no trace.
//= WAL-10
fn lsn_after(highest: u64, skips: u64) -> Result<u64> {
    with_lsns_left((highest / LSN_SKIP).saturating_add(skips).saturating_mul(LSN_SKIP))
}

/// `next_lsn`, if enough LSNs are left behind it.
fn with_lsns_left(next_lsn: u64) -> Result<u64> {
    if next_lsn > LSN_MAX - NUMBERS_LEFT_MIN {
        return Err(used_up("LSN", next_lsn - 1));
    }
    Ok(next_lsn)
}

/// Enough numbers are left behind those of all segments. A segment under a higher one would be a
/// file of others at the next open.
//= WAL-1
fn check_segment_numbers(present: &[u64], checkpoint: &Checkpoint) -> Result<()> {
    let highest = present.last().copied().unwrap_or(0).max(checkpoint.segment.get());
    if highest > NUMBER_MAX - NUMBERS_LEFT_MIN {
        let what = "no segment number is left behind it";
        return Err(Error::corrupt(segment_path(highest), 0, None, "log segment", what));
    }
    Ok(())
}

/// A life number that no open had, if `latest` is the latest known and up to `opens` followed it,
/// this one included.
//= SUP-5
fn next_life<S: Storage>(storage: &S, latest: u64, opens: u64) -> Result<u64> {
    let high = (latest >> 32) + opens;
    if high >= LIFE_COUNT_MAX {
        return Err(used_up("life", latest));
    }
    Ok((high << 32) | (storage.random() >> 32))
}

fn used_up(what: &str, last: u64) -> Error {
    let detail = format!("no {what} number is left behind {last}");
    Error::corrupt(ROOT_FILE, 0, None, "superblock", detail)
}

/// Writes both slots so that they name only `used`, and removes the images of other checkpoints.
/// The log must still be readable as far as any of them knew it to be durable.
//= SUP-8
fn give_up_newer<S: Storage>(
    storage: &S,
    root: &mut Root<S>,
    used: Checkpoint,
    next_lsn: u64,
    life: u64,
) -> Result<()> {
    let end_lsn = root.checkpoints().map(|named| named.end_lsn.get()).max();
    let number = root.checkpoints().map(|named| named.number.get()).max();
    root.image_number_tried = root.image_number_tried.max(number.unwrap_or(0));
    root.write_both(|block| {
        block.checkpoints = [used, Checkpoint::default()];
        block.checkpoints[0].end_lsn = end_lsn.unwrap_or(0).into();
        block.closed = 0.into();
        block.next_lsn = next_lsn.into();
        block.life = life.into();
    })
    .map_err(|error| Error::io("cannot write the superblock", error))?;
    remove_old_images(storage, &[used.number.get()])
}

//= DAT-7
fn open_data_file<S: Storage>(storage: &S, checkpoint: &Checkpoint) -> Result<S::File> {
    let failed = |error| Error::io("cannot open the data file", error);
    let data_file = storage.open(DATA_FILE, OpenMode::Mapped).map_err(failed)?;
    let data_tail = checkpoint.data_tail.get();
    let bytes = data_file.len().map_err(failed)?;
    if bytes < data_tail {
        let detail = format!("expected at least {data_tail} bytes, the file has {bytes}");
        return Err(Error::corrupt(DATA_FILE, bytes, None, "data file", detail));
    }
    Ok(data_file)
}

/// Discards what stands behind all checkpoints: the log, which recovery has read to its end, has
/// all of it that counts. Otherwise a page whose write-back failed would pass for written, and a
/// record that recovery has cut off would stay readable.
//= DAT-6
fn renew_from<F: StorageFile>(data_file: &F, data_tail: u64) -> Result<()> {
    let failed = |error| Error::io("cannot renew the end of the data file", error);
    let bytes = data_file.len().map_err(failed)?;
    let start = align_up_u64(data_tail.min(bytes), PAGE_BYTES).min(bytes);
    data_file.renew(start).map_err(failed)
}

/// True if there is log behind the checkpoint.
fn goes_on<S: Storage>(
    storage: &S,
    root: &Superblock,
    present: &[u64],
    checkpoint: &Checkpoint,
) -> Result<bool> {
    let block_bytes = u64::from(root.block_bytes.get());
    let start = start_of(checkpoint);
    let mut reader = LogReader::new(storage, root.database, block_bytes, present, start);
    Ok(matches!(reader.advance()?, Next::Group(_)))
}

fn key_kind(root: &Superblock, options: &Options) -> Result<KeyKind> {
    let kind = KeyKind::from_number(root.key_kind.get())
        .ok_or_else(|| Error::corrupt(ROOT_FILE, 0, None, "superblock", "unknown kind of keys"))?;
    match options.keys {
        Some(asked) if asked != kind => Err(Error::invalid(format!(
            "the database was created with {kind:?} keys, not with {asked:?} keys"
        ))),
        _ => Ok(kind),
    }
}

/// Loads the image of the newest checkpoint, or of the older one if the newest is damaged.
fn load_checkpoint<S: Storage>(
    storage: &S,
    root: &Superblock,
    kind: KeyKind,
    strict: bool,
    report: &mut RecoveryReport,
) -> Result<(Checkpoint, Entries)> {
    let mut first_error = None;
    for checkpoint in root.checkpoints {
        if checkpoint.number.get() == 0 {
            let is_first = checkpoint.segment.get() == 1;
            if is_first {
                return Ok((checkpoint, Entries::empty(kind)));
            }
            continue;
        }
        match read_image(storage, &root.database, &checkpoint, kind) {
            Ok(entries) => return Ok((checkpoint, entries)),
            Err(error) if strict || error.kind() != ErrorKind::Corruption => return Err(error),
            Err(error) => {
                report.notes.push(error.clone());
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.unwrap_or_else(|| {
        Error::corrupt(ROOT_FILE, 0, None, "superblock", "it names no checkpoint")
    }))
}

/// The log as far as it can be read.
struct ReadLog {
    end: LogPosition,
    /// Groups at the end that no later group proves durable.
    unproven: Vec<GroupHeader>,
    latest_life: u64,
    bytes: u64,
}

/// Reads the log from the checkpoint to its end and writes nothing. Fails if an acknowledged record
/// is missing.
fn read_log<S: Storage>(
    source: &Source<'_, S>,
    root: &Root<S>,
    strict: bool,
    report: &mut RecoveryReport,
) -> Result<ReadLog> {
    let start = start_of(&source.checkpoint);
    let durable_lsn = root.checkpoints().map(|named| named.end_lsn.get()).max().unwrap_or(0);
    let lens = check_segments(source, &root.block)?;
    let mut reader = source.reader(&root.block);
    let mut unproven = VecDeque::<GroupHeader>::new();
    let end = loop {
        match reader.advance()? {
            Next::Group(header) => {
                report.replayed_group_count += 1;
                report.replayed_record_count += u64::from(header.record_count.get());
                unproven.push_back(header);
                let proven_lsn = durable_lsn.max(reader.proven_lsn());
                while unproven.front().is_some_and(|group| group.last_lsn() <= proven_lsn) {
                    unproven.pop_front();
                }
            }
            Next::End(end) => break end,
        }
    };
    let reach = if strict { Reach::Everywhere } else { Reach::Near };
    if let Some(damage) = reader.missing(reach)? {
        return Err(damage);
    }
    let found = reader.position();
    if found.lsn < durable_lsn {
        let detail = format!(
            "acknowledged records are missing: the last checkpoint found the log durable up to LSN \
             {durable_lsn}, but it can be read only up to LSN {}",
            found.lsn
        );
        let (file, lsn) = (segment_path(found.segment), Some(found.lsn + 1));
        return Err(Error::corrupt(file, found.offset, lsn, "log", detail));
    }
    if let Some(defect) = end.torn {
        note_torn_tail(end.position, &defect, strict, report)?;
    }
    let before = lens.iter().filter(|(number, _)| *number < found.segment);
    let bytes = before.map(|(_, bytes)| bytes).sum::<u64>() + found.offset;
    Ok(ReadLog {
        end: found,
        unproven: unproven.into(),
        latest_life: reader.latest_life(),
        bytes: bytes.saturating_sub(start.offset),
    })
}

fn note_torn_tail(
    place: LogPosition,
    defect: &Defect,
    strict: bool,
    report: &mut RecoveryReport,
) -> Result<()> {
    let LogPosition { segment, offset, lsn } = place;
    let file = segment_path(segment);
    let detail = format!("a group that was not written completely: {defect}");
    if strict {
        let message = format!(
            "the log ends in a torn group at offset {offset} of {file} ({detail}); nothing \
             acknowledged is lost, recovery mode TolerateTornTail cuts it"
        );
        return Err(Error::new(ErrorKind::TornTail, message));
    }
    report.torn_tail = Some(TornTail { file, offset, lsn, detail });
    Ok(())
}

/// Applies the log up to `end`, where [`read_log`] found it to end.
fn replay_log<S: Storage>(
    source: &Source<'_, S>,
    root: &Superblock,
    end: LogPosition,
    replay: &mut Replay<S>,
) -> Result<()> {
    let mut reader = source.reader(root);
    while reader.position().lsn < end.lsn {
        match reader.next()? {
            Next::Group(group) => replay.apply_group(&group)?,
            Next::End(ReadEnd { position, .. }) => {
                let (file, lsn) = (segment_path(position.segment), Some(position.lsn + 1));
                let what = "it changed while the database was opened";
                return Err(Error::corrupt(file, position.offset, lsn, "log", what));
            }
        }
    }
    assert_eq!(reader.position(), end, "the same log ends where it ended before");
    Ok(())
}

/// The segment in which replay starts must be there, and all from it on must have their full
/// length: the engine gives a segment its number only when all of it is durable, so a shorter one
/// was cut by others. Returns their lengths.
//= WAL-12
fn check_segments<S: Storage>(
    source: &Source<'_, S>,
    root: &Superblock,
) -> Result<Vec<(u64, u64)>> {
    let Source { storage, present, checkpoint } = *source;
    let start = start_of(&checkpoint);
    let mut lens = Vec::new();
    let lsn = Some(start.lsn + 1);
    if !present.contains(&start.segment) {
        let what = "the segment where replay starts is missing";
        return Err(Error::corrupt(segment_path(start.segment), 0, lsn, "log", what));
    }
    for number in present.iter().copied().filter(|number| *number >= start.segment) {
        let path = segment_path(number);
        let failed = |error| Error::io(format!("cannot read {path}"), error);
        let file = storage.open(&path, OpenMode::Direct).map_err(failed)?;
        let bytes = file.len().map_err(failed)?;
        let expected = full_bytes(&file, root, number).map_err(failed)?;
        if bytes < expected {
            let detail = format!("expected {expected} bytes, the file has {bytes}");
            return Err(Error::corrupt(path, bytes, lsn, "log segment", detail));
        }
        lens.push((number, bytes));
    }
    Ok(lens)
}
