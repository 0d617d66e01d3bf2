//! Owned records ([`UArrBuf`]) and the growing buffer they are written into ([`Output`]).
//!
//! Invariants: the bytes start at a multiple of 8, because the storage is a vector of words; the
//! write position never passes the end of the storage, which never exceeds the longest record.

use std::fmt;
use std::ops::Deref;

use zerocopy::IntoBytes;

use super::error::Error;
use super::reference::UArrRef;
use super::spec::{TOTAL_BYTES_MAX, align8};

/// An owned, 8-byte aligned record. Dereferences to its bytes.
#[derive(Clone, Default)]
pub struct UArrBuf {
    words: Vec<u64>,
    bytes_len: usize,
}

impl UArrBuf {
    /// An empty buffer, to be written into by a [`Builder`](super::Builder).
    #[must_use]
    pub const fn new() -> Self {
        Self { words: Vec::new(), bytes_len: 0 }
    }

    /// A checked, aligned copy of `bytes`.
    ///
    /// # Errors
    /// What [`UArrRef::validate`] finds wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        UArrRef::validate(bytes)?;
        Ok(Self::copy_of(bytes))
    }

    /// An aligned copy of `bytes` without a check.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut words = vec![0; align8(bytes.len()) / 8];
        words.as_mut_slice().as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        Self { words, bytes_len: bytes.len() }
    }

    /// The record's bytes.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.words.as_slice().as_bytes()[..self.bytes_len]
    }

    /// The record's bytes, for changes that keep it valid.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_slice().as_mut_bytes()[..self.bytes_len]
    }

    /// The root value.
    ///
    /// # Panics
    /// If the buffer is empty: it was made by [`UArrBuf::new`] and nothing was written to it.
    #[inline]
    #[must_use]
    pub fn as_ref(&self) -> UArrRef<'_> {
        UArrRef::open(self.as_bytes()).expect("a written buffer holds a record")
    }

    /// The record as a plain vector, copied.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Deref for UArrBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for UArrBuf {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for UArrBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for UArrBuf {}

impl std::hash::Hash for UArrBuf {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for UArrBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UArrRef::open(self.as_bytes()) {
            Ok(value) => fmt::Debug::fmt(&value, f),
            Err(_) => f.write_str("(empty)"),
        }
    }
}

impl fmt::Display for UArrBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UArrRef::open(self.as_bytes()) {
            Ok(value) => fmt::Display::fmt(&value, f),
            Err(_) => Ok(()),
        }
    }
}

/// A buffer with a write position. Storage behind the position may hold old bytes: a writer that
/// leaves a gap zeroes it.
#[derive(Default)]
pub(crate) struct Output {
    buffer: UArrBuf,
    at: usize,
}

impl Output {
    /// Takes `buffer` for its storage; its content is lost.
    pub fn with_buffer(mut buffer: UArrBuf) -> Self {
        buffer.words.truncate(TOTAL_BYTES_MAX / 8);
        buffer.bytes_len = 0;
        Self { buffer, at: 0 }
    }

    /// Empties the buffer and leaves `at` bytes of room at its start.
    #[inline]
    pub fn restart(&mut self, at: usize) {
        self.buffer.bytes_len = 0;
        self.at = 0;
        self.room(at).expect("the header fits the longest record");
    }

    /// Write position.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Moves on by `bytes` and returns them to be filled, `None` beyond the longest record.
    #[inline]
    pub fn room(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let start = self.at;
        if bytes > self.buffer.words.len() * 8 - start {
            self.grow(bytes)?;
        }
        self.at = start + bytes;
        self.buffer.words.as_mut_slice().as_mut_bytes().get_mut(start..start + bytes)
    }

    /// Moves on to the next multiple of 8, zeroing what is passed.
    #[inline]
    pub fn align(&mut self) -> Option<usize> {
        let used = self.at & 7;
        if used != 0 {
            let word = self.buffer.words.get_mut(self.at / 8)?;
            *word = (u64::from_le(*word) & ((1 << (8 * used)) - 1)).to_le();
            self.at = align8(self.at);
        }
        Some(self.at)
    }

    /// The whole storage, header first.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let at = self.at;
        &mut self.buffer.words.as_mut_slice().as_mut_bytes()[..at]
    }

    /// Declares everything up to the position a record.
    #[inline]
    pub fn seal(&mut self) -> &UArrBuf {
        self.buffer.bytes_len = self.at;
        &self.buffer
    }

    /// The sealed record.
    #[inline]
    pub fn sealed(&self) -> &UArrBuf {
        &self.buffer
    }

    /// Gives the sealed record away and starts with no storage.
    pub fn take(&mut self) -> UArrBuf {
        self.at = 0;
        std::mem::take(&mut self.buffer)
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        let needed = self.at.checked_add(bytes)?;
        if needed > TOTAL_BYTES_MAX {
            return None;
        }
        let doubled = (self.buffer.words.len() * 16).clamp(256, TOTAL_BYTES_MAX);
        self.buffer.words.resize(needed.max(doubled).div_ceil(8), 0);
        Some(())
    }
}
