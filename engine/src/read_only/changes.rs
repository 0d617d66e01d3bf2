//! [`Changes`]: what the log behind a checkpoint has changed, as positions; the values stay where
//! they are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use uarr_layout::frame::FrameKind;
use uarr_layout::record::Locator;

use crate::data::applier::Replayed;
use crate::recovery::frames::LoggedFrame;
use crate::table_prefix::TablePrefix;

/// Where a frame stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FramePlace {
    pub segment: u64,
    pub offset: u64,
    /// Its length, padding included.
    pub bytes: usize,
    pub lsn: u64,
}

/// What the patches of a key build upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistoryBase {
    /// What the image says of the key.
    Image,
    /// The key was deleted.
    Deleted,
    /// The record of the frame with this LSN, which is durable in the data file.
    Record(Locator, u64),
    /// The value of this frame.
    Frame(FramePlace),
}

/// What has become of a key since the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub base: HistoryBase,
    /// Patches of it, in their order.
    pub patches: Vec<FramePlace>,
}

impl History {
    fn of(base: HistoryBase) -> Self {
        Self { base, patches: Vec::new() }
    }

    /// Whether the key is not there any more.
    pub fn is_deleted(&self) -> bool {
        self.base == HistoryBase::Deleted && self.patches.is_empty()
    }

    /// Bytes that have to be read for it, about.
    pub fn read_bytes(&self) -> usize {
        let base_bytes = match self.base {
            HistoryBase::Frame(place) => place.bytes,
            HistoryBase::Record(locator, _) => 64 * locator.line_count() as usize,
            HistoryBase::Image | HistoryBase::Deleted => 0,
        };
        base_bytes + self.patches.iter().map(|patch| patch.bytes).sum::<usize>()
    }
}

/// See [`self`]. By stored key, of the default table and of all others.
#[derive(Default)]
pub(crate) struct Changes {
    default: BTreeMap<Vec<u8>, History>,
    others: BTreeMap<Vec<u8>, History>,
    /// The keys that matter; `None`: all.
    only: Option<BTreeSet<Vec<u8>>>,
}

impl Changes {
    /// None yet, and of these keys alone.
    pub fn only(keys: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { only: Some(keys.into_iter().collect()), ..Self::default() }
    }

    /// The next frame of the log changes its key.
    pub fn note(&mut self, logged: &LoggedFrame<'_>, record: Replayed) {
        let (frame, key) = (&logged.frame, logged.frame.key);
        if self.only.as_ref().is_some_and(|only| !only.contains(key)) {
            return;
        }
        let lsn = frame.header.lsn.get();
        let place = FramePlace {
            segment: logged.segment,
            offset: logged.offset,
            bytes: frame.len_in_log(),
            lsn,
        };
        let base = match (FrameKind::from_byte(frame.header.kind), record) {
            (Ok(FrameKind::Delete), _) => HistoryBase::Deleted,
            (_, Replayed::InFile) => HistoryBase::Record(Locator::of_frame(frame), lsn),
            (Ok(FrameKind::Patch), Replayed::Missing) => {
                let first = || History::of(HistoryBase::Image);
                self.map_of(key).entry(key.to_vec()).or_insert_with(first).patches.push(place);
                return;
            }
            (_, Replayed::Missing) => HistoryBase::Frame(place),
        };
        self.map_of(key).insert(key.to_vec(), History::of(base));
    }

    fn map_of(&mut self, key: &[u8]) -> &mut BTreeMap<Vec<u8>, History> {
        if TablePrefix::of(key).is_some() { &mut self.others } else { &mut self.default }
    }

    /// What has become of `key`; `None`: nothing.
    pub fn of(&self, key: &[u8]) -> Option<&History> {
        let map = if TablePrefix::of(key).is_some() { &self.others } else { &self.default };
        map.get(key)
    }

    /// Keys between the bounds, of the default table or of all others, in order.
    pub fn range(
        &self,
        is_default: bool,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = (&Vec<u8>, &History)> {
        let map = if is_default { &self.default } else { &self.others };
        // A map refuses bounds that leave no room.
        let is_possible = match (low, high) {
            (Bound::Included(low), Bound::Included(high)) => low <= high,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
            (
                Bound::Included(low) | Bound::Excluded(low),
                Bound::Included(high) | Bound::Excluded(high),
            ) => low < high,
        };
        let found = is_possible.then(|| map.range::<[u8], _>((low, high)));
        found.into_iter().flatten()
    }
}
