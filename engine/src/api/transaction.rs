//! Transactions: reads and writes that are as if they had all happened in one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uarr_layout::frame::{Frame, FrameKind};
use uarr_uring::{Storage, System};

use crate::api::checked::Checked;
use crate::api::db::Db;
use crate::api::handle::Handle;
use crate::api::key_range::{KeyRange, StoredRange};
use crate::api::owned_record::OwnedRecord;
use crate::api::range::Range;
use crate::api::record::Record;
use crate::api::table_place::index_of;
use crate::api::transaction_range::{New, TransactionRange, note_got};
use crate::commit::receipt::Commit;
use crate::commit::recent::ReadSet;
use crate::commit::transacted::Begun;
use crate::commit::written::{NewValue, Written, WrittenKeys};
use crate::error::{Error, Result};
use crate::expiry::AsValue;
use crate::key::{AsKey, KeyKind};
use crate::key_space::KeySpace;
use crate::limits::BATCH_BYTES_MAX;
use crate::options::WriteOptions;
use crate::sync::{Rank, Ranked, lock};
use crate::table_prefix::TablePrefix;
use crate::versions::open_table::OpenTable;

/// Numbers of transactions, so that it is seen when one lies in the place of another.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

const REPLACED: &str = "the body has put another transaction in the place of the one it was given, \
                        which was not committed; leave the given one in its place";

/// Reads and writes that are as if they had all happened in the moment of the commit, and no
/// others in between: serializable, whatever other transactions and writers do.
///
/// It is optimistic: it takes no lock and holds nobody up. It reads as of the moment when it began,
/// and its own writes; these are seen by others when they are committed, together. If somebody else
/// has written by then what it has read, the commit fails with [`crate::ErrorKind::Conflict`] and
/// writes nothing: run it again, or have [`Db::transaction`] do so. What counts as read is what was
/// asked for: a key that is not there, and a range with all that is not in it, however far it was
/// walked. A record that it has got and that has expired by the commit conflicts, too; and so does
/// one beside which others have written more than 16 MiB of keys, whatever these are. Writes alone
/// never do.
///
/// It belongs to one task or thread at a time, and keeps the database open, as a clone of it does.
/// Old versions that it may read are kept meanwhile, see [`crate::Snapshot`]. Dropped without
/// a commit it has written nothing.
pub struct Transaction<S: Storage = System> {
    /// Dropped first: the last handle closes the database, which needs no old versions.
    begun: Begun,
    /// No other one of this process has it.
    pub(in crate::api) number: u64,
    handle: Arc<Handle<S>>,
    /// That of the handle it was begun with; `None`: the default one.
    pub(in crate::api) table: Option<Arc<OpenTable>>,
    options: WriteOptions,
    reads: Ranked<ReadSet>,
    /// By stored key.
    writes: WrittenKeys,
    bytes: usize,
    /// When it began, for records that are not in the data file and expire.
    moment_ms: u64,
}

impl<S: Storage> fmt::Debug for Transaction<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Transaction");
        shown.field("version", &self.version()).field("write_count", &self.writes.len());
        shown.finish_non_exhaustive()
    }
}

impl<S: Storage> Drop for Transaction<S> {
    fn drop(&mut self) {
        // In a forked process a thread of the parent may have held the lock.
        if !self.handle.core.storage().is_forked() {
            self.handle.core.committer.end_transaction(self.begun.lsn);
        }
    }
}

impl<S: Storage> Transaction<S> {
    pub(in crate::api) fn new(db: &Db<S>, begun: Begun) -> Self {
        let (handle, table) = (db.handle.clone(), db.table.clone());
        let reads = Ranked::new(Rank::Leaf, ReadSet::new(begun.lsn, begun.staged_from));
        let (options, writes) = (WriteOptions::new(), WrittenKeys::new());
        // One moment for all; where nothing expires that others wrote, its own writes may.
        let moment_ms = Some(begun.pin.moment_ms).filter(|moment_ms| *moment_ms > 0);
        let moment_ms = moment_ms.unwrap_or_else(|| handle.core.records().clock.now_ms());
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Self { number, handle, table, begun, options, reads, writes, bytes: 0, moment_ms }
    }

    /// The commit is durable before it is acknowledged, whatever the database's class; and so is
    /// what was read, even if nothing is written.
    pub fn durable(&mut self) -> &mut Self {
        self.options = self.options.durable();
        self
    }

    /// The newest version that it reads, but for its own writes.
    pub fn version(&self) -> u64 {
        self.begun.version()
    }

    /// The record of `key`: what this transaction has put, or else what was there when it began. A
    /// record of its own has no version yet: 0.
    ///
    /// Errors: as for [`Db::get`].
    pub fn get(&self, key: impl AsKey) -> Result<Option<OwnedRecord>> {
        self.get_in(self.table.as_deref(), &key)
    }

    /// Whether `key` is there; as [`Transaction::get`].
    pub fn contains(&self, key: impl AsKey) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The records with keys in `range`, in key order, both ways, with what this transaction has
    /// written by now. All keys of the range count as read.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.batch().put("a", b"1").put("b", b"2").commit()?;
    /// let mut tx = db.begin()?;
    /// tx.put("c", b"3")?;
    /// tx.delete("a")?;
    /// let values = tx.range(..)?.map(|record| Ok(record?[0]));
    /// assert_eq!(values.collect::<uarr::Result<Vec<_>>>()?, b"23");
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(&self, range: impl KeyRange) -> Result<TransactionRange<'_, S>> {
        let table = self.table.as_deref();
        Ok(self.records_in(table, StoredRange::of(self.space_of(table), range)?))
    }

    /// All records; as [`Transaction::range`].
    pub fn iter(&self) -> TransactionRange<'_, S> {
        self.records_in(self.table.as_deref(), StoredRange::all())
    }

    /// The records whose byte keys start with `prefix`; as [`Transaction::range`].
    pub fn prefix(&self, prefix: impl AsKey) -> Result<TransactionRange<'_, S>> {
        let table = self.table.as_deref();
        Ok(self.records_in(table, StoredRange::of_prefix(self.space_of(table), &prefix)?))
    }

    /// Sets `key` to `value` when it is committed.
    ///
    /// Errors: `InvalidArgument`, also if all that is written is too much for a batch.
    pub fn put(&mut self, key: impl AsKey, value: impl AsValue) -> Result<()> {
        let table = self.table.clone();
        self.put_in(table.as_deref(), &key, &value)
    }

    /// Removes `key` when it is committed; otherwise as [`Transaction::put`].
    pub fn delete(&mut self, key: impl AsKey) -> Result<()> {
        let table = self.table.clone();
        self.delete_in(table.as_deref(), &key)
    }

    /// What kind of keys the table has with whose handle it was begun.
    pub fn key_kind(&self) -> KeyKind {
        self.space_of(self.table.as_deref()).kind
    }

    /// Commits what was written, if nobody else has written what was read. `None`: there was
    /// nothing to write; then there is no conflict, for what was read was all there in one moment.
    ///
    /// Durability and errors as for [`Db::put`]; also `Conflict`.
    pub fn commit(mut self) -> Result<Option<Commit>> {
        self.commit_writes()
    }

    /// As [`Transaction::commit`], for tasks; see [`Db::put_async`].
    pub async fn commit_async(mut self) -> Result<Option<Commit>> {
        self.commit_writes_async().await
    }

    pub(in crate::api) fn commit_writes(&mut self) -> Result<Option<Commit>> {
        let options = self.promise();
        let Self { begun, handle, reads, writes, .. } = self;
        let (committer, mut frames) = (&handle.core.committer, frames_of(writes));
        if frames.is_empty() {
            return committer.tell_begun(begun, options).map(|()| None);
        }
        committer.write_transaction(&mut frames, reads.get_mut(), options).map(Some)
    }

    pub(in crate::api) async fn commit_writes_async(&mut self) -> Result<Option<Commit>> {
        let options = self.promise();
        let Self { begun, handle, reads, writes, .. } = self;
        let (committer, mut frames) = (&handle.core.committer, frames_of(writes));
        if frames.is_empty() {
            return committer.tell_begun_async(begun, options).await.map(|()| None);
        }
        committer.write_transaction_async(&mut frames, reads.get_mut(), options).await.map(Some)
    }

    /// What it promises if it is committed now.
    fn promise(&self) -> WriteOptions {
        let tables = self.writes.keys().filter_map(|key| TablePrefix::of(key));
        let numbers: BTreeSet<u32> = tables.map(TablePrefix::number).collect();
        let is_durable = !numbers.is_empty() && self.handle.core.have_durable_writes(&numbers);
        if is_durable { self.options.durable() } else { self.options }
    }

    pub(in crate::api) fn get_in(
        &self,
        table: Option<&OpenTable>,
        key: &dyn AsKey,
    ) -> Result<Option<OwnedRecord>> {
        self.note_table(table);
        self.check_table(table)?;
        let records = self.handle.core.records();
        let (index, kind) = (index_of(&self.handle.core, table), records.key_kind());
        let key = index.space.encode(key)?;
        let own = self.writes.get(key.as_ref());
        if own.is_none() {
            lock(&self.reads).note_key(key.as_ref());
        }
        if let Some(written) = own.or_else(|| self.begun.staged.get(key.as_ref())) {
            let value = written.as_ref().and_then(|value| value.at(self.moment_ms));
            let record = value.map(|value| OwnedRecord::of_new(kind, key.as_ref(), value));
            return Ok(record.inspect(|record| note_got(&self.reads, record)));
        }
        let found = records.get_pinned(index, key.as_ref(), &self.begun.pin)?;
        let record = found.map(|found| Record::new(found, kind).to_owned());
        Ok(record.inspect(|record| note_got(&self.reads, record)))
    }

    pub(in crate::api) fn put_in(
        &mut self,
        table: Option<&OpenTable>,
        key: &dyn AsKey,
        value: &dyn AsValue,
    ) -> Result<()> {
        let Checked { bytes, expires_ms } = self.handle.core.checked(table, value)?;
        let value = NewValue { bytes: bytes.into(), expires_ms, version: 0 };
        self.write(table, key, Some(value))
    }

    pub(in crate::api) fn delete_in(
        &mut self,
        table: Option<&OpenTable>,
        key: &dyn AsKey,
    ) -> Result<()> {
        self.write(table, key, None)
    }

    pub(in crate::api) fn space_of(&self, table: Option<&OpenTable>) -> KeySpace {
        index_of(&self.handle.core, table).space
    }

    pub(in crate::api) fn is_of(&self, db: &Db<S>) -> bool {
        Arc::ptr_eq(&self.handle, &db.handle)
    }

    /// The catalog's record of `table` counts as read: who drops it conflicts.
    fn note_table(&self, table: Option<&OpenTable>) {
        let note = |table: &OpenTable| lock(&self.reads).note_key(&table.catalog_key);
        table.into_iter().for_each(note);
    }

    /// Errors: `table` was dropped before the transaction began.
    pub(in crate::api) fn check_table(&self, table: Option<&OpenTable>) -> Result<()> {
        table.map_or(Ok(()), |table| table.check_at(self.version()))
    }

    fn write(&mut self, table: Option<&OpenTable>, key: &dyn AsKey, value: Written) -> Result<()> {
        self.note_table(table);
        table.map_or(Ok(()), OpenTable::check)?;
        let stored = self.space_of(table).encode(key)?;
        let value_bytes = |value: &Written| value.as_ref().map_or(0, |own| own.bytes.len());
        let bytes = |value: &Written| stored.as_ref().len() + value_bytes(value);
        let replaced = self.writes.get(stored.as_ref()).map_or(0, bytes);
        let total = self.bytes - replaced + bytes(&value);
        if total > BATCH_BYTES_MAX {
            return Err(Error::invalid(format!(
                "a transaction writes at most {BATCH_BYTES_MAX} bytes of keys and values"
            )));
        }
        self.bytes = total;
        self.writes.insert(stored.as_ref().into(), value);
        Ok(())
    }

    pub(in crate::api) fn records_in<'a>(
        &'a self,
        table: Option<&'a OpenTable>,
        range: StoredRange,
    ) -> TransactionRange<'a, S> {
        self.note_table(table);
        let (core, index) = (&self.handle.core, index_of(&self.handle.core, table));
        lock(&self.reads).note_range(index.space.prefix, &range.low, &range.high);
        let new = self.new_in(index.space.prefix, &range);
        let kept = Range::pinned(core, index, range, self.begun.pin.clone());
        let kept = kept.if_ok(|| self.check_table(table));
        TransactionRange::new((kept, new), &self.reads, core.records().key_kind())
    }

    /// What was written in `range` of the table with `prefix`, or was staged when it began.
    fn new_in(&self, prefix: Option<TablePrefix>, range: &StoredRange) -> Vec<New<'_>> {
        let first = prefix.as_ref().map(TablePrefix::as_bytes);
        let low = match (&range.low, first) {
            (Bound::Unbounded, Some(first)) => Bound::Included(first),
            (low, _) => low.as_ref().map(Vec::as_slice),
        };
        let high = range.high.as_ref().map(Vec::as_slice);
        if is_empty(low, high) {
            return Vec::new();
        }
        let [staged, own] =
            [&self.begun.staged, &self.writes].map(|keys| keys.range::<[u8], _>((low, high)));
        // Its own come last, and stay.
        let new: BTreeMap<_, _> = staged.chain(own).collect();
        let of_table = new.into_iter().filter(|(key, _)| TablePrefix::of(key) == prefix);
        let moment_ms = self.moment_ms;
        of_table
            .map(|(key, new)| (&**key, new.as_ref().and_then(|value| value.at(moment_ms))))
            .collect()
    }

    /// Errors: it is not the one with `number`, which its body was given.
    pub(in crate::api) fn check_in_place(&self, number: u64) -> Result<()> {
        match self.number == number {
            true => Ok(()),
            false => Err(Error::invalid(REPLACED)),
        }
    }

    /// Returns when what it has read may be told a caller to whom it promised no more than the
    /// database does.
    pub(in crate::api) fn tell_read(&self) -> Result<()> {
        self.handle.core.committer.tell_begun(&self.begun, WriteOptions::new())
    }

    /// As `tell_read`, without blocking.
    pub(in crate::api) async fn tell_read_async(&self) -> Result<()> {
        self.handle.core.committer.tell_begun_async(&self.begun, WriteOptions::new()).await
    }

    /// The write that was found to conflict.
    pub(in crate::api) fn conflict_lsn(&self) -> u64 {
        lock(&self.reads).conflict_lsn()
    }
}

/// Whether no key lies between the bounds.
fn is_empty(low: Bound<&[u8]>, high: Bound<&[u8]>) -> bool {
    match (low, high) {
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Excluded(high))
        | (Bound::Excluded(low), Bound::Included(high)) => low >= high,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

fn frames_of(writes: &WrittenKeys) -> Vec<Frame<'_>> {
    writes
        .iter()
        .map(|(key, value)| match value {
            Some(NewValue { bytes, expires_ms, .. }) => {
                Frame::new(FrameKind::Put, 0, key, bytes).expiring(*expires_ms)
            }
            None => Frame::new(FrameKind::Delete, 0, key, &[]),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uarr_disk_sim::Memory;

    use super::*;
    use crate::Expires;

    /// The clock was read twice: a record of its own was gone, one of others that expires in the
    /// same moment was not.
    #[test]
    fn what_expires_at_one_moment_is_gone_at_one_moment() {
        let memory = Memory::new();
        let db = Db::builder("memory").background(false).open_on(memory.clone()).unwrap();
        let in_a_second = db.core().records().clock.now_ms() + 1000;
        let expiring =
            || b"1".expires_at(std::time::UNIX_EPOCH + Duration::from_millis(in_a_second));
        db.put("theirs", expiring()).unwrap();
        let begun = db.core().committer.begin_transaction().unwrap();
        memory.advance(Duration::from_secs(2));
        let mut transaction = Transaction::new(&db, begun);
        transaction.put("own", expiring()).unwrap();
        assert!(transaction.contains("theirs").unwrap());
        assert!(transaction.contains("own").unwrap());
        let count = transaction.iter().count();
        assert_eq!(count, 2);
    }
}
