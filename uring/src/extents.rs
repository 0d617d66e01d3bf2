//! Extents: which bytes of a file have space of their own on the medium, as the file system tells
//! (FIEMAP).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// `FS_IOC_FIEMAP` of `linux/fs.h`: `_IOWR('f', 11, struct fiemap)`.
const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
/// Write out what has no place yet before the answer.
const FIEMAP_FLAG_SYNC: u32 = 1;
const FIEMAP_EXTENT_LAST: u32 = 0x1;
/// What says that a write to an extent may need room, or changes the records of the file system:
/// place unknown or not given yet, content encoded or inside the inode, not written yet, shared.
const FIEMAP_EXTENT_NOT_WHOLE: u32 = NO_PLACE | 0x8 | 0x200 | FIEMAP_EXTENT_UNWRITTEN | SHARED;
const FIEMAP_EXTENT_UNWRITTEN: u32 = 0x800;
/// Compressed or encrypted: a write makes the file system write more than that.
const FIEMAP_EXTENT_ENCODED: u32 = 0x8;
const SHARED: u32 = 0x2000;
/// Its place is not known, or not given yet (`UNKNOWN`, `DELALLOC`).
const NO_PLACE: u32 = 0x2 | 0x4;
/// Extents that the kernel names in one answer.
const EXTENT_COUNT: usize = 64;

/// How the bytes of a file lie on the medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// Length of the file.
    pub file_bytes: u64,
    /// How many there are.
    pub count: u64,
    /// Bytes of the file that have no space at all.
    pub missing_bytes: u64,
    /// Bytes that have space to which nothing was written.
    pub unwritten_bytes: u64,
    /// Bytes whose space belongs to other files, too.
    pub shared_bytes: u64,
    /// Bytes that are stored compressed or encrypted.
    pub encoded_bytes: u64,
}

impl Extents {
    /// Asks for the extents of a file, which may be open for reading only; changes nothing and
    /// writes nothing out. `None` if the file system does not say.
    ///
    /// Errors: what the operating system says to a look at the length of the file.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        let file_bytes = file.metadata()?.len();
        let mut found = Self { file_bytes, missing_bytes: file_bytes, ..Self::default() };
        let visited = visit_extents(file, &(0..file_bytes), 0, |extent| {
            // The last one may reach behind the end of the file.
            let end = extent.logical.saturating_add(extent.length).min(file_bytes);
            let bytes = end.saturating_sub(extent.logical);
            let if_it_is = |flag: u32| if extent.flags & flag == 0 { 0 } else { bytes };
            found.count += 1;
            found.missing_bytes = found.missing_bytes.saturating_sub(bytes);
            found.unwritten_bytes += if_it_is(FIEMAP_EXTENT_UNWRITTEN);
            found.shared_bytes += if_it_is(SHARED);
            found.encoded_bytes += if_it_is(FIEMAP_EXTENT_ENCODED);
            true
        });
        Ok(visited.map(|()| found))
    }
}

/// How many bytes of the range have no space of their own; `None` if the file system does not say.
/// What was written to a hole and has no place on the medium yet counts as missing.
pub(crate) fn missing_bytes(file: &File, range: Range<u64>) -> Option<u64> {
    let mut owned = 0;
    visit_extents(file, &range, 0, |extent| {
        let start = extent.logical.max(range.start);
        let end = extent.logical.saturating_add(extent.length).min(range.end);
        if extent.flags & (SHARED | NO_PLACE) == 0 {
            owned += end.saturating_sub(start);
        }
        true
    })?;
    Some((range.end - range.start).saturating_sub(owned))
}

/// Where the first bytes of `range` end that have written space of their own; `None` if the file
/// system does not say.
pub(crate) fn whole_end(file: &File, range: Range<u64>) -> Option<u64> {
    let mut end = range.start;
    visit_extents(file, &range, FIEMAP_FLAG_SYNC, |extent| {
        let follows = extent.logical <= end && extent.flags & FIEMAP_EXTENT_NOT_WHOLE == 0;
        end = if follows { extent.logical.saturating_add(extent.length) } else { end };
        follows
    })?;
    Some(end.min(range.end))
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
        assert_eq!(whole_end(&file, PIECE..4 * PIECE), Some(2 * PIECE));
        for piece in [0, 2, 3] {
            assert_eq!(whole_end(&file, 0..4 * PIECE), Some(piece * PIECE), "before {piece}");
            file.write_all_at(&[1; PIECE as usize], piece * PIECE).unwrap();
        }
        assert_eq!(whole_end(&file, 0..4 * PIECE), Some(4 * PIECE));
        assert_eq!(whole_end(&file, PIECE..4 * PIECE + 1), Some(4 * PIECE));
        assert_eq!(missing_bytes(&file, 0..4 * PIECE), Some(0));
    }

    /// A page that a reader-ahead had made in a hole passed for space, and so a store into the page
    /// beside it ended the process with SIGBUS when the disk was full.
    #[test]
    fn what_waits_for_its_place_has_no_space_yet() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 * PIECE).unwrap();
        file.write_all_at(&[1; PIECE as usize], PIECE).unwrap();
        let Some(missing) = missing_bytes(&file, 0..2 * PIECE) else { return };
        let mut found = Vec::new();
        visit_extents(&file, &(0..2 * PIECE), 0, |extent| {
            found.push(extent.flags & NO_PLACE != 0);
            true
        });
        let expected = if found == [false] { PIECE } else { 2 * PIECE };
        assert_eq!(missing, expected, "{found:?}");
        file.sync_all().unwrap();
        assert_eq!(missing_bytes(&file, 0..2 * PIECE), Some(PIECE));
    }

    #[test]
    fn what_is_written_allocated_or_missing_is_told_apart() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 * PIECE).unwrap();
        file.write_all_at(&[1; PIECE as usize], PIECE).unwrap();
        file.sync_all().unwrap();
        let Some(sparse) = Extents::of(&file).unwrap() else { return };
        let expected =
            Extents { file_bytes: 8 * PIECE, count: 1, missing_bytes: 7 * PIECE, ..sparse };
        assert_eq!(sparse, expected);
        assert_eq!((sparse.unwritten_bytes, sparse.shared_bytes), (0, 0));
        // SAFETY: numbers and a descriptor that is open.
        let status = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, 4 * PIECE as i64) };
        if status == 0 {
            let allocated = Extents::of(&file).unwrap().unwrap();
            assert_eq!(allocated.missing_bytes, 4 * PIECE);
            assert_eq!(allocated.unwritten_bytes, 3 * PIECE);
        }
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
