//! [`Folder`]: what the kernel answers about the directory itself. A copy of another machine's
//! files has no such answers.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, IFlags, StatxFlags, ioctl_getflags, statvfs, statx};
use uarr_uring::{Facts, Storage, System, SystemOptions};

use super::probe::unnamed_file;

/// Answers about a directory.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Number of the mount that holds it; none on kernels before 5.8.
    pub mount_id: Option<u64>,
    /// Room of its file system.
    pub room: Room,
    /// Whether files of the log are exempt from copy-on-write (btrfs, `chattr +C`); none if the
    /// file system does not say.
    pub is_in_place: Option<bool>,
    /// What the engine makes of it: block size, direct I/O, way to the kernel.
    pub engine: Facts,
    /// Alignment of memory and offsets that direct I/O wants; or why that is not known.
    pub alignment: Result<(u32, u32), String>,
    /// Why no file can be made in it, if so.
    pub refusal: Option<String>,
}

/// Room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Unit of its space.
    pub block_bytes: u64,
    /// All bytes.
    pub total_bytes: u64,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that any user may take.
    pub available_bytes: u64,
    /// Files it can hold; 0 if there is no such number.
    pub file_count_max: u64,
    /// Files that any user may still make.
    pub file_count_left: u64,
}

impl Room {
    /// Bytes that are free and kept back.
    pub fn reserved_bytes(&self) -> u64 {
        self.free_bytes.saturating_sub(self.available_bytes)
    }
}

impl Folder {
    /// Asks about a directory; leaves nothing in it.
    pub fn ask(dir: &Path) -> io::Result<Self> {
        let system = System::open(dir, SystemOptions::default())?;
        let found = statx(CWD, dir, AtFlags::empty(), StatxFlags::MNT_ID)?;
        let has_id = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        let space = statvfs(dir)?;
        // The log inherits its flags when it is made.
        let log = File::open(dir.join("wal")).or_else(|_| File::open(dir))?;
        let flags = ioctl_getflags(log).ok();
        let probe = unnamed_file(dir);
        Ok(Self {
            mount_id: has_id.then_some(found.stx_mnt_id),
            room: Room {
                block_bytes: space.f_frsize,
                total_bytes: space.f_blocks.saturating_mul(space.f_frsize),
                free_bytes: space.f_bfree.saturating_mul(space.f_frsize),
                available_bytes: space.f_bavail.saturating_mul(space.f_frsize),
                file_count_max: space.f_files,
                file_count_left: space.f_favail,
            },
            is_in_place: flags.map(|flags| flags.contains(IFlags::NOCOW)),
            engine: system.facts().clone(),
            alignment: match &probe {
                Ok((file, _)) => alignment(file),
                Err(error) => Err(error.to_string()),
            },
            refusal: probe.err().map(|error| error.to_string()),
        })
    }
}

fn alignment(file: &File) -> Result<(u32, u32), String> {
    let asked = StatxFlags::DIOALIGN;
    let found = statx(file, "", AtFlags::EMPTY_PATH, asked).map_err(|error| error.to_string())?;
    match found.stx_mask & asked.bits() {
        0 => Err("the file system or the kernel does not say (before 6.1 none does)".to_owned()),
        _ => Ok((found.stx_dio_mem_align, found.stx_dio_offset_align)),
    }
}
