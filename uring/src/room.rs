//! Room: what a file system has left, what the process may use, and which bytes of a file have
//! space of their own.
//!
//! Writers ask for the limit before they ask the kernel for room: a process that makes a file
//! longer than RLIMIT_FSIZE allows gets a signal that kills it.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// `FS_IOC_FIEMAP` of `linux/fs.h`: `_IOWR('f', 11, struct fiemap)`.
const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
/// Write out what has no place yet before the answer.
const FIEMAP_FLAG_SYNC: u32 = 1;
const FIEMAP_EXTENT_LAST: u32 = 0x1;
/// What says that a write to an extent may need room, or changes the records of the file system:
/// place unknown or not given yet, content encoded or inside the inode, not written yet, shared.
const FIEMAP_EXTENT_NOT_WHOLE: u32 = 0x2 | 0x4 | 0x8 | 0x200 | FIEMAP_EXTENT_UNWRITTEN | SHARED;
const FIEMAP_EXTENT_UNWRITTEN: u32 = 0x800;
const SHARED: u32 = 0x2000;
/// Extents that the kernel names in one answer.
const EXTENT_COUNT: usize = 64;

/// Free bytes of the file system of `file` that any process may take. Which of them may take those
/// that are kept back (for root, as a rule) is for the file system to decide: its options, user
/// namespaces and capabilities play a part.
pub(crate) fn free_bytes(file: &File) -> io::Result<u64> {
    let answer = statvfs(file)?;
    Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
}

/// Free bytes of the file system of `file`, with those that are kept back: more than that no
/// process gets.
pub(crate) fn free_bytes_max(file: &File) -> io::Result<u64> {
    let answer = statvfs(file)?;
    Ok(answer.f_bfree.saturating_mul(answer.f_frsize))
}

fn statvfs(file: &File) -> io::Result<libc::statvfs> {
    let mut answer = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the descriptor is open for the whole call; `answer` is valid for writes of one
    // `statvfs`.
    let status = unsafe { libc::fstatvfs(file.as_raw_fd(), answer.as_mut_ptr()) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `statvfs` is made of integers, for which zeroes are valid, and it was zeroed above.
    Ok(unsafe { answer.assume_init() })
}

/// An error of kind `FileTooLarge` if the process may not write a file up to `end`.
pub(crate) fn check_file_size(end: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is valid for writes of one `rlimit`.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    if status == 0 && limit.rlim_cur != libc::RLIM_INFINITY && end > limit.rlim_cur {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(())
}

/// Whether the error says that there is no room, on the device or within a limit.
pub(crate) fn is_lacking(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// From now on a write beyond RLIMIT_FSIZE is an error of the process instead of its death. For
/// programs: files of a [`crate::System`] are checked against the limit before they are written,
/// but others, such as standard output, are not.
pub fn survive_file_size_limit() {
    // SAFETY: to ignore a signal runs no code; nothing else of the process relies on being killed
    // by it.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// How many bytes of the range have no space of their own; `None` if the file system does not say.
pub(crate) fn missing_bytes(file: &File, range: Range<u64>) -> Option<u64> {
    let mut owned = 0;
    visit_extents(file, &range, 0, |extent| {
        let start = extent.logical.max(range.start);
        let end = extent.logical.saturating_add(extent.length).min(range.end);
        if extent.flags & SHARED == 0 {
            owned += end.saturating_sub(start);
        }
        true
    })?;
    Some((range.end - range.start).saturating_sub(owned))
}

/// Whether each of the first `len` bytes has written space of its own; `None` if the file system
/// does not say.
pub(crate) fn is_whole(file: &File, len: u64) -> Option<bool> {
    let mut end = 0;
    visit_extents(file, &(0..len), FIEMAP_FLAG_SYNC, |extent| {
        let follows = extent.logical <= end && extent.flags & FIEMAP_EXTENT_NOT_WHOLE == 0;
        end = if follows { extent.logical.saturating_add(extent.length) } else { end };
        follows
    })?;
    Some(end >= len)
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved: [u64; 2],
    flags: u32,
    reserved_too: [u32; 3],
}

/// `struct fiemap`, with room for some extents.
#[repr(C)]
struct Request {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [Extent; EXTENT_COUNT],
}

/// Shows the extents that meet `range`, in their order, until `visit` wants no more.
fn visit_extents(
    file: &File,
    range: &Range<u64>,
    flags: u32,
    mut visit: impl FnMut(&Extent) -> bool,
) -> Option<()> {
    let mut cursor = range.start;
    while cursor < range.end {
        let mut request = Request {
            start: cursor,
            length: range.end - cursor,
            flags,
            mapped_extents: 0,
            extent_count: EXTENT_COUNT as u32,
            reserved: 0,
            extents: [Extent::default(); EXTENT_COUNT],
        };
        // SAFETY: the descriptor is open for the whole call; `request` is laid out as the kernel's
        // `struct fiemap` and has room for as many extents as it says.
        let status = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut request) };
        if status != 0 {
            return None;
        }
        let count = (request.mapped_extents as usize).min(EXTENT_COUNT);
        let extents = &request.extents[..count];
        for extent in extents {
            if !visit(extent) {
                return Some(());
            }
        }
        match extents.last() {
            Some(last) if last.flags & FIEMAP_EXTENT_LAST == 0 => {
                let end = last.logical.saturating_add(last.length);
                // An answer that leads nowhere would be asked for without end.
                cursor = if end > cursor { end } else { return None };
            }
            _ => return Some(()),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    const PIECE: u64 = 64 << 10;

    #[test]
    fn holes_have_no_space_and_what_is_written_has() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 * PIECE).unwrap();
        file.write_all_at(&[1; PIECE as usize], PIECE).unwrap();
        file.sync_all().unwrap();
        let Some(missing) = missing_bytes(&file, 0..4 * PIECE) else { return };
        assert_eq!(missing, 3 * PIECE);
        assert_eq!(missing_bytes(&file, PIECE..2 * PIECE), Some(0));
        assert_eq!(missing_bytes(&file, PIECE + 100..3 * PIECE), Some(PIECE));
        assert_eq!(missing_bytes(&file, 100 * PIECE..101 * PIECE), Some(PIECE));
        assert_eq!(is_whole(&file, 4 * PIECE), Some(false));
        for piece in [0, 2, 3] {
            assert_eq!(is_whole(&file, 4 * PIECE), Some(false), "before {piece}");
            file.write_all_at(&[1; PIECE as usize], piece * PIECE).unwrap();
        }
        assert_eq!(is_whole(&file, 4 * PIECE), Some(true));
        assert_eq!(is_whole(&file, 4 * PIECE + 1), Some(false));
        assert_eq!(missing_bytes(&file, 0..4 * PIECE), Some(0));
    }

    #[test]
    fn many_extents_are_all_counted() {
        let file = tempfile::tempfile().unwrap();
        let count = 3 * EXTENT_COUNT as u64;
        for piece in 0..count {
            file.write_all_at(&[1; PIECE as usize], 2 * piece * PIECE).unwrap();
        }
        file.sync_all().unwrap();
        let Some(missing) = missing_bytes(&file, 0..2 * count * PIECE) else { return };
        assert_eq!(missing, count * PIECE);
    }

    #[test]
    fn there_is_room_or_not() {
        let directory = File::open(std::env::temp_dir()).unwrap();
        assert!(free_bytes_max(&directory).unwrap() < 1 << 60);
        check_file_size(1 << 40).unwrap();
    }

    /// Root was taken for one who gets them, and so the last room went to what is prepared ahead.
    #[test]
    fn what_is_kept_back_is_not_counted_on() {
        let directory = File::open(std::env::temp_dir()).unwrap();
        let facts = statvfs(&directory).unwrap();
        let kept_back = (facts.f_bfree - facts.f_bavail) * facts.f_frsize;
        // Other processes write meanwhile.
        let uncounted = free_bytes_max(&directory).unwrap() - free_bytes(&directory).unwrap();
        assert!(uncounted.abs_diff(kept_back) < 1 << 30, "{uncounted} of {kept_back}");
    }
}
