//! What the stores take on the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::BenchError;
use crate::measure::job::{ENDLESS, Job, Timing, View, Work};
use crate::measure::store::{Contender, OpenSpec};
use crate::measure::workload::RECORD_BYTES;
use crate::report::measured::Size;
use crate::stores;

/// Records of a batch.
const BATCH_RECORDS: u64 = 1000;

/// Measures all stores that are built in, each with `records` records, in `folder`.
pub fn measure(folder: &Path, records: u64) -> Result<Vec<Size>, BenchError> {
    let records = records.next_multiple_of(BATCH_RECORDS);
    let built_in = Contender::READ_STORES.into_iter().filter(|store| store.is_built_in());
    built_in.map(|contender| of_store(contender, folder, records)).collect()
}

fn of_store(contender: Contender, folder: &Path, records: u64) -> Result<Size, BenchError> {
    let dir = folder.join(format!("size-{contender}"));
    let fresh_bytes = put_all(contender, &dir, 1)?.while_open;
    remove(&dir)?;
    let loaded_bytes = put_all(contender, &dir, records)?.closed;
    let overwritten_bytes = put_all(contender, &dir, records)?.closed;
    remove(&dir)?;
    let user_bytes = records * RECORD_BYTES;
    Ok(Size { contender, user_bytes, loaded_bytes, overwritten_bytes, fresh_bytes })
}

struct Bytes {
    while_open: u64,
    closed: u64,
}

/// Writes each of `records` records once, in random order, and closes the store.
fn put_all(contender: Contender, dir: &Path, records: u64) -> Result<Bytes, BenchError> {
    let spec = OpenSpec::new(contender.load_writes(), records);
    let store = stores::open(contender, dir, spec)?;
    let batch = BATCH_RECORDS.min(records);
    store.run(&Job {
        work: Work::Batches { first: 0, records: batch },
        view: View::PerRead,
        threads: 1,
        duration: ENDLESS,
        op_count_min: 0,
        op_count_max: records / batch,
        timing: Timing::Whole,
        checkpoint_at: None,
        readers: 0,
        seed: 0,
    })?;
    store.prepare_reads()?;
    let while_open = allocated_bytes(dir)?;
    store.close()?;
    Ok(Bytes { while_open, closed: allocated_bytes(dir)? })
}

fn remove(dir: &Path) -> Result<(), BenchError> {
    fs::remove_dir_all(dir).map_err(|error| BenchError::at(dir, "cannot remove", &error))
}

/// Bytes that are allocated to the files below `path`.
fn allocated_bytes(path: &Path) -> Result<u64, BenchError> {
    let failed = |error| BenchError::at(path, "cannot look at", &error);
    let facts = fs::symlink_metadata(path).map_err(failed)?;
    let mut bytes = facts.blocks() * 512;
    if facts.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            bytes += allocated_bytes(&entry.map_err(failed)?.path())?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_hold_what_was_written_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = measure(folder.path(), 2000).unwrap();
        let own = sizes.iter().find(|size| size.contender == Contender::Uarr).unwrap();
        assert_eq!(own.user_bytes, 2000 * RECORD_BYTES);
        assert!(own.loaded_bytes >= own.user_bytes && own.fresh_bytes > 0);
        assert!(own.overwritten_bytes >= own.user_bytes, "{own:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
