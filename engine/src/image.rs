//! Index images: written by checkpoints, read at open.

use std::io;

use uarr_layout::geometry::align_up;
use uarr_layout::image::{
    ByteEntry, IntEntry, PIECE_BYTES_MAX, PIECE_HEADER_BYTES, PieceHeader, PieceKind,
};
use uarr_layout::record::Locator;
use uarr_layout::superblock::Checkpoint;
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::{AlignedBuffer, OpenMode, Storage, StorageFile};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::{Error, Result, attempted};
use crate::table::Entries;

/// Directory of the images.
pub(crate) const IMAGE_DIR: &str = "index";

/// Path of the image of checkpoint `number`.
pub(crate) fn image_path(number: u64) -> String {
    format!("{IMAGE_DIR}/{number:016x}.img")
}

/// Number of the image with file name `name`; none if we write the number in another way.
pub(crate) fn image_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".img")?, 16).ok()?;
    (image_path(number) == format!("{IMAGE_DIR}/{name}")).then_some(number)
}

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
    last_key: Vec<u8>,
}

impl<S: Storage> ImageWriter<S> {
    /// Starts the image of checkpoint `number`, replacing one that an interrupted checkpoint left.
    pub fn create(storage: &S, database: DatabaseId, number: u64) -> io::Result<Self> {
        crate::remove_if_present(storage, &image_path(number))?;
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
            last_key: Vec::new(),
        })
    }

    /// Adds an entry of an integer table; keys ascend.
    pub fn push_int(&mut self, key: u64, locator: u64) -> io::Result<()> {
        let entry = IntEntry { key: key.into(), locator: locator.into() };
        self.reserve(PieceKind::IntEntries, size_of::<IntEntry>())?;
        self.store(entry.as_bytes());
        self.end_entry();
        Ok(())
    }

    /// Adds an entry of a byte-key table; keys ascend.
    pub fn push_bytes(&mut self, key: &[u8], locator: u64) -> io::Result<()> {
        self.reserve(PieceKind::ByteEntries, size_of::<ByteEntry>() + key.len())?;
        let shared = match self.entries_in_piece {
            0 => 0,
            _ => self.last_key.iter().zip(key).take_while(|(a, b)| a == b).count(),
        };
        let fits = |len: usize| u16::try_from(len).expect("keys have at most 65,535 bytes");
        let suffix_bytes = fits(key.len() - shared);
        let entry = ByteEntry {
            locator: locator.into(),
            shared: fits(shared).into(),
            suffix_bytes: suffix_bytes.into(),
        };
        self.store(entry.as_bytes());
        self.store(&key[shared..]);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.end_entry();
        Ok(())
    }

    /// Ends the entries of one kind.
    pub fn end_entries(&mut self, kind: PieceKind) -> io::Result<()> {
        if self.entries_in_piece > 0 { self.write_piece(kind) } else { Ok(()) }
    }

    /// Writes the end piece and makes everything durable, the name included.
    /// Returns length and number of entries.
    pub fn finish(mut self, storage: &S) -> io::Result<(u64, u64)> {
        let total = self.entry_count.to_le_bytes();
        self.store(&total);
        self.write_piece(PieceKind::End)?;
        let flushed = self.file.make_durable();
        flushed.and_then(|()| storage.make_dir_durable(IMAGE_DIR)).map_err(attempted)?;
        Ok((self.offset, self.entry_count))
    }

    fn reserve(&mut self, kind: PieceKind, bytes: usize) -> io::Result<()> {
        match PIECE_HEADER_BYTES + self.used + bytes > PIECE_BYTES_MAX {
            true => self.write_piece(kind),
            false => Ok(()),
        }
    }

    fn store(&mut self, bytes: &[u8]) {
        self.buffer[PIECE_HEADER_BYTES + self.used..][..bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }

    fn end_entry(&mut self) {
        self.entries_in_piece += 1;
        self.entry_count += 1;
    }

    fn write_piece(&mut self, kind: PieceKind) -> io::Result<()> {
        let piece_bytes = align_up(PIECE_HEADER_BYTES + self.used, self.block_bytes);
        let small = |bytes: usize| u32::try_from(bytes).expect("pieces are small");
        let mut header = PieceHeader::new(self.database, self.number, kind);
        header.offset = self.offset.into();
        header.entry_count = self.entries_in_piece.into();
        header.used_bytes = small(self.used).into();
        header.piece_bytes = small(piece_bytes).into();
        header.store(&mut self.buffer);
        self.file.write_at(&self.buffer[..piece_bytes], self.offset)?;
        self.buffer[..piece_bytes].fill(0);
        self.offset += piece_bytes as u64;
        (self.used, self.entries_in_piece) = (0, 0);
        Ok(())
    }
}

/// Reads the image of `checkpoint`, every byte checked. `is_int` tells the kind of the table.
pub(crate) fn read_image<S: Storage>(
    storage: &S,
    database: &DatabaseId,
    checkpoint: &Checkpoint,
    is_int: bool,
) -> Result<Entries> {
    let number = checkpoint.number.get();
    let path = image_path(number);
    let file = storage.open(&path, OpenMode::Direct).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::corrupt(&path, 0, None, "index image", "file is missing"),
        _ => Error::io("cannot open an index image", error),
    })?;
    let mut reader = ImageReader { path, database: *database, number, offset: 0, entry_count: 0 };
    let mut entries = if is_int { Entries::Int(Vec::new()) } else { Entries::Bytes(Vec::new()) };
    let failed = |error| Error::io("cannot read an index image", error);
    let file_bytes = file.len().map_err(failed)?;
    let mut buffer = AlignedBuffer::new(file_bytes.min(PIECE_BYTES_MAX as u64) as usize);
    loop {
        let read = file.read_at(&mut buffer, reader.offset).map_err(failed)?;
        let parsed = reader.take_piece(&buffer[..read], &mut entries);
        match parsed {
            Ok(true) => {}
            Ok(false) if reader.entry_count == checkpoint.entry_count.get() => return Ok(entries),
            Ok(false) => {
                let (expected, found) = (checkpoint.entry_count.get(), reader.entry_count);
                let defect = Defect::Position { expected, found };
                return Err(Error::defect(reader.path, 0, None, "number of entries", defect));
            }
            Err(defect) => {
                return Err(Error::defect(reader.path, reader.offset, None, "index image", defect));
            }
        }
    }
}

struct ImageReader {
    path: String,
    database: DatabaseId,
    number: u64,
    offset: u64,
    entry_count: u64,
}

impl ImageReader {
    /// Takes the entries of the piece at the start of `bytes`. `false`: it was the last one.
    fn take_piece(&mut self, bytes: &[u8], entries: &mut Entries) -> Result<bool, Defect> {
        let header = PieceHeader::peek(bytes)?;
        let (kind, used) = header.verify(bytes, &self.database, self.number, self.offset)?;
        match (kind, entries) {
            (PieceKind::IntEntries, Entries::Int(list)) => {
                let found = <[IntEntry]>::ref_from_bytes(used).map_err(|_| Defect::Length)?;
                for entry in found {
                    let (key, locator) = (entry.key.get(), entry.locator.get());
                    check_entry(list.last().map(|(last, _)| last), &key, locator)?;
                    list.push((key, locator));
                }
            }
            (PieceKind::ByteEntries, Entries::Bytes(list)) => take_byte_entries(used, list)?,
            (PieceKind::End, _) => {
                let total = <[u8; 8]>::try_from(used).map_err(|_| Defect::Length)?;
                let total = u64::from_le_bytes(total);
                return if total == self.entry_count { Ok(false) } else { Err(Defect::Length) };
            }
            (kind, _) => return Err(Defect::Kind(kind as u8)),
        }
        self.entry_count += u64::from(header.entry_count.get());
        self.offset += u64::from(header.piece_bytes.get());
        Ok(true)
    }
}

/// Keys ascend, and each names a record that is no tombstone: those are left out.
fn check_entry<K: Ord>(last: Option<&K>, key: &K, locator: u64) -> Result<(), Defect> {
    let is_record = Locator::from_bits(locator).is_some_and(|locator| !locator.is_tombstone());
    if is_record && last.is_none_or(|last| last < key) { Ok(()) } else { Err(Defect::Entry) }
}

fn take_byte_entries(mut used: &[u8], list: &mut Vec<(Vec<u8>, u64)>) -> Result<(), Defect> {
    let mut last: Vec<u8> = Vec::new();
    while !used.is_empty() {
        let (entry, rest) = ByteEntry::ref_from_prefix(used).map_err(|_| Defect::Length)?;
        let suffix = rest.get(..usize::from(entry.suffix_bytes.get())).ok_or(Defect::Length)?;
        let shared = last.get(..usize::from(entry.shared.get())).ok_or(Defect::Length)?;
        let key = [shared, suffix].concat();
        used = &rest[suffix.len()..];
        check_entry(list.last().map(|(last, _)| last), &key, entry.locator.get())?;
        list.push((key.clone(), entry.locator.get()));
        last = key;
    }
    Ok(())
}
