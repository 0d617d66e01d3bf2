//! Records in the data file: reading them in place, and the one place that appends them.
//!
//! Invariants:
//! - Published bytes never change. The map hands out only what the one appender has published.
//! - A reader gets a record only if header and payload match their checksums, or if this process
//!   wrote it since open (the bytes then come from its own memory).
//! - Staging decides where a record goes ([`crate::data::places`]) and writes that in its log
//!   frame; the appender only obeys. Replay therefore rebuilds the same bytes.

use std::ops::Range;

use uarr_index::KeySource;
use uarr_layout::checksum::Seed;
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, RECORD_HEADER_BYTES};
use uarr_layout::record::{ChunkHeader, Locator, RecordHeader};
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::DataMap;

use crate::data::verified::Verified;
use crate::error::{Error, Result};
use crate::options::VerifyPolicy;
use crate::structure::Structure;

/// A record, viewed in place. `bytes` are as many as its header says.
#[derive(Clone, Copy)]
pub(crate) struct RecordView<'a> {
    pub header: &'a RecordHeader,
    bytes: &'a [u8],
}

impl<'a> RecordView<'a> {
    #[inline]
    pub fn key(self) -> &'a [u8] {
        &self.bytes[RECORD_HEADER_BYTES..][..usize::from(self.header.key_bytes.get())]
    }

    #[inline]
    pub fn value(self) -> &'a [u8] {
        &self.bytes[self.header.value_offset()..]
    }
}

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

    /// The record that `locator` names, checked as the policy asks.
    #[inline]
    pub fn record(&self, locator: Locator) -> Result<RecordView<'_>> {
        self.record_of(locator, |_| true)
    }

    /// As [`RecordStore::record`], of a key that `is_key` recognizes. Records of this session are
    /// known to have the keys that the index names them by.
    ///
    /// The locator has the length of the record: the processor fetches the value while the caller
    /// reads the header.
    #[inline]
    pub fn record_of(
        &self,
        locator: Locator,
        is_key: impl FnOnce(&[u8]) -> bool,
    ) -> Result<RecordView<'_>> {
        let address = locator.address();
        match self.view(address, self.map.bytes_ahead(address, lines_ahead(locator))) {
            Some(view) if address >= self.trusted_from => Ok(view),
            Some(view) => {
                let view = self.checked(locator, view)?;
                if is_key(view.key()) { Ok(view) } else { Err(misnamed(locator)) }
            }
            None => Err(self.damage(address, None, Defect::Length)),
        }
    }

    /// The record that `locator` names, checked in any case.
    pub fn record_verified(&self, locator: Locator) -> Result<RecordView<'_>> {
        let view = self.record_at(locator.address())?;
        // A page that was not written shows the record that an earlier life put there.
        if !locator.fits(view.header) {
            return Err(misnamed(locator));
        }
        self.verified.insert(locator.address());
        Ok(view)
    }

    /// The record at `address`, whatever it is, checked in any case.
    pub fn record_at(&self, address: u64) -> Result<RecordView<'_>> {
        let view = self.view(address, self.map.bytes_from(address));
        let view = view.ok_or_else(|| self.damage(address, None, Defect::Length))?;
        let checked = view
            .header
            .verify_header(self.seed, address)
            .and_then(|()| view.header.verify_payload(view.key(), view.value()));
        match checked {
            Ok(()) => Ok(view),
            Err(defect) => Err(self.damage(address, Some(view.header.lsn.get()), defect)),
        }
    }

    /// Asks the processor to fetch the first lines of the record.
    #[inline]
    pub fn prefetch(&self, locator: Locator) {
        self.map.prefetch(locator.address(), lines_ahead(locator));
    }

    /// Brings pages ahead of the appends into memory, while appends go on.
    pub fn prefault(&self, address: u64, bytes: u64) {
        self.map.prefault(address, bytes);
    }

    /// Bytes of the data file that are allocated.
    pub fn allocated_bytes(&self) -> u64 {
        self.map.allocated_bytes()
    }

    /// How many bytes of the chunk at `address` are published.
    pub fn published_bytes(&self, address: u64) -> u64 {
        self.map.bytes_from(address).len() as u64
    }

    /// Checks the header of the chunk at `address`.
    pub fn verify_chunk(&self, address: u64, database: &DatabaseId) -> Result<()> {
        let bytes = self.map.bytes(address, CHUNK_HEADER_BYTES as usize);
        let bytes = bytes.ok_or_else(|| self.damage(address, None, Defect::Length))?;
        match ChunkHeader::load(bytes, database, address) {
            Ok(_) => Ok(()),
            Err(defect) => Err(Structure::chunk_header().at_address(address).defect(defect)),
        }
    }

    /// The record at `address`, where `rest` is what is published of its chunk.
    #[inline]
    fn view<'a>(&'a self, address: u64, rest: &'a [u8]) -> Option<RecordView<'a>> {
        let header = RecordHeader::peek(rest)?;
        let bytes = match rest.get(..header.record_bytes()) {
            Some(bytes) => bytes,
            // Records lie in one chunk, but for those longer than that.
            None => self.map.bytes(address, header.record_bytes())?,
        };
        Some(RecordView { header, bytes })
    }

    /// `view`, if it was checked before or is found sound now.
    #[inline(never)]
    fn checked<'a>(&'a self, locator: Locator, view: RecordView<'a>) -> Result<RecordView<'a>> {
        if self.policy == VerifyPolicy::FirstTouch && self.verified.contains(locator.address()) {
            return Ok(view);
        }
        self.record_verified(locator)
    }

    #[cold]
    fn damage(&self, address: u64, lsn: Option<u64>, defect: Defect) -> Error {
        Structure::record(address).lsn(lsn).damage(defect)
    }
}

impl<M: DataMap> KeySource for RecordStore<M> {
    type Error = Error;

    fn key(&self, payload: u64) -> Result<&[u8]> {
        match Locator::from_bits(payload) {
            Some(locator) => Ok(self.record(locator)?.key()),
            None => Err(self.damage(0, None, Defect::Length)),
        }
    }

    fn misnamed(&self, payload: u64) -> Option<Error> {
        Locator::from_bits(payload).map(misnamed)
    }

    fn seeming_key(&self, payload: u64) -> Option<&[u8]> {
        let address = Locator::from_bits(payload)?.address();
        let header = RecordHeader::peek(self.map.bytes_from(address))?;
        let end = RECORD_HEADER_BYTES + usize::from(header.key_bytes.get());
        Some(&self.map.bytes(address, end)?[RECORD_HEADER_BYTES..])
    }
}

/// Lines that are fetched before a record is looked at.
#[inline]
fn lines_ahead(locator: Locator) -> u64 {
    locator.line_count().clamp(1, 4)
}

/// The error for a record that is whole, but not the one that the index names.
#[cold]
pub(crate) fn misnamed(locator: Locator) -> Error {
    Structure::record(locator.address()).damage("the index leads here for another key")
}
