//! Text of times, sixteen-byte ids and byte strings.
//!
//! Invariant: everything here is pure arithmetic on the value; no clock, no locale.

use std::fmt::{self, Write};

const NANOS: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Writes nanoseconds since 1970 as RFC 3339 in UTC with 0, 3, 6 or 9 digits of the second.
pub(crate) fn write_time(out: &mut impl Write, nanoseconds: i64) -> fmt::Result {
    let (seconds, fraction) = (nanoseconds.div_euclid(NANOS), nanoseconds.rem_euclid(NANOS));
    let (day, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let (year, month, day) = civil(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
    match fraction {
        0 => {}
        f if f % 1_000_000 == 0 => write!(out, ".{:03}", f / 1_000_000)?,
        f if f % 1_000 == 0 => write!(out, ".{:06}", f / 1_000)?,
        f => write!(out, ".{f:09}")?,
    }
    out.write_char('Z')
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Days are counted from 0000-03-01, so the leap day is the last day of a year; 400 years have
/// 146,097 days, and the months from March on follow the pattern 31, 30, 31, 30, 31.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_month)
}

/// Writes bytes as base64 with padding (RFC 4648, section 4).
pub(crate) fn write_base64(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            out.write_char(if place <= chunk.len() { char::from(digit) } else { '=' })?;
        }
    }
    Ok(())
}

/// Writes sixteen bytes as a UUID.
pub(crate) fn write_uuid(out: &mut impl Write, bytes: &[u8; 16]) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

/// Whether these are ASCII only, by whole words.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().fold(0, |all, byte| all | byte) < 0x80;
    };
    // The last word overlaps the one before it.
    let whole = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    whole.fold(u64::from_le_bytes(*last), |all, word| all | word) & 0x8080_8080_8080_8080 == 0
}

/// Whether these are UTF-8. Most text is ASCII, which is found out faster.
#[inline]
pub(crate) fn is_utf8(bytes: &[u8]) -> bool {
    is_ascii(bytes) || std::str::from_utf8(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(nanoseconds: i64) -> String {
        let mut text = String::new();
        write_time(&mut text, nanoseconds).expect("a string takes all text");
        text
    }

    #[test]
    fn times_are_rfc_3339() {
        for (nanoseconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400 * NANOS, "2000-02-29T00:00:00Z"),
            (1_709_210_096 * NANOS + 5_000_000, "2024-02-29T12:34:56.005Z"),
            (4_107_542_399 * NANOS + 1_000, "2100-02-28T23:59:59.000001Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        ] {
            assert_eq!(time(nanoseconds), expected);
        }
    }

    #[test]
    fn base64_of_the_rfc() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"\xff\xfe\xfd", "//79"),
        ] {
            let mut text = String::new();
            write_base64(&mut text, bytes).expect("a string takes all text");
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn ascii_is_recognised_at_every_length_and_place() {
        for length in 0..40 {
            let mut bytes = vec![0x7F; length];
            assert!(is_ascii(&bytes) && is_utf8(&bytes));
            for at in 0..length {
                bytes[at] = 0x80;
                assert!(!is_ascii(&bytes) && !is_utf8(&bytes), "{length} {at}");
                bytes[at] = 0x7F;
            }
        }
        assert!(is_utf8("\u{e9} and \u{1F600}".as_bytes()));
    }
}
