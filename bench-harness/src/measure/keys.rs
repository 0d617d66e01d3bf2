//! Keys of records: where they lie among each other, and what stores get.

use serde::Deserialize;

use crate::measure::workload::key_of;

/// Neighbours in a cluster, as a number of bits.
const CLUSTER_SHIFT: u32 = 10;
const CLUSTERS_MASK: u64 = u64::MAX >> CLUSTER_SHIFT;
/// Odd, so that multiplying by it loses nothing.
const CLUSTER_STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// What a text key begins with, as much of it as fits before the digits.
const TEXT_HEAD: &[u8; 24] = b"user:profile:visited:no:";
/// Digits of a text key.
const TEXT_DIGITS: usize = 16;
/// Most bytes of a text key.
const TEXT_BYTES_MAX: usize = TEXT_HEAD.len() + TEXT_DIGITS;

/// Where the keys of records lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyOrder {
    /// Anywhere: the next record's key lies far from the last one's.
    #[default]
    Spread,
    /// In clusters of 1024 neighbours that lie anywhere, as ids of many users do.
    Clustered,
}

impl KeyOrder {
    /// The key of the record with this number: distinct for distinct numbers.
    #[inline]
    pub const fn key_of(self, number: u64) -> u64 {
        match self {
            Self::Spread => key_of(number),
            Self::Clustered => {
                let cluster = (number >> CLUSTER_SHIFT).wrapping_mul(CLUSTER_STEP) & CLUSTERS_MASK;
                let cluster = cluster ^ (cluster >> 27);
                cluster << CLUSTER_SHIFT | number & ((1 << CLUSTER_SHIFT) - 1)
            }
        }
    }
}

/// What a store gets as a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyForm {
    /// The number.
    #[default]
    U64,
    /// 16 letters, in the order of the numbers.
    Text16,
    /// 20 of them.
    Text,
    /// 40 of them.
    Text40,
}

impl KeyForm {
    /// Bytes of a key that is text.
    pub const fn text_bytes(self) -> Option<usize> {
        match self {
            Self::U64 => None,
            Self::Text16 => Some(TEXT_DIGITS),
            Self::Text => Some(20),
            Self::Text40 => Some(TEXT_BYTES_MAX),
        }
    }

    /// Bytes of a key.
    pub fn bytes(self) -> usize {
        self.text_bytes().unwrap_or(size_of::<u64>())
    }
}

/// A key as text.
#[derive(Clone, Copy, Debug)]
pub struct TextKey {
    bytes: [u8; TEXT_BYTES_MAX],
    len: usize,
}

impl AsRef<[u8]> for TextKey {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The text of a key, `len` bytes of it.
#[inline]
pub fn text_of(key: u64, len: usize) -> TextKey {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = [0; TEXT_BYTES_MAX];
    let (head, digits) = bytes[..len].split_at_mut(len - TEXT_DIGITS);
    head.copy_from_slice(&TEXT_HEAD[..len - TEXT_DIGITS]);
    for (place, letter) in digits.iter_mut().rev().enumerate() {
        *letter = DIGITS[(key >> (4 * place) & 15) as usize];
    }
    TextKey { bytes, len }
}

/// The key that has this text; `None` of other text.
pub fn key_of_text(text: &[u8]) -> Option<u64> {
    let (head, digits) = text.split_at_checked(text.len().checked_sub(TEXT_DIGITS)?)?;
    let is_ours = TEXT_HEAD.starts_with(head);
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().filter(|_| is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_distinct_and_clusters_are_neighbours() {
        for order in [KeyOrder::Spread, KeyOrder::Clustered] {
            let lanes = [0, 1 << 40, 1 << 63 | 5];
            let numbers = lanes.into_iter().flat_map(|first| first..first + 20_000);
            let mut keys: Vec<u64> = numbers.map(|number| order.key_of(number)).collect();
            let neighbours = keys.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
            assert_eq!(neighbours > 59_000, order == KeyOrder::Clustered, "{neighbours}");
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), 60_000);
        }
        // Clusters lie anywhere.
        let firsts: Vec<u64> = (0..64).map(|one| KeyOrder::Clustered.key_of(one << 10)).collect();
        let halves = firsts.iter().filter(|&&key| key < 1 << 63).count();
        assert!((16..48).contains(&halves), "{halves}");
    }

    #[test]
    fn text_has_the_order_of_its_numbers() {
        let keys = [0, 1, 15, 16, 0xff, 1 << 40, u64::MAX];
        for (form, sixteen) in [
            (KeyForm::Text16, "0000000000000010"),
            (KeyForm::Text, "user0000000000000010"),
            (KeyForm::Text40, "user:profile:visited:no:0000000000000010"),
        ] {
            let texts = keys.map(|key| text_of(key, form.text_bytes().unwrap()));
            assert!(texts.iter().map(AsRef::as_ref).is_sorted_by(|one: &&[u8], other| one < other));
            assert_eq!(texts[3].as_ref(), sixteen.as_bytes());
            assert_eq!(form.bytes(), sixteen.len());
            assert_eq!(texts.map(|text| key_of_text(text.as_ref())), keys.map(Some));
        }
        assert_eq!(KeyForm::U64.bytes(), 8);
        assert_eq!(key_of_text(b"user10"), None);
        assert_eq!(key_of_text(b"uses0000000000000010"), None);
        assert_eq!(key_of_text(b"0000"), None);
    }
}
