//! Where a run keeps its files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::BenchError;

/// The run's own folder, removed with all that is in it when dropped.
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// A new folder in `dir`, which must exist.
    pub fn create(dir: &Path) -> Result<Self, BenchError> {
        if !dir.is_dir() {
            let text =
                format!("{} is not a directory: create it, or name another --dir", dir.display());
            return Err(BenchError::Setup(text));
        }
        let path = dir.join(format!("run-{}", std::process::id()));
        let created = fs::create_dir(&path);
        created.map_err(|error| BenchError::at(&path, "cannot create", &error))?;
        Ok(Self(path))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("uarr-bench: cannot remove {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_run_is_gone_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path()).unwrap();
        fs::write(folder.path().join("file"), b"x").unwrap();
        drop(folder);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
