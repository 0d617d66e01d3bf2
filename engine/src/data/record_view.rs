//! A record where it lies.

use uarr_layout::geometry::RECORD_HEADER_BYTES;
use uarr_layout::record::RecordHeader;
use uarr_uring::{Held, Pinned};

/// A record under a pin, viewed in place. Its bytes are as many as its header says.
#[derive(Clone, Copy)]
pub(crate) struct RecordView<'p> {
    pub header: &'p RecordHeader,
    pinned: Pinned<'p>,
}

impl<'p> RecordView<'p> {
    /// `pinned` begins with `header`, and has as many bytes as that says.
    #[inline]
    pub fn new(header: &'p RecordHeader, pinned: Pinned<'p>) -> Self {
        debug_assert_eq!(pinned.bytes().len(), header.record_bytes());
        Self { header, pinned }
    }

    #[inline]
    pub fn key(self) -> &'p [u8] {
        key(self.header, self.pinned.bytes())
    }

    #[inline]
    pub fn value(self) -> &'p [u8] {
        value(self.header, self.pinned.bytes())
    }

    /// The whole record.
    #[inline]
    pub fn pinned(self) -> Pinned<'p> {
        self.pinned
    }
}

/// A record that a reader keeps.
pub(crate) struct HeldRecord<'a>(Held<'a>);

impl<'a> HeldRecord<'a> {
    /// `held` is the whole record that a [`RecordView`] showed.
    #[inline]
    pub fn new(held: Held<'a>) -> Self {
        Self(held)
    }

    #[inline]
    pub fn header(&self) -> &RecordHeader {
        RecordHeader::peek(self.0.bytes()).expect("it begins with a header")
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        key(self.header(), self.0.bytes())
    }

    #[inline]
    pub fn value(&self) -> &[u8] {
        value(self.header(), self.0.bytes())
    }
}

#[inline]
fn key<'a>(header: &RecordHeader, bytes: &'a [u8]) -> &'a [u8] {
    &bytes[RECORD_HEADER_BYTES..][..usize::from(header.key_bytes.get())]
}

#[inline]
fn value<'a>(header: &RecordHeader, bytes: &'a [u8]) -> &'a [u8] {
    &bytes[header.value_offset()..]
}
