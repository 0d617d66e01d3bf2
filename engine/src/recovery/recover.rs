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
//! 5. Recovery discards what stands in the data file and is durable by none of them
//!    ([`StorageFile::renew`]).
//! 6. Replay applies the log. Chunk-open frames say which places new chunks have. Every other
//!    frame names the address of its record: replay only indexes records among the durable bytes
//!    of their chunks, and writes the others again to the same place. Replaying twice gives the
//!    same as once.
//! 7. Recovery writes the groups that no later one proves durable again, to a new segment
//!    ([`crate::recovery::relog`]), before a reader sees their records. Then it writes a new life
//!    number: from now on no reader of the log takes what stands behind its end for part of it.
//!
//! After an orderly close steps 3 to 7 have nothing to do but the life number.
//!
//! Recovery skips the LSNs that writers may have got before a crash, so no LSN has two records.

use std::collections::VecDeque;

use uarr_layout::Defect;
use uarr_layout::chunk::{ChunkEntry, ChunkState};
use uarr_layout::group::GroupHeader;
use uarr_layout::superblock::{Checkpoint, Superblock};
use uarr_uring::{OpenMode, Storage, StorageFile};

use crate::checkpoint::image::{LoadedImage, read_image};
use crate::checkpoint::root::Root;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{list_images, list_segments, remove_old_images, segment_path};
use crate::key::KeyKind;
use crate::log::position::{LogPosition, start_of};
use crate::log::reader::{LogReader, Next, ReadEnd};
use crate::log::segment::full_bytes;
use crate::log::zeros::remove_unfinished;
use crate::options::{Options, RecoveryMode};
use crate::recovery::create::make_missing_folders;
use crate::recovery::data_file::{open_data_file, renew_places};
use crate::recovery::decision::{
    Behind, ImageState, LastOpen, LogEnding, LogTail, Names, Newest, OpenFacts, OpenStep, Proof,
    ReplayPlan, Slots, ending, leaves_numbers, lost_opens, next_life_count, next_step, reach,
    skipped_lsn, usable_lsn,
};
use crate::recovery::found::{FoundLog, Recovered};
use crate::recovery::relog::{OldLog, go_on_afresh};
use crate::recovery::replay::Replay;
use crate::report::{RecoveryReport, TornTail};
use crate::structure::Structure;

/// What to do with a database that has no numbers left.
const REMEDY: &str = "`uarr repair` copies the records to a new database";

/// Rebuilds the state that `root` describes. `notes` are what is wrong with its slots.
pub(crate) fn recover<S: Storage>(
    storage: &S,
    root: &mut Root<S>,
    options: &Options,
    notes: Vec<Error>,
) -> Result<Recovered<S>> {
    let key_kind = key_kind(&root.block, options)?;
    let mut report = RecoveryReport { notes, ..RecoveryReport::default() };
    let present = list_segments(storage)?;
    let Start { step, checkpoint, image } =
        find_start(storage, root, &present, options.recovery, key_kind, &mut report)?;
    remove_unfinished(storage)
        .map_err(|error| Error::io("cannot remove an unfinished log segment", error))?;
    let data_file = open_data_file(storage, &image.chunks, root.block.chunk_bytes.get())?;
    report.checkpoint = checkpoint.number.get();
    check_segment_numbers(&present, &checkpoint)?;
    check_image_numbers(storage, root)?;
    make_missing_folders(storage)?;
    let source = Source { storage, present: &present, checkpoint };
    let table = (key_kind, image);
    match step {
        Opening::Replayed(plan) => {
            recover_unclean(&source, root, options, plan, data_file, table, report)
        }
        Opening::Clean => {
            assert!(report.notes.is_empty(), "nothing casts doubt upon an orderly close");
            report.clean = true;
            let position = start_of(&checkpoint);
            let said = root.block.next_lsn.get();
            let next_lsn = usable_lsn(said).ok_or_else(|| used_up("LSN", said - 1))?;
            let life = next_life(storage, root.latest_life(), 1)?;
            let replay = Replay::new(storage, &root.block, options, &checkpoint, data_file, table)?;
            let log = FoundLog { last_segment: position.segment, position, bytes: 0, present };
            replay.into_recovered(log, next_lsn, life, report)
        }
    }
}

/// What recovery starts from.
struct Start {
    step: Opening,
    checkpoint: Checkpoint,
    image: LoadedImage,
}

/// How the database is opened.
enum Opening {
    Clean,
    Replayed(ReplayPlan),
}

/// Takes the steps that [`next_step`] names, up to the last one. Writes nothing; what is damaged is
/// noted in `report`.
fn find_start<S: Storage>(
    storage: &S,
    root: &Root<S>,
    present: &[u64],
    mode: RecoveryMode,
    kind: KeyKind,
    report: &mut RecoveryReport,
) -> Result<Start> {
    let block = &root.block;
    let mut facts = facts_of(root, mode, &report.notes);
    let (mut read, mut cause) = (None, None);
    let (used, step) = loop {
        match next_step(&facts) {
            OpenStep::ReadImage(index) => {
                assert_eq!(facts.images[index], ImageState::Unread, "an image is read once");
                let (checkpoint, chunk_bytes) =
                    (&block.checkpoints[index], block.chunk_bytes.get());
                match read_image(storage, &block.database, checkpoint, kind, chunk_bytes) {
                    Ok(image) => {
                        facts.images[index] = ImageState::Whole;
                        read = Some(image);
                    }
                    Err(error) if error.kind() == ErrorKind::Corruption => {
                        facts.images[index] = ImageState::Damaged;
                        report.notes.push(error.clone());
                        cause.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            OpenStep::LookBehind => {
                assert_eq!(facts.behind, Behind::Unknown, "the log is looked at once");
                facts.behind = Behind::Nothing;
                if goes_on(storage, block, present)? {
                    facts.behind = Behind::Groups;
                    let what = "it says that the database was closed, but the log goes on: a newer \
                                one is lost";
                    let lost = Structure::superblock().damage(what);
                    report.notes.push(lost.clone());
                    cause.get_or_insert(lost);
                }
            }
            OpenStep::Refuse => {
                return Err(cause
                    .or(report.notes.first().cloned())
                    .unwrap_or_else(|| Structure::superblock().damage("it names no checkpoint")));
            }
            OpenStep::GoOn => break (0, Opening::Clean),
            OpenStep::Replay(plan) => break (plan.used, Opening::Replayed(plan)),
        }
    };
    assert_eq!(
        read.is_some(),
        facts.images[used] == ImageState::Whole,
        "the used image was read last"
    );
    let image = read.unwrap_or_else(|| LoadedImage::empty(kind));
    Ok(Start { step, checkpoint: block.checkpoints[used], image })
}

/// What is known before anything but the superblock was read.
fn facts_of<S: Storage>(root: &Root<S>, mode: RecoveryMode, notes: &[Error]) -> OpenFacts {
    let block = &root.block;
    let first = block.checkpoints[0].number;
    let is_newest = root.checkpoints().all(|named| named.number <= first);
    let image = |checkpoint: Checkpoint| match (checkpoint.number.get(), checkpoint.segment.get()) {
        (0, 1) => ImageState::Empty,
        (0, _) => ImageState::Unnamed,
        _ => ImageState::Unread,
    };
    OpenFacts {
        mode,
        slots: if notes.is_empty() { Slots::Readable } else { Slots::OneUnreadable },
        images: block.checkpoints.map(image),
        last_open: if block.closed.get() == 1 { LastOpen::Closed } else { LastOpen::Unclosed },
        newest: if is_newest { Newest::InForce } else { Newest::Elsewhere },
        behind: Behind::Unknown,
    }
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

/// Steps 3 to 7 of an open that was not preceded by an orderly close.
fn recover_unclean<S: Storage>(
    source: &Source<'_, S>,
    root: &mut Root<S>,
    options: &Options,
    plan: ReplayPlan,
    data_file: S::File,
    table: (KeyKind, LoadedImage),
    mut report: RecoveryReport,
) -> Result<Recovered<S>> {
    let Source { storage, present, checkpoint } = *source;
    let read = read_log(source, root, options.recovery, &mut report)?;
    let highest = read.end.lsn.max(root.block.next_lsn.get());
    let opens = plan.opens + lost_opens(root.latest_life(), read.latest_life);
    let next_lsn = skipped_lsn(highest, opens).ok_or_else(|| used_up("LSN", highest))?;
    let life = next_life(storage, root.latest_life().max(read.latest_life), plan.opens)?;
    assert!(life >> 32 > read.latest_life >> 32, "nothing in the log is of this life");
    assert!(next_lsn > read.end.lsn, "LSNs in use are not given out again");

    let chunks = &table.1.chunks;
    let older = match plan.names {
        Names::UsedAlone => {
            give_up_newer(storage, root, checkpoint, next_lsn, life)?;
            u64::MAX
        }
        Names::AsFound => confirm_older(root, chunks)?,
    };
    renew_places(&data_file, chunks, root.block.chunk_bytes.get(), older)?;
    let mut replay = Replay::new(storage, &root.block, options, &checkpoint, data_file, table)?;
    report.indexed_record_count = replay.tables.len() as u64;
    replay_log(source, &root.block, read.end, &mut replay)?;
    report.replayed_record_count = replay.record_count;

    let unproven = read.unproven;
    let old = OldLog { root: &root.block, present, end: read.end, unproven: &unproven };
    let (position, present) = go_on_afresh(storage, &old, life)?;
    assert_eq!(position.lsn, read.end.lsn, "the log goes on where it was found to end");
    assert!(position.segment > read.end.segment, "and never in a segment of an earlier life");
    let log = FoundLog { present, last_segment: read.end.segment, position, bytes: read.bytes };
    replay.into_recovered(log, next_lsn, life, report)
}

/// Enough numbers are left behind those of all segments.
fn check_segment_numbers(present: &[u64], checkpoint: &Checkpoint) -> Result<()> {
    let highest = present.last().copied().unwrap_or(0).max(checkpoint.segment.get());
    if leaves_numbers(highest) {
        return Ok(());
    }
    let what = format!("no segment number is left behind it; {REMEDY}");
    Err(Structure::segment(highest).damage(what))
}

/// Enough numbers are left behind those of all images, and those that slots name.
fn check_image_numbers<S: Storage>(storage: &S, root: &Root<S>) -> Result<()> {
    let named = root.checkpoints().map(|named| named.number.get()).max().unwrap_or(0);
    let highest = list_images(storage)?.last().copied().unwrap_or(0).max(named);
    if leaves_numbers(highest) {
        return Ok(());
    }
    let what = format!("no image number is left behind it; {REMEDY}");
    Err(Structure::image(highest).damage(what))
}

/// A life that no open had, when `latest` is the latest known and `opens` may have followed, this
/// one included.
fn next_life<S: Storage>(storage: &S, latest: u64, opens: u64) -> Result<u64> {
    let count = next_life_count(latest, opens).ok_or_else(|| used_up("life", latest))?;
    let life = (count << 32) | (storage.random() >> 32);
    assert_eq!(life >> 32, (latest >> 32) + opens, "chance changes the low half alone");
    Ok(life)
}

fn used_up(what: &str, last: u64) -> Error {
    let detail = format!("no {what} number is left behind {last}; {REMEDY}");
    Structure::superblock().damage(detail)
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
    assert_eq!(root.latest_life(), life, "no slot is left with an earlier life");
    let is_used = |named: &Checkpoint| named.number.get() == 0 || named.number == used.number;
    assert!(root.checkpoints().all(is_used), "no slot names another one");
    remove_old_images(storage, &[used.number.get()])
}

/// Number of the older checkpoint that the slot in force names. If it says that places may be given
/// up, the superblock is written again first: the slot may stand in a cache alone, and the one that
/// a loss of power would bring back may name a checkpoint that needs them.
fn confirm_older<S: Storage>(root: &mut Root<S>, chunks: &[ChunkEntry]) -> Result<u64> {
    let older = root.block.checkpoints[1].number.get();
    let is_given_away = |chunk: &ChunkEntry| {
        chunk.state() == ChunkState::Quarantined && chunk.quarantined_since() <= older
    };
    if chunks.iter().any(is_given_away) {
        root.write(|_| {}).map_err(|error| Error::io("cannot write the superblock", error))?;
    }
    Ok(older)
}

/// Whether the log goes on behind the newest checkpoint of the slot in force.
fn goes_on<S: Storage>(storage: &S, root: &Superblock, present: &[u64]) -> Result<bool> {
    let source = Source { storage, present, checkpoint: root.checkpoints[0] };
    let mut reader = source.reader(root);
    Ok(matches!(reader.advance()?, Next::Group(_)))
}

fn key_kind(root: &Superblock, options: &Options) -> Result<KeyKind> {
    let kind = KeyKind::from_number(root.key_kind.get())
        .ok_or_else(|| Structure::superblock().damage("unknown kind of keys"))?;
    match options.keys {
        Some(asked) if asked != kind => Err(Error::invalid(format!(
            "the database was created with {kind} keys, but {asked} keys were asked for; ask for \
             {kind}, or for no kind"
        ))),
        _ => Ok(kind),
    }
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
    mode: RecoveryMode,
    report: &mut RecoveryReport,
) -> Result<ReadLog> {
    let start = start_of(&source.checkpoint);
    let durable_lsn = root.checkpoints().map(|named| named.end_lsn.get()).max().unwrap_or(0);
    let lens = check_segments(source, &root.block)?;
    let mut reader = source.reader(&root.block);
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
    let proof = if missing.is_some() { Proof::Missing } else { Proof::Nothing };
    let tail = if end.torn.is_some() { LogTail::Torn } else { LogTail::Clean };
    match (ending(mode, proof, tail), missing, end.torn) {
        (LogEnding::Missing, Some(damage), _) => return Err(damage),
        (LogEnding::Refused, _, Some(defect)) => {
            return Err(refused(&torn_tail(end.position, &defect)));
        }
        (LogEnding::Cut, _, Some(defect)) => {
            report.torn_tail = Some(torn_tail(end.position, &defect));
        }
        (ending, ..) => assert_eq!(ending, LogEnding::Whole, "the others have a cause"),
    }
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
                return Err(position.behind().damage("it changed while the database was opened"));
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
    if !present.contains(&start.segment) {
        let what = "the segment where replay starts is missing";
        return Err(Structure::log(start.segment).lsn(start.lsn + 1).damage(what));
    }
    for number in present.iter().copied().filter(|number| *number >= start.segment) {
        let path = segment_path(number);
        let failed = |error| Error::io(format!("cannot read {path}"), error);
        let file = storage.open(&path, OpenMode::Direct).map_err(failed)?;
        let bytes = file.len().map_err(failed)?;
        let expected = full_bytes(&file, root, number).map_err(failed)?;
        if bytes < expected {
            let detail = format!("expected {expected} bytes, the file has {bytes}");
            return Err(Structure::segment(number).at(bytes).lsn(start.lsn + 1).damage(detail));
        }
        lens.push((number, bytes));
    }
    assert!(lens.first().is_some_and(|(first, _)| *first == start.segment));
    Ok(lens)
}
