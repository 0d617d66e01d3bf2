//! A segment file.

use std::io;
use std::sync::Arc;

use uarr_layout::group::SegmentHeader;
use uarr_layout::superblock::Superblock;
use uarr_uring::{AlignedBuffer, Storage, StorageFile};

use crate::log::position::LogPosition;

/// A segment that can be written to.
pub(crate) struct Segment<F> {
    pub number: u64,
    pub file: Arc<F>,
    pub bytes: u64,
}

/// Bytes that segment `number` has if none were cut off: those of its header, or the regular ones
/// if it was not begun.
pub(crate) fn full_bytes<F: StorageFile>(
    file: &F,
    root: &Superblock,
    number: u64,
) -> io::Result<u64> {
    let mut block = AlignedBuffer::new(root.block_bytes.get() as usize);
    let read = file.read_at(&mut block, 0)?;
    let header = SegmentHeader::load(&block[..read], &root.database, number);
    Ok(header.map_or(root.segment_bytes.get(), |header| header.segment_bytes.get()))
}

/// The active segment opened again at `position`.
pub(crate) fn reopen_segment<S: Storage>(
    storage: &S,
    position: LogPosition,
) -> io::Result<Segment<S::File>> {
    let path = crate::files::segment_path(position.segment);
    let file = storage.open(&path, uarr_uring::OpenMode::Direct)?;
    let bytes = file.len()?;
    Ok(Segment { number: position.segment, file: Arc::new(file), bytes })
}
