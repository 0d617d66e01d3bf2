//! Making a log segment: real space, written zeros, durable content and name.
//!
//! Zeros are needed: a write to blocks that are only allocated is durable no earlier than the file
//! system's journal, which a file system that shuts down may lose although it said that the write
//! was durable.

use std::io;

use uarr_layout::limits::{BLOCK_BYTES, SEGMENT_BYTES};
use uarr_uring::{AlignedBuffer, OpenMode, Storage, StorageFile};

use crate::error::attempted;
use crate::files::{SEGMENT_UNFINISHED, WAL_DIR, remove_if_present, segment_path};

/// Zeros are written in steps of this size: a commit that meets one at the device waits no longer
/// than it takes.
pub(crate) const STEP_BYTES: u64 = 64 << 10;

/// Of this size where commits would have to wait for the last of them: devices write so much at
/// once twice as fast.
pub(crate) const HURRIED_STEP_BYTES: u64 = 1 << 20;

// Large steps end where small ones do, and the regular segments too.
const _: () = assert!(HURRIED_STEP_BYTES.is_multiple_of(STEP_BYTES));
const _: () = assert!(SEGMENT_BYTES.start().is_multiple_of(STEP_BYTES));

/// A segment file that is being written with zeros. It gets its number when it is whole.
pub(crate) struct Unfinished<F> {
    file: F,
    pub bytes: u64,
    pub written: u64,
    zeros: AlignedBuffer,
}

/// Whether a segment with `left` bytes to be written will not be ready when the log has taken
/// `in_time` more bytes, unless it gets most of the device.
pub(crate) fn falls_behind(left: u64, in_time: u64) -> bool {
    in_time < left / 2
}

/// Creates segment `number`: real space, written zeros, durable content and name.
pub(crate) fn create<S: Storage>(storage: &S, number: u64, bytes: u64) -> io::Result<()> {
    let mut segment = begin(storage, bytes)?;
    while advance(storage, &mut segment, || number, HURRIED_STEP_BYTES)? > 0 {}
    assert_eq!(segment.written, segment.bytes);
    Ok(())
}

/// A segment with real space and no number.
pub(crate) fn begin<S: Storage>(storage: &S, bytes: u64) -> io::Result<Unfinished<S::File>> {
    assert!(bytes > 0);
    assert!(bytes.is_multiple_of(u64::from(*BLOCK_BYTES.start())));
    assert!(bytes <= *SEGMENT_BYTES.end(), "readers do not look behind that");
    remove_unfinished(storage)?;
    let file = storage.open(SEGMENT_UNFINISHED, OpenMode::CreateDirect)?;
    if let Err(error) = file.allocate(0, bytes) {
        return give_up(storage, error);
    }
    let zeros = AlignedBuffer::new(HURRIED_STEP_BYTES.min(bytes) as usize);
    Ok(Unfinished { file, bytes, written: 0, zeros })
}

/// Ends with `error`, the first cause, even if the file cannot be removed: the next attempt begins
/// by removing it.
pub(crate) fn give_up<S: Storage, T>(storage: &S, error: io::Error) -> io::Result<T> {
    let _ = remove_unfinished(storage);
    Err(error)
}

/// Writes the next zeros and returns how many bytes are left. After the last ones it makes the
/// content durable and gives the number, so a file with a number is always whole.
//= WAL-2
pub(crate) fn advance<S: Storage>(
    storage: &S,
    segment: &mut Unfinished<S::File>,
    give_number: impl FnOnce() -> u64,
    step_bytes: u64,
) -> io::Result<u64> {
    assert!(segment.written < segment.bytes, "a whole segment has its number already");
    let step = (segment.bytes - segment.written).min(segment.zeros.len() as u64).min(step_bytes);
    segment.file.write_at(&segment.zeros[..step as usize], segment.written)?;
    segment.written += step;
    assert!(step > 0);
    assert!(segment.written <= segment.bytes);
    if segment.written == segment.bytes {
        segment.file.make_durable().map_err(attempted)?;
        storage.rename(SEGMENT_UNFINISHED, &segment_path(give_number()))?;
        storage.make_dir_durable(WAL_DIR).map_err(attempted)?;
    }
    Ok(segment.bytes - segment.written)
}

/// Removes what an interrupted preparation left behind.
pub(crate) fn remove_unfinished<S: Storage>(storage: &S) -> io::Result<()> {
    remove_if_present(storage, SEGMENT_UNFINISHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_is_told_when_cleaning_up_fails_too() {
        const BYTES: u64 = 8 * STEP_BYTES;
        let storage = uarr_disk_sim::Memory::new();
        storage.create_dir(WAL_DIR).unwrap();
        storage.set_capacity(Some(BYTES / 2));
        // After a first removal and the opening: the removal of what was begun.
        storage.fail_next(uarr_disk_sim::FaultKind::Name, 3);
        let error = create(&storage, 1, BYTES).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        assert_eq!(storage.faults_waiting(), 0);
        // And the next attempt finds nothing in its way.
        storage.forget_faults();
        storage.set_capacity(None);
        create(&storage, 1, BYTES).unwrap();
    }
}
