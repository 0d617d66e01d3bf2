//! Patches in the log: what changed of a value instead of all of it.
//!
//! ```text
//! payload   PatchHeader (16)   patch: a UArr list of operations
//! ```
//! The record that a patch leads to is an ordinary one; only its frame is short. The base, the
//! version that the patch builds upon, is named by its LSN, which stays when a record is moved.
//! Replay finds it as the newest version of its key. The writer knows length and checksum of the
//! result before it writes the frame: the length decides the place, and replay must arrive at both.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::payload_crc;
use crate::geometry::PATCH_HEADER_BYTES;

/// First bytes of the payload of a patch frame.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct PatchHeader {
    /// LSN of the record that is patched, the version of the same key before this one.
    pub base: U64,
    /// Length of the value that the patch leads to.
    pub result_bytes: U32,
    /// CRC-32C of the key and that value.
    pub result_crc: U32,
}

const _: () = assert!(size_of::<PatchHeader>() == PATCH_HEADER_BYTES);

impl PatchHeader {
    /// The header of a patch of the record with LSN `base`, which makes `result` the value of
    /// `key`.
    pub fn new(base: u64, key: &[u8], result: &[u8]) -> Self {
        let bytes = u32::try_from(result.len()).expect("callers check the length of values");
        Self {
            base: base.into(),
            result_bytes: bytes.into(),
            result_crc: payload_crc(key, result).into(),
        }
    }

    /// The header at the start of `payload`, and the patch behind it. `None` if it is too short.
    pub fn split(payload: &[u8]) -> Option<(&Self, &[u8])> {
        Self::ref_from_prefix(payload).ok()
    }

    /// Whether `result` is the value that was logged for `key`.
    pub fn is_result(&self, key: &[u8], result: &[u8]) -> bool {
        result.len() == self.result_bytes.get() as usize
            && payload_crc(key, result) == self.result_crc.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_patch_come_apart_again() {
        let header = PatchHeader::new(64, b"key", b"result");
        let payload = [header.as_bytes(), b"patch"].concat();
        assert_eq!(PatchHeader::split(&payload), Some((&header, &b"patch"[..])));
        assert_eq!(PatchHeader::split(&payload[..PATCH_HEADER_BYTES - 1]), None);
        assert!(header.is_result(b"key", b"result"));
        assert!(!header.is_result(b"kez", b"result"));
        assert!(!header.is_result(b"key", b"resulx"));
        assert!(!header.is_result(b"key", b"resul"));
    }
}
