//! The handle that callers hold.

use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;

use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::uarr::Patch;
use uarr_uring::{Storage, System, SystemOptions};

use crate::api::batch::Batch;
use crate::api::builder::{Builder, check_directory};
use crate::api::range::{Range, prefix_end};
use crate::api::record::Record;
use crate::commit::patched::Change;
use crate::commit::receipt::Commit;
use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::jobs::threads::Threads;
use crate::key::{AsKey, KeyKind, stored_prefix};
use crate::limits::{TOGETHER_MAX, check_value};
use crate::log::strategy::CommitTuning;
use crate::observe::stats::Stats;
use crate::observe::verify::VerifyReport;
use crate::options::{Options, WriteOptions};
use crate::report::RecoveryReport;
use crate::sync::lock;

const CLOSES_ALREADY: &str = "the database is being closed, and this thread is one that is waited \
                              for; let the waker that calls this return";

/// An open database. Clones share it; any thread may use it. Readers take no lock.
///
/// When the last clone is dropped the database is closed as by [`Db::close`], but errors are lost.
///
/// A process that is forked off one with an open database can use none of its handles: it has none
/// of its threads. It may drop them, or end or replace itself; that changes nothing. Until it does,
/// the database can stay locked after its parent ended without closing it. To use a database on
/// both sides of a fork, open it after the fork, on one side.
pub struct Db<S: Storage = System> {
    handle: Arc<Handle<S>>,
}

struct Handle<S: Storage> {
    core: Arc<Core<S>>,
    threads: Threads,
    ending: Mutex<Ending>,
    /// The first `close` is through; waited for with `ending`.
    ended: Condvar,
}

/// How far closing has come.
enum Ending {
    NotBegun,
    /// This thread closes the database.
    By(ThreadId),
    Over(Result<()>),
}

impl<S: Storage> Clone for Db<S> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone() }
    }
}

impl Db {
    /// Opens the database in directory `path`, creating both if need be, with the default options:
    /// byte keys, every write durable before it is acknowledged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open()
    }

    /// Options for opening or creating the database in directory `path`.
    pub fn builder(path: impl AsRef<Path>) -> Builder {
        Builder::new(path.as_ref().to_path_buf())
    }
}

impl Builder {
    /// Opens the database, creating it if there is none and `create` was not switched off.
    pub fn open(self) -> Result<Db> {
        self.options.check()?;
        self.find_directory()?;
        let shown = self.path.display();
        let system = System::open(&self.path, SystemOptions { backend: self.backend })
            .map_err(|error| Error::io(format!("cannot use directory {shown}"), error))?;
        self.open_on(system)
    }

    /// Finds the directory, or makes it.
    fn find_directory(&self) -> Result<()> {
        match check_directory(&self.path) {
            Err(error) if self.options.create && error.kind() == ErrorKind::NotFound => {
                let shown = self.path.display();
                std::fs::create_dir(&self.path)
                    .map_err(|error| Error::io(format!("cannot create directory {shown}"), error))
            }
            checked => checked,
        }
    }

    /// Opens the database on any storage; the path is only shown in messages.
    pub fn open_on<S: Storage>(self, storage: S) -> Result<Db<S>> {
        self.options.check()?;
        Db::open_storage(storage, self.options, self.path)
    }
}

impl<S: Storage> Db<S> {
    pub(crate) fn open_storage(storage: S, options: Options, path: PathBuf) -> Result<Self> {
        let core = Arc::new(crate::recovery::open::open(storage, options, path)?);
        let threads = Threads::start(&core)?;
        let (ending, ended) = (Mutex::new(Ending::NotBegun), Condvar::new());
        Ok(Self { handle: Arc::new(Handle { core, threads, ending, ended }) })
    }

    pub(crate) fn core(&self) -> &Core<S> {
        &self.handle.core
    }

    /// Sets `key` to `value`. Acknowledged and visible as the database's [`crate::Durability`]
    /// says.
    ///
    /// Errors: `InvalidArgument`, `NoSpace` and `Busy` (nothing was written), `Io` (it may have
    /// been), `Poisoned`, `Closed`.
    pub fn put(&self, key: impl AsKey, value: impl AsRef<[u8]>) -> Result<Commit> {
        self.put_with(key, value, WriteOptions::new())
    }

    /// As [`Db::put`], acknowledged as `options` ask.
    pub fn put_with(
        &self,
        key: impl AsKey,
        value: impl AsRef<[u8]>,
        options: WriteOptions,
    ) -> Result<Commit> {
        let key = self.core().records().key_kind().encode(&key)?;
        let value = value.as_ref();
        check_value(value)?;
        self.core().committer.expect_write(key.as_ref());
        let frame = Frame::new(FrameKind::Put, 0, key.as_ref(), value);
        self.core().committer.write(&mut [frame], options)
    }

    /// As [`Db::put_with`], for tasks of any runtime: nothing happens before the first poll, a full
    /// log or a commit under way are waited for without blocking. All tasks of a group are woken
    /// together, by the thread that wrote it. A waker may poll its task at once and call any verb;
    /// it must not block until another task of this database has gone on.
    ///
    /// Dropping the future withdraws the write only if it was not polled yet; later it may or may
    /// not become durable, whole. A thread is blocked only while space is made that the background
    /// should have made ahead (a value for which no ready segment has room, a disk that is nearly
    /// full), and in databases opened without background threads.
    pub async fn put_async(
        &self,
        key: impl AsKey,
        value: impl AsRef<[u8]>,
        options: WriteOptions,
    ) -> Result<Commit> {
        let key = self.core().records().key_kind().encode(&key)?;
        let value = value.as_ref();
        check_value(value)?;
        let frame = Frame::new(FrameKind::Put, 0, key.as_ref(), value);
        self.core().committer.write_async(&mut [frame], options).await
    }

    /// Removes `key`, whether or not it is there. Durability and errors as for [`Db::put`].
    pub fn delete(&self, key: impl AsKey) -> Result<Commit> {
        self.delete_with(key, WriteOptions::new())
    }

    /// As [`Db::delete`], acknowledged as `options` ask.
    pub fn delete_with(&self, key: impl AsKey, options: WriteOptions) -> Result<Commit> {
        let key = self.core().records().key_kind().encode(&key)?;
        let frame = Frame::new(FrameKind::Delete, 0, key.as_ref(), &[]);
        self.core().committer.write(&mut [frame], options)
    }

    /// As [`Db::delete_with`], for tasks; see [`Db::put_async`].
    pub async fn delete_async(&self, key: impl AsKey, options: WriteOptions) -> Result<Commit> {
        let key = self.core().records().key_kind().encode(&key)?;
        let frame = Frame::new(FrameKind::Delete, 0, key.as_ref(), &[]);
        self.core().committer.write_async(&mut [frame], options).await
    }

    /// Changes the value of `key`, a UArr record, by `patch`. The log gets the patch if that is
    /// shorter than the value it leads to; readers get a record like any other. Durability as for
    /// [`Db::put`].
    ///
    /// The patch is applied to the newest version of the key, also where several threads patch it
    /// at once: none of the changes is lost. A change of the record by another writer after the
    /// patch was computed is not noticed.
    ///
    /// Errors: `KeyNotFound` if there is no record, `InvalidArgument` if its value is no UArr
    /// record or the patch does not fit it, and those of [`Db::put`]. Nothing is written then.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use uarr::{Db, uarr, value::Patch};
    /// let dir = tempfile::tempdir()?;
    /// let db = Db::open(&dir)?;
    /// db.put("ada", uarr!({ "name": "Ada", "born": 1815, "tags": ["x"] }))?;
    /// let patch = Patch::from_record(uarr!([[0, ["born"], 1816], [2, ["tags"], ["y"]]]))?;
    /// db.patch("ada", &patch)?;
    /// let ada = db.get("ada")?.ok_or("not found")?;
    /// assert_eq!(ada.uarr()?.to_string(), r#"{"name":"Ada","born":1816,"tags":["x","y"]}"#);
    /// # Ok(())
    /// # }
    /// ```
    pub fn patch(&self, key: impl AsKey, patch: &Patch) -> Result<Commit> {
        self.patch_with(key, patch, WriteOptions::new())
    }

    /// As [`Db::patch`], acknowledged as `options` ask.
    pub fn patch_with(
        &self,
        key: impl AsKey,
        patch: &Patch,
        options: WriteOptions,
    ) -> Result<Commit> {
        let key = self.core().records().key_kind().encode(&key)?;
        let (key, bytes) = (key.as_ref(), patch.as_bytes());
        let change = Change { kind: FrameKind::Patch, key, bytes };
        self.core().committer.write_patched(&[change], options)
    }

    /// As [`Db::patch_with`], for tasks; see [`Db::put_async`]. The task also waits, without
    /// blocking, while the newest version of the key is on its way to the device, and behind
    /// threads that wait to patch it. On a key that others never stop writing it may have to wait
    /// long; threads are served in order.
    pub async fn patch_async(
        &self,
        key: impl AsKey,
        patch: &Patch,
        options: WriteOptions,
    ) -> Result<Commit> {
        let key = self.core().records().key_kind().encode(&key)?;
        let (key, bytes) = (key.as_ref(), patch.as_bytes());
        let change = Change { kind: FrameKind::Patch, key, bytes };
        self.core().committer.write_patched_async(&[change], options).await
    }

    /// The record of `key`, in place. No system call and no lock.
    ///
    /// Errors: `InvalidArgument`, `Corruption`.
    #[inline]
    pub fn get(&self, key: impl AsKey) -> Result<Option<Record<'_>>> {
        let kind = self.key_kind();
        let key = kind.encode(&key)?;
        Ok(self.core().records().get(key.as_ref())?.map(|view| Record::new(view, kind)))
    }

    /// The records of all `keys`, in the same order: as [`Db::get`] one after the other, each of
    /// them as of its own moment, but with the cache misses of 16 keys at a time overlapping.
    /// Several times faster where the data is larger than the processor's caches.
    pub fn get_many<K: AsKey>(&self, keys: &[K]) -> Result<Vec<Option<Record<'_>>>> {
        let (core, kind) = (self.core(), self.key_kind());
        let mut records = Vec::with_capacity(keys.len());
        for keys in keys.chunks(TOGETHER_MAX) {
            core.records()
                .get_group(keys, |view| records.push(view.map(|view| Record::new(view, kind))))?;
        }
        Ok(records)
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: impl AsKey) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// Collects changes that are committed together: all or none of them survive a crash, and
    /// readers see all or none of them.
    pub fn batch(&self) -> Batch<'_, S> {
        Batch::new(self.core())
    }

    /// The records with keys in `range`, in key order, as of now. `rev()` walks backwards. A range
    /// whose start lies behind its end is empty. A bound may be empty in tables with byte keys:
    /// every key lies behind it.
    pub fn range<K: AsKey>(&self, range: impl RangeBounds<K>) -> Result<Range<'_, S>> {
        let low = match self.bound(range.start_bound())? {
            // Every key lies behind the empty one.
            Bound::Included(key) if key.is_empty() => Bound::Unbounded,
            low => low,
        };
        let high = match self.bound(range.end_bound())? {
            // And no key is it.
            Bound::Included(key) if key.is_empty() => Bound::Excluded(key),
            high => high,
        };
        Ok(Range::new(self.core().records(), low, high))
    }

    /// All records, in key order, as of now.
    pub fn iter(&self) -> Range<'_, S> {
        Range::new(self.core().records(), Bound::Unbounded, Bound::Unbounded)
    }

    /// The records whose byte keys start with `prefix`, in key order, as of now; with the empty
    /// prefix all records, those of integers included.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Range<'_, S>> {
        if self.key_kind() != KeyKind::Bytes {
            return Err(Error::invalid("prefixes are for tables with byte keys; use a range"));
        }
        let prefix = stored_prefix(prefix.as_ref());
        let high = prefix_end(&prefix);
        let low = match prefix.is_empty() {
            true => Bound::Unbounded,
            false => Bound::Included(prefix),
        };
        Ok(Range::new(self.core().records(), low, high))
    }

    /// The record with the lowest key.
    pub fn first(&self) -> Result<Option<Record<'_>>> {
        self.iter().next().transpose()
    }

    /// The record with the highest key.
    pub fn last(&self) -> Result<Option<Record<'_>>> {
        self.iter().next_back().transpose()
    }

    /// Returns when everything written before the call survives a loss of power.
    pub fn sync(&self) -> Result<()> {
        self.core().committer.sync()
    }

    /// Takes a checkpoint now: recovery then starts here, and older log segments can be recycled.
    pub fn checkpoint(&self) -> Result<()> {
        self.core().checkpoint(false)
    }

    /// Measures how long a durable write takes with each commit strategy on this directory as it is
    /// now, stores the result, and from now on uses the best if the database was opened with
    /// [`crate::CommitPath::Auto`]. Takes some tenths of a second; writes go on meanwhile, and
    /// disturb it.
    pub fn tune(&self) -> Result<CommitTuning> {
        self.core().tune()
    }

    /// Does one piece of background work, for databases opened without threads of their own.
    /// `false`: there was nothing to do.
    pub fn step(&self) -> Result<bool> {
        self.core().step()
    }

    /// Reads every record, the log and the index images again and checks them. `progress` gets the
    /// number of records done so far, and may call the database. Damage is listed in the report;
    /// other errors are returned.
    pub fn verify(&self, progress: impl FnMut(u64)) -> Result<VerifyReport> {
        self.core().verify(progress)
    }

    /// Counters and sizes.
    pub fn stats(&self) -> Stats {
        self.core().stats()
    }

    /// What opening found and did.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.core().report
    }

    /// What kind of keys the database has.
    pub fn key_kind(&self) -> KeyKind {
        self.core().records().key_kind()
    }

    /// Directory of the database.
    pub fn path(&self) -> &Path {
        &self.core().path
    }

    /// Makes everything durable, takes a checkpoint and ends the background threads. Other clones
    /// can still read; their writes get `Closed`. Closing again waits for the first `close` and
    /// returns what it returned.
    ///
    /// May be called by a waker, whatever thread runs it. `Busy`: the waker was run by a thread
    /// that the `close` under way waits for, so this one cannot wait in turn; the other goes on.
    pub fn close(self) -> Result<()> {
        self.handle.close()
    }

    /// The stored form of a bound. Unlike a key it may be empty in tables with byte keys.
    fn bound<K: AsKey>(&self, bound: Bound<&K>) -> Result<Bound<Vec<u8>>> {
        let kind = self.key_kind();
        let encode = |key: &K| -> Result<Vec<u8>> {
            let is_bytes = kind == KeyKind::Bytes && key.kind() == kind;
            if is_bytes && key.to_key().as_ref().is_empty() {
                return Ok(Vec::new());
            }
            Ok(kind.encode(key)?.as_ref().to_vec())
        };
        Ok(match bound {
            Bound::Included(key) => Bound::Included(encode(key)?),
            Bound::Excluded(key) => Bound::Excluded(encode(key)?),
            Bound::Unbounded => Bound::Unbounded,
        })
    }
}

impl<S: Storage> Handle<S> {
    fn close(&self) -> Result<()> {
        if self.core.storage().is_forked() {
            let message = "this process was forked off the one that has the database open, which \
                           alone can close it";
            return Err(Error::new(ErrorKind::Closed, message));
        }
        let caller = std::thread::current().id();
        let mut ending = lock(&self.ending);
        loop {
            match &*ending {
                Ending::NotBegun => break,
                Ending::Over(result) => return result.clone(),
                Ending::By(closer) if *closer == caller || self.threads.include_caller() => {
                    return Err(Error::new(ErrorKind::Busy, CLOSES_ALREADY));
                }
                Ending::By(_) => ending = crate::sync::wait(&self.ended, ending),
            }
        }
        *ending = Ending::By(caller);
        drop(ending);
        // Should this thread panic, others must not wait for it for ever.
        let mut over = Over { handle: self, result: None };
        self.core.committer.begin_closing();
        self.core.committer.run_due_wakes();
        self.threads.stop(&self.core);
        let result = self.core.checkpoint(true);
        over.result = Some(result.clone());
        result
    }
}

/// Ends a `close` when it is dropped.
struct Over<'a, S: Storage> {
    handle: &'a Handle<S>,
    result: Option<Result<()>>,
}

impl<S: Storage> Drop for Over<'_, S> {
    fn drop(&mut self) {
        let result = self.result.take().unwrap_or_else(|| {
            let cause = Error::new(ErrorKind::Io, "closing was abandoned by a panic");
            Err(self.handle.core.committer.poison_by(&cause))
        });
        *lock(&self.handle.ending) = Ending::Over(result);
        self.handle.ended.notify_all();
    }
}

impl<S: Storage> Drop for Handle<S> {
    fn drop(&mut self) {
        if self.core.storage().is_forked() {
            // Everything but this process' memory is the parent's: nothing is ended, written,
            // waited for or unlocked, and no lock is taken, which a thread of the parent may have
            // held.
            std::mem::forget(self.core.clone());
            self.threads.forget();
            return;
        }
        // Nobody is left to tell: what was acknowledged as durable is, and reopening replays the
        // log.
        let _ = self.close();
    }
}
