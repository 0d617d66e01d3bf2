//! The one writer of records: data file and index.

use uarr_layout::frame::Frame;
use uarr_uring::Storage;

use crate::core::Core;
use crate::data::appender::Appender;
use crate::data::tombstones::Tombstones;
use crate::limits::TOGETHER_MAX;

/// Applies records to data file and index.
pub(crate) struct Applier<W> {
    pub appender: Appender<W>,
    pub tombstones: Tombstones,
}

impl<S: Storage> Core<S> {
    /// Applies frames one after the other, with the cache misses of some overlapping.
    pub fn apply_all<'f>(
        &self,
        applier: &mut Applier<S::MapWriter>,
        frames: impl Iterator<Item = Frame<'f>>,
    ) {
        let mut frames = frames.fuse();
        while let Some(first) = frames.next() {
            let Some(second) = frames.next() else {
                return self.apply(applier, &[first]);
            };
            let mut group = [first; TOGETHER_MAX];
            group[1] = second;
            let mut count = 2;
            for (place, frame) in group[2..].iter_mut().zip(&mut frames) {
                *place = frame;
                count += 1;
            }
            self.apply(applier, &group[..count]);
        }
    }

    /// Appends the records of some frames to the data file and makes the index point to them.
    /// Damage of records that are there does not hinder it.
    pub fn apply(&self, applier: &mut Applier<S::MapWriter>, frames: &[Frame<'_>]) {
        let mut all: [&[u8]; TOGETHER_MAX] = [&[]; TOGETHER_MAX];
        let keys = &mut all[..frames.len()];
        keys.iter_mut().zip(frames).for_each(|(key, frame)| *key = frame.key);
        let Applier { appender, tombstones } = applier;
        self.table.append(keys, &self.store, |index, previous| {
            let frame = &frames[index];
            let whole = frame.resolved().expect("a patch that is applied knows its result");
            let locator = appender.append(&whole, previous);
            tombstones.note(frame.header.lsn.get(), previous, locator);
            locator
        });
    }

    /// Removes index entries of deleted keys that no reader can need any more, a bounded number of
    /// them.
    pub fn forget_deleted(&self, applier: &mut Applier<S::MapWriter>) {
        let count_max = applier.tombstones.forget_count();
        if applier.tombstones.indexed_count() == 0 {
            return;
        }
        let bound = self.pins.oldest(&self.visible_lsn);
        for _ in 0..count_max {
            let Some(locator) = applier.tombstones.oldest(bound) else { break };
            let removed = self
                .key_of(locator)
                .and_then(|key| self.table.remove_if(key, locator, &self.store));
            // The entry of a tombstone that is damaged stays: a get of its key finds the damage.
            applier.tombstones.drop_oldest(removed.unwrap_or(false));
        }
    }
}
