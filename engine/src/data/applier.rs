//! The one writer of records: data file and index.
//!
//! A frame becomes a record in two ways, which lead to the same record and the same index:
//! [`Applier::apply`] when it is committed, [`crate::recovery::replay`] when the log is read again.

use uarr_layout::frame::Frame;
use uarr_layout::record::Locator;
use uarr_uring::{DataMap, DataMapWriter};

use crate::data::accounts::Accounts;
use crate::data::appender::Appender;
use crate::data::copies::{ColdChunk, Copies};
use crate::data::record_view::RecordView;
use crate::data::store::Reader;
use crate::data::tables::Tables;
use crate::data::tombstones::IndexEntry;
use crate::error::{Error, Result};
use crate::limits::TOGETHER_MAX;
use crate::table_prefix::TablePrefix;

/// Applies records to data file and index.
pub(crate) struct Applier<W> {
    pub appender: Appender<W>,
    pub accounts: Accounts,
}

/// Where an applier's records go: what readers look at, too.
pub(crate) struct Target<'a, M> {
    pub tables: &'a Tables,
    pub reader: Reader<'a, M>,
}

/// What became of records that were to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// So many of them are done: moved, or the index leads elsewhere. The next one has no room.
    pub done_count: usize,
    /// So many bytes were copied.
    pub bytes: u64,
}

/// Where the record of a frame is when the log is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replayed {
    /// In the data file, among the durable bytes of its chunk.
    InFile,
    /// Nowhere yet: it is written to its address again.
    Missing,
}

impl<W: DataMapWriter> Applier<W> {
    /// Applies frames one after the other, with the cache misses of some overlapping.
    pub fn apply_all<'f, M: DataMap>(
        &mut self,
        target: &Target<'_, M>,
        frames: impl Iterator<Item = Frame<'f>>,
    ) {
        let mut frames = frames.fuse();
        while let Some(first) = self.next_record(&mut frames) {
            let Some(second) = self.next_record(&mut frames) else {
                return self.apply(target, &[first]);
            };
            let mut group = [first; TOGETHER_MAX];
            group[1] = second;
            let mut count = 2;
            while count < TOGETHER_MAX
                && let Some(frame) = self.next_record(&mut frames)
            {
                group[count] = frame;
                count += 1;
            }
            self.apply(target, &group[..count]);
        }
    }

    /// The next frame that becomes a record. Chunks that others open are open then.
    fn next_record<'f>(
        &mut self,
        frames: &mut impl Iterator<Item = Frame<'f>>,
    ) -> Option<Frame<'f>> {
        frames.find(|frame| {
            if frame.opens_chunk() {
                self.appender.open(frame);
            }
            !frame.opens_chunk()
        })
    }

    /// Appends the records of up to [`TOGETHER_MAX`] frames to the data file and makes the index
    /// point to them. Damage of records that are there does not hinder it.
    pub fn apply<M: DataMap>(&mut self, target: &Target<'_, M>, frames: &[Frame<'_>]) {
        if let [_] = frames {
            return self.apply_to_table(target, frames);
        }
        let table_of = |frame: &Frame<'_>| TablePrefix::of(frame.key);
        let runs = frames.chunk_by(|one, next| table_of(one) == table_of(next));
        runs.for_each(|frames| self.apply_to_table(target, frames));
    }

    /// The same, of frames of one table.
    fn apply_to_table<M: DataMap>(&mut self, target: &Target<'_, M>, frames: &[Frame<'_>]) {
        let keys = frames.iter().map(|frame| frame.key);
        let Self { appender, accounts } = self;
        let mut appended_count = 0;
        target.tables.append(keys, target.reader, |index, previous| {
            assert_eq!(index, appended_count, "frames become records in their order");
            appended_count += 1;
            let frame = &frames[index];
            let whole = frame.resolved().expect("a patch that is applied knows its result");
            let locator = appender.append(&whole, previous);
            accounts.note(frame, previous, locator);
            locator
        });
        assert_eq!(appended_count, frames.len(), "each of them, once");
    }

    /// To gather copies for the end of chunk `cold`.
    pub fn copies<M: DataMap>(&self, reader: Reader<'_, M>, cold: &ColdChunk) -> Copies {
        self.appender.copies(cold, reader.store.published_bytes(cold.address))
    }

    /// Moves `records`, which are whole, to chunk `cold` if the index still leads to them, with one
    /// write.
    pub fn move_records<M: DataMap>(
        &mut self,
        target: &Target<'_, M>,
        records: &[Locator],
        cold: &ColdChunk,
    ) -> Result<Moved> {
        let mut copies = self.copies(target.reader, cold);
        let mut copied = Vec::with_capacity(records.len());
        let mut done_count = 0;
        for &from in records {
            let view = target.reader.record(from)?;
            // If not, a writer was faster. No other thread changes the index from now on.
            if target.tables.leads_to(view.key(), from) {
                let Some(to) = copies.push(view) else { break };
                copied.push((from, view, to));
            }
            done_count += 1;
        }
        self.append_copies(&copies)?;
        let mut bytes = 0;
        for (from, view, to) in copied {
            let is_replaced = target.tables.replace_if(view.key(), from, to, target.reader);
            assert!(is_replaced, "the index led there");
            self.note_copy(view, to);
            if from.is_tombstone() {
                self.accounts.tombstones.note_moved(from, to);
            }
            let record_bytes = view.bytes().len() as u64;
            self.accounts.live.replace(Some(from), to, record_bytes);
            bytes += record_bytes;
        }
        Ok(Moved { done_count, bytes })
    }

    /// Writes `copies` to their chunk, all or none.
    pub fn append_copies(&mut self, copies: &Copies) -> Result<()> {
        let appended = self.appender.append_copies(copies);
        appended.map_err(|error| Error::io("cannot copy records in the data file", error))
    }

    /// Notes that the record that `view` shows has a copy at `copy`, which is written.
    pub fn note_copy(&mut self, view: RecordView<'_>, copy: Locator) {
        self.accounts.expiring.note(self.accounts.live.number_of(copy), view.expires_ms());
    }

    /// Removes index entries of keys deleted up to LSN `bound`, which no reader needs any more: a
    /// bounded number of them.
    pub fn forget_deleted<M: DataMap>(
        &mut self,
        target: &Target<'_, M>,
        bound: impl FnOnce() -> u64,
    ) {
        let count_max = self.accounts.tombstones.forget_count();
        if self.accounts.tombstones.indexed_count() > 0 {
            self.forget_some(target, count_max, bound());
        }
    }

    /// The same, up to `count_max` of them: how many.
    pub fn forget_some<M: DataMap>(
        &mut self,
        target: &Target<'_, M>,
        count_max: usize,
        bound: u64,
    ) -> usize {
        for count in 0..count_max {
            let Some(locator) = self.accounts.tombstones.oldest(bound) else { return count };
            let removed = target
                .tables
                .key_of(locator, target.reader)
                .and_then(|key| target.tables.remove_if(key, locator, target.reader));
            self.accounts.tombstones.drop_oldest(match removed {
                Ok(true) => {
                    self.accounts.live.remove(locator);
                    IndexEntry::Removed
                }
                Ok(false) | Err(_) => IndexEntry::Stuck,
            });
        }
        count_max
    }
}
