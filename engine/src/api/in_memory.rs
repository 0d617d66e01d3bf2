//! Databases that lie in memory and end with their last handle, for tests of callers.

use uarr_disk_sim::Memory;

use crate::api::builder::Builder;
use crate::api::db::Db;
use crate::error::Result;
use crate::options::Options;

/// What a test writes is small, and opening takes time for each byte that it prepares.
const SEGMENT_BYTES: u64 = 1 << 20;
const CHUNK_BYTES: u64 = 1 << 20;
const ADDRESS_SPACE_BYTES: u64 = 64 << 30;

impl Db<Memory> {
    /// A new database that lies in memory, for tests: without a directory, opened in a millisecond
    /// or two, gone with its last handle. It has byte keys; for others see [`Builder::in_memory`].
    ///
    /// It is the engine as it is, with all its threads, on the simulated disk that the engine is
    /// tested on. So what is acknowledged, refused and seen is as in a directory; what takes how
    /// long is not, and the times in its statistics are made up. The feature is `in-memory`; a
    /// program that ships has no use for it.
    ///
    /// Its type is not that of a database in a directory: what is to work on both takes a `Db<S>`.
    ///
    /// ```
    /// use uarr::{Db, Storage};
    ///
    /// fn visit<S: Storage>(db: &Db<S>, name: &str) -> uarr::Result<i64> {
    ///     Ok(db.increment(("visits", name), 1)?.value)
    /// }
    ///
    /// let db = Db::in_memory()?;
    /// visit(&db, "ada")?;
    /// assert_eq!(visit(&db, "ada")?, 2);
    /// # Ok::<(), uarr::Error>(())
    /// ```
    pub fn in_memory() -> Result<Self> {
        Db::builder("in memory").in_memory()
    }
}

impl Builder {
    /// Opens a new database that lies in memory, with these options; sizes that were left as they
    /// are by default are small. See [`Db::in_memory`]. To open what a database has left, give
    /// [`Builder::open_on`] a [`Memory`] of which a clone is kept.
    ///
    /// ```
    /// use uarr::{Db, Durability, KeyKind, Memory};
    ///
    /// let builder = Db::builder("in memory").keys(KeyKind::U64);
    /// let db = builder.clone().durability(Durability::Manual).in_memory()?;
    /// db.put(7u64, b"gone in the end")?;
    ///
    /// let disk = Memory::new();
    /// let db = builder.clone().open_on(disk.clone())?;
    /// db.put(7u64, b"durable")?;
    /// drop(db);
    /// let db = builder.open_on(disk.crash())?; // after a loss of power
    /// assert!(db.contains(7u64)?);
    /// # Ok::<(), uarr::Error>(())
    /// ```
    pub fn in_memory(mut self) -> Result<Db<Memory>> {
        let (default, options) = (Options::default(), &mut self.options);
        let small = |bytes: &mut u64, default, small| {
            if *bytes == default {
                *bytes = small;
            }
        };
        small(&mut options.segment_bytes, default.segment_bytes, SEGMENT_BYTES);
        small(&mut options.chunk_bytes, default.chunk_bytes, CHUNK_BYTES);
        small(&mut options.address_space_bytes, default.address_space_bytes, ADDRESS_SPACE_BYTES);
        self.open_on(Memory::new())
    }
}
