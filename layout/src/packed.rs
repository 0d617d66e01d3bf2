//! Entries of integer keys, as an index image holds them: each says how it differs from the one
//! before, so most take a few bytes. The first entry of a piece differs from key 0, address 0 and
//! no lines: a piece is read by itself.
//!
//! ```text
//! key      varint   the key; behind the first entry less the key before and 1
//! address  varint   bit 0: lines follow; the rest: sixteenths of the address less those of the
//!                   entry before, as zigzag (0, -1, 1, -2, ...)
//! lines    varint   of the locator, if they are not those of the entry before
//! varint   7 bits a byte, the lowest first; bit 7: more follow. No longer than its value needs
//! ```
//! There is one way to write given entries, and readers refuse all others. Tombstones and keys that
//! do not ascend cannot be written.

use crate::Defect;
use crate::record::Locator;

/// Bytes of an entry at most: ten of a key, eight of an address, three of lines.
pub const PACKED_ENTRY_BYTES_MAX: usize = 21;

/// A varint of 64 bits has ten bytes at most.
const VARINT_BYTES_MAX: usize = 10;

/// Packs the entries of a piece, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packer {
    /// The key before; `None` at the start of a piece.
    key: Option<u64>,
    unit: u64,
    line_count: u64,
}

/// A packed entry.
#[derive(Clone, Copy, Debug)]
pub struct PackedEntry {
    bytes: [u8; PACKED_ENTRY_BYTES_MAX],
    len: usize,
}

impl PackedEntry {
    /// What is stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push_byte((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.push_byte(value as u8);
    }

    fn push_byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

impl Packer {
    /// The next entry. Keys ascend, and locators name no tombstones.
    #[inline]
    pub fn pack(&mut self, key: u64, locator: Locator) -> PackedEntry {
        assert!(!locator.is_tombstone(), "deleted keys are left out");
        assert!(self.key.is_none_or(|last| last < key), "keys ascend strictly");
        let mut packed = PackedEntry { bytes: [0; PACKED_ENTRY_BYTES_MAX], len: 0 };
        packed.push(self.key.map_or(key, |last| key - last - 1));
        let (unit, line_count) = (locator.unit(), locator.line_count());
        let step = unit.wrapping_sub(self.unit).cast_signed();
        let zigzag = (step << 1 ^ step >> 63).cast_unsigned();
        let has_lines = line_count != self.line_count;
        packed.push(zigzag << 1 | u64::from(has_lines));
        if has_lines {
            packed.push(line_count);
        }
        *self = Self { key: Some(key), unit, line_count };
        packed
    }
}

/// The entries of a piece: keys, which ascend, and locators. Ends with the first defect.
#[derive(Clone, Debug)]
pub struct PackedEntries<'a> {
    rest: &'a [u8],
    before: Packer,
}

impl<'a> PackedEntries<'a> {
    /// Those that the used bytes of a piece are.
    pub fn new(used: &'a [u8]) -> Self {
        Self { rest: used, before: Packer::default() }
    }

    #[inline]
    fn take(&mut self) -> Result<(u64, Locator), Defect> {
        let Packer { key: last, unit, line_count: lines_before } = self.before;
        let step = self.take_varint()?;
        let key = match last {
            Some(last) => last.checked_add(1).and_then(|next| next.checked_add(step)),
            None => Some(step),
        };
        let address = self.take_varint()?;
        let (zigzag, has_lines) = (address >> 1, address & 1 != 0);
        let step = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        let unit = unit.checked_add_signed(step);
        let line_count = if has_lines { self.take_varint()? } else { lines_before };
        if has_lines && line_count == lines_before {
            return Err(Defect::Entry);
        }
        let locator = unit.and_then(|unit| Locator::from_parts(unit, line_count));
        let (Some(key), Some(locator)) = (key, locator) else { return Err(Defect::Entry) };
        self.before = Packer { key: Some(key), unit: locator.unit(), line_count };
        Ok((key, locator))
    }

    #[inline]
    fn take_varint(&mut self) -> Result<u64, Defect> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                let is_shortest = index == 0 || *byte != 0;
                let fits = index + 1 < VARINT_BYTES_MAX || *byte == 1;
                return if is_shortest && fits { Ok(value) } else { Err(Defect::Entry) };
            }
        }
        Err(if self.rest.len() < VARINT_BYTES_MAX { Defect::Length } else { Defect::Entry })
    }
}

impl Iterator for PackedEntries<'_> {
    type Item = Result<(u64, Locator), Defect>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.rest = &[];
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ADDRESS_MAX;
    use crate::record::RecordKind;

    fn locator(address: u64, bytes: usize) -> Locator {
        Locator::new(address, bytes, RecordKind::Value)
    }

    fn pack(entries: &[(u64, Locator)]) -> Vec<u8> {
        let mut packer = Packer::default();
        entries.iter().flat_map(|(key, l)| packer.pack(*key, *l).as_bytes().to_vec()).collect()
    }

    fn unpack(bytes: &[u8]) -> Result<Vec<(u64, Locator)>, Defect> {
        PackedEntries::new(bytes).collect()
    }

    #[test]
    fn entries_come_back_as_they_were() {
        let far = ADDRESS_MAX - 16;
        for (entries, bytes) in [
            (&[][..], 0),
            (&[(0, locator(16, 0))], 2),
            (&[(0, locator(64, 168)), (1, locator(240, 168)), (2, locator(416, 168))], 7),
            (&[(u64::MAX, locator(far, 0x7fff * 64))], 21),
            (&[(0, locator(far, 1)), (u64::MAX, locator(16, 2 << 20))], 29),
            (&[(5, locator(far, 64)), (6, locator(16, 64)), (7, locator(far, 65))], 29),
        ] {
            let packed = pack(entries);
            assert_eq!(unpack(&packed).as_deref(), Ok(entries));
            assert_eq!(packed.len(), bytes, "{entries:?}");
            for len in 1..packed.len() {
                // Cut between two entries it is the first ones.
                let cut = unpack(&packed[..len]);
                assert!(cut.is_err() || entries.starts_with(&cut.unwrap()), "{entries:?} {len}");
            }
        }
    }

    #[test]
    fn what_is_believed_is_written_so() {
        let mut believed_count = 0;
        let mut check = |bytes: &[u8]| {
            if let Ok(entries) = unpack(bytes) {
                assert_eq!(pack(&entries), bytes);
                assert!(entries.is_sorted_by_key(|(key, _)| *key));
                believed_count += 1;
            }
        };
        let limit = if cfg!(miri) { 300 } else { 1 << 16 };
        for number in 0..limit {
            check(&u16::to_le_bytes(number as u16));
        }
        let mut number = 1u64;
        for _ in 0..limit {
            number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            // Few high bits, so that varints end.
            let bytes = [number >> 8, number >> 16 & number].map(|n| n & 0x3f8f_3f8f_3f8f_3f8f);
            check(&bytes.map(u64::to_le_bytes).concat()[..(number >> 60) as usize]);
        }
        assert!(believed_count > limit / 100, "{believed_count}");
    }

    #[test]
    fn entries_that_no_writer_makes_are_refused() {
        let [most, too_much] = [1, 2].map(|last| [[0xff; 9].as_slice(), &[last]].concat());
        assert_eq!(unpack(&[&most[..], &[4]].concat()).unwrap()[0].0, u64::MAX);
        for (what, bytes) in [
            ("a key beyond 64 bits", [&too_much[..], &[4]].concat()),
            ("a key that does not end", vec![0xff; 12]),
            ("longer than it need be", vec![0x80, 0, 4]),
            ("the key behind the last", [&most[..], &[4, 0, 4]].concat()),
            ("address 0", vec![0, 0]),
            ("an address below 0", vec![0, 2]),
            ("an address beyond the last", [vec![0], vec![0x80; 7], vec![2]].concat()),
            ("the same lines again", vec![0, 5, 0]),
            ("too many lines", vec![0, 5, 0x80, 0x80, 2]),
        ] {
            assert_eq!(unpack(&bytes), Err(Defect::Entry), "{what}");
        }
        for bytes in [&[0][..], &[0x80], &[0, 5], &[0, 0x84]] {
            assert_eq!(unpack(bytes), Err(Defect::Length), "{bytes:?}");
        }
    }
}
