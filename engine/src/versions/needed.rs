//! What pins need of a chunk that is to be closed: found, and kept.
//!
//! All records of the chunk are old: the index names others. A pin may find its version of a key in
//! the chunk, or through a record there, by the link to the version before. In both cases that
//! version is kept ([`crate::versions::retained`]): in a copy if it lies in the chunk, else where
//! it lies. Versions up to a pin do not change any more, so this needs no lock but that of the one
//! writer, for copies.

use uarr_layout::record::Locator;
use uarr_uring::{MapPin, Storage};

use crate::data::copies::ColdChunk;
use crate::data::store::{Reader, misnamed};
use crate::error::Result;
use crate::limits::{MOVE_BYTES_MAX, MOVE_COUNT_MAX, MOVE_LOOK_COUNT_MAX};
use crate::versions::records::{OldVersion, Records, version_before};
use crate::versions::retained::{KeptRecord, KeptVersion};

/// A chunk that is to be closed, and the pins that may need something of it.
#[derive(Clone, Debug)]
pub(crate) struct ClosingChunk {
    pub number: u64,
    /// It holds one record, longer than a chunk, which is not copied.
    pub is_jumbo: bool,
    pub pins: Vec<u64>,
}

/// A version that lies in the chunk, and that is to be copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NeededCopy {
    locator: Locator,
    /// A pin that needs it, and until which LSN readers find it; `None`: it is kept already, where
    /// it lies.
    found_at: Option<(u64, u64)>,
}

/// What was found.
pub(crate) struct Needed {
    pub copies: Vec<NeededCopy>,
    /// Offset behind the records that were looked at.
    pub end: u64,
    /// The chunk ends there.
    pub is_last: bool,
}

impl<S: Storage> Records<S> {
    /// Looks for what pins need of `chunk`, from `offset` on, and keeps what need not be copied.
    /// Errors: damage.
    pub fn needed(&self, chunk: &ClosingChunk, offset: u64) -> Result<Needed> {
        let pin = MapPin::enter();
        let reader = self.reader(&pin);
        let mut scan = reader.scan_chunk(chunk.number * self.chunk_bytes(), offset);
        let has_kept = self.retained.in_chunk(chunk.number).count > 0;
        let (mut copies, mut bytes, mut pins) = (Vec::new(), 0, Vec::new());
        for _ in 0..MOVE_LOOK_COUNT_MAX {
            if copies.len() >= MOVE_COUNT_MAX || bytes >= MOVE_BYTES_MAX {
                break;
            }
            let Some((address, header)) = scan.next() else {
                return Ok(Needed { copies, end: scan.offset(), is_last: true });
            };
            let (locator, before) = (header.locator(address), copies.len());
            let key = reader.record(locator)?.key();
            let named = (locator, header.lsn.get());
            if has_kept && !chunk.is_jumbo && self.retained.names(key, named, &chunk.pins) {
                copies.push(NeededCopy { locator, found_at: None });
            }
            self.retained.not_served(key, &chunk.pins, &mut pins);
            self.need_at(reader, (key, &pins), chunk, &mut copies)?;
            bytes += (copies.len() - before) * header.record_bytes();
        }
        Ok(Needed { copies, end: scan.offset(), is_last: false })
    }

    /// Notes what readers at `pins`, which ascend, need of `key`: nothing is kept for them. One
    /// walk along the links goes from the newest version to the one that the lowest pin finds.
    fn need_at(
        &self,
        reader: Reader<'_, S::Map>,
        (key, mut pins): (&[u8], &[u64]),
        chunk: &ClosingChunk,
        copies: &mut Vec<NeededCopy>,
    ) -> Result<()> {
        if pins.is_empty() {
            return Ok(());
        }
        let Some(mut locator) = self.tables.get(key, reader)? else { return Ok(()) };
        let mut view = reader.record(locator)?;
        pins = &pins[..pins.partition_point(|lsn| *lsn < view.header.lsn.get())];
        while let Some(highest) = pins.last() {
            let old = version_before(reader, locator, view, *highest)?;
            let from = old.record.map_or(0, |(_, found)| found.header.lsn.get());
            let first = pins.partition_point(|lsn| *lsn < from);
            self.need(key, pins[first], &old, chunk, copies)?;
            pins = &pins[..first];
            let Some(found) = old.record else { break };
            (locator, view) = found;
        }
        Ok(())
    }

    /// Notes the version of `key` that a reader at `lsn` finds, and none with a lower pin.
    fn need(
        &self,
        key: &[u8],
        lsn: u64,
        old: &OldVersion<'_>,
        chunk: &ClosingChunk,
        copies: &mut Vec<NeededCopy>,
    ) -> Result<()> {
        let OldVersion { until, record } = *old;
        if let Some((locator, found)) = record
            && found.key() != key
        {
            return Err(misnamed(locator));
        }
        // Of a key that was not there it is not known since when.
        let from = record.map_or(lsn, |(_, found)| found.header.lsn.get());
        let keep = |place| self.retained.keep(key, lsn, KeptVersion { from, until, place });
        match record.filter(|(_, found)| !found.header.is_tombstone()) {
            Some((locator, _)) if !chunk.is_jumbo && self.is_in(locator, chunk.number) => {
                // Other records of the key lead to it, too.
                if copies.iter().all(|copy| copy.locator != locator) {
                    copies.push(NeededCopy { locator, found_at: Some((lsn, until)) });
                }
            }
            Some((locator, found)) => {
                keep(Some(KeptRecord::new(locator, found.header.record_bytes() as u64)));
            }
            None => keep(None),
        }
        Ok(())
    }

    fn is_in(&self, locator: Locator, number: u64) -> bool {
        locator.address() / self.chunk_bytes() == number
    }

    /// Copies `needed` to chunk `cold`, and keeps them: how many bytes. `None`: not all have room.
    pub fn keep_copies(&self, needed: &[NeededCopy], cold: &ColdChunk) -> Result<Option<u64>> {
        let mut applier = self.applier();
        let pin = MapPin::enter();
        let reader = self.reader(&pin);
        let mut copies = applier.copies(reader, cold);
        let mut copied = Vec::with_capacity(needed.len());
        for NeededCopy { locator, found_at } in needed {
            let view = reader.record_verified(*locator)?;
            let Some(copy) = copies.push(view) else { break };
            copied.push((locator, found_at, view, copy));
        }
        applier.append_copies(&copies)?;
        let have_room = copied.len() == needed.len();
        let mut bytes = 0;
        for (locator, found_at, view, copy) in copied {
            applier.note_copy(view, copy);
            if let Some((lsn, _)) = found_at
                && self.retained.version_at(view.key(), *lsn).is_some()
            {
                // It was found by links that have changed since, which a pin keeps as they are.
                assert!(!self.pins.lsns().contains(lsn), "a reader finds one version");
                continue;
            }
            let record = KeptRecord::new(copy, view.header.record_bytes() as u64);
            match *found_at {
                Some((lsn, until)) => {
                    let from = view.header.lsn.get();
                    let kept = KeptVersion { from, until, place: Some(record) };
                    self.retained.keep(view.key(), lsn, kept);
                }
                None => self.retained.replace(view.key(), *locator, record),
            }
            bytes += view.header.record_bytes() as u64;
        }
        Ok(have_room.then_some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use uarr_disk_sim::Memory;

    use super::*;
    use crate::Db;
    use crate::data::stream::Stream;

    /// A pin ended while it was looked for what it needs, so the deletion behind its version was
    /// forgotten, and the key came again: two answers were found for it, and kept.
    #[test]
    fn what_was_found_twice_for_a_pin_that_has_ended_is_kept_once() {
        let builder = Db::builder("memory").background(false).chunk_bytes(1 << 16);
        let db = builder.segment_bytes(1 << 18).open_on(Memory::new()).unwrap();
        let core = db.core();
        let records = core.records();
        db.put("k", b"1").unwrap();
        let snapshot = db.snapshot();
        db.delete("k").unwrap();
        let tombstone = records.tables.get(b"k", records.reader(&MapPin::enter())).unwrap();
        let number = tombstone.unwrap().address() / records.chunk_bytes();
        let chunk = ClosingChunk { number, is_jumbo: false, pins: vec![snapshot.version()] };
        let needed = records.needed(&chunk, 0).unwrap();
        assert_eq!(needed.copies.len(), 1);
        drop(snapshot);
        assert_eq!(records.forget_deleted(10), 1);
        db.put("k", b"2").unwrap();
        assert_eq!(records.needed(&chunk, 0).unwrap().copies.len(), 0, "it was not there");
        let cold = core.cold_chunk(Stream::Retained).unwrap().unwrap();
        assert_eq!(records.keep_copies(&needed.copies, &cold).unwrap(), Some(0));
    }
}
