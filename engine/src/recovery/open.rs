//! Creating and opening: from a directory to a [`Core`].

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use uarr_layout::superblock::Superblock;
use uarr_uring::{CommitStrategy, LogWriterOptions, Storage, StorageFile};

use crate::checkpoint::root::Root;
use crate::commit::committer::{Committer, LogState};
use crate::core::{Core, OpenTables, Pacing};
use crate::data::quarantine::Horizon;
use crate::data::removal::Removals;
use crate::data::space::{AddressSpace, DataSpace};
use crate::data::sweeping::Sweeping;
use crate::error::{Error, ErrorKind, Result};
use crate::files::take_lock;
use crate::limits::BUFFER_COUNT;
use crate::log::pool::Activity;
use crate::log::position::{LogIdentity, LogPosition};
use crate::log::segment::{Segment, full_bytes, reopen_segment};
use crate::log::segments::Segments;
use crate::log::strategy;
use crate::log::writer::OpenLog;
use crate::options::{CommitPath, Options};
use crate::recovery::create::{check_directory, create, is_unused, undo};
use crate::recovery::found::{FoundLog, Recovered};
use crate::recovery::recover::recover;
use crate::sync::{Rank, Ranked, lock};
use crate::versions::clock::Clock;
use crate::versions::moving::Moving;
use crate::versions::records::{DataIdentity, Records};

/// Opens the database in `storage`, or creates it. What was created and cannot be opened is taken
/// away again.
pub(crate) fn open<S: Storage>(storage: S, options: Options, path: PathBuf) -> Result<Core<S>> {
    let begun = storage.now();
    check_directory(&storage, &options, &path)?;
    let held = Arc::new(take_lock(&storage, &path)?);
    let storage = Arc::new(storage);
    let mut created = false;
    let opened = open_held(&storage, held.clone(), options, path, (begun, &mut created));
    if opened.is_err() && created {
        // Best effort: what is left is no database, or an empty one.
        let _ =
            is_unused(&*storage).and_then(|unused| if unused { undo(&*storage) } else { Ok(()) });
    }
    opened
}

/// A small database, for tests.
#[cfg(test)]
pub(crate) fn open_small<S: Storage>(storage: S) -> Result<Core<S>> {
    let options = Options {
        segment_bytes: 1 << 18,
        chunk_bytes: 1 << 16,
        address_space_bytes: 1 << 26,
        ..Options::default()
    };
    open(storage, options, "memory".into())
}

fn open_held<S: Storage>(
    storage: &Arc<S>,
    held: Arc<S::Lock>,
    options: Options,
    path: PathBuf,
    (begun, created): (Duration, &mut bool),
) -> Result<Core<S>> {
    let mut notes = Vec::new();
    let mut root = open_root(&**storage, &options, &path, (&mut notes, created))?;
    let mut recovered = recover(&**storage, &mut root, &options, notes)?;
    let identity = begin_life(&**storage, &mut root, &recovered)?;
    // The superblock that was just written is durable, and no reader is there yet.
    let older_checkpoint = root.block.checkpoints[1].number.get();
    recovered.places.release_passed_before(&Horizon::without_readers(older_checkpoint));
    let (segments, active, position) = log_files(&**storage, &root.block, &recovered)?;
    let buffer_bytes = buffer_bytes(&options, &root.block);
    let writer = log_writer(&**storage, strategy(&options, &root.block), buffer_bytes)?;
    segments.room.note_active_bytes(active.bytes - position.offset);
    let mut log = OpenLog::new(writer, active, position, identity);
    let buffers = (0..BUFFER_COUNT).map(|_| log.buffer(buffer_bytes)).collect();

    let chunk_bytes = root.block.chunk_bytes.get();
    let space = AddressSpace {
        asked_bytes: options.address_space_bytes,
        reserved_bytes: recovered.reserved_bytes,
    };
    let tail = recovered.places.frontier().tail;
    let records = Records::new(
        DataIdentity { database: root.block.database, chunk_bytes, owner: storage.owner() },
        (recovered.store, recovered.tables),
        recovered.applier,
        DataSpace::new(recovered.data_file, chunk_bytes, space, tail),
        position.lsn,
        Clock::new(storage.clone(), recovered.expiry_floor_ms),
    );
    let newest = &root.block.checkpoints[0];
    assert!(recovered.places.next_chunk() >= newest.next_chunk.get(), "numbers are used once");
    assert!(position.lsn < recovered.next_lsn);
    assert_eq!(position.lsn, recovered.log.position.lsn, "whatever segment the log goes on in");
    let state = LogState {
        log,
        segments,
        identity,
        end: position,
        next_lsn: recovered.next_lsn,
        places: recovered.places,
        buffers,
        buffer_bytes,
        recovered_bytes: recovered.log.bytes,
    };
    recovered.report.created = *created;
    recovered.report.duration = storage.now().saturating_sub(begun);
    let core = Core {
        committer: Committer::new(storage.clone(), options, records, state),
        root: Ranked::new(Rank::Root, root),
        pacing: Ranked::new(Rank::Leaf, Pacing::default()),
        sweeping: Ranked::new(Rank::Leaf, Sweeping::default()),
        moving: Ranked::new(Rank::Mover, Moving::default()),
        open_tables: Ranked::new(Rank::Leaf, OpenTables::default()),
        removals: Ranked::new(Rank::Leaf, Removals::default()),
        older_checkpoint: AtomicU64::new(older_checkpoint),
        background_errors: Ranked::new(Rank::Leaf, BTreeMap::new()),
        report: recovered.report,
        path,
        _lock: held,
    };
    begin_work(&core)?;
    Ok(core)
}

/// What is left to do before the first caller.
fn begin_work<S: Storage>(core: &Core<S>) -> Result<()> {
    core.committer.counters.note_measured(lock(&core.root).block.strategy_ns.map(|ns| ns.get()));
    core.committer.find_all_space()?;
    core.checkpoint_if_overdue()?;
    core.resume_removals()
}

fn log_writer<S: Storage>(
    storage: &S,
    strategy: CommitStrategy,
    buffer_bytes: usize,
) -> Result<S::Log> {
    let options = LogWriterOptions { strategy, buffer_count: BUFFER_COUNT, buffer_bytes };
    let writer = storage.log_writer(options);
    writer.map_err(|error| Error::io("cannot set up the commit path", error))
}

/// The superblock of the database; creates the database if there is none, and notes that it tries.
fn open_root<S: Storage>(
    storage: &S,
    options: &Options,
    path: &std::path::Path,
    (notes, creates): (&mut Vec<Error>, &mut bool),
) -> Result<Root<S>> {
    let root = match Root::open(storage, notes)? {
        Some(root) => root,
        None => {
            // Another process may have been here between the first look and the lock.
            check_directory(storage, options, path)?;
            *creates = true;
            create(storage, options, path)?
        }
    };
    check_geometry(storage, &root.block)?;
    options.check_chunks(root.block.chunk_bytes.get())?;
    Ok(root)
}

/// Writes to the superblock that the database is open, with a life number that no earlier open had.
fn begin_life<S: Storage>(
    storage: &S,
    root: &mut Root<S>,
    recovered: &Recovered<S>,
) -> Result<LogIdentity> {
    // The process that created the database may have died just before it did this.
    storage
        .make_dir_durable("")
        .map_err(|error| Error::io("cannot make the database's name durable", error))?;
    let life = recovered.life;
    assert!(life >> 32 >= root.latest_life() >> 32, "no life has the count of an earlier one");
    root.write(|block| {
        block.life = life.into();
        block.closed = 0.into();
        block.next_lsn = recovered.next_lsn.into();
        block.expiry_floor_ms = recovered.expiry_floor_ms.into();
    })
    .map_err(|error| Error::io("cannot write the superblock", error))?;
    let block_bytes = root.block.block_bytes.get() as usize;
    Ok(LogIdentity { database: root.block.database, life, block_bytes })
}

/// Length of the buffers that groups gather in.
fn buffer_bytes(options: &Options, root: &Superblock) -> usize {
    let regular_bytes = root.segment_bytes.get() as usize;
    let two_blocks = 2 * root.block_bytes.get() as usize;
    let bytes = options.group_bytes.min(regular_bytes / BUFFER_COUNT).max(two_blocks);
    assert!(bytes.is_multiple_of(two_blocks / 2), "a group is made of blocks");
    assert!(two_blocks * BUFFER_COUNT <= regular_bytes, "groups of all fit into a segment");
    bytes
}

fn strategy(options: &Options, root: &Superblock) -> CommitStrategy {
    match options.commit_path {
        CommitPath::Fixed(strategy) => strategy,
        CommitPath::Auto => strategy::from_number(root.strategy.get()),
    }
}

fn check_geometry<S: Storage>(storage: &S, root: &Superblock) -> Result<()> {
    let (stored, present) = (root.block_bytes.get(), storage.facts().block_bytes);
    if stored < present || !stored.is_multiple_of(present) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the database was created with log blocks of {stored} bytes, but this device needs \
                 {present}; copy its records into a new database here"
            ),
        ));
    }
    Ok(())
}

type LogFiles<F> = (Segments<F>, Segment<F>, LogPosition);

/// The segment in which the log continues, and the others. If that is gone or full, a new one.
fn log_files<S: Storage>(
    storage: &S,
    root: &Superblock,
    recovered: &Recovered<S>,
) -> Result<LogFiles<S::File>> {
    let (regular_bytes, block_bytes) =
        (root.segment_bytes.get(), u64::from(root.block_bytes.get()));
    let kept = root.checkpoints.iter().map(|checkpoint| checkpoint.segment.get());
    let first_needed = kept.filter(|segment| *segment > 0).min().unwrap_or(0);
    let failed = |error| Error::io("cannot open the log", error);
    let FoundLog { present, last_segment, position, .. } = &recovered.log;
    let needed = first_needed..=*last_segment;
    let make = |active| Segments::new(present, needed.clone(), active, regular_bytes);
    // Lives that are too short for background work must not pile up segments.
    let trimmed = |segments: Segments<_>| {
        while segments.trim(storage, Activity::InUse).map_err(failed)? {}
        Ok::<_, Error>(segments)
    };
    match reopen_segment(storage, *position) {
        Ok(mut active) => {
            let full = full_bytes(&*active.file, root, active.number).map_err(failed)?;
            if position.offset <= active.bytes && active.bytes >= full {
                // A copy may have holes, and so has what was closed: groups go where space is.
                //= WAL-16
                let whole_end = active.file.whole_end(position.offset).map_err(failed)?;
                active.bytes = (whole_end - whole_end % block_bytes).max(position.offset);
                return Ok((trimmed(make(position.segment))?, active, *position));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let after = present.last().map_or(position.segment, |last| *last);
    let segments = trimmed(make(after + 1))?;
    segments.prepare(storage, 0).map_err(failed)?;
    let active = segments.take(0).ok_or_else(|| failed(io::Error::other("no segment is ready")))?;
    assert!(present.iter().all(|number| *number < active.number), "a number is used once");
    let position = LogPosition { segment: active.number, offset: 0, lsn: position.lsn };
    Ok((segments, active, position))
}
