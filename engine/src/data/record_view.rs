//! A record where it lies.

use uarr_layout::record::RecordHeader;
use uarr_uring::{DataMap, Held, MapPin, Pinned};

/// A record under a pin, viewed in place. Its bytes are as many as its header says.
#[derive(Clone, Copy)]
pub(crate) struct RecordView<'p> {
    pub header: &'p RecordHeader,
    pinned: Pinned<'p>,
    /// Where the value begins, as the header says: reading that again costs more than to keep it.
    value_offset: u32,
}

impl<'p> RecordView<'p> {
    /// The record that `rest` begins with; `whole` gives it if it is longer than that. `None`: it
    /// is not all there.
    #[inline]
    pub fn first_of(
        rest: Pinned<'p>,
        whole: impl FnOnce(usize) -> Option<Pinned<'p>>,
    ) -> Option<Self> {
        let header = RecordHeader::peek(rest.bytes())?;
        let value_offset = header.value_offset();
        let record_bytes = value_offset + header.value_bytes.get() as usize;
        let pinned = match rest.first(record_bytes) {
            Some(pinned) => pinned,
            None => whole(record_bytes)?,
        };
        debug_assert_eq!(pinned.bytes().len(), header.record_bytes());
        Some(Self { header, pinned, value_offset: value_offset as u32 })
    }

    #[inline]
    pub fn key(self) -> &'p [u8] {
        key(self.header, self.pinned.bytes())
    }

    #[inline]
    pub fn value(self) -> &'p [u8] {
        &self.pinned.bytes()[self.value_offset as usize..]
    }

    /// When it expires, in ms since 1970; 0: never.
    #[inline]
    pub fn expires_ms(self) -> u64 {
        self.header.expires_ms(self.pinned.bytes())
    }

    /// Whether it has expired at `moment_ms`.
    #[inline]
    pub fn has_expired_at(self, moment_ms: u64) -> bool {
        let expires_ms = self.expires_ms();
        expires_ms != 0 && expires_ms <= moment_ms
    }

    /// The whole record.
    #[inline]
    pub fn bytes(self) -> &'p [u8] {
        self.pinned.bytes()
    }

    /// The same, held in `map`, in which it was found under `pin`.
    #[inline]
    pub fn hold<'m>(self, map: &'m impl DataMap, pin: &MapPin) -> HeldRecord<'m> {
        HeldRecord { held: map.hold(self.pinned, pin), value_offset: self.value_offset }
    }
}

/// A record that a reader keeps.
pub(crate) struct HeldRecord<'a> {
    held: Held<'a>,
    value_offset: u32,
}

impl HeldRecord<'_> {
    #[inline]
    pub fn header(&self) -> &RecordHeader {
        RecordHeader::peek(self.held.bytes()).expect("it begins with a header")
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        key(self.header(), self.held.bytes())
    }

    /// When it expires, in ms since 1970; 0: never.
    #[inline]
    pub fn expires_ms(&self) -> u64 {
        self.header().expires_ms(self.held.bytes())
    }

    #[inline]
    pub fn value(&self) -> &[u8] {
        &self.held.bytes()[self.value_offset as usize..]
    }
}

#[inline]
fn key<'a>(header: &RecordHeader, bytes: &'a [u8]) -> &'a [u8] {
    header.key(bytes).expect("the record is whole")
}
