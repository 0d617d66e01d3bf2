//! [`ImageSearch`]: looking keys up in an index image, of which only the pieces on the way are
//! read.
//!
//! ```text
//! piece  piece  ...  piece | piece ...    | piece ...      | chunks | end     each names where the
//! 256 KiB each, but for    | of the other | of tables                         next one begins
//! the last of its part     | tables       | without order
//! ```
//! Keys ascend over all pieces of a part, but for the last one of the three, where tables do
//! ([`crate::checkpoint::image_walk`]). Nothing says where the pieces begin but the chain; most are
//! as long as pieces may be, so the search jumps by multiples of that, and believes what it meets
//! only if it is a piece of this image at this place. From where it arrives it follows the chain:
//! so a jump that ends in the midst of a piece costs time and nothing else.
//!
//! A piece is checked before it is believed. What the pieces must be together (counts, the live
//! lines of chunks) only the reader of a whole image checks ([`crate::checkpoint::image`]).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use uarr_layout::chunk::ChunkEntry;
use uarr_layout::image::{PIECE_BYTES_MAX, PieceHeader, PieceKind};
use uarr_layout::limits::BLOCK_BYTES;
use uarr_layout::packed::PackedEntries;
use uarr_layout::record::Locator;
use uarr_layout::superblock::Checkpoint;
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::{OpenMode, Storage, StorageFile};

use crate::checkpoint::chunk_table::check_table;
use crate::checkpoint::image::{ImageReader, LoadedImage};
use crate::data::entries::{ByteEntries, Entries, split_entry};
use crate::data::key_index::Direction;
use crate::error::{Error, Result};
use crate::files::image_path;
use crate::key::KeyKind;
use crate::structure::{MISSING, Structure};
use crate::sync::{Rank, Ranked, lock};
use crate::table_prefix::TablePrefix;

/// Pieces begin at multiples of this, or behind a shorter one.
const STEP_BYTES: u64 = PIECE_BYTES_MAX as u64;

/// See [`self`].
pub(crate) struct ImageSearch<F> {
    file: F,
    bytes: u64,
    database: DatabaseId,
    checkpoint: Checkpoint,
    kind: KeyKind,
    memory: Ranked<Memory>,
}

/// What was read.
#[derive(Default)]
struct Memory {
    /// How pieces begin, by offset; `None`: no piece begins there.
    heads: BTreeMap<u64, Option<Head>>,
    /// The last one that was read whole.
    last: Option<Arc<LoadedPiece>>,
}

/// The parts of an image, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ImagePart {
    Default,
    Others,
    Unordered,
    Chunks,
    End,
}

impl ImagePart {
    fn of_kind(kind: PieceKind) -> Self {
        match kind {
            PieceKind::IntEntries | PieceKind::ByteEntries => Self::Default,
            PieceKind::TableEntries => Self::Others,
            PieceKind::UnorderedEntries => Self::Unordered,
            PieceKind::Chunks => Self::Chunks,
            PieceKind::End => Self::End,
        }
    }

    fn of_key(key: &[u8]) -> Self {
        match TablePrefix::of(key) {
            None => Self::Default,
            Some(prefix) if prefix.is_ordered() => Self::Others,
            Some(_) => Self::Unordered,
        }
    }
}

/// How a piece begins: its part, its first key, and where the next piece does.
#[derive(Clone, Debug)]
pub(in crate::checkpoint) struct Head {
    pub place: InImage,
    pub next: u64,
}

/// A place in the order of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::checkpoint) struct InImage {
    pub part: ImagePart,
    /// Of tables without order what their keys begin with.
    pub key: Vec<u8>,
}

/// A piece, checked.
pub(in crate::checkpoint) struct LoadedPiece {
    offset: u64,
    pub head: Head,
    pub content: LoadedImage,
}

/// Which entries are meant, in stored keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySpan<'a> {
    /// One that has an order.
    pub part: ImagePart,
    pub low: Bound<&'a [u8]>,
    pub high: Bound<&'a [u8]>,
}

impl KeySpan<'_> {
    fn is_below(&self, key: &[u8]) -> bool {
        match self.low {
            Bound::Included(low) => key < low,
            Bound::Excluded(low) => key <= low,
            Bound::Unbounded => false,
        }
    }

    fn is_above(&self, key: &[u8]) -> bool {
        match self.high {
            Bound::Included(high) => key > high,
            Bound::Excluded(high) => key >= high,
            Bound::Unbounded => false,
        }
    }
}

impl<F: StorageFile> ImageSearch<F> {
    /// Opens the image of `checkpoint`. `kind` is that of the default table.
    pub fn open<S: Storage<File = F>>(
        storage: &S,
        database: DatabaseId,
        checkpoint: &Checkpoint,
        kind: KeyKind,
    ) -> Result<Self> {
        let number = checkpoint.number.get();
        assert!(number > 0, "the empty database has no image");
        // Nothing writes to an image that a superblock names: the page cache has it as it is.
        let opened = storage.open(&image_path(number), OpenMode::Read);
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Structure::image(number).damage(MISSING),
            _ => Error::io("cannot open an index image", error),
        })?;
        let bytes = file.len().map_err(failed)?;
        let memory = Ranked::new(Rank::Leaf, Memory::default());
        Ok(Self { file, bytes, database, checkpoint: *checkpoint, kind, memory })
    }

    /// The locator of `key`, a stored key.
    pub fn find(&self, key: &[u8]) -> Result<Option<Locator>> {
        let place = InImage { part: ImagePart::of_key(key), key: key.to_vec() };
        if place.part == ImagePart::Unordered {
            return self.find_unordered(key);
        }
        let Some(offset) = self.last_piece(|head| *head <= place)? else { return Ok(None) };
        if place.part == ImagePart::Default && self.kind.is_int() {
            return self.find_packed(offset, key);
        }
        let piece = self.piece(offset)?;
        if piece.head.place.part != place.part {
            return Ok(None);
        }
        Ok(piece.find(key).and_then(Locator::from_bits))
    }

    /// The locator of an integer in the piece at `offset`, which may hold 130,000 entries: they are
    /// passed over and not kept.
    fn find_packed(&self, offset: u64, key: &[u8]) -> Result<Option<Locator>> {
        let Ok(key) = key.try_into().map(u64::from_be_bytes) else { return Ok(None) };
        let bytes = self.read(offset)?;
        let find = || {
            let (kind, used) = self.verified(&bytes, offset)?;
            if kind != PieceKind::IntEntries {
                return Err(Defect::Kind(kind as u8));
            }
            for entry in PackedEntries::new(used) {
                let (found, locator) = entry?;
                if found >= key {
                    return Ok((found == key).then_some(locator));
                }
            }
            Ok(None)
        };
        find().map_err(|defect| self.damage(offset, defect))
    }

    /// Up to `count_max` entries of `span`, in their order: the first ones or the last ones.
    pub fn entries(
        &self,
        span: KeySpan<'_>,
        direction: Direction,
        count_max: usize,
    ) -> Result<Vec<(Vec<u8>, Locator)>> {
        match direction {
            Direction::Forward => self.first_entries(span, count_max),
            Direction::Backward => self.last_entries(span, count_max),
        }
    }

    fn first_entries(
        &self,
        span: KeySpan<'_>,
        count_max: usize,
    ) -> Result<Vec<(Vec<u8>, Locator)>> {
        let mut found = Vec::new();
        self.each_from(span, |key, locator| {
            found.push((key.to_vec(), locator));
            if found.len() < count_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(found)
    }

    /// Gives `each` the entries of `span`, until it breaks off.
    pub fn each_from(
        &self,
        span: KeySpan<'_>,
        mut each: impl FnMut(&[u8], Locator) -> ControlFlow<()>,
    ) -> Result<()> {
        let key = match span.low {
            Bound::Included(low) | Bound::Excluded(low) => low.to_vec(),
            Bound::Unbounded => Vec::new(),
        };
        let place = InImage { part: span.part, key };
        let mut offset = self.last_piece(|head| *head <= place)?.unwrap_or(0);
        loop {
            let piece = self.piece(offset)?;
            match piece.head.place.part {
                part if part > place.part => return Ok(()),
                part if part == place.part => {
                    let ended = piece.each(|key, locator| match () {
                        () if span.is_below(key) => ControlFlow::Continue(()),
                        () if span.is_above(key) => ControlFlow::Break(()),
                        () => each(key, locator),
                    });
                    if ended.is_break() {
                        return Ok(());
                    }
                }
                _ => {}
            }
            offset = piece.head.next;
        }
    }

    fn last_entries(&self, span: KeySpan<'_>, count_max: usize) -> Result<Vec<(Vec<u8>, Locator)>> {
        let part = span.part;
        let mut found = VecDeque::new();
        let mut offset = match span.high {
            Bound::Included(high) | Bound::Excluded(high) => {
                let place = InImage { part, key: high.to_vec() };
                self.last_piece(|head| *head <= place)?
            }
            Bound::Unbounded => self.last_piece(|head| head.part <= part)?,
        };
        while let Some(at) = offset {
            let piece = self.piece(at)?;
            let place = &piece.head.place;
            if place.part < part {
                break;
            }
            let mut of_piece = VecDeque::new();
            let left = count_max - found.len();
            let _ = piece.each(|key, locator| {
                if span.is_above(key) {
                    return ControlFlow::Break(());
                }
                if !span.is_below(key) {
                    of_piece.push_back((key.to_vec(), locator));
                }
                if of_piece.len() > left {
                    of_piece.pop_front();
                }
                ControlFlow::Continue(())
            });
            of_piece.into_iter().rev().for_each(|entry| found.push_front(entry));
            if found.len() == count_max || span.is_below(&place.key) {
                break;
            }
            offset = self.last_piece(|head| head < place)?;
        }
        Ok(found.into())
    }

    /// The chunk table, which is checked in itself.
    pub fn chunks(&self, chunk_bytes: u64) -> Result<Vec<ChunkEntry>> {
        let before = self.last_piece(|head| head.part < ImagePart::Chunks)?;
        let mut offset = match before {
            Some(before) => self.chained(before)?.next,
            None => 0,
        };
        let mut chunks = Vec::new();
        loop {
            let piece = self.piece(offset)?;
            match piece.head.place.part {
                ImagePart::Chunks => chunks.extend_from_slice(&piece.content.chunks),
                ImagePart::End => break,
                ImagePart::Default | ImagePart::Others | ImagePart::Unordered => {
                    return Err(self.damage(offset, Defect::Kind(PieceKind::Chunks as u8)));
                }
            }
            offset = piece.head.next;
        }
        let checked = check_table(&chunks, &self.checkpoint, chunk_bytes);
        checked.map_err(|defect| self.damage(offset, defect))?;
        Ok(chunks)
    }

    /// The last piece whose head is `early`, as all before it are; `None`: not even the first is.
    pub(in crate::checkpoint) fn last_piece(
        &self,
        early: impl Fn(&InImage) -> bool,
    ) -> Result<Option<u64>> {
        let mut at = 0;
        if !early(&self.chained(at)?.place) {
            return Ok(None);
        }
        loop {
            at += self.jump(at, &early)?;
            let next = self.chained(at)?.next;
            if next >= self.bytes || !early(&self.chained(next)?.place) {
                return Ok(Some(at));
            }
            at = next;
        }
    }

    /// How far a jump from the piece at `at` leads to another one that is early.
    fn jump(&self, at: u64, early: &impl Fn(&InImage) -> bool) -> Result<u64> {
        let count_max = self.bytes.saturating_sub(at + 1) / STEP_BYTES;
        let lands = |count: u64| -> Result<bool> {
            let head = self.head(at + count * STEP_BYTES)?.ok();
            Ok(head.is_some_and(|head| early(&head.place)))
        };
        let (mut good, mut bad) = (0, 1);
        while bad <= count_max && lands(bad)? {
            (good, bad) = (bad, bad * 2);
        }
        bad = bad.min(count_max + 1);
        while good + 1 < bad {
            let middle = good + (bad - good) / 2;
            if lands(middle)? { good = middle } else { bad = middle }
        }
        Ok(good * STEP_BYTES)
    }

    /// How the piece at `offset` begins, where the chain says that one does.
    pub(in crate::checkpoint) fn chained(&self, offset: u64) -> Result<Head> {
        self.head(offset)?.map_err(|defect| self.damage(offset, defect))
    }

    /// How the piece at `offset` begins, if there is one.
    fn head(&self, offset: u64) -> Result<Result<Head, Defect>> {
        match lock(&self.memory).heads.get(&offset) {
            Some(Some(head)) => return Ok(Ok(head.clone())),
            Some(None) => return Ok(Err(Defect::Magic)),
            None => {}
        }
        let bytes = self.read(offset)?;
        let head = self.head_of(&bytes, offset);
        let known = head.as_ref().ok().cloned();
        lock(&self.memory).heads.insert(offset, known);
        Ok(head)
    }

    fn head_of(&self, bytes: &[u8], offset: u64) -> Result<Head, Defect> {
        let (kind, used) = self.verified(bytes, offset)?;
        let key = match kind {
            PieceKind::IntEntries => {
                let (key, _) = PackedEntries::new(used).next().ok_or(Defect::Length)??;
                key.to_be_bytes().to_vec()
            }
            PieceKind::ByteEntries | PieceKind::TableEntries => split_entry(used)?.1.to_vec(),
            PieceKind::UnorderedEntries => {
                let prefix = TablePrefix::of(split_entry(used)?.1).ok_or(Defect::Entry)?;
                prefix.as_bytes().to_vec()
            }
            PieceKind::Chunks | PieceKind::End => Vec::new(),
        };
        let next = offset + u64::from(PieceHeader::peek(bytes)?.piece_bytes.get());
        Ok(Head { place: InImage { part: ImagePart::of_kind(kind), key }, next })
    }

    /// Kind and used bytes of the piece that `bytes` begin with, at `offset`.
    fn verified<'b>(&self, bytes: &'b [u8], offset: u64) -> Result<(PieceKind, &'b [u8]), Defect> {
        let number = self.checkpoint.number.get();
        PieceHeader::peek(bytes)?.verify(bytes, &self.database, number, offset)
    }

    /// The piece at `offset`, checked.
    pub(in crate::checkpoint) fn piece(&self, offset: u64) -> Result<Arc<LoadedPiece>> {
        if let Some(last) = &lock(&self.memory).last
            && last.offset == offset
        {
            return Ok(Arc::clone(last));
        }
        let bytes = self.read(offset)?;
        let loaded = self.load(&bytes, offset);
        let loaded = Arc::new(loaded.map_err(|defect| self.damage(offset, defect))?);
        lock(&self.memory).last = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    fn load(&self, bytes: &[u8], offset: u64) -> Result<LoadedPiece, Defect> {
        let head = self.head_of(bytes, offset)?;
        let mut content = LoadedImage::empty(self.kind);
        if head.place.part == ImagePart::End {
            let total = bytes.get(size_of::<PieceHeader>()..).and_then(|used| used.first_chunk());
            let total = total.map(|total| u64::from_le_bytes(*total));
            let (expected, found) = (self.checkpoint.entry_count.get(), total.unwrap_or(0));
            if expected != found {
                return Err(Defect::Position { expected, found });
            }
            return Ok(LoadedPiece { offset, head, content });
        }
        let (database, least) = (self.database, *BLOCK_BYTES.start());
        let mut reader = ImageReader::at(database, least, &self.checkpoint, offset);
        let goes_on = reader.take_piece(bytes, &mut content)?;
        assert!(goes_on && reader.offset == head.next, "it is not the last one");
        Ok(LoadedPiece { offset, head, content })
    }

    fn read(&self, offset: u64) -> Result<Vec<u8>> {
        let len = self.bytes.saturating_sub(offset).min(STEP_BYTES);
        let mut bytes = vec![0; len as usize];
        let read = self.file.read_at(&mut bytes, offset).map_err(failed)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn damage(&self, offset: u64, defect: Defect) -> Error {
        Structure::image(self.checkpoint.number.get()).at(offset).defect(defect)
    }
}

fn failed(error: io::Error) -> Error {
    Error::io("cannot read an index image", error)
}

impl LoadedPiece {
    fn byte_entries(&self) -> Option<&ByteEntries> {
        match &self.content.entries {
            _ if self.head.place.part == ImagePart::Others => Some(&self.content.others),
            Entries::Bytes(list) => Some(list),
            Entries::Int(_) => None,
        }
    }

    /// Bits of the locator of `key`, in a piece of byte entries.
    fn find(&self, key: &[u8]) -> Option<u64> {
        let mut cursor = self.byte_entries()?.cursor();
        while let Some(bits) = cursor.advance() {
            if cursor.key() >= key {
                return (cursor.key() == key).then_some(bits);
            }
        }
        None
    }

    fn each(&self, mut each: impl FnMut(&[u8], Locator) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut each = |key: &[u8], bits| match Locator::from_bits(bits) {
            Some(locator) => each(key, locator),
            None => unreachable!("entries were checked when the piece was read"),
        };
        match (self.byte_entries(), &self.content.entries) {
            (Some(list), _) => {
                let mut cursor = list.cursor();
                while let Some(bits) = cursor.advance() {
                    each(cursor.key(), bits)?;
                }
                ControlFlow::Continue(())
            }
            (None, Entries::Int(list)) => {
                list.iter().try_for_each(|(key, bits)| each(&key.to_be_bytes(), *bits))
            }
            (None, Entries::Bytes(_)) => ControlFlow::Continue(()),
        }
    }
}
