//! Numbers beyond 64 bits: integers of any size and decimals.
//!
//! Invariants: a [`BigInt`] is always in its shortest two's complement form; the mantissa of a
//! [`Decimal`] is not divisible by 10 and zero has exponent 0, so equal numbers are equal bytes.

use std::cmp::Ordering;
use std::fmt;

/// Ten to the power of the digits that one limb of a text conversion holds.
const LIMB: u64 = 1_000_000_000;
const LIMB_DIGITS: usize = 9;

/// An integer of any size.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BigInt {
    /// Two's complement, little endian, shortest; zero is one byte.
    bytes: Vec<u8>,
}

impl BigInt {
    /// The integer with these two's complement little-endian bytes; none are zero.
    #[must_use]
    pub fn from_le_bytes(bytes: &[u8]) -> Self {
        let mut bytes = if bytes.is_empty() { vec![0] } else { bytes.to_vec() };
        while !is_shortest(&bytes) {
            bytes.pop();
        }
        Self { bytes }
    }

    /// Two's complement little-endian bytes, as few as hold the number.
    #[must_use]
    pub fn as_le_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the number is below zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.bytes.last().is_some_and(|top| *top >= 0x80)
    }

    /// The number, if it fits.
    #[must_use]
    pub fn to_i128(&self) -> Option<i128> {
        if self.bytes.len() > 16 {
            return None;
        }
        let mut wide = [if self.is_negative() { 0xFF } else { 0 }; 16];
        wide[..self.bytes.len()].copy_from_slice(&self.bytes);
        Some(i128::from_le_bytes(wide))
    }

    /// The number, if it fits.
    #[must_use]
    pub fn to_u128(&self) -> Option<u128> {
        if self.is_negative() || self.bytes.len() > 17 {
            return None;
        }
        let mut wide = [0; 17];
        wide[..self.bytes.len()].copy_from_slice(&self.bytes);
        (wide[16] == 0).then(|| u128::from_le_bytes(*wide.first_chunk().expect("17 hold 16")))
    }

    /// The number, if it fits.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        self.to_i128()?.try_into().ok()
    }

    /// The number, if it fits.
    #[must_use]
    pub fn to_u64(&self) -> Option<u64> {
        self.to_i128()?.try_into().ok()
    }

    /// The number written as decimal digits with an optional minus, `None` for any other text.
    /// O(digits squared).
    #[must_use]
    pub fn from_decimal(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut words: Vec<u32> = Vec::with_capacity(digits.len() / 9 + 1);
        let (head, chunks) = digits.split_at(digits.len() % LIMB_DIGITS);
        for chunk in std::iter::once(head).chain(chunks.chunks(LIMB_DIGITS)) {
            let limb = chunk.iter().fold(0, |limb, d| limb * 10 + u64::from(d - b'0'));
            let mut carry = limb;
            for word in &mut words {
                carry += u64::from(*word) * LIMB;
                *word = carry as u32;
                carry >>= 32;
            }
            if carry != 0 {
                words.push(carry as u32);
            }
        }
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.push(0);
        if text.starts_with('-') {
            negate(&mut bytes);
        }
        Some(Self::from_le_bytes(&bytes))
    }
}

/// Whether the last byte of a two's complement number is needed.
pub(crate) fn is_shortest(bytes: &[u8]) -> bool {
    match bytes {
        [.., below, 0] => *below >= 0x80,
        [.., below, 0xFF] => *below < 0x80,
        _ => true,
    }
}

/// Whether these bytes are the canonical form of an integer beyond 64 bits.
pub(crate) fn is_canonical_big(bytes: &[u8]) -> bool {
    bytes.len() >= 9 && is_shortest(bytes) && !(bytes.len() == 9 && bytes[8] == 0)
}

fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes {
        let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
        *byte = sum;
        carry = over;
    }
}

impl From<i128> for BigInt {
    fn from(value: i128) -> Self {
        Self::from_le_bytes(&value.to_le_bytes())
    }
}

impl From<u128> for BigInt {
    fn from(value: u128) -> Self {
        let mut bytes = [0; 17];
        bytes[..16].copy_from_slice(&value.to_le_bytes());
        Self::from_le_bytes(&bytes)
    }
}

impl Ord for BigInt {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_sign = other.is_negative().cmp(&self.is_negative());
        let by_length = self.bytes.len().cmp(&other.bytes.len());
        let by_length = if self.is_negative() { by_length.reverse() } else { by_length };
        by_sign.then(by_length).then_with(|| self.bytes.iter().rev().cmp(other.bytes.iter().rev()))
    }
}

impl PartialOrd for BigInt {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for BigInt {
    /// Decimal digits. O(digits squared).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut magnitude = self.bytes.clone();
        if self.is_negative() {
            magnitude.push(0xFF);
            negate(&mut magnitude);
            f.write_str("-")?;
        }
        magnitude.resize(magnitude.len().next_multiple_of(4), 0);
        let mut words: Vec<u32> =
            magnitude.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect();
        let mut limbs = Vec::new();
        while !words.is_empty() {
            let mut rest = 0u64;
            for word in words.iter_mut().rev() {
                let value = rest << 32 | u64::from(*word);
                *word = (value / LIMB) as u32;
                rest = value % LIMB;
            }
            limbs.push(rest);
            while words.last() == Some(&0) {
                words.pop();
            }
        }
        write!(f, "{}", limbs.pop().unwrap_or(0))?;
        limbs.iter().rev().try_for_each(|limb| write!(f, "{limb:09}"))
    }
}

impl fmt::Debug for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A decimal number: mantissa times ten to the power of the exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    mantissa: i128,
    exponent: i8,
}

impl Decimal {
    /// Bytes of an encoded decimal.
    pub(crate) const BYTES: usize = 17;

    /// The decimal in its one form, `None` if removing the factors of ten from the mantissa takes
    /// the exponent beyond 127.
    #[must_use]
    pub fn new(mantissa: i128, exponent: i8) -> Option<Self> {
        if mantissa == 0 {
            return Some(Self { mantissa: 0, exponent: 0 });
        }
        let (mut mantissa, mut exponent) = (mantissa, exponent);
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent = exponent.checked_add(1)?;
        }
        Some(Self { mantissa, exponent })
    }

    /// The mantissa, not divisible by 10 unless 0.
    #[must_use]
    pub fn mantissa(&self) -> i128 {
        self.mantissa
    }

    /// The power of ten.
    #[must_use]
    pub fn exponent(&self) -> i8 {
        self.exponent
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.mantissa.to_le_bytes());
        bytes[16] = self.exponent as u8;
        bytes
    }

    /// The decimal with these bytes if they are its canonical form.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (mantissa, exponent) = bytes.split_first_chunk::<16>()?;
        let mantissa = i128::from_le_bytes(*mantissa);
        let [exponent] = exponent else { return None };
        let exponent = *exponent as i8;
        let canonical = if mantissa == 0 { exponent == 0 } else { mantissa % 10 != 0 };
        canonical.then_some(Self { mantissa, exponent })
    }
}

impl fmt::Display for Decimal {
    /// A JSON number that is exactly this decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = -i32::from(self.exponent);
        match places {
            0 => write!(f, "{}", self.mantissa),
            1..=40 => {
                let sign = if self.mantissa < 0 { "-" } else { "" };
                let width = places as usize + 1;
                let digits = format!("{:0width$}", self.mantissa.unsigned_abs());
                let (whole, part) = digits.split_at(digits.len() - places as usize);
                write!(f, "{sign}{whole}.{part}")
            }
            _ => write!(f, "{}e{}", self.mantissa, self.exponent),
        }
    }
}

impl Ord for Decimal {
    /// Numeric order; exact.
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = self.mantissa.signum().cmp(&other.mantissa.signum());
        if sign != Ordering::Equal || self.mantissa == 0 {
            return sign;
        }
        let magnitude = compare_magnitudes(
            (self.mantissa.unsigned_abs(), self.exponent),
            (other.mantissa.unsigned_abs(), other.exponent),
        );
        if self.mantissa < 0 { magnitude.reverse() } else { magnitude }
    }
}

fn compare_magnitudes(a: (u128, i8), b: (u128, i8)) -> Ordering {
    let top = |x: (u128, i8)| x.0.ilog10() as i32 + i32::from(x.1);
    // Of equal top digit: all digits, filled up with zeros to the longest there are.
    let digits = |x: (u128, i8)| format!("{:0<39}", x.0);
    top(a).cmp(&top(b)).then_with(|| digits(a).cmp(&digits(b)))
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_and_bytes_of_big_integers_agree() {
        for text in [
            "0",
            "-1",
            "127",
            "128",
            "-128",
            "-129",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775809",
            "340282366920938463463374607431768211455",
            "-170141183460469231731687303715884105729",
            "1000000000000000000000000000000000000000000000000000000000001",
        ] {
            let number = BigInt::from_decimal(text).expect("digits");
            assert_eq!(number.to_string(), text);
            assert_eq!(BigInt::from_le_bytes(number.as_le_bytes()), number);
            assert!(is_shortest(number.as_le_bytes()));
            assert_eq!(number.to_i128(), text.parse().ok(), "{text}");
            assert_eq!(number.to_u128(), text.parse().ok(), "{text}");
            let fits = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
            assert_eq!(is_canonical_big(number.as_le_bytes()), !fits, "{text}");
        }
        assert_eq!(BigInt::from_decimal("+1"), None);
        assert_eq!(BigInt::from_decimal(""), None);
    }

    #[test]
    fn big_integers_are_ordered_as_numbers() {
        let ordered = ["-99999999999999999999999", "-70000", "-129", "-1", "0", "5", "70000"];
        let numbers: Vec<_> =
            ordered.iter().map(|text| BigInt::from_decimal(text).expect("digits")).collect();
        assert!(numbers.is_sorted());
    }

    #[test]
    fn decimals_have_one_form_and_numeric_order() {
        assert_eq!(Decimal::new(1500, -2), Decimal::new(15, 0));
        assert_eq!(Decimal::new(0, 9), Decimal::new(0, 0));
        assert_eq!(Decimal::new(10, 127), None);
        let text = |m, e| Decimal::new(m, e).expect("in range").to_string();
        assert_eq!(text(-5, -3), "-0.005");
        assert_eq!(text(12345, -2), "123.45");
        assert_eq!(text(7, 3), "7e3");
        let of = |m, e| Decimal::new(m, e).expect("in range");
        let ordered = [of(-2, 5), of(-1, 0), of(0, 0), of(1, -9), of(11, -1), of(i128::MAX, 0)];
        assert!(ordered.is_sorted());
        assert!(of(i128::MAX, 0) < of(3, 38));
        assert!(of(i128::MAX, 0) > of(17, 37));
    }
}
