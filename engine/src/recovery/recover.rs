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
//!    ([`uarr_uring::StorageFile::renew`]).
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

use uarr_layout::chunk::{ChunkEntry, ChunkState};
use uarr_layout::superblock::Checkpoint;
use uarr_uring::{OpenMode, Storage};

use crate::checkpoint::image::{LoadedImage, read_image};
use crate::checkpoint::root::Root;
use crate::error::{Error, Result};
use crate::files::{list_images, list_segments, remove_old_images};
use crate::key::KeyKind;
use crate::log::position::start_of;
use crate::log::zeros::remove_unfinished;
use crate::options::Options;
use crate::recovery::create::make_missing_folders;
use crate::recovery::data_file::{open_data_file, renew_places};
use crate::recovery::decision::{
    Names, ReplayPlan, leaves_numbers, lost_opens, next_life_count, skipped_lsn, usable_lsn,
};
use crate::recovery::found::{FoundLog, Recovered};
use crate::recovery::relog::{OldLog, go_on_afresh};
use crate::recovery::replay::Replay;
use crate::recovery::replaying::{FoundLogSource, replay_log};
use crate::recovery::start::{Opening, Question, Start, find_start, key_kind};
use crate::recovery::tail::{LogSource, read_log};
use crate::report::RecoveryReport;
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
    let (database, chunk_bytes) = (root.block.database, root.block.chunk_bytes.get());
    let question = Question {
        storage,
        named: root.named(),
        present: &present,
        mode: options.recovery,
        log_mode: OpenMode::Direct,
    };
    let read = |checkpoint: &_| read_image(storage, &database, checkpoint, key_kind, chunk_bytes);
    let Start { step, checkpoint, image } = find_start(&question, read, &mut report)?;
    let image = image.unwrap_or_else(|| LoadedImage::empty(key_kind));
    remove_unfinished(storage)
        .map_err(|error| Error::io("cannot remove an unfinished log segment", error))?;
    let data_file = open_data_file(storage, OpenMode::Mapped, &image.chunks, chunk_bytes)?;
    report.checkpoint = checkpoint.number.get();
    check_segment_numbers(&present, &checkpoint)?;
    check_image_numbers(storage, root)?;
    make_missing_folders(storage)?;
    let source = LogSource { storage, present: &present, checkpoint, mode: OpenMode::Direct };
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

/// Steps 3 to 7 of an open that was not preceded by an orderly close.
fn recover_unclean<S: Storage>(
    source: &LogSource<'_, S>,
    root: &mut Root<S>,
    options: &Options,
    plan: ReplayPlan,
    data_file: S::File,
    table: (KeyKind, LoadedImage),
    mut report: RecoveryReport,
) -> Result<Recovered<S>> {
    let LogSource { storage, present, checkpoint, .. } = *source;
    let read = read_log(source, root.named(), options.recovery, &mut report)?;
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
    report.indexed_record_count = replay.enterer.key_count();
    let (end, bytes) = (read.end, read.bytes);
    let log = FoundLogSource { source, root: &root.block, end, bytes };
    replay_log(&log, &mut replay, options.background)?;
    report.replayed_record_count = replay.enterer.record_count;

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
