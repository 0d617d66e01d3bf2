//! Log segments as files: names, preparation ahead of use, recycling.
//!
//! Life of a segment:
//! 1. *ready*: allocated, written with zeros or recycled, durable under the number it will have;
//! 2. *active*: the log appends to it; 3. *sealed*: full, needed by a kept checkpoint;
//! 4. *free*: no longer needed; it becomes ready again under a new number, or is removed when the pool is full.
//!
//! Numbers rise and are never used twice, so nothing left in a recycled file is ever taken for new: segment
//! and group headers carry the number they were written under.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use uarr_uring::{OpenMode, Storage, StorageFile};

use crate::lock;

/// Directory of the log.
pub(crate) const WAL_DIR: &str = "wal";
/// Name under which a segment is prepared before it gets its number.
const UNFINISHED: &str = "wal/segment.new";
/// Free segments beyond this many are removed.
const FREE_COUNT_MAX: usize = 8;

/// Path of segment `number`.
pub(crate) fn segment_path(number: u64) -> String {
    format!("{WAL_DIR}/{number:016x}.wal")
}

/// Number of the segment with file name `name`.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// A segment that can be written to.
pub(crate) struct Segment<F> {
    pub number: u64,
    pub file: Arc<F>,
    pub bytes: u64,
}

/// The segments that are not active.
pub(crate) struct Segments<F> {
    pool: Mutex<Pool<F>>,
    ready_count: AtomicUsize,
    regular_bytes: u64,
}

struct Pool<F> {
    ready: VecDeque<Segment<F>>,
    sealed: Vec<u64>,
    free: Vec<u64>,
    next_number: u64,
}

impl<F: StorageFile> Segments<F> {
    /// `present` are the numbers of all segment files, `first_needed` the oldest that is needed,
    /// `active` the one being written; later ones were prepared but never begun.
    pub fn new(present: &[u64], first_needed: u64, active: u64, regular_bytes: u64) -> Self {
        let next_number = present.iter().copied().max().unwrap_or(0).max(active) + 1;
        let sealed = present.iter().copied().filter(|n| (first_needed..active).contains(n));
        let free = present.iter().copied().filter(|n| *n < first_needed || *n > active);
        let pool = Pool {
            ready: VecDeque::new(),
            sealed: sealed.collect(),
            free: free.collect(),
            next_number,
        };
        Self { pool: Mutex::new(pool), ready_count: AtomicUsize::new(0), regular_bytes }
    }

    /// How many segments are ready; read without a lock on the commit path.
    pub fn ready_count(&self) -> usize {
        self.ready_count.load(Ordering::Acquire)
    }

    /// Takes the next ready segment of at least `bytes`. Smaller ones before it become free: numbers are
    /// used in order.
    pub fn take(&self, bytes: u64) -> Option<Segment<F>> {
        let mut pool = self.pool();
        let index = pool.ready.iter().position(|segment| segment.bytes >= bytes)?;
        let skipped: Vec<_> = pool.ready.drain(..index).map(|segment| segment.number).collect();
        pool.free.extend(skipped);
        let taken = pool.ready.pop_front();
        self.ready_count.store(pool.ready.len(), Ordering::Release);
        taken
    }

    /// Remembers that segment `number` is full.
    pub fn seal(&self, number: u64) {
        self.pool().sealed.push(number);
    }

    /// Segments before `first_needed` are no longer needed.
    pub fn release_before(&self, first_needed: u64) {
        let mut pool = self.pool();
        let (kept, released) = std::mem::take(&mut pool.sealed)
            .into_iter()
            .partition(|number| *number >= first_needed);
        pool.sealed = kept;
        pool.free.extend::<Vec<u64>>(released);
    }

    /// Makes one more segment ready, with room for `bytes` at least. One caller at a time.
    pub fn prepare<S: Storage<File = F>>(&self, storage: &S, bytes: u64) -> io::Result<()> {
        let bytes = bytes.max(self.regular_bytes);
        let number = {
            let mut pool = self.pool();
            pool.next_number += 1;
            pool.next_number - 1
        };
        let recycled =
            if bytes == self.regular_bytes { self.recycle(storage, number)? } else { None };
        let file = match recycled {
            Some(file) => file,
            None => create(storage, number, bytes)?,
        };
        let mut pool = self.pool();
        pool.ready.push_back(Segment { number, file: Arc::new(file), bytes });
        self.ready_count.store(pool.ready.len(), Ordering::Release);
        Ok(())
    }

    /// Gives a free segment of regular size the new number, if there is one. Others are removed.
    fn recycle<S: Storage<File = F>>(&self, storage: &S, number: u64) -> io::Result<Option<F>> {
        loop {
            let Some(free) = self.pool().free.pop() else { return Ok(None) };
            let file = storage.open(&segment_path(free), OpenMode::Direct)?;
            if file.len()? == self.regular_bytes {
                storage.rename(&segment_path(free), &segment_path(number))?;
                storage.make_dir_durable(WAL_DIR)?;
                return Ok(Some(file));
            }
            drop(file);
            storage.remove(&segment_path(free))?;
        }
    }

    /// Removes free segments that the pool does not want to keep. Returns whether it did something.
    pub fn trim<S: Storage<File = F>>(&self, storage: &S) -> io::Result<bool> {
        let surplus = {
            let mut pool = self.pool();
            match pool.free.len() > FREE_COUNT_MAX {
                true => pool.free.pop(),
                false => None,
            }
        };
        surplus.map(|number| storage.remove(&segment_path(number))).transpose()?;
        Ok(surplus.is_some())
    }

    fn pool(&self) -> MutexGuard<'_, Pool<F>> {
        lock(&self.pool)
    }
}

/// Creates segment `number`: real space, written zeros, durable content and name. The number is
/// given last, so a file with a number is always whole.
pub(crate) fn create<S: Storage>(storage: &S, number: u64, bytes: u64) -> io::Result<S::File> {
    const ZEROS_BYTES: usize = 1 << 20;
    remove_unfinished(storage)?;
    let file = storage.open(UNFINISHED, OpenMode::CreateDirect)?;
    let written = file.allocate(0, bytes).and_then(|()| {
        let zeros = uarr_uring::AlignedBuffer::new(ZEROS_BYTES.min(bytes as usize));
        let mut offset = 0;
        while offset < bytes {
            let piece = (bytes - offset).min(zeros.len() as u64);
            file.write_at(&zeros[..piece as usize], offset)?;
            offset += piece;
        }
        file.make_durable()
    });
    if let Err(error) = written {
        storage.remove(UNFINISHED)?;
        return Err(error);
    }
    storage.rename(UNFINISHED, &segment_path(number))?;
    storage.make_dir_durable(WAL_DIR)?;
    Ok(file)
}

/// Removes what an interrupted preparation left behind.
pub(crate) fn remove_unfinished<S: Storage>(storage: &S) -> io::Result<()> {
    crate::remove_if_present(storage, UNFINISHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_inverse() {
        assert_eq!(segment_path(0x1f), "wal/000000000000001f.wal");
        assert_eq!(segment_number("000000000000001f.wal"), Some(0x1f));
        for wrong in ["1f.wal", "000000000000001f", "segment.new", "zzzzzzzzzzzzzzzz.wal"] {
            assert_eq!(segment_number(wrong), None, "{wrong}");
        }
    }
}
