//! [`ReadOnly`]: the handle of who only reads, and its verbs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use uarr_uring::{Storage, System};

use crate::api::builder::{Builder, check_directory, no_directory};
use crate::api::db::Db;
use crate::api::key_range::{KeyRange, StoredRange};
use crate::api::owned_record::OwnedRecord;
use crate::catalog::CatalogEntry;
use crate::error::{Error, Result};
use crate::files::ROOT_FILE;
use crate::key::{AsKey, KeyKind};
use crate::key_space::KeySpace;
use crate::read_only::changes::Changes;
use crate::read_only::merged::{RecordSource, WantedKey};
use crate::read_only::range::ReadOnlyRange;
use crate::read_only::shared::SharedView;
use crate::read_only::view::View;
use crate::report::RecoveryReport;

/// A database that was opened to read, and nothing else. Clones share it; any thread may use it.
///
/// - It takes no lock, and writes no file: a directory or file system that is read-only will do.
///   Any number of processes may read so, beside one that writes.
/// - All that it shows is as of its opening: what had reached the log by then. Of a memory-first
///   database ([`crate::Durability`]) that is less than its writer shows; and it may be more than
///   the writer has acknowledged: a group that is at the device, and that a loss of power might
///   still take.
/// - It reads what it is asked for: a look-up reads a few pieces of the index image, not the index.
///   Only the log behind the last checkpoint is read as a whole; a database that was closed in
///   order has none.
/// - It is for a look now and then. A program that reads all the time opens a [`Db`], whose reads
///   cost no system call.
///
/// A writer that goes on beside it takes checkpoints, and uses the space of what was overwritten
/// again. What a handle shows stays in the files until the second checkpoint after its opening is
/// taken; then its verbs fail with [`ErrorKind::Overtaken`](crate::ErrorKind::Overtaken): open
/// again. They never show something wrong instead.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use uarr::Db;
///
/// let db = Db::open(&dir)?;
/// db.put("user:1", b"Ada")?;
/// let reader = Db::open_read_only(&dir)?; // here, or in any other process
/// assert_eq!(reader.get("user:1")?.ok_or("not found")?.bytes(), b"Ada");
/// db.put("user:2", b"Bob")?;
/// assert!(reader.get("user:2")?.is_none(), "it was not there yet");
/// for record in Db::open_read_only(&dir)?.prefix("user:")? {
///     println!("{:?}", record?.key());
/// }
/// # Ok(())
/// # }
/// ```
pub struct ReadOnly<S: Storage = System> {
    shared: Arc<SharedView<S>>,
    /// What the verbs are about; `None`: the default table.
    table: Option<Arc<TableHere>>,
}

/// A table as of the opening.
pub(crate) struct TableHere {
    pub name: String,
    pub entry: CatalogEntry,
}

impl<S: Storage> Clone for ReadOnly<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), table: self.table.clone() }
    }
}

impl<S: Storage> fmt::Debug for ReadOnly<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ReadOnly");
        shown.field("path", &self.shared.view().path).field("keys", &self.key_kind());
        shown.finish_non_exhaustive()
    }
}

impl Db {
    /// Opens the database in directory `path` to read, and writes nothing: see [`ReadOnly`].
    /// Errors as for [`Builder::open_read_only`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<ReadOnly> {
        Self::builder(path).open_read_only()
    }
}

impl Builder {
    /// Opens the database to read, and writes nothing: see [`ReadOnly`]. Of the options those count
    /// that are about reading: `keys`, `recovery`.
    ///
    /// It finds the state that [`Builder::open`] would find, by the same rules, and cuts and
    /// repairs nothing: [`ReadOnly::recovery_report`] says what opening would get around.
    ///
    /// Errors: `InvalidArgument` (an option), `NotFound`, `NotADatabase`, `OtherFormat`,
    /// `Corruption`, `TornTail` (in mode `Strict`), `Overtaken`, `PermissionDenied`, `Io`.
    pub fn open_read_only(self) -> Result<ReadOnly> {
        check_directory(&self.path)?;
        let opened = System::open_to_read(&self.path, ROOT_FILE);
        let system = opened.map_err(|error| match error.kind() {
            // Somebody has just taken it away.
            std::io::ErrorKind::NotFound => no_directory(&self.path),
            _ => Error::io(format!("cannot use directory {}", self.path.display()), error),
        })?;
        self.open_read_only_on(system)
    }

    /// As [`Builder::open_read_only`], on any storage; the path is only shown in messages.
    pub fn open_read_only_on<S: Storage>(self, storage: S) -> Result<ReadOnly<S>> {
        let Self { path, mut options, .. } = self;
        options.create = false;
        let shared = SharedView::open((Arc::new(storage), path, options))?;
        Ok(ReadOnly { shared: Arc::new(shared), table: None })
    }
}

impl<S: Storage> ReadOnly<S> {
    pub(crate) fn shared(&self) -> &Arc<SharedView<S>> {
        &self.shared
    }

    /// A handle of a table, or of the catalog.
    pub(crate) fn of_table(&self, table: TableHere) -> Self {
        Self { shared: Arc::clone(&self.shared), table: Some(Arc::new(table)) }
    }

    /// The handle of the default table.
    pub(crate) fn of_default(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), table: None }
    }

    pub(crate) fn space(&self) -> KeySpace {
        match &self.table {
            Some(table) => table.entry.space(),
            None => KeySpace::default_of(self.shared.view().kind),
        }
    }

    /// The kind of the keys of the table.
    pub fn key_kind(&self) -> KeyKind {
        self.space().kind
    }

    /// Name of the table; empty: the default one.
    pub fn table_name(&self) -> &str {
        self.table.as_ref().map_or("", |table| &table.name)
    }

    /// What opening has found. As it writes nothing, what it says of the log's end stays so.
    pub fn recovery_report(&self) -> RecoveryReport {
        self.shared.view().report.clone()
    }

    /// The record of `key`. The first call of a database that was not closed in order reads the log
    /// behind its last checkpoint, and keeps what each key has become there in memory; see
    /// [`ReadOnly::get_many`].
    ///
    /// Errors: `InvalidArgument`, `Corruption`, `Overtaken`, `Io`.
    pub fn get(&self, key: impl AsKey) -> Result<Option<OwnedRecord>> {
        let key = self.space().encode(&key)?.as_ref().to_vec();
        self.shared.read(|view| {
            let changes = view.changes()?;
            Ok(lookup(view, std::slice::from_ref(&key), &changes)?.pop().flatten())
        })
    }

    /// The records of all `keys`, in the same order. It keeps in memory only what the log says of
    /// these: the better choice for a few keys of a database that was not closed in order.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("a", b"1")?;
    /// let reader = uarr::Db::open_read_only(&dir)?;
    /// let records = reader.get_many(&["a", "b"])?;
    /// assert_eq!(records[0].as_deref(), Some(&b"1"[..]));
    /// assert!(records[1].is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_many<K: AsKey>(&self, keys: &[K]) -> Result<Vec<Option<OwnedRecord>>> {
        let space = self.space();
        let stored = |key: &K| Ok(space.encode(key)?.as_ref().to_vec());
        let keys: Vec<Vec<u8>> = keys.iter().map(stored).collect::<Result<_>>()?;
        self.shared.read(|view| {
            let changes = view.changes_of(keys.iter().cloned())?;
            lookup(view, &keys, &changes)
        })
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: impl AsKey) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The records with keys in `range`, in key order; `rev()` walks backwards. As for
    /// [`Db::range`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.batch().put("a", b"1").put("b", b"2").put("c", b"3").commit()?;
    /// let mut keys = Vec::new();
    /// for record in uarr::Db::open_read_only(&dir)?.range("a".."c")?.rev() {
    ///     keys.push(record?.key().to_vec());
    /// }
    /// assert_eq!(keys, [b"b", b"a"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(&self, range: impl KeyRange) -> Result<ReadOnlyRange<S>> {
        Ok(self.records_in(StoredRange::of(self.space(), range)?))
    }

    /// The records whose byte keys start with `prefix`, in key order. As for [`Db::prefix`].
    pub fn prefix(&self, prefix: impl AsKey) -> Result<ReadOnlyRange<S>> {
        Ok(self.records_in(StoredRange::of_prefix(self.space(), &prefix)?))
    }

    /// All records, in key order if there is one.
    pub fn iter(&self) -> ReadOnlyRange<S> {
        self.records_in(StoredRange::all())
    }

    fn records_in(&self, StoredRange { low, high }: StoredRange) -> ReadOnlyRange<S> {
        ReadOnlyRange::new(Arc::clone(&self.shared), self.space(), (low, high))
    }

    /// How many keys there are: reads the index image, and no record. Those count, too, that have
    /// expired and are not deleted yet.
    ///
    /// Errors: `Corruption`, `Overtaken`, `Io`.
    pub fn count_keys(&self) -> Result<u64> {
        let space = self.space();
        self.shared.read(|view| view.count(space))
    }
}

impl<S: Storage> IntoIterator for &ReadOnly<S> {
    type Item = Result<OwnedRecord>;
    type IntoIter = ReadOnlyRange<S>;

    /// As [`ReadOnly::iter`].
    fn into_iter(self) -> ReadOnlyRange<S> {
        self.iter()
    }
}

/// The records of stored `keys`, about which `changes` knows all that the log says.
pub(crate) fn lookup<S: Storage>(
    view: &View<S>,
    keys: &[Vec<u8>],
    changes: &Changes,
) -> Result<Vec<Option<OwnedRecord>>> {
    let mut found: Vec<_> = keys.iter().map(|_| None).collect();
    let mut wanted = Vec::new();
    let mut places = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        let source = match changes.of(key) {
            Some(history) => Some(RecordSource::Changed(history.clone())),
            None => view.in_image(key)?.map(RecordSource::Record),
        };
        if let Some(source) = source {
            wanted.push(WantedKey { key: key.clone(), source });
            places.push(place);
        }
    }
    for (place, record) in places.into_iter().zip(view.fetch(&wanted)?) {
        found[place] = record?.filter(|record| !view.clock.has_passed(record.expires_ms()));
    }
    Ok(found)
}
