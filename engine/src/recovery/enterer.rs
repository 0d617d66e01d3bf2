//! [`Enterer`]: enters the records of the log into indexes, once they are in the data file.

use uarr_layout::frame::{Frame, Frames};
use uarr_layout::record::Locator;
use uarr_layout::uarr::UArrBuf;
use uarr_uring::DataMap;

use crate::data::accounts::Accounts;
use crate::data::applier::Target;
use crate::data::redo::{Unfit, redo};
use crate::data::store::Reader;
use crate::data::tables::Tables;
use crate::error::{ErrorKind, Result};
use crate::options::RecoveryMode;
use crate::recovery::frames::LoggedFrame;
use crate::recovery::gathered::Gathered;

/// No more changes are gathered: 100 MB.
const GATHERED_COUNT_MAX: usize = 4 << 20;

/// See [`self`].
pub(crate) struct Enterer {
    pub tables: Tables,
    /// What the default table is to have, if it is one of integers, until its index is asked for
    /// something: building one costs a third of entering key by key.
    pub gathered: Option<Gathered>,
    pub accounts: Accounts,
    /// It was so late when the last of the groups was written that follow a record that expires,
    /// in ms since 1970, or when the checkpoint was taken; 0: there was none.
    pub expiry_floor_ms: u64,
    /// Records that were replayed.
    pub record_count: u64,
    pub mode: RecoveryMode,
}

impl Enterer {
    /// Keys of all tables, before the log is replayed.
    pub fn key_count(&self) -> u64 {
        let gathered = self.gathered.as_ref().map_or(0, Gathered::entry_count);
        (self.tables.len() + gathered) as u64
    }

    /// Makes the key of `frame` lead to its record. Nothing is compared: the index may already name
    /// a later record of the key, and does so again when the log has come to it.
    pub fn enter<M: DataMap>(&mut self, frame: &Frame<'_>, reader: Reader<'_, M>) {
        assert!(!frame.opens_chunk(), "what opens a chunk has no record");
        self.record_count += 1;
        let locator = Locator::of_frame(frame);
        if let Some(gathered) = &mut self.gathered
            && let Some(key) = self.tables.default.int_of(frame.key)
        {
            gathered.push(key, frame, locator);
            self.accounts.note_expiry(frame, locator);
            if gathered.change_count() >= GATHERED_COUNT_MAX {
                self.build();
            }
            return;
        }
        let Self { tables, accounts, .. } = self;
        tables.append(std::iter::once(frame.key), reader, |_, replaced| {
            accounts.note(frame, replaced, locator);
            locator
        });
    }

    /// Builds the index of what was gathered. From now on keys are entered one by one.
    pub fn build(&mut self) {
        let Some(gathered) = self.gathered.take() else { return };
        let entries = gathered.into_entries(&mut self.accounts);
        self.tables.default.fill_ints(&entries);
    }

    /// Asks the processor to fetch what the next frame of `ahead` will change in an index.
    pub fn fetch_next(&self, ahead: &mut Frames<'_>) {
        // Other tables, as a rule few, go without it then.
        if self.gathered.is_some() {
            return;
        }
        // What is wrong with it is found when its turn comes.
        let Some(Ok(frame)) = ahead.next() else { return };
        if let Some(index) = self.tables.of(frame.key).filter(|index| index.holds(frame.key)) {
            index.prefetch(frame.key);
        }
    }

    /// The value that the patch in `frame` leads to; `None` if it is lost with the record that it
    /// builds upon, directly or not.
    pub fn result_of<M: DataMap>(
        &self,
        logged: &LoggedFrame<'_>,
        reader: Reader<'_, M>,
    ) -> Result<Option<UArrBuf>> {
        assert!(self.gathered.is_none(), "the index knows all frames in front of it");
        match redo(&logged.frame, &Target { tables: &self.tables, reader }) {
            Ok(result) => Ok(Some(result)),
            Err(Unfit::Contradiction(what)) => Err(logged.damage(&what)),
            Err(Unfit::Damaged(error)) if self.mode == RecoveryMode::Strict => Err(error),
            Err(Unfit::Damaged(error)) => {
                assert_eq!(error.kind(), ErrorKind::Corruption, "reading the map ends in no other");
                Ok(None)
            }
        }
    }
}
