//! Keys that come from real use: inode numbers, times of change and paths of a file system.

use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What a walk found, each list ascending and without repetitions.
#[derive(Default)]
pub struct Machine {
    pub inodes: Vec<u64>,
    /// Nanoseconds since 1970.
    pub mtimes: Vec<u64>,
    pub paths: Vec<Vec<u8>>,
}

impl Machine {
    /// Everything below `root` on its file system. What cannot be read, or goes away meanwhile, is
    /// left out.
    pub fn walk(root: &str) -> Self {
        let mut found = Self::default();
        let mut pending = vec![PathBuf::from(root)];
        let device = std::fs::symlink_metadata(root).expect("the root can be looked at").dev();
        while let Some(path) = pending.pop() {
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            if metadata.dev() != device {
                continue;
            }
            found.inodes.push(metadata.ino());
            let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
            found.mtimes.push(seconds * 1_000_000_000 + metadata.mtime_nsec() as u64);
            if metadata.is_dir()
                && let Ok(entries) = std::fs::read_dir(&path)
            {
                pending.extend(entries.flatten().map(|entry| entry.path()));
            }
            found.paths.push(path.into_os_string().into_vec());
        }
        for keys in [&mut found.inodes, &mut found.mtimes] {
            keys.sort_unstable();
            keys.dedup();
        }
        found.paths.sort_unstable();
        found.paths.dedup();
        found
    }
}
