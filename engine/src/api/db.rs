//! The handle that callers hold.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use uarr_layout::uarr::Patch;
use uarr_uring::{Storage, System, SystemOptions};

use crate::api::batch::Batch;
use crate::api::builder::{Builder, OpenDirectory, unmake_directory};
use crate::api::handle::Handle;
use crate::api::own_thread::on_own_thread;
use crate::api::writer::Writer;
use crate::commit::receipt::Commit;
use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::AsValue;
use crate::jobs::checkpoint::Then;
use crate::jobs::compact::CompactReport;
use crate::jobs::threads::Threads;
use crate::key::{AsKey, KeyKind};
use crate::log::strategy::CommitTuning;
use crate::observe::stats::Stats;
use crate::observe::verify::VerifyReport;
use crate::options::{Options, WriteOptions};
use crate::report::RecoveryReport;
use crate::versions::open_table::OpenTable;

/// How often opening begins anew because the directory has gone.
const REOPEN_COUNT_MAX: u32 = 16;

/// An open database. Clones share it; any thread may use it. Readers take no lock.
///
/// Its verbs are about the default table, which is always there. [`Db::table`] gives handles of
/// others, which have the same verbs.
///
/// When the last clone is dropped the database is closed as by [`Db::close`], but errors are lost.
///
/// A process that is forked off one with an open database can use none of its handles: it has none
/// of its threads. It may drop them, or end or replace itself; that changes nothing. Until it does,
/// the database can stay locked after its parent ended without closing it. To use a database on
/// both sides of a fork, open it after the fork, on one side.
pub struct Db<S: Storage = System> {
    pub(in crate::api) handle: Arc<Handle<S>>,
    /// What the verbs are about; `None`: the default table.
    pub(in crate::api) table: Option<Arc<OpenTable>>,
}

impl<S: Storage> Clone for Db<S> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), table: self.table.clone() }
    }
}

impl<S: Storage> fmt::Debug for Db<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Db");
        shown.field("path", &self.path()).field("keys", &self.key_kind()).finish_non_exhaustive()
    }
}

impl Db {
    /// Opens the database in directory `path`, creating both if need be, with the default options:
    /// byte keys, every write durable before it is acknowledged. The directory above it must be
    /// there. Errors as for [`Builder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open()
    }

    /// As [`Db::open`], for tasks; see [`Builder::open_async`].
    pub async fn open_async(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open_async().await
    }

    /// Options for opening or creating the database in directory `path`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use uarr::{Db, Durability, KeyKind};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let db = Db::builder(&dir)
    ///     .keys(KeyKind::U64)
    ///     .durability(Durability::Interval(Duration::from_millis(100)))
    ///     .checkpoint_log_bytes(64 << 20)
    ///     .open()?;
    /// db.put(7u64, b"visible at once, durable within 100 ms and a commit")?;
    /// db.sync()?; // now it is durable
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(path: impl AsRef<Path>) -> Builder {
        Builder::new(path.as_ref().to_path_buf())
    }
}

impl Builder {
    /// Opens the database, creating it if there is none and `create` was not switched off.
    ///
    /// Errors: `InvalidArgument` (an option), `NotFound`, `NotADatabase`, `Locked`, `OtherFormat`,
    /// `Corruption`, `TornTail` (in mode `Strict`), `NoSpace`, `PermissionDenied`, `Unsupported`
    /// (a backend that the kernel refuses), `Io`. A failed opening takes away nothing that was
    /// acknowledged as durable. Options that are refused leave no trace, and a database that is
    /// created and cannot be opened (there is no room, say) is taken away again.
    pub fn open(mut self) -> Result<Db> {
        self.options.check()?;
        for _ in 0..REOPEN_COUNT_MAX {
            self.find_directory()?;
            let directory = OpenDirectory::new(&self.path);
            let opened = self.clone().open_found();
            if opened.is_ok() || self.options.made_directory || !directory.is_removed() {
                return opened;
            }
            // This one has waited for the lock of another that had made the directory, and has
            // taken it away.
        }
        self.find_directory()?;
        self.open_found()
    }

    fn open_found(self) -> Result<Db> {
        let (path, made_directory) = (self.path.clone(), self.options.made_directory);
        let opened = System::open(&path, SystemOptions { backend: self.backend });
        let opened = opened
            .map_err(|error| Error::io(format!("cannot use directory {}", path.display()), error))
            .and_then(|system| self.open_on(system));
        // Who has the lock has use for the directory.
        let is_free = |error: &Error| error.kind() != ErrorKind::Locked;
        if made_directory && opened.as_ref().is_err_and(is_free) {
            unmake_directory(&path);
        }
        opened
    }

    /// As [`Builder::open`], for tasks of any runtime: a thread of its own opens the database while
    /// the task waits without blocking. If the task loses interest, the thread closes it again.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use uarr::{Db, Durability};
    ///
    /// let db = Db::builder(&dir).durability(Durability::Manual).open_async().await?;
    /// db.ingest_async((0..1000u32).map(|number| (number, "x"))).await?;
    /// db.put_async("a", "in memory").await?;
    /// db.sync_async().await?; // now it is durable
    /// db.close_async().await
    /// # })?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open_async(self) -> Result<Db> {
        on_own_thread(move || self.open()).await
    }

    /// Opens the database on any storage; the path is only shown in messages. Errors as for
    /// [`Builder::open`].
    pub fn open_on<S: Storage>(self, storage: S) -> Result<Db<S>> {
        self.options.check()?;
        Db::open_storage(storage, self.options, self.path)
    }
}

impl<S: Storage> Db<S> {
    pub(crate) fn open_storage(storage: S, options: Options, path: PathBuf) -> Result<Self> {
        let core = Arc::new(crate::recovery::open::open(storage, options, path)?);
        let threads = Threads::start(&core)?;
        #[cfg(feature = "tracing")]
        crate::trace::opened(&core.path, &core.report);
        Ok(Self { handle: Arc::new(Handle::new(core, threads)), table: None })
    }

    pub(crate) fn core(&self) -> &Core<S> {
        &self.handle.core
    }

    /// Sets `key` to `value`. Acknowledged and visible as the database's [`crate::Durability`]
    /// says.
    ///
    /// Errors: `InvalidArgument`, `NoSpace` and `Busy` (nothing was written), `Io` (it may have
    /// been), `Poisoned`, `Closed`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use uarr::uarr;
    ///
    /// let first = db.put("user:1", uarr!({ "name": "Ada" }))?; // a UArr record
    /// let second = db.put("note", b"any bytes")?;
    /// assert!(second.lsn > first.lsn);
    /// # Ok(())
    /// # }
    /// ```
    pub fn put(&self, key: impl AsKey, value: impl AsValue) -> Result<Commit> {
        self.with(WriteOptions::new()).put(key, value)
    }

    /// As [`Db::put`], for tasks of any runtime: nothing happens before the first poll, and
    /// the task waits for a full log or a commit under way without blocking. The thread that wrote
    /// a group wakes all of its tasks together. A waker may poll its task at once and call any
    /// verb; it must not block until another task of this database has gone on.
    ///
    /// Dropping the future withdraws the write only if it was not polled yet; later it may or may
    /// not become durable, whole. A poll blocks its thread only while it makes space that the
    /// background should have made ahead (a value for which no ready segment has room, a disk that
    /// is nearly full), and in databases opened without background threads.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let (first, second) = tokio::join!(db.put_async("a", b"1"), db.put_async("b", b"2"));
    /// assert!(first?.lsn != second?.lsn);
    /// # Ok::<_, uarr::Error>(())
    /// # })?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_async(&self, key: impl AsKey, value: impl AsValue) -> Result<Commit> {
        self.with(WriteOptions::new()).put_async(key, value).await
    }

    /// Removes `key`, whether or not it is there. Durability and errors as for [`Db::put`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("a", b"1")?;
    /// db.delete("a")?;
    /// assert!(!db.contains("a")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(&self, key: impl AsKey) -> Result<Commit> {
        self.with(WriteOptions::new()).delete(key)
    }

    /// As [`Db::delete`], for tasks; see [`Db::put_async`].
    pub async fn delete_async(&self, key: impl AsKey) -> Result<Commit> {
        self.with(WriteOptions::new()).delete_async(key).await
    }

    /// Changes the value of `key`, a UArr record, by `patch`. The log gets the patch if that is
    /// shorter than the value it leads to; readers get a record like any other. Durability as for
    /// [`Db::put`].
    ///
    /// The patch applies to the newest version of the key, even if several threads patch it at
    /// once: none of the changes is lost. A patch does not notice that another writer has changed
    /// the record since the caller computed it.
    ///
    /// Errors: `KeyNotFound` if there is no record, `InvalidArgument` if its value is no UArr
    /// record or the patch does not fit it, and those of [`Db::put`]. Then it writes nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use uarr::{Db, uarr, value::Patch};
    /// let dir = tempfile::tempdir()?;
    /// let db = Db::open(&dir)?;
    /// db.put("ada", uarr!({ "name": "Ada", "born": 1815, "tags": ["x"] }))?;
    /// db.patch("ada", &Patch::builder().set("born", 1816).push("tags", "y").build()?)?;
    /// let ada = db.get("ada")?.ok_or("not found")?;
    /// assert_eq!(ada.uarr()?.to_string(), r#"{"name":"Ada","born":1816,"tags":["x","y"]}"#);
    /// # Ok(())
    /// # }
    /// ```
    pub fn patch(&self, key: impl AsKey, patch: &Patch) -> Result<Commit> {
        self.with(WriteOptions::new()).patch(key, patch)
    }

    /// As [`Db::patch`], for tasks; see [`Db::put_async`]. The task also waits, without
    /// blocking, while the newest version of the key is on its way to the device, and behind
    /// threads that wait to patch it. On a key that others never stop writing it may have to wait
    /// long; threads get their turns in order.
    pub async fn patch_async(&self, key: impl AsKey, patch: &Patch) -> Result<Commit> {
        self.with(WriteOptions::new()).patch_async(key, patch).await
    }

    /// The writing verbs under `options` instead of the database's own promise.
    pub fn with(&self, options: WriteOptions) -> Writer<'_, S> {
        Writer::new(self.core(), self.table.as_deref(), options)
    }

    /// The writing verbs, each acknowledged only once it survives a loss of power: short for `with`
    /// and [`WriteOptions::durable`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use uarr::{Db, Durability};
    ///
    /// let db = Db::builder(&dir).durability(Durability::Manual).open()?;
    /// db.put("draft", b"in memory")?;
    /// let receipt = db.durable().put("order", b"on the device, and the draft with it")?;
    /// assert!(receipt.is_durable);
    /// # Ok(())
    /// # }
    /// ```
    pub fn durable(&self) -> Writer<'_, S> {
        self.with(WriteOptions::new().durable())
    }

    /// Collects changes that are committed together: all or none of them survive a crash, and
    /// readers see all or none of them.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.batch().put("from", b"90").put("to", b"110").delete("pending").commit()?;
    ///
    /// let mut batch = db.batch();
    /// for number in 0..3 {
    ///     batch.put(format!("item:{number}"), b"x");
    /// }
    /// batch.commit()?;
    /// assert_eq!(db.prefix("item:")?.count(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch(&self) -> Batch<'_, S> {
        self.with(WriteOptions::new()).batch()
    }

    /// Returns when everything written before the call survives a loss of power.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use uarr::{Db, Durability};
    ///
    /// let db = Db::builder(&dir).durability(Durability::Manual).open()?;
    /// for number in 0..1000u32 {
    ///     db.put(format!("item:{number}"), b"x")?; // in memory
    /// }
    /// db.sync()?; // on the device
    /// # Ok(())
    /// # }
    /// ```
    pub fn sync(&self) -> Result<()> {
        self.core().committer.sync()
    }

    /// As [`Db::sync`], for tasks of any runtime: a thread of its own waits for the device while
    /// the task waits without blocking. A task that wants its own write durable needs none with
    /// [`Db::durable`].
    pub async fn sync_async(&self) -> Result<()> {
        let db = self.clone();
        on_own_thread(move || db.sync()).await
    }

    /// Takes a checkpoint now: recovery then starts here, and older log segments can be recycled.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("a", b"1")?;
    /// db.checkpoint()?;
    /// assert_eq!(db.stats().checkpoint_count, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn checkpoint(&self) -> Result<()> {
        self.core().checkpoint(Then::GoOn)
    }

    /// Gives back all space that records which were overwritten or deleted take: moves others out
    /// of the way, and takes checkpoints, in the thread of the caller. In the background this
    /// happens as far as [`crate::Builder::space_amplification_max`] asks; this goes further, and
    /// is for when a database has shrunk, or will rest. Readers and writers go on meanwhile.
    ///
    /// The data file keeps its length. Of the places that became free some are kept for later
    /// writes; the space of the others goes back to the file system, if that has holes in files.
    ///
    /// Errors: `NoSpace`, `Io`, `Corruption` (as [`Db::checkpoint`]), `Poisoned`, `Closed`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let db = uarr::Db::builder(&dir).chunk_bytes(1 << 16).open()?;
    /// for round in 0..100u8 {
    ///     db.put("session", [round; 4000])?;
    /// }
    /// let report = db.compact()?;
    /// assert_eq!(report.waiting_bytes, 0, "no iterator and no record is kept");
    /// assert!(db.stats().space.free_bytes > 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn compact(&self) -> Result<CompactReport> {
        self.core().compact()
    }

    /// Moves no record in the background until [`Db::resume_compaction`]. What is overwritten takes
    /// space meanwhile. For a time in which every microsecond counts.
    pub fn pause_compaction(&self) {
        self.core().committer.keeps_garbage.store(true, Ordering::Relaxed);
    }

    /// Ends [`Db::pause_compaction`].
    pub fn resume_compaction(&self) {
        self.core().committer.keeps_garbage.store(false, Ordering::Relaxed);
        self.core().committer.mover.raise();
    }

    /// Measures how long a durable write takes with each commit strategy on this directory as it is
    /// now, stores the result, and from now on uses the best if the database was opened with
    /// [`crate::CommitPath::Auto`]. Takes some tenths of a second; writes go on meanwhile, and
    /// disturb it.
    ///
    /// Errors: `NoSpace` and `Io` (the strategies could not be measured; if the superblock could
    /// not be written, the database is poisoned), `Poisoned`, `Closed`.
    pub fn tune(&self) -> Result<CommitTuning> {
        self.core().tune()
    }

    /// Does one piece of background work, for databases opened without threads of their own.
    /// `false`: there was nothing to do.
    pub fn step(&self) -> Result<bool> {
        self.core().step()
    }

    /// Reads every record, the log and the index images again and checks them. `progress` gets the
    /// number of records done so far, and may call the database. The report lists damage; other
    /// errors end the call.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("a", b"1")?;
    /// let report = db.verify(|records| println!("{records} records"))?;
    /// assert!(report.is_clean(), "{:?}", report.damages);
    /// # Ok(())
    /// # }
    /// ```
    pub fn verify(&self, progress: impl FnMut(u64)) -> Result<VerifyReport> {
        self.core().verify(progress)
    }

    /// Counters and sizes.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("a", b"1")?;
    /// let stats = db.stats();
    /// assert_eq!((stats.commit_count, stats.key_count), (1, 1));
    /// assert!(stats.background_error.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Stats {
        self.core().stats()
    }

    /// What opening found and did.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.core().report
    }

    /// What kind of keys the table has.
    pub fn key_kind(&self) -> KeyKind {
        self.space().kind
    }

    /// Directory of the database.
    pub fn path(&self) -> &Path {
        &self.core().path
    }
}
