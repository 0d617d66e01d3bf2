//! Iteration over what a transaction reads in the data file, what was staged when it began, and
//! what it has written.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;

use uarr_uring::{Storage, System};

use crate::api::owned_record::OwnedRecord;
use crate::api::range::Range;
use crate::api::record::Record;
use crate::commit::recent::ReadSet;
use crate::commit::written::NewValue;
use crate::error::{Error, Result};
use crate::key::KeyKind;
use crate::sync::{Ranked, lock};

/// A key that is not in the data file as the transaction sees it, and its value; `None`: the key is
/// removed.
pub(in crate::api) type New<'a> = (&'a [u8], Option<&'a NewValue>);

/// Records of a key range as a transaction sees them, in key order; see
/// [`crate::Transaction::range`]. `rev()` walks backwards. A damaged record is an error that
/// names it, and the range goes on behind it, as [`crate::Range`] does; where that ends with an
/// error, so does this one. In a table without order the transaction's own records, and those that
/// were staged when it began, come first.
pub struct TransactionRange<'a, S: Storage = System> {
    kept: Range<'a, S>,
    /// Records that `kept` has given and nobody has got yet, from each end.
    first: Option<Record<'a>>,
    last: Option<Record<'a>>,
    new: VecDeque<New<'a>>,
    /// In a table without order: the keys of all of these, in order.
    replaced: Option<Vec<&'a [u8]>>,
    /// Of the transaction.
    reads: &'a Ranked<ReadSet>,
    key_kind: KeyKind,
}

impl<S: Storage> fmt::Debug for TransactionRange<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TransactionRange");
        shown.field("kept", &self.kept).field("new_count", &self.new.len()).finish_non_exhaustive()
    }
}

impl<'a, S: Storage> TransactionRange<'a, S> {
    /// What `kept` has, but for the keys of `new`, which ascend.
    pub(in crate::api) fn new(
        (kept, new): (Range<'a, S>, Vec<New<'a>>),
        reads: &'a Ranked<ReadSet>,
        key_kind: KeyKind,
    ) -> Self {
        let is_ordered = kept.space().is_ordered();
        let replaced = (!is_ordered).then(|| new.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        assert!(replaced.as_ref().is_none_or(|keys| keys.is_sorted()), "they are searched for");
        Self { kept, first: None, last: None, new: new.into(), replaced, reads, key_kind }
    }

    /// As [`Iterator::next`], in a table without order.
    fn next_unordered(&mut self) -> Option<Result<OwnedRecord>> {
        while let new @ Some(_) = self.new.pop_front() {
            if let Some(record) = self.written(new) {
                return Some(Ok(record));
            }
        }
        loop {
            match self.kept.next()? {
                Ok(record) if self.is_replaced(record.stored_key()) => {}
                read => return Some(read.map(|record| self.got(&record))),
            }
        }
    }

    fn is_replaced(&self, key: &[u8]) -> bool {
        self.replaced.as_ref().is_some_and(|keys| keys.binary_search(&key).is_ok())
    }

    /// Behind `error` nothing more comes if `kept` has ended with it: new records alone would look
    /// like all that there are.
    fn ended(&mut self, error: Error) -> Error {
        if self.kept.is_over() {
            (self.first, self.last) = (None, None);
            self.new.clear();
        }
        error
    }

    fn written(&self, new: Option<New<'a>>) -> Option<OwnedRecord> {
        let (key, value) = new?;
        let record = OwnedRecord::of_new(self.key_kind, key, value?);
        note_got(self.reads, &record);
        Some(record)
    }

    fn got(&self, record: &Record<'_>) -> OwnedRecord {
        let record = record.to_owned();
        note_got(self.reads, &record);
        record
    }
}

impl<S: Storage> Iterator for TransactionRange<'_, S> {
    type Item = Result<OwnedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.replaced.is_some() {
            return self.next_unordered();
        }
        loop {
            if self.first.is_none() {
                self.first = match self.kept.next() {
                    Some(Ok(record)) => Some(record),
                    Some(Err(error)) => return Some(Err(self.ended(error))),
                    None => self.last.take(),
                };
            }
            let order = match (&self.first, self.new.front()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(record), Some((key, _))) => record.stored_key().cmp(key),
            };
            if order == Ordering::Less {
                return self.first.take().map(|record| Ok(self.got(&record)));
            }
            if order == Ordering::Equal {
                self.first = None;
            }
            let new = self.new.pop_front();
            if let Some(record) = self.written(new) {
                return Some(Ok(record));
            }
        }
    }
}

impl<S: Storage> DoubleEndedIterator for TransactionRange<'_, S> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if self.last.is_none() {
                self.last = match self.kept.next_back() {
                    Some(Ok(record)) => Some(record),
                    Some(Err(error)) => return Some(Err(self.ended(error))),
                    None => self.first.take(),
                };
            }
            let order = match (&self.last, self.new.back()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Greater,
                (None, Some(_)) => Ordering::Less,
                (Some(record), Some((key, _))) => record.stored_key().cmp(key),
            };
            if order == Ordering::Greater {
                return self.last.take().map(|record| Ok(self.got(&record)));
            }
            if order == Ordering::Equal {
                self.last = None;
            }
            let new = self.new.pop_back();
            if let Some(record) = self.written(new) {
                return Some(Ok(record));
            }
        }
    }
}

/// Notes in `reads` that the transaction has got `record`. Its own writes, which have no version
/// yet, do not count as read.
pub(in crate::api) fn note_got(reads: &Ranked<ReadSet>, record: &OwnedRecord) {
    if record.expires_ms() > 0 && record.version() > 0 {
        lock(reads).note_expiry(record.expires_ms());
    }
}

#[cfg(test)]
mod tests {
    use uarr_disk_sim::Memory;

    use super::*;
    use crate::Db;
    use crate::api::key_range::StoredRange;
    use crate::api::table_place::index_of;
    use crate::sync::Rank;

    /// What the transaction itself has written came behind an error that was the end of the rest.
    #[test]
    fn an_error_that_ends_the_range_is_its_end() {
        let db = Db::builder("memory").background(false).open_on(Memory::new()).unwrap();
        db.batch().put("b", b"1").put("d", b"1").commit().unwrap();
        for is_reversed in [false, true] {
            let core = db.core();
            let kept = Range::new(core, index_of(core, None), StoredRange::all());
            let kept = kept.if_ok(|| Err(Error::invalid("it ends here")));
            let value = NewValue { bytes: [1].into(), expires_ms: 0, version: 0 };
            let new: Vec<New<'_>> = vec![(b"a", Some(&value)), (b"c", Some(&value))];
            let reads = Ranked::new(Rank::Leaf, ReadSet::new(0, None));
            let mut range = TransactionRange::new((kept, new), &reads, KeyKind::Bytes);
            let mut next = || if is_reversed { range.next_back() } else { range.next() };
            assert!(next().unwrap().is_err());
            assert!(next().is_none(), "the other end has none either");
            assert!(range.next().is_none() && range.next_back().is_none());
        }
    }
}
