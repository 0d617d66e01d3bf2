//! The files of a database: their names, which of them are there, and the lock.

use std::io;
use std::path::Path;
use std::time::Duration;

use uarr_layout::limits::NUMBER_MAX;
use uarr_uring::{Holder, LockError, Storage};

use crate::error::{Error, ErrorKind, Result};

/// The superblock.
pub(crate) const ROOT_FILE: &str = "superblock";
/// Name of the superblock while it is created.
pub(crate) const ROOT_UNFINISHED: &str = "superblock.new";
/// The file that says which process has the database open.
pub(crate) const LOCK_FILE: &str = "lock";
/// Directory of the data file.
pub(crate) const DATA_DIR: &str = "data";
/// The data file.
pub(crate) const DATA_FILE: &str = "data/records.uarr";
/// Directory of the log.
pub(crate) const WAL_DIR: &str = "wal";
/// Name of a segment until it gets its number.
pub(crate) const SEGMENT_UNFINISHED: &str = "wal/segment.new";
/// The file that commit strategies are measured in.
pub(crate) const PROBE_FILE: &str = "wal/tune.new";
/// Directory of the index images.
pub(crate) const IMAGE_DIR: &str = "index";

/// The kernel takes a moment to end a process, and the ring of one that was killed.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// How much longer the last write of a process that is gone may take to reach its device or to
/// fail: the kernel repeats its requests for that long.
const LAST_WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// Path of segment `number`.
pub(crate) fn segment_path(number: u64) -> String {
    format!("{WAL_DIR}/{number:016x}.wal")
}

/// Number of the segment with file name `name`; none if the engine writes it in another way.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    number_in(name.strip_suffix(".wal")?)
}

/// Path of the image of checkpoint `number`.
pub(crate) fn image_path(number: u64) -> String {
    format!("{IMAGE_DIR}/{number:016x}.img")
}

/// Number of the image with file name `name`; none if the engine writes it in another way.
pub(crate) fn image_number(name: &str) -> Option<u64> {
    number_in(name.strip_suffix(".img")?)
}

/// The number in a file name: 16 hexadecimal digits. Numbers that no program reaches are names of
/// other files.
fn number_in(digits: &str) -> Option<u64> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_name = digits.len() == 16 && digits.bytes().all(is_digit);
    let number = is_name.then(|| u64::from_str_radix(digits, 16).ok())??;
    (number < NUMBER_MAX).then_some(number)
}

/// Names in `dir`; none if there is no such directory.
pub(crate) fn list_names<S: Storage>(storage: &S, dir: &str) -> io::Result<Vec<String>> {
    match storage.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

/// Numbers of the segment files, ascending.
pub(crate) fn list_segments<S: Storage>(storage: &S) -> Result<Vec<u64>> {
    list_numbered(storage, WAL_DIR, segment_number)
        .map_err(|error| Error::io("cannot list the log", error))
}

/// Numbers of the index images, ascending.
pub(crate) fn list_images<S: Storage>(storage: &S) -> Result<Vec<u64>> {
    list_numbered(storage, IMAGE_DIR, image_number)
        .map_err(|error| Error::io("cannot list the index images", error))
}

fn list_numbered<S: Storage>(
    storage: &S,
    dir: &str,
    number: impl Fn(&str) -> Option<u64>,
) -> io::Result<Vec<u64>> {
    let names = list_names(storage, dir)?;
    let mut numbers: Vec<_> = names.iter().filter_map(|name| number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes a file that an interrupted operation may have left behind.
pub(crate) fn remove_if_present<S: Storage>(storage: &S, path: &str) -> io::Result<()> {
    match storage.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes images that no kept checkpoint names.
//= IMG-6
pub(crate) fn remove_old_images<S: Storage>(storage: &S, kept: &[u64]) -> Result<()> {
    let failed = |error| Error::io("cannot remove an old index image", error);
    for number in list_images(storage)?.iter().filter(|number| !kept.contains(number)) {
        storage.remove(&image_path(*number)).map_err(failed)?;
    }
    Ok(())
}

/// Takes the directory for one opener.
pub(crate) fn take_lock<S: Storage>(storage: &S, path: &Path) -> Result<S::Lock> {
    let mut taken = storage.lock(LOCK_FILE, LOCK_PATIENCE);
    if matches!(taken, Err(LockError::Held(Holder::EndedProcess { .. }))) {
        taken = storage.lock(LOCK_FILE, LAST_WRITE_PATIENCE);
    }
    let shown = path.display();
    taken.map_err(|error| match error {
        LockError::Held(holder) => {
            Error::new(ErrorKind::Locked, format!("the database {shown} is {holder}"))
        }
        LockError::Io(error) => Error::io(format!("cannot lock {shown}"), error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_inverse() {
        assert_eq!(segment_path(0x1f), "wal/000000000000001f.wal");
        assert_eq!(segment_number("000000000000001f.wal"), Some(0x1f));
        assert_eq!(image_number("000000000000001f.img"), Some(0x1f));
        assert_eq!(image_number("000000000000001f.wal"), None);
        for wrong in [
            "1f.wal",
            "000000000000001f",
            "segment.new",
            "zzzzzzzzzzzzzzzz.wal",
            "+00000000000001f.wal",
            "000000000000001F.wal",
            "00000000000000001f.wal",
            "ffffffffffffffff.wal",
        ] {
            assert_eq!(segment_number(wrong), None, "{wrong}");
        }
    }
}
