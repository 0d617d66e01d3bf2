//! The superblock file: two slots, written alternately, each write durable before it counts.

use std::io;

use uarr_layout::superblock::{Checkpoint, MAGIC, SLOT_BYTES, SLOT_STRIDE_BYTES, Superblock};
use uarr_uring::{AlignedBuffer, OpenMode, Storage, StorageFile};

use crate::error::{Error, ErrorKind, Result, attempted};
use crate::files::{ROOT_FILE, ROOT_UNFINISHED, remove_if_present};
use crate::structure::{MISSING, Structure};

/// The open superblock file and what it says.
pub(crate) struct Root<S: Storage> {
    file: S::File,
    /// Slot that holds `block`.
    slot: u64,
    pub block: Superblock,
    /// What the other slot says, if it can be read.
    other: Option<Superblock>,
    /// The highest number of any image that a checkpoint has begun.
    pub image_number_tried: u64,
    slot_bytes: usize,
}

impl<S: Storage> Root<S> {
    /// Creates the file with `block` in the first slot. Until this returns there is no database.
    //= SUP-7
    pub fn create(storage: &S, block: Superblock) -> io::Result<Self> {
        remove_if_present(storage, ROOT_UNFINISHED)?;
        let file = storage.open(ROOT_UNFINISHED, OpenMode::CreateDirect)?;
        let slot_bytes = slot_bytes(storage);
        let zeros = AlignedBuffer::new(2 * SLOT_STRIDE_BYTES as usize);
        file.write_at(&zeros, 0)?;
        let mut root =
            Self { file, slot: 1, block, other: None, image_number_tried: 0, slot_bytes };
        root.write(|_| {})?;
        assert_eq!((root.slot, root.block.generation.get()), (0, 1), "the first slot begins");
        storage.rename(ROOT_UNFINISHED, ROOT_FILE)?;
        storage.make_dir_durable("")?;
        Ok(root)
    }

    /// Opens the file; `None` if there is none. Notes of slots that cannot be read go to `notes`.
    pub fn open(storage: &S, notes: &mut Vec<Error>) -> Result<Option<Self>> {
        let file = match storage.open(ROOT_FILE, OpenMode::Direct) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("cannot open the superblock", error)),
        };
        // A copied file may have holes or share its space: a lack of room shows now, before a
        // write to a slot.
        file.len()
            .and_then(|bytes| file.allocate(0, bytes.min(2 * SLOT_STRIDE_BYTES)))
            .map_err(|error| Error::io("cannot take room for the superblock", error))?;
        let slot_bytes = slot_bytes(storage);
        let found = choose([0, 1].map(|slot| read_slot(&file, slot, slot_bytes)), notes)?;
        let ReadSlots { slot, block, other } = found;
        Ok(Some(Self { file, slot, block, other, image_number_tried: 0, slot_bytes }))
    }

    /// What the slots say.
    pub fn named(&self) -> SlotsSay<'_> {
        SlotsSay { block: &self.block, other: self.other.as_ref() }
    }

    /// All checkpoints that a slot names.
    pub fn checkpoints(&self) -> impl Iterator<Item = &Checkpoint> {
        self.named().checkpoints()
    }

    /// The highest life number that a slot names.
    pub fn latest_life(&self) -> u64 {
        self.named().latest_life()
    }

    /// Changes the superblock and writes it to both slots: what stood in either no longer counts.
    pub fn write_both(&mut self, change: impl Fn(&mut Superblock)) -> io::Result<()> {
        // The slot that is not in force comes first; it may be the one that cannot be read.
        self.write(&change)?;
        self.write(&change)?;
        let generation = |block: &Superblock| block.generation.get() + 1;
        assert_eq!(self.other.as_ref().map(generation), Some(self.block.generation.get()));
        let named = |block: &Superblock| block.checkpoints;
        assert_eq!(self.other.as_ref().map(named), Some(self.block.checkpoints));
        Ok(())
    }

    /// Changes the superblock: the next generation goes to the other slot, durably. After an error
    /// the slot is unknown: it is never written a second time with the same generation and other
    /// content.
    //= SUP-2
    pub fn write(&mut self, change: impl FnOnce(&mut Superblock)) -> io::Result<()> {
        let mut block = self.block.clone();
        change(&mut block);
        block.generation = (self.block.generation.get() + 1).into();
        // A slot that the reader would refuse must not reach the disk.
        block.check().map_err(|defect| io::Error::new(io::ErrorKind::InvalidData, defect))?;
        assert_follows(&self.block, &block);
        let slot = 1 - self.slot;
        let mut bytes = AlignedBuffer::new(self.slot_bytes);
        bytes[..SLOT_BYTES].copy_from_slice(&block.to_slot());
        let read = Superblock::from_slot(&bytes);
        assert!(read.is_ok_and(|read| read.is_some_and(|read| read.to_slot() == block.to_slot())));
        // From here on the slot may be on the device, in part or as a whole, even if the write
        // fails.
        self.file
            .write_at(&bytes[..self.slot_bytes], slot * SLOT_STRIDE_BYTES)
            .and_then(|()| self.file.make_durable())
            .map_err(attempted)?;
        self.slot = slot;
        self.other = Some(std::mem::replace(&mut self.block, block));
        Ok(())
    }

    /// Reads both slots again and reports their damage.
    pub fn verify(&self) -> Vec<Error> {
        (0..2).filter_map(|slot| read_slot(&self.file, slot, self.slot_bytes).err()).collect()
    }
}

/// What was read of both slots.
#[derive(Clone, Debug)]
pub(crate) struct ReadSlots {
    /// Which one is in force.
    pub slot: u64,
    /// What it says.
    pub block: Superblock,
    /// What the other one says, if it can be read.
    pub other: Option<Superblock>,
}

impl ReadSlots {
    pub fn named(&self) -> SlotsSay<'_> {
        SlotsSay { block: &self.block, other: self.other.as_ref() }
    }
}

/// What the slots that can be read say.
#[derive(Clone, Copy)]
pub(crate) struct SlotsSay<'a> {
    /// The one in force.
    pub block: &'a Superblock,
    pub other: Option<&'a Superblock>,
}

impl<'a> SlotsSay<'a> {
    /// All checkpoints that a slot names.
    pub fn checkpoints(self) -> impl Iterator<Item = &'a Checkpoint> {
        std::iter::once(self.block).chain(self.other).flat_map(|block| &block.checkpoints)
    }

    /// The highest life number that a slot names.
    pub fn latest_life(self) -> u64 {
        self.block.life.get().max(self.other.map_or(0, |other| other.life.get()))
    }
}

/// Which of both slots is in force. Notes of one that cannot be read go to `notes`; it is an error
/// if that leaves none.
//= SUP-3, SUP-4
pub(crate) fn choose(
    slots: [Result<Option<Superblock>>; 2],
    notes: &mut Vec<Error>,
) -> Result<ReadSlots> {
    let mut whole = Vec::new();
    for (slot, read) in (0..).zip(slots) {
        match read {
            Ok(Some(block)) => whole.push((slot, block)),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::OtherFormat => return Err(error),
            Err(error) => notes.push(error),
        }
    }
    whole.sort_by_key(|(slot, block)| (block.generation.get(), std::cmp::Reverse(*slot)));
    let Some((slot, block)) = whole.pop() else {
        let empty = || Structure::superblock().damage("both slots are empty");
        return Err(notes.pop().unwrap_or_else(empty));
    };
    let other = whole.pop().map(|(_, other)| other);
    let is_older = |other: &Superblock| other.generation <= block.generation;
    assert!(other.as_ref().is_none_or(is_older), "the newer slot counts");
    Ok(ReadSlots { slot, block, other })
}

/// What no write of the superblock changes, and what only rises.
fn assert_follows(before: &Superblock, after: &Superblock) {
    assert_eq!(after.database, before.database, "a database keeps its identity");
    assert_eq!(after.block_bytes, before.block_bytes);
    assert_eq!(after.segment_bytes, before.segment_bytes);
    assert_eq!(after.chunk_bytes, before.chunk_bytes);
    assert_eq!(after.hash_seed, before.hash_seed);
    assert_eq!(after.key_kind, before.key_kind);
    assert_eq!(after.version(), before.version(), "no version reads two");
    assert!(after.life.get() >> 32 >= before.life.get() >> 32, "lives rise");
    assert!(after.next_lsn.get() >= before.next_lsn.get(), "no LSN is given out twice");
}

/// True if [`Root::create`] can have begun the unfinished file: it begins with zeros, or as a
/// superblock does, or has its length and nothing outside of the first slot, whose write a failing
/// device may have left as anything.
pub(crate) fn is_unfinished<S: Storage>(storage: &S) -> io::Result<bool> {
    let file = storage.open(ROOT_UNFINISHED, OpenMode::Read)?;
    let mut content = vec![0; 2 * SLOT_STRIDE_BYTES as usize];
    let read = file.read_at(&mut content, 0)?;
    let start = &content[..read.min(MAGIC.len())];
    if start.iter().all(|byte| *byte == 0) || start == MAGIC {
        return Ok(true);
    }
    let is_whole = file.len()? == content.len() as u64;
    Ok(is_whole && content[slot_bytes(storage)..].iter().all(|byte| *byte == 0))
}

/// Reads both slots of a database that is not open, read-only. Returns each slot or its damage.
pub(crate) fn read_slots<S: Storage>(storage: &S) -> Result<[Result<Option<Superblock>>; 2]> {
    match SlotReader::open(storage, OpenMode::Read)? {
        Some(reader) => Ok(reader.read()?.decode()),
        None => {
            let missing = Structure::superblock().damage(MISSING);
            Ok([Err(missing.clone()), Err(missing)])
        }
    }
}

/// Reads the slots again and again, beside who writes them.
pub(crate) struct SlotReader<F> {
    file: F,
    slot_bytes: usize,
}

/// Both slots, as they stood there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawSlots([Vec<u8>; 2]);

impl<F: StorageFile> SlotReader<F> {
    /// Opens the file; `None` if there is none.
    pub fn open<S: Storage<File = F>>(storage: &S, mode: OpenMode) -> Result<Option<Self>> {
        match storage.open(ROOT_FILE, mode) {
            Ok(file) => Ok(Some(Self { file, slot_bytes: slot_bytes(storage) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("cannot open the superblock", error)),
        }
    }

    pub fn read(&self) -> Result<RawSlots> {
        let read = |slot| read_raw(&self.file, slot, self.slot_bytes);
        Ok(RawSlots([read(0)?, read(1)?]))
    }
}

impl RawSlots {
    /// What each slot says, or what is wrong with it.
    pub fn decode(&self) -> [Result<Option<Superblock>>; 2] {
        [0, 1].map(|slot| decode(slot, &self.0[slot as usize]))
    }
}

fn slot_bytes<S: Storage>(storage: &S) -> usize {
    SLOT_BYTES.max(storage.facts().block_bytes as usize)
}

fn read_slot<F: StorageFile>(file: &F, slot: u64, slot_bytes: usize) -> Result<Option<Superblock>> {
    decode(slot, &read_raw(file, slot, slot_bytes)?)
}

fn read_raw<F: StorageFile>(file: &F, slot: u64, slot_bytes: usize) -> Result<Vec<u8>> {
    let mut bytes = AlignedBuffer::new(slot_bytes);
    let read = file
        .read_at(&mut bytes[..slot_bytes], slot * SLOT_STRIDE_BYTES)
        .map_err(|error| Error::io("cannot read the superblock", error))?;
    Ok(bytes[..read].to_vec())
}

fn decode(slot: u64, bytes: &[u8]) -> Result<Option<Superblock>> {
    let place = || Structure::superblock().at(slot * SLOT_STRIDE_BYTES);
    Superblock::from_slot(bytes).map_err(|defect| place().defect(defect))
}
