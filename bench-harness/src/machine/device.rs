//! The block device below a directory: its counters and its queue, as sysfs gives them.
//!
//! Counters are those of the whole device, so they include other processes. They prove from below
//! how many flushes each acknowledged write really cost.

use std::fs;
use std::ops::Add;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Sectors in sysfs statistics are always 512 bytes.
const STAT_SECTOR_BYTES: u64 = 512;

/// Work a block device has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    /// Flush requests.
    pub flush_count: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

/// A block device in sysfs.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its own folder: the partition, or the disk.
    node: PathBuf,
    /// The disk's folder, which has the queue.
    disk: PathBuf,
}

impl Device {
    /// The device that holds `path`, or `None` where the file system has none of its own (tmpfs,
    /// overlay, btrfs).
    pub fn of(path: &Path) -> Option<Self> {
        let number = fs::metadata(path).ok()?.dev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let node = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
        let is_disk = node.join("queue").is_dir();
        let disk = if is_disk { node.clone() } else { node.parent()?.to_path_buf() };
        Some(Self { node, disk })
    }

    /// The kernel's name of the disk.
    pub fn name(&self) -> Option<String> {
        Some(self.disk.file_name()?.to_string_lossy().into_owned())
    }

    /// An attribute of the disk, such as `queue/scheduler`.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.disk.join(name)).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The counters now; `None` on kernels that do not count flushes (before 5.5).
    pub fn counters(&self) -> Option<DeviceCounters> {
        // A partition's statistics have no flushes: those are the disk's.
        let disk = fs::read_to_string(self.disk.join("stat")).ok()?;
        let node = fs::read_to_string(self.node.join("stat")).ok()?;
        counters_from(&disk, &node)
    }
}

fn counters_from(disk: &str, node: &str) -> Option<DeviceCounters> {
    let field = |text: &str, index: usize| -> Option<u64> {
        text.split_ascii_whitespace().nth(index)?.parse().ok()
    };
    Some(DeviceCounters {
        flush_count: field(disk, 15)?,
        written_bytes: field(node, 6)? * STAT_SECTOR_BYTES,
    })
}

impl Add for DeviceCounters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            flush_count: self.flush_count + other.flush_count,
            written_bytes: self.written_bytes + other.written_bytes,
        }
    }
}

impl DeviceCounters {
    /// What was added since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            flush_count: self.flush_count.saturating_sub(earlier.flush_count),
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_the_documented_fields() {
        let line = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17";
        let counters = counters_from(line, line).unwrap();
        assert_eq!(counters, DeviceCounters { flush_count: 16, written_bytes: 7 * 512 });
        assert_eq!(counters_from("1 2 3 4 5 6 7 8 9 10 11", line), None);
        let later = DeviceCounters { flush_count: 20, written_bytes: 8 * 512 };
        assert_eq!(later.since(counters), DeviceCounters { flush_count: 4, written_bytes: 512 });
    }
}
