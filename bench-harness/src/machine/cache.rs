//! The page cache of a directory's files.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::error::BenchError;

/// Gives up all cached pages of the files below `dir`, so that the next read of each comes from the
/// device. Their stores are closed, and what was written is durable: the kernel keeps pages that
/// are dirty or mapped.
pub fn give_up(dir: &Path) -> Result<(), BenchError> {
    give_up_below(dir).map_err(|error| BenchError::at(dir, "cannot give up the cache of", &error))
}

fn give_up_below(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give_up_below(&entry.path())?;
        } else {
            fadvise(File::open(entry.path())?, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}
