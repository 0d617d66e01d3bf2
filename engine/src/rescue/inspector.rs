//! The superblock and the files of a database that is not open: the ground of all that looks into
//! one.

use std::io;
use std::path::{Path, PathBuf};

use uarr_layout::DatabaseId;
use uarr_layout::group::SegmentHeader;
use uarr_layout::limits::BLOCK_BYTES;
use uarr_layout::superblock::{SLOT_STRIDE_BYTES, Superblock};
use uarr_uring::{BackendChoice, OpenMode, Storage, StorageFile, System, SystemOptions};
use zerocopy::FromBytes;

use crate::api::builder::check_directory;
use crate::checkpoint::root::read_slots;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{ROOT_FILE, list_segments, segment_path, take_lock};
use crate::key::KeyKind;
use crate::structure::Structure;

/// The superblock of the database in directory `path` as it is now, even while a process has the
/// database open; `None` if there is no database. Takes no lock and writes nothing.
///
/// Errors: `NotFound` if there is no such directory; `Corruption` or `OtherFormat` if neither slot
/// can be read; what the operating system refuses.
pub fn superblock(path: impl AsRef<Path>) -> Result<Option<Superblock>> {
    let path = path.as_ref();
    let shown = path.display();
    check_directory(path)?;
    let system = System::open(path, SystemOptions { backend: BackendChoice::Syscalls })
        .map_err(|error| Error::io(format!("cannot use directory {shown}"), error))?;
    let names =
        system.list("").map_err(|error| Error::io(format!("cannot list {shown}"), error))?;
    if !names.iter().any(|name| name == ROOT_FILE) {
        return Ok(None);
    }
    // A slot that is being written just now looks damaged; the other is whole then.
    let slots = read_slots(&system)?;
    match newest(&slots) {
        Some(block) => Ok(Some(block.clone())),
        None => Err(lost(&slots)),
    }
}

type Slots = [Result<Option<Superblock>>; 2];

/// The slot that counts: the whole one with the higher generation.
fn newest(slots: &Slots) -> Option<&Superblock> {
    let whole = slots.iter().filter_map(|slot| slot.as_ref().ok()?.as_ref());
    whole.max_by_key(|block| block.generation.get())
}

/// Why no slot can be read.
fn lost(slots: &Slots) -> Error {
    let error = slots.iter().find_map(|slot| slot.as_ref().err());
    error.cloned().unwrap_or_else(|| Structure::superblock().damage("both slots are empty"))
}

/// A database that is not open.
pub struct Inspector<S: Storage = System> {
    pub(in crate::rescue) storage: S,
    pub(in crate::rescue) slots: Slots,
    /// Numbers of the segment files, ascending.
    pub(in crate::rescue) segments: Vec<u64>,
    _lock: S::Lock,
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
        if !has(ROOT_FILE) && list_segments(&storage)?.is_empty() {
            let message = format!("there is no database in {shown}");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let lock = take_lock(&storage, &path)?;
        // Not before the lock: its last holder may have added and removed segments until then.
        let segments = list_segments(&storage)?;
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
        newest(&self.slots)
    }

    /// Kind of the keys, if the superblock can be read.
    pub fn key_kind(&self) -> Option<KeyKind> {
        KeyKind::from_number(self.superblock()?.key_kind.get())
    }

    /// Numbers of the segment files, ascending.
    pub fn segments(&self) -> &[u64] {
        &self.segments
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

    pub(in crate::rescue) fn lost_superblock(&self) -> Error {
        lost(&self.slots)
    }

    /// Length of a segment, and its first bytes.
    pub(in crate::rescue) fn first_block(&self, number: u64) -> Result<(u64, Vec<u8>)> {
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

fn is_block_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && BLOCK_BYTES.contains(&bytes)
}

/// The header at the start of `block`, unchecked.
pub(crate) fn claimed(block: &[u8]) -> Option<&SegmentHeader> {
    Some(SegmentHeader::ref_from_prefix(block).ok()?.0)
}
