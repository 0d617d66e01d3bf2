//! Looking into a database that is not open: its log, group by group, and its structures, field by
//! field. For people who want to know what is damaged, and for tools that save what is not.
//!
//! - Nothing here needs a successful open, and nothing is written but the lock file, where it may
//!   be: it says which process looks. All other files are opened for reading only.
//! - Damage is an answer, not a failure: it comes back as the [`Error`] that names file and offset.
//!   Errors of a call mean that the operating system refused something.
//! - The structures are those of the format; `docs/FORMAT.md` tells what their fields mean.
//!
//! The superblock says to which database a file belongs. If both of its slots are damaged, identity
//! and block size come from the first segment whose header is whole.

use std::io;
use std::path::{Path, PathBuf};

use uarr_layout::frame::Frames;
use uarr_layout::geometry::record_bytes;
use uarr_layout::group::GROUP_HEADER_BYTES;
use uarr_layout::image::{PIECE_BYTES_MAX, PieceHeader};
use uarr_layout::limits::{BLOCK_BYTES, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use uarr_layout::record::CHUNK_HEADER_BYTES;
use uarr_layout::superblock::SLOT_STRIDE_BYTES;
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::{BackendChoice, OpenMode, Storage, StorageFile, System, SystemOptions};
use zerocopy::FromBytes;

use crate::api::builder::check_directory;
use crate::checkpoint::root::read_slots;
use crate::data::scan::{DataReader, Found, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{
    DATA_FILE, ROOT_FILE, image_path, list_images, list_segments, segment_path, take_lock,
};
use crate::key::KeyKind;
use crate::limits::DAMAGE_COUNT_MAX;
use crate::log::position::{LogPosition, start_of};
use crate::log::reader::LogReader;

pub use uarr_layout::frame::{FLAG_BATCH_CONTINUES, Frame, FrameKind};
pub use uarr_layout::group::{GroupHeader, SegmentHeader};
pub use uarr_layout::image::PieceKind;
pub use uarr_layout::record::ChunkHeader;
pub use uarr_layout::superblock::{Checkpoint, Superblock};

/// A database that is not open.
pub struct Inspector<S: Storage = System> {
    storage: S,
    slots: [Result<Option<Superblock>>; 2],
    /// Numbers of the segment files, ascending.
    segments: Vec<u64>,
    _lock: S::Lock,
}

/// Which of the two checkpoints that the superblock names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Newest,
    Older,
}

/// A segment file.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its path in the database directory.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its header, or what is wrong with it; `None` if it was prepared and never begun.
    pub header: Result<Option<SegmentHeader>>,
}

/// A chunk of the data file.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Where in the data file it starts.
    pub address: u64,
    /// Its length.
    pub bytes: u64,
    /// Its header, or what is wrong with it; `None` if no record begins right behind it, as in a
    /// chunk that was never used.
    pub header: Result<Option<ChunkHeader>>,
    /// Address of the record that runs on into this chunk from an earlier one.
    pub continues: Option<u64>,
    /// Records that begin in it, header and payload as written; replaced ones too.
    pub record_count: u64,
    /// How many of them are deletions.
    pub tombstone_count: u64,
    /// Bytes of their keys and values.
    pub record_bytes: u64,
    /// Places where the bytes are no record and no zeros; the first 1000.
    pub damages: Vec<Error>,
}

/// An index image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Number of its checkpoint.
    pub checkpoint: u64,
    /// Its path in the database directory.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its pieces, as far as they can be read.
    pub pieces: Vec<Piece>,
    /// Entries of the whole pieces.
    pub entry_count: u64,
    /// Why it cannot be used: the first damage.
    pub damage: Option<Error>,
}

/// A piece of an index image, as written.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Where in the image it starts.
    pub offset: u64,
    /// What it holds.
    pub kind: PieceKind,
    /// Bytes to the next piece.
    pub bytes: u64,
    /// Bytes of it that mean something.
    pub used_bytes: u64,
    /// Number of its entries.
    pub entry_count: u64,
}

impl Inspector<System> {
    /// Looks into the database in directory `path`.
    ///
    /// Errors: `NotFound` if there is none; `Locked` if another opener has it; what the
    /// operating system refuses. Damage is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let shown = path.display();
        check_directory(path)?;
        let system = System::open(path, SystemOptions { backend: BackendChoice::Syscalls })
            .map_err(|error| Error::io(format!("cannot use directory {shown}"), error))?;
        Self::open_on(system, path)
    }
}

impl<S: Storage> Inspector<S> {
    /// Looks into the database on any storage; the path is only shown in messages. Errors as for
    /// [`Inspector::open`].
    pub fn open_on(storage: S, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let shown = path.display();
        let names =
            storage.list("").map_err(|error| Error::io(format!("cannot list {shown}"), error))?;
        let has = |name: &str| names.iter().any(|present| present == name);
        let segments = list_segments(&storage)?;
        if !has(ROOT_FILE) && segments.is_empty() {
            let message = format!("there is no database in {shown}");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let lock = take_lock(&storage, &path)?;
        let slots = read_slots(&storage)?;
        Ok(Self { storage, slots, segments, _lock: lock })
    }

    /// The two slots of the superblock, each with its offset: what it says, or what is wrong with
    /// it. `None`: it was never written.
    pub fn slots(&self) -> [(u64, &Result<Option<Superblock>>); 2] {
        [(0, &self.slots[0]), (SLOT_STRIDE_BYTES, &self.slots[1])]
    }

    /// The slot that counts: the whole one with the higher generation.
    pub fn superblock(&self) -> Option<&Superblock> {
        let whole = self.slots.iter().filter_map(|slot| slot.as_ref().ok()?.as_ref());
        whole.max_by_key(|block| block.generation.get())
    }

    /// Kind of the keys, if the superblock can be read.
    pub fn key_kind(&self) -> Option<KeyKind> {
        KeyKind::from_number(self.superblock()?.key_kind.get())
    }

    /// Numbers of the segment files, ascending.
    pub fn segments(&self) -> &[u64] {
        &self.segments
    }

    /// The log from where the older of the two checkpoints begins to replay it, up to its end. If
    /// the superblock is lost, from the oldest segment on.
    ///
    /// Errors: damage, if nothing tells whose log it is.
    pub fn log(&self) -> Result<Log<'_, S>> {
        self.log_since(Kept::Older)
    }

    /// The log from where `kept` begins to replay it.
    pub(crate) fn log_since(&self, kept: Kept) -> Result<Log<'_, S>> {
        let (database, block_bytes) = self.identity()?;
        let block_bytes = u64::from(block_bytes);
        let reader_at = |start| {
            let present = self.segments.as_slice();
            LogReader::new(&self.storage, database, block_bytes, present, start).read_only()
        };
        let mut start = LogPosition { segment: 0, offset: 0, lsn: 0 };
        let mut durable_lsn = 0;
        if let Some(block) = self.superblock() {
            let mut all = block.checkpoints.iter().filter(|kept| kept.segment.get() > 0);
            let chosen = match kept {
                Kept::Newest => all.next(),
                Kept::Older => all.next_back(),
            };
            start = chosen.map_or(start, start_of);
            durable_lsn = block.checkpoints[0].end_lsn.get();
        } else {
            let mut reader = reader_at(start);
            for number in &self.segments {
                if let Some(found) = reader.start_of_segment(*number)? {
                    start = found;
                    break;
                }
            }
        }
        Ok(Log { reader: reader_at(start), start, durable_lsn })
    }

    /// The header of segment `number`.
    ///
    /// Errors: `InvalidArgument` if there is no such segment.
    pub fn segment(&self, number: u64) -> Result<Segment> {
        let file = segment_path(number);
        if !self.segments.contains(&number) {
            return Err(Error::invalid(format!("there is no segment {number}: no file {file}")));
        }
        let (bytes, block) = self.first_block(number)?;
        let is_begun = block.iter().any(|byte| *byte != 0);
        let database = match self.superblock() {
            Some(root) => root.database,
            None => claimed(&block).map_or(DatabaseId([0; 16]), |header| header.database),
        };
        let header = match SegmentHeader::load(&block, &database, number) {
            Ok(header) => Ok(Some(header)),
            // A recycled segment keeps the header of its former life until it is begun.
            Err(Defect::Position { .. }) => Ok(None),
            Err(_) if !is_begun => Ok(None),
            Err(defect) => Err(Error::defect(&file, 0, None, "segment header", defect)),
        };
        Ok(Segment { file, bytes, header })
    }

    /// Chunk `index` of the data file, counted from 0: its header, and every record in it. Reads
    /// the whole chunk.
    ///
    /// Errors: `InvalidArgument` if the data file ends before it; damage, if the superblock is
    /// lost, which tells the size of the chunks.
    pub fn chunk(&self, index: u64) -> Result<Chunk> {
        let root = self.superblock().ok_or_else(|| self.lost_superblock())?;
        let chunk_bytes = root.chunk_bytes.get();
        let Some(file) = self.open_file(DATA_FILE)? else {
            return Err(Error::corrupt(DATA_FILE, 0, None, "data file", "the file is missing"));
        };
        let mut reader = DataReader::new(Window::new(&file)?, root.database);
        let address = index.checked_mul(chunk_bytes).filter(|start| *start < reader.file_bytes());
        let Some(address) = address else {
            let count = reader.file_bytes().div_ceil(chunk_bytes);
            let message =
                format!("there is no chunk {index}: the data file has {count}, from 0 on");
            return Err(Error::invalid(message));
        };
        // It looks back from chunk to chunk.
        let mut looker = DataReader::new(Window::here_and_there(&file)?, root.database);
        let before = long_record(&mut looker, &root.database, chunk_bytes, address)?;
        let header = chunk_header(&mut reader, &root.database, address, before.is_some())?;
        let end = (address + chunk_bytes).min(reader.file_bytes());
        let mut chunk = Chunk {
            address,
            bytes: end - address,
            header,
            continues: before.map(|(address, _)| address),
            record_count: 0,
            tombstone_count: 0,
            record_bytes: 0,
            damages: Vec::new(),
        };
        let start = before.map_or(address + CHUNK_HEADER_BYTES, |(_, end)| end);
        reader.scan(start..end, |found| {
            chunk.note(&found);
            Ok(())
        })?;
        Ok(chunk)
    }

    /// The index image of the newest checkpoint; `None` before the first one. If the superblock is
    /// lost, the image with the highest number.
    pub fn image(&self) -> Result<Option<Image>> {
        let (database, _) = self.identity()?;
        let (checkpoint, expected) = match self.superblock() {
            Some(root) => {
                let newest = &root.checkpoints[0];
                (newest.number.get(), Some(newest.entry_count.get()))
            }
            None => (list_images(&self.storage)?.pop().unwrap_or(0), None),
        };
        if checkpoint == 0 {
            return Ok(None);
        }
        let file = image_path(checkpoint);
        let (bytes, entry_count) = (0, 0);
        let pieces = Vec::new();
        let mut image = Image { checkpoint, file, bytes, pieces, entry_count, damage: None };
        let Some(opened) = self.open_file(&image.file)? else {
            let damage = Error::corrupt(&image.file, 0, None, "index image", "the file is missing");
            image.damage = Some(damage);
            return Ok(Some(image));
        };
        let failed = |error| Error::io("cannot read an index image", error);
        image.bytes = opened.len().map_err(failed)?;
        let mut buffer = vec![0; PIECE_BYTES_MAX];
        let mut offset = 0;
        while image.damage.is_none() && !image.is_whole() {
            let read = opened.read_at(&mut buffer, offset).map_err(failed)?;
            match read_piece(&buffer[..read], &database, checkpoint, offset) {
                Ok(piece) => {
                    offset += piece.bytes;
                    image.add(piece, expected);
                }
                Err(defect) => {
                    let damage = Error::defect(&image.file, offset, None, "index image", defect);
                    image.damage = Some(damage);
                }
            }
        }
        Ok(Some(image))
    }

    /// Identity of the database and size of its log blocks.
    pub(crate) fn identity(&self) -> Result<(DatabaseId, u32)> {
        if let Some(root) = self.superblock() {
            return Ok((root.database, root.block_bytes.get()));
        }
        for number in &self.segments {
            let (_, block) = self.first_block(*number)?;
            let header = claimed(&block)
                .and_then(|claimed| SegmentHeader::load(&block, &claimed.database, *number).ok());
            if let Some(header) = header
                && is_block_size(header.block_bytes.get())
            {
                return Ok((header.database, header.block_bytes.get()));
            }
        }
        Err(self.lost_superblock())
    }

    fn lost_superblock(&self) -> Error {
        let error = self.slots.iter().find_map(|slot| slot.as_ref().err());
        error.cloned().unwrap_or_else(|| {
            Error::corrupt(ROOT_FILE, 0, None, "superblock", "both slots are empty")
        })
    }

    /// Length of a segment, and its first bytes.
    fn first_block(&self, number: u64) -> Result<(u64, Vec<u8>)> {
        let path = segment_path(number);
        let failed = |error| Error::io(format!("cannot read {path}"), error);
        let file = self.storage.open(&path, OpenMode::Read).map_err(failed)?;
        let mut block = vec![0; *BLOCK_BYTES.start() as usize];
        let read = file.read_at(&mut block, 0).map_err(failed)?;
        block.truncate(read);
        Ok((file.len().map_err(failed)?, block))
    }

    pub(crate) fn open_file(&self, path: &str) -> Result<Option<S::File>> {
        match self.storage.open(path, OpenMode::Read) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("cannot read {path}"), error)),
        }
    }
}

impl Chunk {
    fn note(&mut self, found: &Found<'_>) {
        if let Found::Whole { header, key, value, .. } = found {
            self.record_count += 1;
            self.tombstone_count += u64::from(header.is_tombstone());
            self.record_bytes += (key.len() + value.len()) as u64;
        }
        if self.damages.len() < DAMAGE_COUNT_MAX {
            self.damages.extend(found.damage());
        }
    }
}

impl Image {
    fn is_whole(&self) -> bool {
        self.pieces.last().is_some_and(|piece| piece.kind == PieceKind::End)
    }

    fn add(&mut self, piece: Piece, expected: Option<u64>) {
        self.entry_count += if piece.kind == PieceKind::End { 0 } else { piece.entry_count };
        self.pieces.push(piece);
        if let Some(expected) = expected
            && self.is_whole()
            && expected != self.entry_count
        {
            let defect = Defect::Position { expected, found: self.entry_count };
            self.damage = Some(Error::defect(&self.file, 0, None, "number of entries", defect));
        }
    }
}

/// The log, read forward.
pub struct Log<'a, S: Storage> {
    reader: LogReader<'a, S>,
    start: LogPosition,
    durable_lsn: u64,
}

/// What comes next in the log.
pub enum Step<'a> {
    /// A whole group.
    Group(Group<'a>),
    /// Its end.
    End(LogEnd),
}

/// A whole group of the log.
pub struct Group<'a> {
    /// What it says of itself, its place included.
    pub header: GroupHeader,
    body: &'a [u8],
}

/// Where the log ends, and why.
#[derive(Clone, Debug)]
pub struct LogEnd {
    /// The segment file.
    pub file: String,
    /// Number of the segment.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// The last LSN before.
    pub lsn: u64,
    /// What stands there: something that looks like a group and is not whole. `None`: nothing does.
    pub torn: Option<String>,
    /// Set if something proves that acknowledged records are missing behind the end.
    pub missing: Option<Error>,
}

impl<S: Storage> Log<'_, S> {
    /// Segment, offset and last LSN before the first group that is read.
    pub fn start(&self) -> (u64, u64, u64) {
        (self.start.segment, self.start.offset, self.start.lsn)
    }

    /// The next group, or the end; do not ask again behind it.
    #[expect(clippy::should_implement_trait, reason = "groups borrow the reader's buffer")]
    pub fn next(&mut self) -> Result<Step<'_>> {
        let (position, torn) = match self.reader.advance() {
            Ok(Ok(header)) => {
                let body = self.reader.body_of(&header);
                return Ok(Step::Group(Group { header, body }));
            }
            Ok(Err(end)) => (end.position, end.torn.map(|defect| defect.to_string())),
            // Its checksums fit, but this version does not know what it means.
            Err(error)
                if matches!(error.kind(), ErrorKind::Corruption | ErrorKind::NewerFormat) =>
            {
                (self.reader.position(), Some(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        let mut missing = self.reader.missing(true)?;
        let file = segment_path(position.segment);
        let LogPosition { segment, offset, lsn } = position;
        if missing.is_none() && lsn < self.durable_lsn {
            let detail = format!(
                "acknowledged records are missing: the last checkpoint found the log durable up to \
                 LSN {}, but it can be read only up to LSN {lsn}",
                self.durable_lsn
            );
            missing = Some(Error::corrupt(&file, offset, Some(lsn + 1), "log", detail));
        }
        Ok(Step::End(LogEnd { file, segment, offset, lsn, torn, missing }))
    }
}

impl<'a> Group<'a> {
    /// Its frames, each with its offset in the segment.
    pub fn frames(&self) -> impl Iterator<Item = (u64, Frame<'a>)> + use<'a> {
        let mut offset = self.header.offset.get() + GROUP_HEADER_BYTES as u64;
        Frames::new(self.body).map_while(std::result::Result::ok).map(move |frame| {
            let start = offset;
            offset += frame.len_in_log() as u64;
            (start, frame)
        })
    }
}

fn is_block_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && BLOCK_BYTES.contains(&bytes)
}

/// The header at the start of `block`, unchecked.
fn claimed(block: &[u8]) -> Option<&SegmentHeader> {
    Some(SegmentHeader::ref_from_prefix(block).ok()?.0)
}

/// Address and end of a record that starts in a chunk before `address` and runs on beyond it.
fn long_record<F: StorageFile>(
    reader: &mut DataReader<'_, F>,
    database: &DatabaseId,
    chunk_bytes: u64,
    address: u64,
) -> Result<Option<(u64, u64)>> {
    // No record reaches further.
    let reach = (record_bytes(KEY_BYTES_MAX, VALUE_BYTES_MAX) as u64).next_multiple_of(chunk_bytes);
    let mut chunk = address;
    while chunk > address.saturating_sub(reach) {
        chunk -= chunk_bytes;
        let bytes = reader.bytes(chunk, CHUNK_HEADER_BYTES as usize)?;
        if bytes.is_some_and(|bytes| ChunkHeader::load(bytes, database, chunk).is_ok()) {
            let start = chunk + CHUNK_HEADER_BYTES;
            let header = reader.header(start)?;
            let end = header.map(|header| start + header.record_bytes() as u64);
            return Ok(end.filter(|end| *end > address).map(|end| (start, end)));
        }
    }
    Ok(None)
}

/// The header of the chunk at `address`, whose place a long record may have taken.
fn chunk_header<F: StorageFile>(
    reader: &mut DataReader<'_, F>,
    database: &DatabaseId,
    address: u64,
    is_taken: bool,
) -> Result<Result<Option<ChunkHeader>>> {
    let bytes = reader.bytes(address, CHUNK_HEADER_BYTES as usize)?.unwrap_or_default();
    if is_taken || bytes.iter().all(|byte| *byte == 0) {
        return Ok(Ok(None));
    }
    let loaded = ChunkHeader::load(bytes, database, address).map(Some);
    Ok(loaded.map_err(|defect| Error::defect(DATA_FILE, address, None, "chunk header", defect)))
}

fn read_piece(
    bytes: &[u8],
    database: &DatabaseId,
    image: u64,
    offset: u64,
) -> std::result::Result<Piece, Defect> {
    let header = PieceHeader::peek(bytes)?;
    let (kind, used) = header.verify(bytes, database, image, offset)?;
    Ok(Piece {
        offset,
        kind,
        bytes: header.piece_bytes.get().into(),
        used_bytes: used.len() as u64,
        entry_count: header.entry_count.get().into(),
    })
}
