//! [`HeaderSum`]: the checksum over the headers of a group's frames.

use zerocopy::IntoBytes;

use crate::checksum::extend;
use crate::frame::FrameHeader;
use crate::geometry::FRAME_HEADER_BYTES;

/// So many headers are summed at once: a call costs as much as the words of a dozen headers. More
/// would make what holds a sum large to move.
const GATHERED_COUNT: usize = 4;

/// CRC-32C over frame headers, one behind the other.
#[derive(Clone, Debug, Default)]
pub struct HeaderSum {
    /// Of the headers before those that are gathered.
    crc: u32,
    /// In words: bytes before the first aligned one would be summed one by one.
    gathered: [[u64; FRAME_HEADER_BYTES / 8]; GATHERED_COUNT],
    gathered_count: usize,
}

impl HeaderSum {
    /// Adds the next header.
    #[inline]
    pub fn add(&mut self, header: &FrameHeader) {
        self.gathered[self.gathered_count] = zerocopy::transmute!(*header);
        self.gathered_count += 1;
        if self.gathered_count == GATHERED_COUNT {
            self.crc = self.crc();
            self.gathered_count = 0;
        }
    }

    /// The checksum over all headers so far.
    pub fn crc(&self) -> u32 {
        extend(self.crc, self.gathered[..self.gathered_count].as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, FrameKind};

    #[test]
    fn any_number_of_headers_is_summed_in_their_order() {
        let mut sum = HeaderSum::default();
        let mut expected = 0;
        for number in 0..3 * GATHERED_COUNT as u64 + 2 {
            assert_eq!(sum.crc(), expected, "{number} headers");
            assert_eq!(sum.crc(), expected, "asking changes nothing");
            let mut header = Frame::new(FrameKind::Put, 0, b"key", &number.to_le_bytes()).header;
            header.lsn = number.into();
            sum.add(&header);
            expected = extend(expected, header.as_bytes());
        }
    }
}
