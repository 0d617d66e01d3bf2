//! Opening a database that exists: superblock, index image, log.
//!
//! 1. The superblock slot with the highest generation names the last two checkpoints.
//! 2. The index image of the newer one is loaded; if it is damaged, the older one and more of the log serve.
//! 3. The log is replayed from the checkpoint. Each frame names the address of its record: records before the
//!    checkpoint's `data_tail` are durable in the data file and only indexed, others are written again to
//!    the same place. Replaying twice gives the same as once.
//! 4. What was read is made durable before anyone sees it, and a new life number is written: from now on
//!    nothing that stands behind the end of the log can be taken for part of it.
//!
//! LSNs that may have been given out before a crash are skipped, so none is ever used twice.

use std::io;
use std::time::Duration;

use uarr_layout::frame::{FLAG_BATCH_CONTINUES, Frame, FrameKind, Frames};
use uarr_layout::geometry::{PAGE_BYTES, record_bytes};
use uarr_layout::group::SegmentHeader;
use uarr_layout::record::{Locator, RECORD_ALIGN_BYTES};
use uarr_layout::superblock::{Checkpoint, Superblock};
use uarr_uring::{AlignedBuffer, OpenMode, Storage, StorageFile};

use crate::error::{Error, ErrorKind, Result};
use crate::image::read_image;
use crate::key::KeyKind;
use crate::log::LogPosition;
use crate::options::{Options, RecoveryMode};
use crate::patch::redo;
use crate::scan::{Group, LogReader};
use crate::segments::{WAL_DIR, remove_unfinished, segment_number, segment_path};
use crate::store::{Appender, DATA_FILE, RecordStore, readable_chunks};
use crate::table::{Entries, Table};
use crate::tombstones::Tombstones;

/// LSNs are skipped to the next multiple of this after a crash: more than can ever be in flight.
const LSN_SKIP: u64 = 1 << 32;

/// A torn tail that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Segment file.
    pub file: String,
    /// Where the log was cut.
    pub offset: u64,
    /// The last LSN that was kept.
    pub lsn: u64,
    /// What stood there.
    pub detail: String,
}

/// What opening found and did.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// The database was created by this open.
    pub created: bool,
    /// It had been closed in order, so there was nothing to replay.
    pub clean: bool,
    /// Checkpoint that was used; 0 is the empty database.
    pub checkpoint: u64,
    /// Records that came from the checkpoint's index image.
    pub indexed_record_count: u64,
    /// Groups read from the log.
    pub replayed_group_count: u64,
    /// Records read from the log.
    pub replayed_record_count: u64,
    /// A group at the end that was not written completely and never acknowledged.
    pub torn_tail: Option<TornTail>,
    /// Damage that was got around: by the other superblock slot, or by the older checkpoint.
    pub notes: Vec<Error>,
    /// How long opening took.
    pub duration: Duration,
}

/// Everything that recovery rebuilds.
pub(crate) struct Recovered<S: Storage> {
    pub store: RecordStore<S::Map>,
    pub appender: Appender<S::MapWriter>,
    pub table: Table,
    pub tombstones: Tombstones,
    pub data_file: S::File,
    /// Numbers of the segment files, ascending.
    pub present: Vec<u64>,
    pub position: LogPosition,
    pub next_lsn: u64,
    pub tail: u64,
    pub report: RecoveryReport,
}

/// Rebuilds the state that `root` describes.
pub(crate) fn recover<S: Storage>(
    storage: &S,
    root: &Superblock,
    options: &Options,
    notes: Vec<Error>,
) -> Result<Recovered<S>> {
    let strict = options.recovery == RecoveryMode::Strict;
    if let (true, Some(note)) = (strict, notes.first()) {
        return Err(note.clone());
    }
    let key_kind = key_kind(root, options)?;
    let mut report = RecoveryReport { notes, ..RecoveryReport::default() };
    let (checkpoint, entries) = load_checkpoint(storage, root, key_kind, strict, &mut report)?;
    let present = list_segments(storage)?;
    let mut replay = Replay::<S>::new(storage, root, options, &checkpoint, key_kind, entries)?;
    report.checkpoint = checkpoint.number.get();
    report.indexed_record_count = replay.table.len() as u64;

    if root.closed.get() == 1 && goes_on(storage, root, &present, &checkpoint)? {
        let what = "it says that the database was closed, but the log goes on: a newer one is lost";
        let lost = Error::corrupt(crate::root::ROOT_FILE, 0, None, "superblock", what);
        if strict {
            return Err(lost);
        }
        report.notes.push(lost);
    }
    // A slot that says "closed" proves nothing if the other one, perhaps of a later open, cannot be read.
    report.clean = root.closed.get() == 1 && report.notes.is_empty();
    let (position, next_lsn) = if report.clean {
        (start_of(&checkpoint), root.next_lsn.get())
    } else {
        let end =
            replay_log(storage, root, &present, &checkpoint, strict, &mut replay, &mut report)?;
        let highest = end.lsn.max(root.next_lsn.get());
        // If a slot cannot be read, so perhaps cannot the start of the last open, which had skipped already.
        let skips = if report.notes.is_empty() { 1 } else { 2 };
        (end, (highest / LSN_SKIP + skips) * LSN_SKIP)
    };
    if !report.notes.is_empty() {
        // A newer checkpoint may have made more of the data file durable: leave that alone.
        replay.tail = replay.tail.max(replay.store.allocated_bytes());
    }
    let Replay { store, appender, table, tombstones, data_file, tail, .. } = replay;
    Ok(Recovered {
        store,
        appender,
        table,
        tombstones,
        data_file,
        present,
        position,
        next_lsn,
        tail,
        report,
    })
}

/// Whether the log goes on behind the checkpoint.
fn goes_on<S: Storage>(
    storage: &S,
    root: &Superblock,
    present: &[u64],
    checkpoint: &Checkpoint,
) -> Result<bool> {
    let block_bytes = u64::from(root.block_bytes.get());
    let start = start_of(checkpoint);
    Ok(LogReader::new(storage, root.database, block_bytes, present, start).next()?.is_ok())
}

fn key_kind(root: &Superblock, options: &Options) -> Result<KeyKind> {
    let kind = KeyKind::from_number(root.key_kind.get()).ok_or_else(|| {
        Error::corrupt(crate::root::ROOT_FILE, 0, None, "superblock", "unknown kind of keys")
    })?;
    match options.keys {
        Some(asked) if asked != kind => Err(Error::invalid(format!(
            "the database was created with {kind:?} keys, not with {asked:?} keys"
        ))),
        _ => Ok(kind),
    }
}

/// Loads the newest checkpoint's image, or the older one's if that is damaged.
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
                let none = if kind.is_int() {
                    Entries::Int(Vec::new())
                } else {
                    Entries::Bytes(Vec::new())
                };
                return Ok((checkpoint, none));
            }
            continue;
        }
        match read_image(storage, &root.database, &checkpoint, kind.is_int()) {
            Ok(entries) => return Ok((checkpoint, entries)),
            Err(error) if strict || error.kind() != ErrorKind::Corruption => return Err(error),
            Err(error) => {
                report.notes.push(error.clone());
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.unwrap_or_else(|| {
        Error::corrupt(crate::root::ROOT_FILE, 0, None, "superblock", "it names no checkpoint")
    }))
}

/// Where replay starts.
pub(crate) fn start_of(checkpoint: &Checkpoint) -> LogPosition {
    LogPosition {
        segment: checkpoint.segment.get(),
        offset: checkpoint.offset.get(),
        lsn: checkpoint.lsn.get(),
    }
}

fn list_segments<S: Storage>(storage: &S) -> Result<Vec<u64>> {
    let names = remove_unfinished(storage)
        .and_then(|()| storage.list(WAL_DIR))
        .map_err(|error| Error::io("cannot list the log", error))?;
    let mut present: Vec<_> = names.iter().filter_map(|name| segment_number(name)).collect();
    present.sort_unstable();
    Ok(present)
}

/// Reads the log from `start` and applies it. Returns its end.
fn replay_log<S: Storage>(
    storage: &S,
    root: &Superblock,
    present: &[u64],
    checkpoint: &Checkpoint,
    strict: bool,
    replay: &mut Replay<S>,
    report: &mut RecoveryReport,
) -> Result<LogPosition> {
    let block_bytes = u64::from(root.block_bytes.get());
    let start = start_of(checkpoint);
    let durable_lsn = root.checkpoints[0].end_lsn.get().max(checkpoint.end_lsn.get());
    check_segments(storage, root, present, start)?;
    let mut reader = LogReader::new(storage, root.database, block_bytes, present, start);
    // Last LSN and segment of groups that no later one proves durable.
    let mut unproven = Vec::new();
    let end = loop {
        match reader.next()? {
            Ok(group) => {
                unproven.retain(|(lsn, _)| *lsn > group.header.durable_lsn.get());
                unproven.push((group.header.last_lsn(), group.end.segment));
                report.replayed_group_count += 1;
                report.replayed_record_count += u64::from(group.header.record_count.get());
                replay.apply_group(&group)?;
            }
            Err(end) => break end,
        }
    };
    if let Some(damage) = reader.missing(strict)? {
        return Err(damage);
    }
    let position = end.position;
    let file = segment_path(position.segment);
    if position.lsn < durable_lsn {
        let detail = format!(
            "acknowledged records are missing: the last checkpoint found the log durable up to LSN \
             {durable_lsn}, but it can be read only up to LSN {}",
            position.lsn
        );
        let lsn = Some(position.lsn + 1);
        return Err(Error::corrupt(file, position.offset, lsn, "log", detail));
    }
    if let Some(defect) = end.torn {
        let detail = format!("a group that was not written completely: {defect}");
        if strict {
            let message = format!(
                "the log ends in a torn group at offset {} of {file} ({detail}); nothing \
                 acknowledged is lost, recovery mode TolerateTornTail cuts it",
                position.offset
            );
            return Err(Error::new(ErrorKind::TornTail, message));
        }
        let LogPosition { offset, lsn, .. } = position;
        report.torn_tail = Some(TornTail { file: file.clone(), offset, lsn, detail });
    }
    unproven.push((position.lsn, position.segment));
    make_durable(storage, unproven.into_iter().map(|(_, segment)| segment))?;
    Ok(position)
}

/// Groups in `segments`, which ascend, were written, but nobody may have waited for their flush.
fn make_durable<S: Storage>(storage: &S, segments: impl Iterator<Item = u64>) -> Result<()> {
    let mut last = None;
    for number in segments.filter(|number| last.replace(*number) != Some(*number)) {
        let opened = storage.open(&segment_path(number), OpenMode::Direct);
        match opened.and_then(|file| file.make_durable()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("cannot make the log durable", error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The segment in which replay starts must be there, and all from it on must have their full length: a segment
/// gets its number only when all of it is written and durable, so a shorter one was cut.
fn check_segments<S: Storage>(
    storage: &S,
    root: &Superblock,
    present: &[u64],
    start: LogPosition,
) -> Result<()> {
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
        let mut block = AlignedBuffer::new(root.block_bytes.get() as usize);
        let read = file.read_at(&mut block, 0).map_err(failed)?;
        let header = SegmentHeader::load(&block[..read], &root.database, number);
        let expected = header.map_or(root.segment_bytes.get(), |header| header.segment_bytes.get());
        if bytes < expected {
            let detail = format!("expected {expected} bytes, the file has {bytes}");
            return Err(Error::corrupt(path, bytes, lsn, "log segment", detail));
        }
    }
    Ok(())
}

/// The state that replay works on.
struct Replay<S: Storage> {
    store: RecordStore<S::Map>,
    appender: Appender<S::MapWriter>,
    table: Table,
    tombstones: Tombstones,
    data_file: S::File,
    data_tail: u64,
    tail: u64,
    chunk_bytes: u64,
    address_space_bytes: u64,
}

impl<S: Storage> Replay<S> {
    fn new(
        storage: &S,
        root: &Superblock,
        options: &Options,
        checkpoint: &Checkpoint,
        kind: KeyKind,
        entries: Entries,
    ) -> Result<Self> {
        let open = |error| Error::io("cannot open the data file", error);
        let data_file = storage.open(DATA_FILE, OpenMode::Mapped).map_err(open)?;
        let data_tail = checkpoint.data_tail.get();
        if !data_tail.is_multiple_of(PAGE_BYTES) {
            let detail =
                format!("the checkpoint's data tail {data_tail} is not at the end of a page");
            return Err(Error::corrupt(crate::root::ROOT_FILE, 0, None, "superblock", detail));
        }
        let bytes = data_file.len().map_err(open)?;
        if bytes < data_tail {
            let detail = format!("expected at least {data_tail} bytes, the file has {bytes}");
            return Err(Error::corrupt(DATA_FILE, bytes, None, "data file", detail));
        }
        let chunk_bytes = root.chunk_bytes.get();
        let readable = readable_chunks(data_tail, chunk_bytes);
        let reserve = options.address_space_bytes;
        let (map, writer) = storage
            .map(&data_file, reserve, chunk_bytes, &readable)
            .map_err(|error| Error::io("cannot map the data file", error))?;
        let mut appender = Appender::new(writer, root.database, chunk_bytes);
        // An interrupted extension may have left a hole: what is mapped is really allocated.
        appender
            .grow(bytes / chunk_bytes * chunk_bytes)
            .map_err(|error| Error::io("cannot extend the data file", error))?;
        let store = RecordStore::new(map, &root.database, options.verify, data_tail);
        // Half of it is nowhere on disk: whoever has a copy of the database cannot make keys that collide in it.
        let hash_seed = u128::from(root.hash_seed.get()) << 64 | u128::from(storage.random());
        Ok(Self {
            store,
            appender,
            table: Table::from_entries(kind, hash_seed, entries),
            tombstones: Tombstones::default(),
            data_file,
            data_tail,
            tail: data_tail,
            chunk_bytes,
            address_space_bytes: reserve,
        })
    }

    fn apply_group(&mut self, group: &Group<'_>) -> Result<()> {
        let place = segment_path(group.end.segment);
        let damage = |lsn: u64, defect: &str| {
            let offset = group.header.offset.get();
            Error::corrupt(place.clone(), offset, Some(lsn), "frame", defect)
        };
        let mut continues = false;
        for frame in Frames::new(group.body) {
            let frame = frame.expect("the reader has verified the group");
            let lsn = frame.header.lsn.get();
            let address = frame.header.address.get();
            let end = address.checked_add(self.bytes_of(&frame));
            let possible = frame.header.table.get() == 0
                && address.is_multiple_of(RECORD_ALIGN_BYTES)
                && address > 0
                && end.is_some_and(|end| end <= self.address_space_bytes)
                && (address < self.data_tail || address >= self.tail)
                && (!self.table.kind.is_int() || frame.key.len() == 8)
                && !frame.key.is_empty();
            if !possible {
                return Err(damage(lsn, "table, key or address are impossible"));
            }
            continues = frame.header.flags & FLAG_BATCH_CONTINUES != 0;
            self.apply(frame, |what| damage(lsn, what))?;
        }
        if continues {
            return Err(damage(group.header.last_lsn(), "a batch is not whole"));
        }
        Ok(())
    }

    fn bytes_of(&self, frame: &Frame<'_>) -> u64 {
        record_bytes(frame.key.len(), frame.record_value_bytes()) as u64
    }

    /// Applies a frame; one that is applied already changes nothing. Later records have higher addresses.
    fn apply(&mut self, frame: Frame<'_>, damage: impl Fn(&str) -> Error) -> Result<()> {
        let address = frame.header.address.get();
        let end = address + self.bytes_of(&frame);
        self.tail = self.tail.max(end);
        let previous = self.table.get(frame.key, &self.store)?;
        if previous.is_some_and(|previous| previous.address() >= address) {
            return Ok(());
        }
        let locator = if address < self.data_tail {
            let tombstone = frame.header.kind == FrameKind::Delete as u8;
            Locator::of_record(address, frame.key.len(), frame.record_value_bytes(), tombstone)
        } else {
            self.allocate(end)?;
            self.append(&frame, previous, damage)?
        };
        self.table.set(frame.key, locator, &self.store)?;
        self.tombstones.note(frame.header.lsn.get(), previous, locator);
        Ok(())
    }

    /// Writes the record of `frame`, which builds upon earlier ones if it is a patch.
    fn append(
        &mut self,
        frame: &Frame<'_>,
        previous: Option<Locator>,
        damage: impl Fn(&str) -> Error,
    ) -> Result<Locator> {
        let result;
        let mut frame = *frame;
        if frame.patch().is_some() {
            result = redo(&frame, &self.store)?.map_err(|what| damage(&what))?;
            frame.result = Some(&result);
        }
        let whole = frame.resolved().expect("the result was just computed and compared");
        Ok(self.appender.append(&whole, previous))
    }

    fn allocate(&mut self, end: u64) -> Result<()> {
        if end <= self.store.allocated_bytes() {
            return Ok(());
        }
        let bytes = end.next_multiple_of(self.chunk_bytes);
        self.appender.grow(bytes).map_err(|error| Error::io("cannot extend the data file", error))
    }
}
