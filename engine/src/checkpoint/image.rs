//! Index images: written by checkpoints, read at open.

use std::io;

use uarr_layout::chunk::{CHUNK_ENTRY_BYTES, ChunkEntry};
use uarr_layout::geometry::{PIECE_HEADER_BYTES, RECORD_HEADER_BYTES, align_up};
use uarr_layout::image::{ByteEntry, PIECE_BYTES_MAX, PieceHeader, PieceKind};
use uarr_layout::limits::KEY_BYTES_MAX;
use uarr_layout::packed::{PACKED_ENTRY_BYTES_MAX, PackedEntries, Packer};
use uarr_layout::record::Locator;
use uarr_layout::superblock::Checkpoint;
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::{AlignedBuffer, OpenMode, Storage, StorageFile};
use zerocopy::{FromBytes, IntoBytes};

use crate::checkpoint::chunk_table::{NamedChunks, check_entries, check_table};
use crate::data::entries::{ByteEntries, Entries, split_entry};
use crate::error::{Error, Result, attempted};
use crate::files::{IMAGE_DIR, image_path, remove_if_present};
use crate::key::KeyKind;
use crate::key_space::KeySpace;
use crate::structure::{MISSING, Structure};
use crate::table_prefix::TablePrefix;

/// Writes an image, piece by piece, past the page cache.
pub(crate) struct ImageWriter<S: Storage> {
    file: S::File,
    database: DatabaseId,
    number: u64,
    block_bytes: usize,
    buffer: AlignedBuffer,
    used: usize,
    entries_in_piece: u32,
    entry_count: u64,
    offset: u64,
    last_int: Option<u64>,
    packer: Packer,
    last_key: Vec<u8>,
    named: NamedChunks,
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenImage {
    /// Length of the file.
    pub bytes: u64,
    pub entry_count: u64,
}

/// What a checkpoint remembers.
pub(crate) struct LoadedImage {
    /// Of the default table.
    pub entries: Entries,
    /// Of all others with order, by stored key.
    pub others: ByteEntries,
    /// Of those without order: by table, in each in any order.
    pub unordered: ByteEntries,
    /// The chunks of the data file, by number.
    pub chunks: Vec<ChunkEntry>,
}

impl LoadedImage {
    /// Of the empty database, for a default table of this kind.
    pub fn empty(kind: KeyKind) -> Self {
        let (others, unordered) = (ByteEntries::default(), ByteEntries::default());
        Self { entries: Entries::empty(kind), others, unordered, chunks: Vec::new() }
    }

    /// Whether a piece of `kind` may come behind what there is.
    //= IMG-2
    fn may_go_on_with(&self, kind: PieceKind) -> bool {
        let has_others = !self.others.bytes.is_empty();
        let has_unordered = !self.unordered.bytes.is_empty();
        let has_chunks = !self.chunks.is_empty();
        match kind {
            PieceKind::IntEntries | PieceKind::ByteEntries => {
                !has_others && !has_unordered && !has_chunks
            }
            PieceKind::TableEntries => !has_unordered && !has_chunks,
            PieceKind::UnorderedEntries => !has_chunks,
            PieceKind::Chunks | PieceKind::End => true,
        }
    }

    /// Bits of the locators of all.
    pub fn locators(&self) -> impl Iterator<Item = u64> {
        let others = self.others.locators().chain(self.unordered.locators());
        self.entries.locators().chain(others)
    }
}

impl<S: Storage> ImageWriter<S> {
    /// Starts the image of checkpoint `number`, replacing one that an interrupted checkpoint left.
    pub fn create(
        storage: &S,
        database: DatabaseId,
        number: u64,
        chunk_bytes: u64,
    ) -> io::Result<Self> {
        assert!(number > 0, "number 0 is the empty database, which has no image");
        remove_if_present(storage, &image_path(number))?;
        Ok(Self {
            file: storage.open(&image_path(number), OpenMode::CreateDirect)?,
            database,
            number,
            block_bytes: storage.facts().block_bytes as usize,
            buffer: AlignedBuffer::new(PIECE_BYTES_MAX),
            used: 0,
            entries_in_piece: 0,
            entry_count: 0,
            offset: 0,
            last_int: None,
            packer: Packer::default(),
            last_key: Vec::new(),
            named: NamedChunks::new(chunk_bytes),
        })
    }

    /// Adds an entry of an integer table; keys ascend.
    pub fn push_int(&mut self, key: u64, locator: Locator) -> io::Result<()> {
        assert!(self.last_int.is_none_or(|last| last < key), "keys ascend strictly");
        self.last_int = Some(key);
        self.reserve(PieceKind::IntEntries, PACKED_ENTRY_BYTES_MAX)?;
        if self.entries_in_piece == 0 {
            self.packer = Packer::default();
        }
        let entry = self.packer.pack(key, locator);
        self.store(entry.as_bytes());
        self.end_entry(locator);
        Ok(())
    }

    /// Adds an entry to those of `kind`, by stored key; keys ascend, but for unordered ones.
    pub fn push_bytes(&mut self, kind: PieceKind, key: &[u8], locator: Locator) -> io::Result<()> {
        let prefix = TablePrefix::of(key);
        assert_eq!(kind == PieceKind::ByteEntries, prefix.is_none());
        let is_ordered = prefix.is_none_or(TablePrefix::is_ordered);
        assert_eq!(kind == PieceKind::UnorderedEntries, !is_ordered);
        assert!(!is_ordered || self.last_key.as_slice() < key, "keys ascend strictly");
        self.reserve(kind, size_of::<ByteEntry>() + key.len())?;
        let shared = match self.entries_in_piece {
            0 => 0,
            _ => self.last_key.iter().zip(key).take_while(|(a, b)| a == b).count(),
        };
        let fits = |len: usize| u16::try_from(len).expect("keys have at most 65,535 bytes");
        let suffix_bytes = fits(key.len() - shared);
        let entry = ByteEntry {
            locator: locator.bits().into(),
            shared: fits(shared).into(),
            suffix_bytes: suffix_bytes.into(),
        };
        self.store(entry.as_bytes());
        self.store(&key[shared..]);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.end_entry(locator);
        Ok(())
    }

    /// Passes over an entry of a deleted key.
    //= IMG-4
    pub fn leave_out(&mut self, locator: Locator) {
        assert!(locator.is_tombstone(), "all others are written");
        self.named.note_deleted(locator);
    }

    /// Ends the entries of one kind, or of one table without order.
    pub fn end_entries(&mut self, kind: PieceKind) -> io::Result<()> {
        assert_ne!(kind, PieceKind::End, "the end comes after all entries");
        self.last_key.clear();
        if self.entries_in_piece > 0 { self.write_piece(kind) } else { Ok(()) }
    }

    /// Writes the chunk table, in which the chunks have their durable lengths, and the end piece,
    /// and makes everything durable, the name included.
    //= IMG-6
    pub fn finish(mut self, storage: &S, mut table: Vec<ChunkEntry>) -> io::Result<WrittenImage> {
        assert_eq!((self.used, self.entries_in_piece), (0, 0), "the entries were ended");
        self.named.note_live(&mut table);
        for entry in &table {
            self.reserve(PieceKind::Chunks, CHUNK_ENTRY_BYTES)?;
            self.store(entry.as_bytes());
            self.entries_in_piece += 1;
        }
        self.end_entries(PieceKind::Chunks)?;
        let total = self.entry_count.to_le_bytes();
        self.store(&total);
        self.write_piece(PieceKind::End)?;
        let flushed = self.file.make_durable();
        flushed.and_then(|()| storage.make_dir_durable(IMAGE_DIR)).map_err(attempted)?;
        let Self { offset: bytes, entry_count, .. } = self;
        Ok(WrittenImage { bytes, entry_count })
    }

    fn reserve(&mut self, kind: PieceKind, bytes: usize) -> io::Result<()> {
        if PIECE_HEADER_BYTES + self.used + bytes > PIECE_BYTES_MAX {
            self.write_piece(kind)?;
            let end = PIECE_HEADER_BYTES + self.used + bytes;
            assert!(end <= PIECE_BYTES_MAX, "the longest entry fits into a piece of its own");
        }
        Ok(())
    }

    fn store(&mut self, bytes: &[u8]) {
        self.buffer[PIECE_HEADER_BYTES + self.used..][..bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }

    //= IMG-4
    fn end_entry(&mut self, locator: Locator) {
        assert!(!locator.is_tombstone(), "deleted keys are left out");
        self.named.note(locator);
        self.entries_in_piece += 1;
        self.entry_count += 1;
    }

    fn write_piece(&mut self, kind: PieceKind) -> io::Result<()> {
        let piece_bytes = align_up(PIECE_HEADER_BYTES + self.used, self.block_bytes);
        assert!(piece_bytes <= PIECE_BYTES_MAX);
        assert!(self.offset.is_multiple_of(self.block_bytes as u64));
        let has_entries = self.entries_in_piece > 0;
        assert_eq!(kind != PieceKind::End, has_entries, "the end piece alone has no entries");
        let small = |bytes: usize| u32::try_from(bytes).expect("pieces are small");
        let mut header = PieceHeader::new(self.database, self.number, kind);
        header.offset = self.offset.into();
        header.entry_count = self.entries_in_piece.into();
        header.used_bytes = small(self.used).into();
        header.piece_bytes = small(piece_bytes).into();
        header.store(&mut self.buffer);
        let read = PieceHeader::peek(&self.buffer[..piece_bytes]);
        assert!(read.is_ok(), "{read:?}");
        // Takes the checksum of the piece again, 0.1 ns a byte.
        debug_assert!(read.is_ok_and(|read| {
            read.verify(&self.buffer, &self.database, self.number, self.offset).is_ok()
        }));
        self.file.write_at(&self.buffer[..piece_bytes], self.offset)?;
        self.buffer[..piece_bytes].fill(0);
        self.offset += piece_bytes as u64;
        (self.used, self.entries_in_piece) = (0, 0);
        Ok(())
    }
}

/// Reads the image of `checkpoint`, every byte checked. `kind` is that of the default table.
///
/// The entries in memory take at most eight times the length of the image. The caller gets them
/// only if the whole image is sound.
pub(crate) fn read_image<S: Storage>(
    storage: &S,
    database: &DatabaseId,
    checkpoint: &Checkpoint,
    kind: KeyKind,
    chunk_bytes: u64,
) -> Result<LoadedImage> {
    let number = checkpoint.number.get();
    let path = image_path(number);
    let file = storage.open(&path, OpenMode::Direct).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Structure::image(number).damage(MISSING),
        _ => Error::io("cannot open an index image", error),
    })?;
    let block_bytes = storage.facts().block_bytes;
    read_opened_image(&file, block_bytes, database, checkpoint, kind, chunk_bytes)
}

/// The same, of the image in `file`, whose pieces are whole blocks.
pub(crate) fn read_opened_image<F: StorageFile>(
    file: &F,
    block_bytes: u32,
    database: &DatabaseId,
    checkpoint: &Checkpoint,
    kind: KeyKind,
    chunk_bytes: u64,
) -> Result<LoadedImage> {
    let number = checkpoint.number.get();
    let mut reader = ImageReader::new(*database, block_bytes, checkpoint);
    let mut image = LoadedImage::empty(kind);
    let failed = |error| Error::io("cannot read an index image", error);
    let file_bytes = file.len().map_err(failed)?;
    let mut buffer = AlignedBuffer::new(file_bytes.min(PIECE_BYTES_MAX as u64) as usize);
    loop {
        let read = file.read_at(&mut buffer, reader.offset).map_err(failed)?;
        match reader.take_piece(&buffer[..read], &mut image) {
            Ok(true) => {}
            Ok(false) => break,
            Err(defect) => {
                return Err(Structure::image(number).at(reader.offset).defect(defect));
            }
        }
    }
    if reader.entry_count != checkpoint.entry_count.get() {
        let (expected, found) = (checkpoint.entry_count.get(), reader.entry_count);
        return Err(Structure::entry_count(number).defect(Defect::Position { expected, found }));
    }
    match reader.check(&image, checkpoint, chunk_bytes) {
        Ok(()) => Ok(image),
        Err(defect) => Err(Structure::image(number).defect(defect)),
    }
}

/// What the reader knows behind the pieces that it has read.
pub(in crate::checkpoint) struct ImageReader {
    database: DatabaseId,
    block_bytes: u32,
    number: u64,
    /// Of the next piece.
    pub offset: u64,
    entry_count: u64,
    last_int: Option<u64>,
    last_key: Vec<u8>,
    /// The records that the entries name take at least so many bytes.
    record_bytes: u64,
}

impl ImageReader {
    /// To read the piece at `offset` by itself.
    pub fn at(
        database: DatabaseId,
        block_bytes: u32,
        checkpoint: &Checkpoint,
        offset: u64,
    ) -> Self {
        Self { offset, ..Self::new(database, block_bytes, checkpoint) }
    }

    fn new(database: DatabaseId, block_bytes: u32, checkpoint: &Checkpoint) -> Self {
        Self {
            database,
            block_bytes,
            number: checkpoint.number.get(),
            offset: 0,
            entry_count: 0,
            last_int: None,
            last_key: Vec::new(),
            record_bytes: 0,
        }
    }

    /// Takes the entries of the piece at the start of `bytes`. False for the last piece.
    //= IMG-1, IMG-2
    pub fn take_piece(&mut self, bytes: &[u8], image: &mut LoadedImage) -> Result<bool, Defect> {
        let header = PieceHeader::peek(bytes)?;
        let (kind, used) = header.verify(bytes, &self.database, self.number, self.offset)?;
        if !header.piece_bytes.get().is_multiple_of(self.block_bytes) {
            return Err(Defect::Length);
        }
        let mut count = self.entry_count;
        let may_follow = image.may_go_on_with(kind);
        match (kind, &mut image.entries) {
            _ if !may_follow => return Err(Defect::Kind(kind as u8)),
            (PieceKind::IntEntries, Entries::Int(list)) => {
                for entry in PackedEntries::new(used) {
                    let (key, locator) = entry?;
                    let ascends = self.last_int.replace(key).is_none_or(|last| last < key);
                    self.note_entry(ascends, size_of::<u64>(), locator.bits())?;
                    list.push((key, locator.bits()));
                }
                assert_eq!(list.len() as u64, self.entry_count, "what is counted is kept");
            }
            (PieceKind::ByteEntries, Entries::Bytes(list)) => {
                self.check_byte_entries(kind, used, |key| TablePrefix::of(key).is_none())?;
                list.bytes.extend_from_slice(used);
            }
            (PieceKind::TableEntries, _) => {
                if image.others.bytes.is_empty() {
                    self.last_key.clear();
                }
                let is_of_table = |key: &[u8]| {
                    let space = KeySpace::of_stored(KeyKind::Bytes, key);
                    space.is_some_and(|space| space.prefix.is_some() && space.is_ordered())
                };
                self.check_byte_entries(kind, used, is_of_table)?;
                image.others.bytes.extend_from_slice(used);
            }
            (PieceKind::UnorderedEntries, _) => {
                if image.unordered.bytes.is_empty() {
                    self.last_key.clear();
                }
                let (before, own) = (TablePrefix::of(&self.last_key), unordered_table(used)?);
                if before.is_some_and(|before| own < before) {
                    return Err(Defect::Entry);
                }
                let is_of_table = |key: &[u8]| TablePrefix::of(key) == Some(own);
                self.check_byte_entries(kind, used, is_of_table)?;
                image.unordered.bytes.extend_from_slice(used);
            }
            (PieceKind::Chunks, _) => {
                let found = <[ChunkEntry]>::ref_from_bytes(used).map_err(|_| Defect::Length)?;
                image.chunks.extend_from_slice(found);
                count = self.entry_count.wrapping_sub(found.len() as u64);
            }
            (PieceKind::End, _) => {
                let total = <[u8; 8]>::try_from(used).map_err(|_| Defect::Length)?;
                let total = u64::from_le_bytes(total);
                return if total == self.entry_count { Ok(false) } else { Err(Defect::Length) };
            }
            (kind, _) => return Err(Defect::Kind(kind as u8)),
        }
        if self.entry_count.wrapping_sub(count) != u64::from(header.entry_count.get()) {
            return Err(Defect::Field("entry count"));
        }
        let piece_start = self.offset;
        self.offset += u64::from(header.piece_bytes.get());
        assert!(self.offset > piece_start, "a piece has a header");
        Ok(true)
    }

    /// Checks entries of `kind`, by stored key, each of which `is_key`.
    fn check_byte_entries(
        &mut self,
        kind: PieceKind,
        mut used: &[u8],
        is_key: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Defect> {
        let mut shared_max = 0;
        while !used.is_empty() {
            let (entry, suffix, rest) = split_entry(used)?;
            let shared = usize::from(entry.shared.get());
            let key_bytes = shared + suffix.len();
            if shared > shared_max || key_bytes > KEY_BYTES_MAX {
                return Err(Defect::Entry);
            }
            assert!(shared <= self.last_key.len(), "no more is shared than the last key has");
            let ascends = kind == PieceKind::UnorderedEntries || &self.last_key[shared..] < suffix;
            self.last_key.truncate(shared);
            self.last_key.extend_from_slice(suffix);
            assert_eq!(self.last_key.len(), key_bytes);
            let fits = ascends && is_key(&self.last_key);
            self.note_entry(fits, key_bytes, entry.locator.get())?;
            (used, shared_max) = (rest, key_bytes);
        }
        Ok(())
    }

    /// Keys fit and ascend, and each names a record of its own. Images hold no tombstones.
    fn note_entry(&mut self, fits: bool, key_bytes: usize, bits: u64) -> Result<(), Defect> {
        self.entry_count += 1;
        self.record_bytes += (RECORD_HEADER_BYTES + key_bytes) as u64;
        let locator = Locator::from_bits(bits);
        let is_record = locator.is_some_and(|locator| !locator.is_tombstone());
        if fits && is_record { Ok(()) } else { Err(Defect::Entry) }
    }

    /// Checks table and entries of the whole image against each other.
    //= IMG-5
    fn check(
        &self,
        image: &LoadedImage,
        checkpoint: &Checkpoint,
        chunk_bytes: u64,
    ) -> Result<(), Defect> {
        check_table(&image.chunks, checkpoint, chunk_bytes)?;
        let durable = image.chunks.iter().map(|chunk| u64::from(chunk.durable_bytes.get()));
        if self.record_bytes > durable.sum() {
            return Err(Defect::Entry);
        }
        check_entries(image.locators(), &image.chunks, chunk_bytes)?;
        if image.unordered.are_distinct() { Ok(()) } else { Err(Defect::Entry) }
    }
}

/// The table without order that the entries in `used` are of, as the first of them says.
fn unordered_table(used: &[u8]) -> Result<TablePrefix, Defect> {
    let (_, first, _) = split_entry(used)?;
    let space = KeySpace::of_stored(KeyKind::Bytes, first).filter(|space| !space.is_ordered());
    space.and_then(|space| space.prefix).ok_or(Defect::Entry)
}

#[cfg(test)]
mod tests {
    use uarr_layout::chunk::ChunkState;

    use super::*;

    const DATABASE: DatabaseId = DatabaseId([9; 16]);

    /// Entries in one piece: shared bytes, suffix, address.
    fn check(entries: &[(u16, &[u8], u64)], durable_bytes: u32) -> Result<Vec<Vec<u8>>, Defect> {
        check_kind(PieceKind::ByteEntries, entries, durable_bytes)
    }

    fn check_kind(
        kind: PieceKind,
        entries: &[(u16, &[u8], u64)],
        durable_bytes: u32,
    ) -> Result<Vec<Vec<u8>>, Defect> {
        let mut piece = vec![0; PIECE_BYTES_MAX];
        let mut end = PIECE_HEADER_BYTES;
        for (shared, suffix, address) in entries {
            let entry = ByteEntry {
                locator: ((address / 16) << 16).into(),
                shared: (*shared).into(),
                suffix_bytes: u16::try_from(suffix.len()).unwrap().into(),
            };
            for bytes in [entry.as_bytes(), suffix] {
                piece[end..end + bytes.len()].copy_from_slice(bytes);
                end += bytes.len();
            }
        }
        let mut header = PieceHeader::new(DATABASE, 7, kind);
        header.entry_count = u32::try_from(entries.len()).unwrap().into();
        header.used_bytes = u32::try_from(end - PIECE_HEADER_BYTES).unwrap().into();
        header.piece_bytes = u32::try_from(PIECE_BYTES_MAX).unwrap().into();
        header.store(&mut piece);
        let mut checkpoint = Checkpoint { number: 7.into(), ..Checkpoint::default() };
        checkpoint.next_chunk = 1.into();
        let mut reader = ImageReader::new(DATABASE, 512, &checkpoint);
        let mut image = LoadedImage::empty(KeyKind::Bytes);
        reader.take_piece(&piece, &mut image)?;
        let mut chunk = ChunkEntry::new(0, 5, ChunkState::Open);
        chunk.durable_bytes = durable_bytes.into();
        image.chunks.push(chunk);
        reader.check(&image, &checkpoint, 1 << 20)?;
        let Entries::Bytes(entries) = image.entries else { panic!("byte entries were asked for") };
        Ok(entries.iter().chain(image.unordered.iter()).map(|(key, _)| key).collect())
    }

    //= test IMG-2
    #[test]
    fn keys_without_order_are_distinct_and_of_one_table() {
        let key = |number: u32, own: &[u8]| KeySpace::unordered(number).bound(own.to_vec());
        let [b, a, other] = [key(16, b"b"), key(16, b"a"), key(17, b"a")];
        let ordered = KeySpace::of_table(16, KeyKind::Bytes).bound(b"a".to_vec());
        let check =
            |entries: &[(u16, &[u8], u64)]| check_kind(PieceKind::UnorderedEntries, entries, 4096);
        let keys = check(&[(0, &b, 64), (8, b"a", 128), (8, b"c", 192)]).unwrap();
        assert_eq!(keys, [b.clone(), a.clone(), key(16, b"c")]);
        for (what, entries) in [
            ("the same key again", &[(0, &b[..], 64), (8, b"a", 128), (0, &b, 192)][..]),
            ("of two tables", &[(0, &a, 64), (0, &other, 128)]),
            ("of an ordered table", &[(0, &ordered, 64)]),
            ("of the default table", &[(0, b"a", 64)]),
            ("no key", &[(0, &a[..8], 64)]),
        ] {
            assert_eq!(check(entries), Err(Defect::Entry), "{what}");
        }
        let as_ordered = check_kind(PieceKind::TableEntries, &[(0, &a, 64)], 4096);
        assert_eq!(as_ordered, Err(Defect::Entry));
    }

    //= test IMG-2, IMG-5
    #[test]
    fn entries_are_believed_only_if_an_index_can_have_them() {
        let long = vec![b'k'; KEY_BYTES_MAX];
        let keys = check(&[(0, b"abc", 64), (2, b"d", 128), (3, b"e", 192)], 4096).unwrap();
        assert_eq!(keys, [&b"abc"[..], b"abd", b"abde"]);
        assert_eq!(check(&[(0, &long, 64)], 1 << 20).unwrap()[0].len(), KEY_BYTES_MAX);
        for (what, entries, durable_bytes) in [
            ("an empty key", &[(0, &b""[..], 64)][..], 4096),
            ("too long a key", &[(0, &long, 64), (65_535, b"k", 128)], 1 << 20),
            ("the same key again", &[(0, b"abc", 64), (3, b"", 128)], 4096),
            ("a lower key", &[(0, b"abc", 64), (1, b"a", 128)], 4096),
            ("more shared than there is", &[(0, b"abc", 64), (4, b"d", 128)], 4096),
            ("the first one shares", &[(1, b"abc", 64)], 4096),
            ("a record behind the durable bytes", &[(0, b"abc", 4096)], 4096),
            ("a record at address 0", &[(0, b"abc", 0)], 4096),
            ("more than fits", &[(0, &long, 64)], 1 << 16),
        ] {
            assert_eq!(check(entries, durable_bytes), Err(Defect::Entry), "{what}");
        }
    }
}
