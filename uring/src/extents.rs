//! Extents: which bytes of a file have space of their own on the medium, as the file system tells
//! (FIEMAP).

use std::fs::File;
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
}
