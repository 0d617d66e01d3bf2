//! Frames: the logical changes inside a group of the log.
//!
//! ```text
//! FrameHeader (40)   key   zeros to 8   value   zeros to 8
//!                                       of a patch: PatchHeader (16)   patch
//! ```
//! The caller computes the payload checksum (key and value) outside every lock; the checksum of the
//! group covers the header's own bytes. A frame names the address that its record
//! has in the data file, so replay puts each record exactly where it was and rewrites the same
//! record at worst (its link to the previous version may differ where a deletion was forgotten
//! meanwhile).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Defect;
use crate::checks;
use crate::checksum::{crc32c, payload_crc};
use crate::geometry::{
    EXPIRY_BYTES, FRAME_HEADER_BYTES, PATCH_HEADER_BYTES, align_up, record_bytes,
};
use crate::limits::EXPIRES_MS_MAX;
use crate::patch::PatchHeader;

/// What a frame does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Sets the value of a key.
    Put = 1,
    /// Removes a key.
    Delete = 2,
    /// Sets a key to what a patch makes of an earlier version; see [`crate::patch`].
    Patch = 3,
    /// Says where a chunk of the data file lies; see [`crate::chunk`]. It has no key and no record.
    ChunkOpen = 7,
}

impl FrameKind {
    /// The kind with number `byte`; unknown ones are an error, never skipped.
    pub fn from_byte(byte: u8) -> Result<Self, Defect> {
        match byte {
            1 => Ok(Self::Put),
            2 => Ok(Self::Delete),
            3 => Ok(Self::Patch),
            7 => Ok(Self::ChunkOpen),
            other => Err(Defect::Kind(other)),
        }
    }
}

/// Flag of [`FrameHeader::flags`]: the next frame belongs to the same batch.
pub const FLAG_BATCH_CONTINUES: u8 = 1;
const KNOWN_FLAGS: u8 = FLAG_BATCH_CONTINUES;

/// First bytes of a frame.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct FrameHeader {
    /// CRC-32C of key and value.
    pub payload_crc: U32,
    /// Number of the [`FrameKind`].
    pub kind: u8,
    /// `FLAG_..` bits.
    pub flags: u8,
    /// Length of the key.
    pub key_bytes: U16,
    /// Position in the endless log.
    pub lsn: U64,
    /// Where the record lies in the data file.
    pub address: U64,
    /// When its record expires, in ms since 1970; 0: never, or it has none.
    pub expires_ms: U64,
    /// Length of the value.
    pub value_bytes: U32,
    /// Table.
    pub table: U32,
}

const _: () = assert!(size_of::<FrameHeader>() == FRAME_HEADER_BYTES);

/// One logical change, borrowed from the place of its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The header.
    pub header: FrameHeader,
    /// The key as stored.
    pub key: &'a [u8],
    /// The value; empty for deletes, header and patch for patches.
    pub value: &'a [u8],
    /// Of a patch: the whole value that it leads to, if the caller knows it. It is not in the log.
    pub result: Option<&'a [u8]>,
}

/// Bytes of a frame in the log, padding included.
pub fn frame_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    FRAME_HEADER_BYTES + align_up(key_bytes, 8) + align_up(value_bytes, 8)
}

/// Writes `bytes` to `target`, and zeros behind them.
fn store_padded(target: &mut [u8], bytes: &[u8]) {
    let (filled, padding) = target.split_at_mut(bytes.len());
    filled.copy_from_slice(bytes);
    // As a rule there is none, and it would be a call.
    if !padding.is_empty() {
        padding.fill(0);
    }
}

impl<'a> Frame<'a> {
    /// A frame over `key` and `value`, whose checksum is `payload_crc`; LSN and address are set
    /// later.
    pub fn new(kind: FrameKind, table: u32, key: &'a [u8], value: &'a [u8]) -> Self {
        Self::with_crc(kind, table, key, value, payload_crc(key, value))
    }

    /// A frame over `payload`, the key of `key_bytes` and the value right behind it.
    pub fn of_payload(kind: FrameKind, table: u32, payload: &'a [u8], key_bytes: usize) -> Self {
        let (key, value) = payload.split_at(key_bytes);
        Self::with_crc(kind, table, key, value, crc32c(&[payload]))
    }

    fn with_crc(kind: FrameKind, table: u32, key: &'a [u8], value: &'a [u8], crc: u32) -> Self {
        let mut header = FrameHeader::new_zeroed();
        header.kind = kind as u8;
        header.table = table.into();
        header.payload_crc = crc.into();
        let key_bytes = u16::try_from(key.len()).expect("callers check the length of keys");
        let value_bytes = u32::try_from(value.len()).expect("callers check the length of values");
        header.key_bytes = key_bytes.into();
        header.value_bytes = value_bytes.into();
        Self { header, key, value, result: None }
    }

    /// A frame of kind `Patch` with the payload `payload`, which leads to the value `result`.
    pub fn new_patch(table: u32, key: &'a [u8], payload: &'a [u8], result: &'a [u8]) -> Self {
        let mut frame = Self::new(FrameKind::Patch, table, key, payload);
        frame.result = Some(result);
        let (header, _) = frame.patch().expect("callers build the payload with its header");
        assert_eq!(header.result_bytes.get() as usize, result.len());
        frame
    }

    /// The same, with a record that expires at `expires_ms`; 0: never.
    #[must_use]
    #[inline]
    pub fn expiring(mut self, expires_ms: u64) -> Self {
        self.header.expires_ms = expires_ms.into();
        self
    }

    /// Whether its record may expire when it says, or it does not say so.
    pub fn can_expire(&self) -> bool {
        let has_record = [FrameKind::Put as u8, FrameKind::Patch as u8].contains(&self.header.kind);
        match self.header.expires_ms.get() {
            0 => true,
            expires_ms => has_record && expires_ms <= EXPIRES_MS_MAX,
        }
    }

    /// The bytes that say when its record expires, if it does.
    #[inline]
    pub(crate) fn expiry(&self) -> Option<[u8; EXPIRY_BYTES]> {
        let expires_ms = self.header.expires_ms.get();
        (expires_ms != 0).then(|| expires_ms.to_le_bytes())
    }

    /// Bytes of its record between the header and the padding in front of the value.
    #[inline]
    pub fn record_key_bytes(&self) -> usize {
        let expiry_bytes = if self.header.expires_ms.get() == 0 { 0 } else { EXPIRY_BYTES };
        expiry_bytes + self.key.len()
    }

    /// Bytes of its record.
    #[inline]
    pub fn record_bytes(&self) -> usize {
        record_bytes(self.record_key_bytes(), self.record_value_bytes())
    }

    /// Whether it says where a chunk lies, and has no record.
    #[inline]
    pub fn opens_chunk(&self) -> bool {
        self.header.kind == FrameKind::ChunkOpen as u8
    }

    /// The parts of a patch's payload; `None` for other kinds.
    pub fn patch(&self) -> Option<(&'a PatchHeader, &'a [u8])> {
        if self.header.kind != FrameKind::Patch as u8 {
            return None;
        }
        PatchHeader::split(self.value)
    }

    /// Length of the value that the record gets: of the result, where the frame is a patch.
    pub fn record_value_bytes(&self) -> usize {
        self.patch().map_or(self.value.len(), |(header, _)| header.result_bytes.get() as usize)
    }

    /// The frame that would have put the result of this patch whole, in the same place. `None` if
    /// the result is not known or has another length than the logged one; its bytes are not
    /// looked at. Frames of other kinds stay what they are.
    pub fn resolved(&self) -> Option<Self> {
        let Some((header, _)) = self.patch() else { return Some(*self) };
        let result =
            self.result.filter(|result| result.len() == header.result_bytes.get() as usize)?;
        let mut put = *self;
        put.header.kind = FrameKind::Put as u8;
        put.header.payload_crc = header.result_crc;
        put.header.value_bytes = header.result_bytes;
        (put.value, put.result) = (result, None);
        Some(put)
    }

    /// Bytes in the log, padding included.
    pub fn len_in_log(&self) -> usize {
        frame_bytes(self.key.len(), self.value.len())
    }

    /// Writes the frame to `target`, which has its length: every byte of it, padding included.
    pub fn store(&self, target: &mut [u8]) {
        let (header, payload) = target.split_at_mut(FRAME_HEADER_BYTES);
        let (key, value) = payload.split_at_mut(align_up(self.key.len(), 8));
        header.copy_from_slice(self.header.as_bytes());
        store_padded(key, self.key);
        store_padded(value, self.value);
    }

    /// The frame at the start of `bytes`, with the bytes it takes. Lengths are checked, checksums
    /// are not.
    pub fn load(bytes: &'a [u8]) -> Result<(Self, usize), Defect> {
        let (header, payload) = FrameHeader::ref_from_prefix(bytes).map_err(|_| Defect::Short)?;
        let (key_bytes, value_bytes) =
            (usize::from(header.key_bytes.get()), header.value_bytes.get() as usize);
        let value_at = align_up(key_bytes, 8);
        let key = payload.get(..key_bytes).ok_or(Defect::Length)?;
        let value = payload.get(value_at..).and_then(|rest| rest.get(..value_bytes));
        let value = value.ok_or(Defect::Length)?;
        let total = frame_bytes(key_bytes, value_bytes);
        if total > bytes.len() {
            return Err(Defect::Length);
        }
        let is_patch = header.kind == FrameKind::Patch as u8;
        if is_patch && value_bytes < PATCH_HEADER_BYTES {
            return Err(Defect::Length);
        }
        Ok((Self { header: *header, key, value, result: None }, total))
    }

    /// Checks the payload against its checksum, the kind and the flags.
    pub fn verify(&self) -> Result<FrameKind, Defect> {
        checks::checksum(payload_crc(self.key, self.value), self.header.payload_crc)?;
        let kind = FrameKind::from_byte(self.header.kind)?;
        match self.header.flags & !KNOWN_FLAGS {
            0 => Ok(kind),
            // What an unknown flag asks for would not be done.
            _ => Err(Defect::Flags(self.header.flags)),
        }
    }
}

/// The frames of a group, from the bytes behind its header up to its `group_bytes`.
/// Ends after the first error.
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Iterates over `body`: the frames and nothing else.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Defect>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Frame::load(self.rest) {
            Ok((frame, total)) => {
                self.rest = &self.rest[total..];
                Some(Ok(frame))
            }
            Err(defect) => {
                self.rest = &[];
                Some(Err(defect))
            }
        }
    }
}

/// Frames as they stand in the log.
#[cfg(test)]
pub(crate) fn stored(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for frame in frames {
        let start = body.len();
        body.resize(start + frame.len_in_log(), 0xff);
        frame.store(&mut body[start..]);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_stored() {
        let cases: [(&[u8], &[u8]); 4] =
            [(b"k", b""), (b"12345678", b"value"), (b"123456789", &[7; 4096]), (b"x", b"12345678")];
        let frames: Vec<_> =
            cases.iter().map(|(k, v)| Frame::new(FrameKind::Put, 9, k, v)).collect();
        let body = stored(&frames);
        assert_eq!(body.len() % 8, 0);
        let back: Vec<_> = Frames::new(&body).collect::<Result<_, _>>().unwrap();
        for (frame, (key, value)) in back.iter().zip(cases) {
            assert_eq!((frame.key, frame.value), (key, value));
            assert_eq!(frame.verify(), Ok(FrameKind::Put));
            let payload = [key, value].concat();
            let of_payload = Frame::of_payload(FrameKind::Put, 9, &payload, key.len());
            assert_eq!((of_payload.header, of_payload.key), (frame.header, key));
            assert_eq!(of_payload.value, value);
        }
        assert_eq!(back.len(), cases.len());
    }

    #[test]
    fn lengths_beyond_the_bytes_are_an_error() {
        let body = stored(&[Frame::new(FrameKind::Put, 0, b"key", b"value")]);
        for cut in 1..body.len() {
            assert!(Frames::new(&body[..cut]).next().unwrap().is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_patch_becomes_the_put_of_its_result() {
        let result = [5; 300];
        let header = PatchHeader::new(4096, b"key", &result);
        let payload = [header.as_bytes(), b"operations"].concat();
        let frame = Frame::new_patch(0, b"key", &payload, &result);
        assert_eq!(frame.record_value_bytes(), 300);
        let put = frame.resolved().unwrap();
        assert_eq!(put.verify(), Ok(FrameKind::Put));
        assert_eq!((put.value, put.patch()), (&result[..], None));
        let body = stored(&[frame]);
        let mut back = Frames::new(&body).next().unwrap().unwrap();
        assert_eq!(back.verify(), Ok(FrameKind::Patch));
        assert_eq!(back.patch(), Some((&header, &b"operations"[..])));
        assert_eq!(back.record_value_bytes(), 300);
        assert!(back.resolved().is_none(), "the log does not hold the result");
        back.result = Some(&result[1..]);
        assert!(back.resolved().is_none(), "another length");
        let short = Frame::new(FrameKind::Patch, 0, b"key", &payload[..15]);
        let body = stored(&[short]);
        assert_eq!(Frames::new(&body).next().unwrap().err(), Some(Defect::Length));
    }

    //= test WAL-7
    #[test]
    fn unknown_kinds_and_flags_are_named() {
        let verified = |kind: u8, flags: u8| {
            let mut body = stored(&[Frame::new(FrameKind::Put, 0, b"key", b"value")]);
            (body[4], body[5]) = (kind, flags);
            Frames::new(&body).next().unwrap().unwrap().verify()
        };
        assert_eq!(verified(77, 0), Err(Defect::Kind(77)));
        for flags in 0..=u8::MAX {
            let expected = match flags {
                0 | FLAG_BATCH_CONTINUES => Ok(FrameKind::Put),
                _ => Err(Defect::Flags(flags)),
            };
            assert_eq!(verified(FrameKind::Put as u8, flags), expected);
        }
    }
}
