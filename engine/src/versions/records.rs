//! The records of an open database: what readers see, and all of it that writers change.
//!
//! Invariants:
//! - Readers take no lock. They see versions up to [`Visible::lsn`]; a writer raises it only after
//!   it has put the records into data file and index.
//! - Only the applier writes to the two. Records know nothing of the log or of commits.

use uarr_index::IndexStats;
use uarr_layout::DatabaseId;
use uarr_layout::chunk::{ChunkEntry, ChunkState};
use uarr_layout::frame::Frame;
use uarr_layout::geometry::{PAGE_BYTES, align_up_u64};
use uarr_layout::record::Locator;
use uarr_uring::Storage;

use crate::data::applier::{Applier, Target};
use crate::data::key_index::KeyIndex;
use crate::data::space::DataSpace;
use crate::data::store::{RecordStore, RecordView};
use crate::error::Result;
use crate::key::{AsKey, KeyKind};
use crate::limits::TOGETHER_MAX;
use crate::structure::Structure;
use crate::sync::{Rank, Ranked, lock};
use crate::versions::pins::Pins;
use crate::versions::visible::Visible;

/// Data file and index, and how far readers see.
pub(crate) struct Records<S: Storage> {
    pub store: RecordStore<S::Map>,
    pub index: KeyIndex,
    pub space: DataSpace<S::File>,
    pub visible: Visible,
    applier: Ranked<Applier<S::MapWriter>>,
    pins: Pins,
    database: DatabaseId,
    chunk_bytes: u64,
}

/// Whose data file it is, and how it is divided.
#[derive(Clone, Copy)]
pub(crate) struct DataIdentity {
    pub database: DatabaseId,
    pub chunk_bytes: u64,
}

impl<S: Storage> Records<S> {
    /// Records as recovery found them.
    pub fn new(
        identity: DataIdentity,
        (store, index): (RecordStore<S::Map>, KeyIndex),
        applier: Applier<S::MapWriter>,
        space: DataSpace<S::File>,
        visible_lsn: u64,
    ) -> Self {
        let DataIdentity { database, chunk_bytes } = identity;
        let (applier, visible) = (Ranked::new(Rank::Applier, applier), Visible::new(visible_lsn));
        let pins = Pins::default();
        Self { store, index, space, visible, applier, pins, database, chunk_bytes }
    }

    /// Identity of the database.
    pub fn database(&self) -> DatabaseId {
        self.database
    }

    /// Size of the chunks of the data file.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// What kind of keys the records have.
    #[inline]
    pub fn key_kind(&self) -> KeyKind {
        self.index.kind
    }

    /// The newest visible record of `key`.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Result<Option<RecordView<'_>>> {
        let visible_lsn = self.visible.lsn();
        match self.index.get(key, &self.store)? {
            Some(locator) => {
                let view = self.store.record_of(locator, |found| found == key)?;
                self.version_of(locator, view, visible_lsn)
            }
            None => Ok(None),
        }
    }

    /// Gives `take` the newest visible record of each of up to [`TOGETHER_MAX`] keys, in their
    /// order; cache misses of index and records overlap.
    pub fn get_group<'a, K: AsKey>(
        &'a self,
        keys: &[K],
        mut take: impl FnMut(Option<RecordView<'a>>),
    ) -> Result<()> {
        let visible_lsn = self.visible.lsn();
        let mut all = [None; TOGETHER_MAX];
        let locators = &mut all[..keys.len()];
        self.index.get_group(keys, &self.store, locators)?;
        for (key, locator) in keys.iter().zip(locators) {
            let is_key =
                |found: &[u8]| self.key_kind().encode(key).is_ok_and(|key| key.as_ref() == found);
            take(match *locator {
                Some(locator) => {
                    let view = self.store.record_of(locator, is_key)?;
                    self.version_of(locator, view, visible_lsn)?
                }
                None => None,
            });
        }
        Ok(())
    }

    /// The version at or before `lsn` of the record whose newest version is `view`, at `locator`;
    /// `None` if there was none, or if it removes its key.
    #[inline]
    pub fn version_of<'a>(
        &'a self,
        locator: Locator,
        view: RecordView<'a>,
        lsn: u64,
    ) -> Result<Option<RecordView<'a>>> {
        let view = match view.header.lsn.get() <= lsn {
            true => Some(view),
            false => self.version_before(locator, view, lsn)?,
        };
        Ok(view.filter(|view| !view.header.is_tombstone()))
    }

    /// The version at or before `lsn` that `view`, at `locator`, came after.
    #[inline(never)]
    fn version_before<'a>(
        &'a self,
        mut locator: Locator,
        mut view: RecordView<'a>,
        lsn: u64,
    ) -> Result<Option<RecordView<'a>>> {
        while view.header.lsn.get() > lsn {
            let later = view.header.lsn.get();
            let Some(previous) = Locator::from_bits(view.header.previous.get()) else {
                return Ok(None);
            };
            view = self.store.record(previous)?;
            //= DAT-4
            if view.header.lsn.get() >= later {
                let what = "the version before the record is not older";
                return Err(Structure::record(locator.address()).lsn(later).damage(what));
            }
            locator = previous;
        }
        Ok(Some(view))
    }

    /// The newest record of `key` that is applied, visible or not; `None` if it is a deletion.
    pub fn newest(&self, key: &[u8]) -> Result<Option<Locator>> {
        let newest = self.index.get(key, &self.store)?;
        Ok(newest.filter(|locator| !locator.is_tombstone()))
    }

    /// The key of the record at `locator`; see [`KeyIndex::key_of`].
    pub fn key_of(&self, locator: Locator) -> Result<&[u8]> {
        self.index.key_of(locator, &self.store)
    }

    /// Pins the newest visible LSN: versions that it needs stay reachable until it is unpinned.
    pub fn pin(&self) -> u64 {
        self.pins.pin(&self.visible)
    }

    /// Ends a pin.
    pub fn unpin(&self, lsn: u64) {
        self.pins.unpin(lsn);
    }

    /// Has the processor fetch what applying a write of `key` will touch.
    pub fn expect_write(&self, key: &[u8]) {
        self.index.prefetch(key);
    }

    /// Makes the data file at least `end` bytes long. One caller at a time.
    pub fn grow(&self, end: u64) -> Result<()> {
        self.space.grow(end, &self.store, &self.applier)
    }

    /// Applies records that are not visible yet, in the order of their LSNs.
    pub fn apply<'f>(&self, frames: impl Iterator<Item = Frame<'f>>) {
        let mut applier = lock(&self.applier);
        applier.apply_all(&self.target(), frames);
        applier.forget_deleted(&self.target(), || self.pins.oldest(&self.visible));
    }

    /// Applies and shows a batch that ends with `lsn`. The caller keeps the order of LSNs.
    pub fn apply_and_show(&self, frames: &[Frame<'_>], lsn: u64) {
        assert!(frames.last().is_some_and(|last| last.header.lsn.get() == lsn));
        let mut applier = lock(&self.applier);
        frames.chunks(TOGETHER_MAX).for_each(|group| applier.apply(&self.target(), group));
        self.visible.show(lsn);
        applier.forget_deleted(&self.target(), || self.pins.oldest(&self.visible));
    }

    /// Opens the chunks that `frames` say to lie somewhere.
    pub fn open_chunks(&self, frames: &[Frame<'_>]) {
        let mut applier = lock(&self.applier);
        frames.iter().for_each(|frame| applier.open_chunk(frame));
    }

    /// Seals the chunks of `table`, which all records staged before are in: their durable bytes are
    /// noted there, and no writer touches these any more. The open one ends at `open_end`.
    pub fn seal(&self, table: &mut [ChunkEntry], open_end: u64) {
        let mut applier = lock(&self.applier);
        for entry in table {
            let address = entry.number.get() * self.chunk_bytes;
            let published = self.store.published_bytes(address);
            let end = match entry.state() {
                ChunkState::Open => open_end,
                _ => align_up_u64(published, PAGE_BYTES),
            };
            applier.appender.pad(address, published, end);
            assert!(self.store.published_bytes(address) >= end, "it is complete up to there");
            entry.durable_bytes = u32::try_from(end).expect("chunks are small").into();
        }
    }

    /// Number of keys; exact while no thread writes.
    pub fn key_count(&self) -> u64 {
        let tombstone_count = lock(&self.applier).tombstones.indexed_count();
        self.index.len().saturating_sub(tombstone_count) as u64
    }

    /// Shape of the index for points, and of the ordered one beside it if there are two.
    pub fn index_stats(&self) -> (IndexStats, Option<IndexStats>) {
        self.index.stats()
    }

    fn target(&self) -> Target<'_, S::Map> {
        Target { index: &self.index, store: &self.store }
    }
}
