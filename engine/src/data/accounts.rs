//! [`Accounts`]: what the one writer keeps about the records that the index names.

use uarr_layout::frame::Frame;
use uarr_layout::record::Locator;

use crate::data::expiring::ExpiringChunks;
use crate::data::live::Live;
use crate::data::tombstones::Tombstones;

/// What is known of all records that the index names.
pub(crate) struct Accounts {
    pub tombstones: Tombstones,
    pub live: Live,
    pub expiring: ExpiringChunks,
}

impl Accounts {
    /// The key of `frame` leads to its record, which is at `locator`, in place of `previous`.
    #[inline]
    pub fn note(&mut self, frame: &Frame<'_>, previous: Option<Locator>, locator: Locator) {
        self.tombstones.note(frame.header.lsn.get(), previous, locator);
        self.live.replace(previous, locator, frame.record_bytes() as u64);
        self.note_expiry(frame, locator);
    }

    /// The record of `frame`, at `locator`, may expire.
    #[inline]
    pub fn note_expiry(&mut self, frame: &Frame<'_>, locator: Locator) {
        self.expiring.note(self.live.number_of(locator), frame.header.expires_ms.get());
    }
}
