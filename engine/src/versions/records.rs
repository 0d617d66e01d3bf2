//! The records of an open database: what readers see, and all of it that writers change.
//!
//! Invariants:
//! - Readers take no lock. They see versions up to [`Visible::lsn`]; a writer raises it only after
//!   it has put the records into data file and index.
//! - Only the applier writes to the two. Records know nothing of the log or of commits.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use uarr_index::IndexStats;
use uarr_layout::DatabaseId;
use uarr_layout::chunk::{ChunkEntry, ChunkState};
use uarr_layout::frame::Frame;
use uarr_layout::geometry::{PAGE_BYTES, align_up_u64};
use uarr_layout::record::Locator;
use uarr_uring::{ClosedChunk, DataMap, MapPin, Owner, Storage};

use crate::data::applier::{Applier, Moved, Target};
use crate::data::copies::ColdChunk;
use crate::data::key_index::KeyIndex;
use crate::data::live::LiveRecords;
use crate::data::record_view::{HeldRecord, RecordView};
use crate::data::space::DataSpace;
use crate::data::store::{Reader, RecordStore};
use crate::data::tables::{OtherIndex, Tables};
use crate::error::{Error, Result};
use crate::key::{AsKey, KeyKind};
use crate::limits::TOGETHER_MAX;
use crate::structure::Structure;
use crate::sync::{Rank, Ranked, RankedGuard, lock};
use crate::versions::clock::Clock;
use crate::versions::pins::{Keeps, LsnPin, Pins};
use crate::versions::retained::Retained;
use crate::versions::visible::Visible;

/// Data file and index, and how far readers see.
pub(crate) struct Records<S: Storage> {
    pub store: RecordStore<S::Map>,
    pub tables: Tables,
    pub space: DataSpace<S::File>,
    pub visible: Visible,
    /// Old versions that pins need, out of chunks that are closed.
    pub retained: Retained,
    pub pins: Pins,
    /// When records expire.
    pub clock: Clock<S>,
    applier: Ranked<Applier<S::MapWriter>>,
    database: DatabaseId,
    chunk_bytes: u64,
}

/// Whose data file it is, and how it is divided.
#[derive(Clone, Copy)]
pub(crate) struct DataIdentity {
    pub database: DatabaseId,
    pub chunk_bytes: u64,
    /// The process that has it open.
    pub owner: Owner,
}

impl<S: Storage> Records<S> {
    /// Records as recovery found them.
    pub fn new(
        identity: DataIdentity,
        (store, tables): (RecordStore<S::Map>, Tables),
        applier: Applier<S::MapWriter>,
        space: DataSpace<S::File>,
        visible_lsn: u64,
        clock: Clock<S>,
    ) -> Self {
        let DataIdentity { database, chunk_bytes, owner } = identity;
        let (applier, visible) = (Ranked::new(Rank::Applier, applier), Visible::new(visible_lsn));
        let (pins, retained) = (Pins::new(owner), Retained::new(chunk_bytes));
        Self {
            store,
            tables,
            space,
            visible,
            retained,
            pins,
            clock,
            applier,
            database,
            chunk_bytes,
        }
    }

    /// Identity of the database.
    pub fn database(&self) -> DatabaseId {
        self.database
    }

    /// Size of the chunks of the data file.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// What kind of keys the records of the default table have.
    #[inline]
    pub fn key_kind(&self) -> KeyKind {
        self.tables.default.space.kind
    }

    /// To read under `pin`.
    #[inline]
    pub fn reader<'p>(&'p self, pin: &'p MapPin) -> Reader<'p, S::Map> {
        self.store.reader(pin)
    }

    /// The newest visible record of `key`, of the table with `index`.
    #[inline]
    pub fn get(&self, index: &KeyIndex, key: &[u8]) -> Result<Option<HeldRecord<'_>>> {
        let pin = MapPin::enter();
        let reader = self.reader(&pin);
        let visible_lsn = self.visible.lsn();
        match index.get(key, reader)? {
            Some(locator) => {
                self.visible_version(locator, reader, visible_lsn, |found| found == key)
            }
            None => Ok(None),
        }
    }

    /// As [`Records::get`], in a table of integers, of the number that is stored.
    #[inline]
    pub fn get_int(&self, index: &KeyIndex, key: u64) -> Result<Option<HeldRecord<'_>>> {
        let pin = MapPin::enter();
        let reader = self.reader(&pin);
        let visible_lsn = self.visible.lsn();
        match index.get_int(key, reader) {
            Some(locator) => {
                let is_key = |found: &[u8]| index.int_of(found) == Some(key);
                self.visible_version(locator, reader, visible_lsn, is_key)
            }
            None => Ok(None),
        }
    }

    /// The version at or before `lsn` of the record at `locator`, whose key `is_key` recognizes.
    #[inline]
    fn visible_version<'s>(
        &'s self,
        locator: Locator,
        reader: Reader<'_, S::Map>,
        lsn: u64,
        is_key: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Option<HeldRecord<'s>>> {
        let view = reader.record_of(locator, is_key)?;
        let version = version_of(reader, locator, view, lsn)?;
        let version = version.filter(|view| !self.clock.has_passed(view.expires_ms()));
        Ok(version.map(|view| self.store.hold(view, reader.pin)))
    }

    /// The record of `key`, of the table with `index`, as of `pinned`.
    pub fn get_pinned(
        &self,
        index: &KeyIndex,
        key: &[u8],
        pinned: &LsnPin,
    ) -> Result<Option<HeldRecord<'_>>> {
        let pin = MapPin::enter();
        let reader = self.reader(&pin);
        let Some(locator) = index.get(key, reader)? else { return Ok(None) };
        let view = reader.record_of(locator, |found| found == key)?;
        let version = self.pinned_version(reader, locator, view, pinned)?;
        Ok(version.map(|view| self.store.hold(view, &pin)))
    }

    /// Gives `take` the newest visible record of each of up to [`TOGETHER_MAX`] keys, in their
    /// order; cache misses of index and records overlap.
    pub fn get_group<'a, K: AsKey>(
        &'a self,
        index: &KeyIndex,
        keys: &[K],
        mut take: impl FnMut(Option<HeldRecord<'a>>),
    ) -> Result<()> {
        let pin = MapPin::enter();
        let reader = self.reader(&pin);
        let visible_lsn = self.visible.lsn();
        let mut all = [None; TOGETHER_MAX];
        let locators = &mut all[..keys.len()];
        index.get_group(keys, reader, locators)?;
        for (key, locator) in keys.iter().zip(locators) {
            let is_key =
                |found: &[u8]| index.space.encode(key).is_ok_and(|key| key.as_ref() == found);
            take(match *locator {
                Some(locator) => self.visible_version(locator, reader, visible_lsn, is_key)?,
                None => None,
            });
        }
        Ok(())
    }

    /// The newest record of `key` that is applied, visible or not; `None` if it is a deletion.
    pub fn newest(&self, key: &[u8], reader: Reader<'_, S::Map>) -> Result<Option<Locator>> {
        Ok(self.tables.get(key, reader)?.filter(|locator| !locator.is_tombstone()))
    }

    /// As [`Records::newest`], deletions included as long as they are known: the record itself.
    pub fn newest_version<'p>(
        &'p self,
        key: &[u8],
        reader: Reader<'p, S::Map>,
    ) -> Result<Option<RecordView<'p>>> {
        let newest = self.tables.get(key, reader)?;
        newest.map(|locator| reader.record_of(locator, |found| found == key)).transpose()
    }

    /// Pins the newest visible LSN: what `keeps` says can be found until the pin ends.
    pub fn pin(&self, keeps: Keeps, now: impl FnOnce() -> Duration) -> LsnPin {
        self.pin_at(keeps, || self.visible.lsn(), now)
    }

    /// As [`Records::pin`], at the LSN that `lsn` returns: all up to there is applied, and it is
    /// not lower than the visible one.
    pub fn pin_at(
        &self,
        keeps: Keeps,
        lsn: impl FnOnce() -> u64,
        now: impl FnOnce() -> Duration,
    ) -> LsnPin {
        let lsn = || {
            let visible_lsn = self.visible.lsn();
            let lsn = lsn();
            assert!(visible_lsn <= lsn, "versions that only earlier readers see may be gone");
            lsn
        };
        let mut pin = self.pins.pin(keeps, lsn, now);
        // Behind the LSN: a record that expires and is seen is known to the clock.
        pin.moment_ms = self.clock.moment_ms();
        pin
    }

    /// As [`version_of`], for a reader that has `pin`; what had expired then is not there.
    pub fn pinned_version<'p>(
        &self,
        reader: Reader<'p, S::Map>,
        locator: Locator,
        view: RecordView<'p>,
        pin: &LsnPin,
    ) -> Result<Option<RecordView<'p>>> {
        let kept = match view.header.lsn.get() > pin.lsn {
            true => self.retained.version_at(view.key(), pin.lsn),
            false => None,
        };
        let version = match kept.map(|kept| kept.place) {
            Some(Some(place)) => Some(reader.record(place.locator)?),
            Some(None) => None,
            None => version_of(reader, locator, view, pin.lsn)?,
        };
        Ok(version.filter(|view| !view.has_expired_at(pin.moment_ms)))
    }

    /// Whether `view` shows a value that has not expired.
    pub fn is_live(&self, view: RecordView<'_>) -> bool {
        !view.header.is_tombstone() && !self.clock.has_passed(view.expires_ms())
    }

    /// Gives `places` of the data file space of their own. One caller at a time.
    pub fn allocate(&self, places: Range<u64>) -> Result<()> {
        self.space.allocate(places, &self.applier)
    }

    /// Gives the space of `places`, which no chunk has, back to the file system. One caller at a
    /// time.
    pub fn deallocate(&self, places: Range<u64>) -> Result<()> {
        let deallocated = lock(&self.applier).appender.deallocate(places);
        deallocated.map_err(|error| Error::io("cannot give back space of the data file", error))
    }

    /// Gives the space that chunks `numbers` have published nothing in back to the file system.
    /// Nothing may be written there any more. One caller at a time.
    pub fn give_back_rests(&self, numbers: Vec<u64>) -> Result<()> {
        let mut applier = lock(&self.applier);
        let given_back = numbers.into_iter().try_for_each(|n| applier.appender.give_back_rest(n));
        given_back.map_err(|error| Error::io("cannot give back space of the data file", error))
    }

    /// Applies records that are not visible yet, in the order of their LSNs.
    pub fn apply<'f>(&self, frames: impl Iterator<Item = Frame<'f>>) {
        let mut applier = lock(&self.applier);
        let pin = MapPin::enter();
        let target = self.target(&pin);
        applier.apply_all(&target, frames);
        applier.forget_deleted(&target, || self.pins.oldest(&self.visible));
    }

    /// Applies and shows a batch that ends with `lsn`. The caller keeps the order of LSNs.
    pub fn apply_and_show(&self, frames: &[Frame<'_>], lsn: u64) {
        assert!(frames.last().is_some_and(|last| last.header.lsn.get() == lsn));
        let mut applier = lock(&self.applier);
        let pin = MapPin::enter();
        let target = self.target(&pin);
        frames.chunks(TOGETHER_MAX).for_each(|group| applier.apply(&target, group));
        self.visible.show(lsn);
        applier.forget_deleted(&target, || self.pins.oldest(&self.visible));
    }

    /// Takes up to `count_max` keys out of the index that were deleted and that no reader needs any
    /// more: how many.
    pub fn forget_deleted(&self, count_max: usize) -> usize {
        let mut applier = lock(&self.applier);
        let pin = MapPin::enter();
        applier.forget_some(&self.target(&pin), count_max, self.pins.oldest(&self.visible))
    }

    /// Opens the chunks that `frames` say to lie somewhere.
    pub fn open_chunks(&self, frames: &[Frame<'_>]) {
        let mut applier = lock(&self.applier);
        frames.iter().for_each(|frame| applier.appender.open(frame));
    }

    /// Moves up to all of `records`, which are whole, to chunk `cold`.
    pub fn move_records(&self, records: &[Locator], cold: &ColdChunk) -> Result<Moved> {
        let mut applier = lock(&self.applier);
        let pin = MapPin::enter();
        applier.move_records(&self.target(&pin), records, cold)
    }

    /// What `locators` name, which the index of a table has named that was dropped, does not count
    /// as living any more.
    pub fn forget(&self, locators: &[Locator]) {
        let mut applier = lock(&self.applier);
        for locator in locators {
            applier.accounts.live.remove(*locator);
            if locator.is_tombstone() {
                applier.accounts.tombstones.forget(*locator);
                self.tables.note_forgotten();
            }
        }
    }

    /// If the index names nothing in chunk `number`: the LSN of the last record that was applied.
    pub fn emptied(&self, number: u64) -> Option<u64> {
        let applier = lock(&self.applier);
        (applier.accounts.live.of(number).count == 0).then(|| applier.appender.last_lsn())
    }

    /// What the index names, and what is kept for pins, in each of `chunks`.
    pub fn needed_in(&self, chunks: &[(u64, u64)]) -> Vec<LiveRecords> {
        let applier = lock(&self.applier);
        let needed_in = |(number, _): &(u64, u64)| {
            applier.accounts.live.of(*number) + self.retained.in_chunk(*number)
        };
        chunks.iter().map(needed_in).collect()
    }

    /// Readers find chunk `number` no more.
    pub fn close_chunk(&self, number: u64) -> ClosedChunk {
        let mut applier = lock(&self.applier);
        applier.accounts.expiring.forget(number);
        applier.appender.close(number)
    }

    /// The one writer.
    pub fn applier(&self) -> RankedGuard<'_, Applier<S::MapWriter>> {
        lock(&self.applier)
    }

    /// Cache lines of all that the index names.
    pub fn live_lines(&self) -> u64 {
        lock(&self.applier).accounts.live.total_lines()
    }

    /// Whether no reader looks at it any more.
    pub fn is_given_back(&self, closed: &mut ClosedChunk) -> bool {
        lock(&self.applier).appender.is_given_back(closed)
    }

    /// Seals the chunks of `table`, which all records staged before are in: their durable bytes are
    /// noted there, and no writer touches these any more. The open one ends at `open_end`.
    pub fn seal(&self, table: &mut [ChunkEntry], open_end: u64) -> Result<()> {
        let mut applier = lock(&self.applier);
        for entry in table {
            if entry.state() == ChunkState::Quarantined {
                continue;
            }
            let address = entry.number.get() * self.chunk_bytes;
            let published = self.store.published_bytes(address);
            let end = match entry.state() {
                ChunkState::Open => open_end,
                _ => align_up_u64(published, PAGE_BYTES),
            };
            let padded = applier.appender.pad(address, published, end);
            padded.map_err(|error| Error::io("cannot end a page of the data file", error))?;
            assert!(self.store.published_bytes(address) >= end, "it is complete up to there");
            entry.durable_bytes = u32::try_from(end).expect("chunks are small").into();
            entry.set_sweep_ms(applier.accounts.expiring.due_ms(entry.number.get()));
        }
        Ok(())
    }

    /// Number of keys of the default table, of what is applied.
    pub fn key_count(&self) -> u64 {
        self.key_count_beside(&lock(&self.applier))
    }

    /// As [`Records::key_count`], of a table but the default one.
    pub fn key_count_of(&self, other: &OtherIndex) -> u64 {
        // A key that is forgotten goes out of the index and out of the count under this lock.
        let _applier = lock(&self.applier);
        other.key_count()
    }

    /// Number of keys of the default table and of those that callers have made and that are still
    /// there, of what is applied.
    pub fn total_key_count(&self, is_there: impl Fn(&OtherIndex) -> bool) -> u64 {
        let is_counted = |other: &Arc<OtherIndex>| !other.is_internal() && is_there(other);
        let others: Vec<_> = self.tables.others().into_iter().filter(is_counted).collect();
        let applier = lock(&self.applier);
        let of_others: u64 = others.iter().map(|other| other.key_count()).sum();
        self.key_count_beside(&applier) + of_others
    }

    fn key_count_beside(&self, applier: &Applier<S::MapWriter>) -> u64 {
        let tombstone_count = applier.accounts.tombstones.indexed_count();
        let tombstone_count = tombstone_count.saturating_sub(self.tables.others_deleted_count());
        self.tables.default.len().saturating_sub(tombstone_count) as u64
    }

    /// Shape of the default table's index for points, and of the ordered one beside it if there are
    /// two.
    pub fn index_stats(&self) -> (IndexStats, Option<IndexStats>) {
        self.tables.default.stats()
    }

    fn target<'p>(&'p self, pin: &'p MapPin) -> Target<'p, S::Map> {
        Target { tables: &self.tables, reader: self.reader(pin) }
    }
}

/// The version at or before `lsn` of the record whose newest version is `view`, at `locator`;
/// `None` if there was none, or if it removes its key.
#[inline]
pub(crate) fn version_of<'p, M: DataMap>(
    reader: Reader<'p, M>,
    locator: Locator,
    view: RecordView<'p>,
    lsn: u64,
) -> Result<Option<RecordView<'p>>> {
    let view = match view.header.lsn.get() <= lsn {
        true => Some(view),
        false => version_before(reader, locator, view, lsn)?.record.map(|(_, view)| view),
    };
    Ok(view.filter(|view| !view.header.is_tombstone()))
}

/// An old version of a key.
pub(crate) struct OldVersion<'p> {
    /// LSN of the version that came next.
    pub until: u64,
    /// `None`: the key was not there before.
    pub record: Option<(Locator, RecordView<'p>)>,
}

/// The version at or before `lsn` that `view`, at `locator`, which is newer, came after.
#[inline(never)]
pub(crate) fn version_before<'p, M: DataMap>(
    reader: Reader<'p, M>,
    mut locator: Locator,
    mut view: RecordView<'p>,
    lsn: u64,
) -> Result<OldVersion<'p>> {
    loop {
        let until = view.header.lsn.get();
        assert!(until > lsn, "an older version is asked for");
        let Some(previous) = Locator::from_bits(view.header.previous.get()) else {
            return Ok(OldVersion { until, record: None });
        };
        view = reader.record(previous)?;
        //= DAT-4
        if view.header.lsn.get() >= until {
            let what = "the version before the record is not older";
            return Err(Structure::record(locator.address()).lsn(until).damage(what));
        }
        locator = previous;
        if view.header.lsn.get() <= lsn {
            return Ok(OldVersion { until, record: Some((locator, view)) });
        }
    }
}
