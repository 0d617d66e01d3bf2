//! What the device and the file system under a directory want of direct I/O.
//!
//! The block size is the larger of the file system's direct-I/O alignment and the device's physical
//! sector: a device that rewrites a whole 4 KiB sector to change 512 bytes of it would put the
//! neighbours at risk, which may have been acknowledged long ago.
//!
//! An unknown size counts as [`BLOCK_BYTES_DEFAULT`], which suits all devices
//! sold today.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use crate::buffer::PAGE_BYTES;
use crate::directory::Directory;

/// Block size where the kernel does not say.
const BLOCK_BYTES_DEFAULT: u32 = 4096;
/// No device writes smaller sectors.
const BLOCK_BYTES_MIN: u32 = 512;
/// Larger claims are taken for mistakes.
const BLOCK_BYTES_MAX: u32 = 64 << 10;

/// What direct I/O below a directory needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectFacts {
    /// Unit of offsets and lengths.
    pub block_bytes: u32,
    /// Whether direct I/O bypasses the page cache.
    pub direct: bool,
}

/// Asks the file system with an unnamed file, and the device through sysfs.
pub(crate) fn direct_facts(directory: &Directory) -> io::Result<DirectFacts> {
    let sector_bytes = physical_sector_bytes(directory.file());
    let block_bytes = believable(sector_bytes.unwrap_or(BLOCK_BYTES_DEFAULT));
    if in_memory(directory.file())? {
        return Ok(DirectFacts { block_bytes, direct: false });
    }
    let probe = match open_probe(directory) {
        Ok(probe) => probe,
        // The answer of file systems without direct I/O.
        Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) => {
            return Ok(DirectFacts { block_bytes, direct: false });
        }
        // No permission to write, or no room: the caller cannot write either, so it does not
        // matter.
        Err(_) => return Ok(DirectFacts { block_bytes, direct: true }),
    };
    Ok(facts_of(&probe, block_bytes))
}

/// The same for who only reads, asked of the file `path`, which is there.
pub(crate) fn direct_facts_of(directory: &Directory, path: &str) -> io::Result<DirectFacts> {
    let sector_bytes = physical_sector_bytes(directory.file());
    let block_bytes = believable(sector_bytes.unwrap_or(BLOCK_BYTES_DEFAULT));
    let cached = DirectFacts { block_bytes, direct: false };
    if in_memory(directory.file())? {
        return Ok(cached);
    }
    // What cannot be opened so is read through the cache, or its error is met there again.
    let probe = directory.open_file(path, libc::O_RDONLY | libc::O_DIRECT);
    Ok(probe.map_or(cached, |probe| facts_of(&probe, block_bytes)))
}

/// What direct I/O on a file like this one needs, on a device with such sectors.
fn facts_of(probe: &File, block_bytes: u32) -> DirectFacts {
    match direct_alignment(probe) {
        Some(Alignment { offset: 0, .. }) => DirectFacts { block_bytes, direct: false },
        // Buffers are aligned to pages and no further.
        Some(Alignment { memory, .. }) if memory as usize > PAGE_BYTES => {
            DirectFacts { block_bytes, direct: false }
        }
        Some(Alignment { memory, offset }) => {
            let alignment = believable(memory.max(offset));
            DirectFacts { block_bytes: block_bytes.max(alignment), direct: true }
        }
        None => DirectFacts { block_bytes: block_bytes.max(BLOCK_BYTES_DEFAULT), direct: true },
    }
}

/// A direct file without a name, or on file systems that know no such thing, one whose name is gone
/// at once.
fn open_probe(directory: &Directory) -> io::Result<File> {
    let flags = libc::O_RDWR | libc::O_DIRECT | libc::O_EXCL;
    let unnamed = directory.open_unnamed(flags);
    match &unnamed {
        Err(cause) if matches!(cause.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
            let name = format!(".direct-probe-{}", std::process::id());
            let named = directory.open_file(&name, flags | libc::O_CREAT);
            // A refused open may still have created the file, unless it was there before.
            if !named.as_ref().is_err_and(|cause| cause.kind() == io::ErrorKind::AlreadyExists) {
                let _ = directory.remove(&name);
            }
            named
        }
        _ => unnamed,
    }
}

fn believable(bytes: u32) -> u32 {
    if bytes.is_power_of_two() && bytes <= BLOCK_BYTES_MAX {
        bytes.max(BLOCK_BYTES_MIN)
    } else {
        BLOCK_BYTES_DEFAULT
    }
}

#[derive(Clone, Copy, Debug)]
struct Alignment {
    memory: u32,
    offset: u32,
}

/// What the file system says of direct I/O on this file; `None` on kernels before 6.1.
fn direct_alignment(file: &File) -> Option<Alignment> {
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the descriptor is open for the whole call; the path is an empty string that ends in
    // NUL; `answer` is valid for writes of one `statx`.
    let status = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            answer.as_mut_ptr(),
        )
    };
    if status != 0 {
        return None;
    }
    // SAFETY: `statx` is made of integers, for which zeroes are valid, and it was zeroed above.
    let answer = unsafe { answer.assume_init() };
    (answer.stx_mask & libc::STATX_DIOALIGN != 0).then_some(Alignment {
        memory: answer.stx_dio_mem_align,
        offset: answer.stx_dio_offset_align,
    })
}

/// Whether the directory lies in a file system of plain memory, where O_DIRECT may be accepted but
/// means nothing.
fn in_memory(directory: &File) -> io::Result<bool> {
    let mut answer = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the descriptor is open for the whole call; `answer` is valid for writes of one
    // `statfs`.
    let status = unsafe { libc::fstatfs(directory.as_raw_fd(), answer.as_mut_ptr()) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `statfs` is made of integers, for which zeroes are valid, and it was zeroed above.
    let answer = unsafe { answer.assume_init() };
    Ok(answer.f_type == libc::TMPFS_MAGIC)
}

/// The physical sector of the device below the directory; `None` when there is no such device
/// (memory, network, layered file systems).
fn physical_sector_bytes(directory: &File) -> Option<u32> {
    let device = directory.metadata().ok()?.dev();
    let device = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
    // A partition has no queue of its own; the disk it is part of is its parent.
    [format!("{device}/queue"), format!("{device}/../queue")].iter().find_map(|queue| {
        let text = std::fs::read_to_string(format!("{queue}/physical_block_size")).ok()?;
        text.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_sizes_are_believed() {
        for (told, expected) in [
            (512, 512),
            (4096, 4096),
            (16384, 16384),
            (1, 512),
            (0, 4096),
            (513, 4096),
            (1 << 20, 4096),
        ] {
            assert_eq!(believable(told), expected);
        }
    }

    #[test]
    fn a_memory_file_system_is_not_direct() {
        let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
        let directory = Directory::open(directory.path()).unwrap();
        if in_memory(directory.file()).unwrap() {
            assert!(!direct_facts(&directory).unwrap().direct);
        }
    }
}
