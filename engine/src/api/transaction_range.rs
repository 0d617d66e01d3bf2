//! Ordered iteration over what a transaction reads and what it has written.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;

use uarr_uring::{Storage, System};

use crate::api::owned_record::OwnedRecord;
use crate::api::range::Range;
use crate::api::record::Record;
use crate::error::Result;
use crate::key::KeyKind;

/// A key that the transaction has written, its value, and when that expires; `None`: the key is
/// removed.
pub(in crate::api) type Own<'a> = (&'a [u8], Option<(&'a [u8], u64)>);

/// Records of a key range as a transaction sees them, in key order; see
/// [`crate::Transaction::range`]. `rev()` walks backwards. A damaged record is an error that
/// names it, and the range goes on behind it, as [`crate::Range`] does.
pub struct TransactionRange<'a, S: Storage = System> {
    kept: Range<'a, S>,
    /// Records that `kept` has given and nobody has got yet, from each end.
    first: Option<Record<'a>>,
    last: Option<Record<'a>>,
    own: VecDeque<Own<'a>>,
    key_kind: KeyKind,
}

impl<S: Storage> fmt::Debug for TransactionRange<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TransactionRange");
        shown.field("kept", &self.kept).field("own_count", &self.own.len()).finish_non_exhaustive()
    }
}

impl<'a, S: Storage> TransactionRange<'a, S> {
    /// What `kept` has, but for the keys of `own`, which ascend.
    pub(in crate::api) fn new(kept: Range<'a, S>, own: Vec<Own<'a>>, key_kind: KeyKind) -> Self {
        Self { kept, first: None, last: None, own: own.into(), key_kind }
    }

    fn written(&self, own: Option<Own<'a>>) -> Option<OwnedRecord> {
        let (key, value) = own?;
        let (value, expires_ms) = value?;
        Some(OwnedRecord::of_parts(self.key_kind, key, value, (0, expires_ms)))
    }
}

impl<S: Storage> Iterator for TransactionRange<'_, S> {
    type Item = Result<OwnedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.first.is_none() {
                self.first = match self.kept.next() {
                    Some(Ok(record)) => Some(record),
                    Some(Err(error)) => return Some(Err(error)),
                    None => self.last.take(),
                };
            }
            let order = match (&self.first, self.own.front()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(record), Some((key, _))) => record.stored_key().cmp(key),
            };
            if order == Ordering::Less {
                return self.first.take().map(|record| Ok(record.to_owned()));
            }
            if order == Ordering::Equal {
                self.first = None;
            }
            let own = self.own.pop_front();
            if let Some(record) = self.written(own) {
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
                    Some(Err(error)) => return Some(Err(error)),
                    None => self.first.take(),
                };
            }
            let order = match (&self.last, self.own.back()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Greater,
                (None, Some(_)) => Ordering::Less,
                (Some(record), Some((key, _))) => record.stored_key().cmp(key),
            };
            if order == Ordering::Greater {
                return self.last.take().map(|record| Ok(record.to_owned()));
            }
            if order == Ordering::Equal {
                self.last = None;
            }
            let own = self.own.pop_back();
            if let Some(record) = self.written(own) {
                return Some(Ok(record));
            }
        }
    }
}
