//! Records in the data file: reading them in place, and the one place that appends them.
//!
//! Invariants:
//! - Published bytes never change while a reader looks at them: it has a pin of the map, and reads
//!   under that what the index names. What it keeps is held.
//! - A reader gets a record only if header and payload match their checksums, or if this process
//!   wrote it since open (the bytes then come from its own memory).
//! - Staging decides where a record goes ([`crate::data::places`]) and writes that in its log
//!   frame; the appender only obeys. Replay therefore rebuilds the same bytes.

use std::ops::Range;

use uarr_index::KeySource;
use uarr_layout::checksum::Seed;
use uarr_layout::geometry::CHUNK_HEADER_BYTES;
use uarr_layout::record::{ChunkHeader, Locator, RecordHeader};
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::{Append, DataMap, MapPin};

use crate::data::chunk_scan::ChunkScan;
use crate::data::record_view::{HeldRecord, RecordView};
use crate::data::verified::Verified;
use crate::error::{Error, Result};
use crate::options::VerifyPolicy;
use crate::structure::Structure;

/// The readers' side of the data file.
pub(crate) struct RecordStore<M> {
    map: M,
    seed: Seed,
    policy: VerifyPolicy,
    /// Readers trust records from this address on without asking `verified`.
    trusted_from: u64,
    /// Which of the records that were there at open were checked.
    verified: Verified,
}

impl<M: DataMap> RecordStore<M> {
    /// `earlier` are the addresses of the records that were there before.
    pub fn new(map: M, database: &DatabaseId, policy: VerifyPolicy, earlier: Range<u64>) -> Self {
        let trusted_from = match policy {
            VerifyPolicy::FirstTouch => earlier.end,
            VerifyPolicy::Never => 0,
            VerifyPolicy::Always => u64::MAX,
        };
        let verified = Verified::new(earlier);
        Self { map, seed: Seed::new(database), policy, trusted_from, verified }
    }

    /// Asks the processor to fetch the first lines of the record.
    #[inline]
    pub fn prefetch(&self, locator: Locator) {
        self.map.prefetch(locator.address());
    }

    /// Brings pages ahead of the appends into memory, while appends go on.
    pub fn prefault(&self, offset: u64, bytes: u64, append: Append) -> u64 {
        self.map.prefault(offset, bytes, append)
    }

    /// How many bytes of the chunk at `address` are published; 0 if it is not open.
    pub fn published_bytes(&self, address: u64) -> u64 {
        self.map.bytes_from(address, &MapPin::enter()).bytes().len() as u64
    }

    /// To read under `pin`.
    #[inline]
    pub fn reader<'p>(&'p self, pin: &'p MapPin) -> Reader<'p, M> {
        Reader { store: self, pin }
    }

    /// Keeps the record that `view` shows for longer than the pin.
    #[inline]
    pub fn hold(&self, view: RecordView<'_>, pin: &MapPin) -> HeldRecord<'_> {
        view.hold(&self.map, pin)
    }
}

/// Reads records under a pin.
pub(crate) struct Reader<'p, M> {
    pub store: &'p RecordStore<M>,
    pub pin: &'p MapPin,
}

impl<M> Clone for Reader<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Reader<'_, M> {}

impl<'p, M: DataMap> Reader<'p, M> {
    /// The record that `locator` names, checked as the policy asks.
    #[inline]
    pub fn record(self, locator: Locator) -> Result<RecordView<'p>> {
        self.record_of(locator, |_| true)
    }

    /// As [`Reader::record`], of a key that `is_key` recognizes. Records of this session are
    /// known to have the keys that the index names them by.
    #[inline]
    pub fn record_of(
        self,
        locator: Locator,
        is_key: impl FnOnce(&[u8]) -> bool,
    ) -> Result<RecordView<'p>> {
        let address = locator.address();
        match self.view(address) {
            Some(view) if address >= self.store.trusted_from => Ok(view),
            Some(view) => {
                let view = self.checked(locator, view)?;
                if is_key(view.key()) { Ok(view) } else { Err(misnamed(locator)) }
            }
            None => Err(damage(address, None, Defect::Length)),
        }
    }

    /// The record that `locator` names, checked in any case.
    pub fn record_verified(self, locator: Locator) -> Result<RecordView<'p>> {
        let view = self.record_at(locator.address())?;
        // A page that was not written shows the record that an earlier life put there.
        if !locator.fits(view.header) {
            return Err(misnamed(locator));
        }
        self.store.verified.insert(locator.address());
        Ok(view)
    }

    /// The record at `address`, whatever it is, checked in any case.
    pub fn record_at(self, address: u64) -> Result<RecordView<'p>> {
        let view = self.view(address);
        let view = view.ok_or_else(|| damage(address, None, Defect::Length))?;
        let checked = view
            .header
            .verify_header(view.bytes(), self.store.seed, address)
            .and_then(|()| view.header.verify_payload(view.key(), view.value()));
        match checked {
            Ok(()) => Ok(view),
            Err(defect) => Err(damage(address, Some(view.header.lsn.get()), defect)),
        }
    }

    /// The key that the record at `address` seems to have, although it may be damaged.
    pub fn key_that_seems(self, address: u64) -> Option<&'p [u8]> {
        let rest = self.store.map.bytes_from(address, self.pin);
        let header = RecordHeader::peek(rest.bytes())?;
        let end = header.key_offset() + usize::from(header.key_bytes.get());
        header.key(self.store.map.bytes(address, end, self.pin)?.bytes())
    }

    /// Length of the record at `locator`, as its header says, which may be damaged: at most
    /// `bytes_max` then.
    pub fn record_len(self, locator: Locator, bytes_max: u64) -> u64 {
        let rest = self.store.map.bytes_from(locator.address(), self.pin);
        let header = RecordHeader::peek(rest.bytes());
        header.map_or(0, |header| header.record_bytes() as u64).min(bytes_max)
    }

    /// Whether nothing is there that `locator` could name: its chunk may have been closed.
    pub fn is_gone(self, locator: Locator) -> bool {
        self.store.map.bytes_from(locator.address(), self.pin).bytes().is_empty()
    }

    /// The records of the chunk at `address`, from `offset` on.
    pub fn scan_chunk(self, address: u64, offset: u64) -> ChunkScan<'p> {
        let bytes = self.store.map.bytes_from(address, self.pin).bytes();
        ChunkScan::new(bytes, address, offset, self.store.seed)
    }

    /// Checks the header of the chunk at `address`.
    pub fn verify_chunk(self, address: u64, database: &DatabaseId) -> Result<()> {
        let bytes = self.store.map.bytes(address, CHUNK_HEADER_BYTES as usize, self.pin);
        let bytes = bytes.ok_or_else(|| damage(address, None, Defect::Length))?;
        match ChunkHeader::load(bytes.bytes(), database, address) {
            Ok(_) => Ok(()),
            Err(defect) => Err(Structure::chunk_header().at_address(address).defect(defect)),
        }
    }

    /// The record at `address`, of which the processor is asked to fetch some lines.
    #[inline]
    fn view(self, address: u64) -> Option<RecordView<'p>> {
        let rest = self.store.map.bytes_ahead(address, self.pin);
        // Records lie in one chunk, but for those longer than that.
        RecordView::first_of(rest, |bytes| self.store.map.bytes(address, bytes, self.pin))
    }

    /// `view`, if it was checked before or is found sound now.
    #[inline(never)]
    fn checked(self, locator: Locator, view: RecordView<'p>) -> Result<RecordView<'p>> {
        let RecordStore { policy, verified, .. } = self.store;
        if *policy == VerifyPolicy::FirstTouch && verified.contains(locator.address()) {
            return Ok(view);
        }
        self.record_verified(locator)
    }
}

impl<M: DataMap> KeySource for Reader<'_, M> {
    type Error = Error;

    fn key(&self, payload: u64) -> Result<&[u8]> {
        match Locator::from_bits(payload) {
            Some(locator) => Ok(self.record(locator)?.key()),
            None => Err(damage(0, None, Defect::Length)),
        }
    }

    fn misnamed(&self, payload: u64) -> Option<Error> {
        Locator::from_bits(payload).map(misnamed)
    }

    fn seeming_key(&self, payload: u64) -> Option<&[u8]> {
        self.key_that_seems(Locator::from_bits(payload)?.address())
    }
}

/// The error for a record that is whole, but not the one that the index names.
#[cold]
pub(crate) fn misnamed(locator: Locator) -> Error {
    Structure::record(locator.address()).damage("the index leads here for another key")
}

#[cold]
fn damage(address: u64, lsn: Option<u64>, defect: Defect) -> Error {
    Structure::record(address).lsn(lsn).damage(defect)
}
