//! Keys as text: on the command line, in input records and in the output.
//!
//! Invariant: what [`ShownKey`] shows, [`Key::parse`] reads back as the same key.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;

use uarr::{AsKey, KEY_BYTES_MAX, KeyBytes, KeyKind, KeyRef, OwnedRecord};
use uarr_layout::uarr::{Kind, UArrRef};

use crate::failure::Failure;
use crate::field::noun;

/// Marks a byte key given in hexadecimal digits.
const HEX_PREFIX: &str = "hex:";
/// Marks a `u64` in a table with byte keys.
const U64_PREFIX: &str = "u64:";
/// Marks an `i64` in a table with byte keys.
const I64_PREFIX: &str = "i64:";

/// A key of any kind of table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// For byte tables.
    Bytes(Vec<u8>),
    /// For `u64` tables.
    U64(u64),
    /// For `i64` tables.
    I64(i64),
}

impl AsKey for Key {
    fn kind(&self) -> KeyKind {
        match self {
            Self::Bytes(_) => KeyKind::Bytes,
            Self::U64(_) => KeyKind::U64,
            Self::I64(_) => KeyKind::I64,
        }
    }

    fn to_key(&self) -> KeyBytes<'_> {
        match self {
            Self::Bytes(bytes) => KeyBytes::Slice(bytes),
            Self::U64(number) => number.to_key(),
            Self::I64(number) => number.to_key(),
        }
    }
}

impl Key {
    /// The key that the argument names in a table of this kind.
    pub fn parse(given: &OsStr, kind: KeyKind) -> Result<Self, Failure> {
        let key = Self::parse_bound(given, kind)?;
        key.check_length().map_err(Failure::usage)?;
        Ok(key)
    }

    /// The bound of a range that the argument names; unlike a key it may be empty.
    pub fn parse_bound(given: &OsStr, kind: KeyKind) -> Result<Self, Failure> {
        let number = || format!("'{}' is no key of this table", given.to_string_lossy());
        if kind == KeyKind::Bytes
            && let Some(key) = parse_typed(given)
        {
            return key;
        }
        match kind {
            KeyKind::Bytes => match given.as_bytes().strip_prefix(HEX_PREFIX.as_bytes()) {
                Some(digits) => parse_hex(digits).map(Self::Bytes).ok_or_else(|| {
                    Failure::usage(format!(
                        "'{}' is no key: behind hex: go pairs of hexadecimal digits",
                        given.to_string_lossy()
                    ))
                }),
                None => Ok(Self::Bytes(given.as_bytes().to_vec())),
            },
            KeyKind::U64 => {
                given.to_str().and_then(|text| text.parse().ok()).map(Self::U64).ok_or_else(|| {
                    Failure::usage(format!("{}: keys are numbers from 0 to {}", number(), u64::MAX))
                })
            }
            KeyKind::I64 => {
                given.to_str().and_then(|text| text.parse().ok()).map(Self::I64).ok_or_else(|| {
                    Failure::usage(format!(
                        "{}: keys are numbers from {} to {}",
                        number(),
                        i64::MIN,
                        i64::MAX
                    ))
                })
            }
        }
    }

    /// The key of a table of this kind that [`ShownKey::to_json`] wrote as `shown`. The error says
    /// what is wrong.
    pub fn of_shown(shown: &serde_json::Value, kind: KeyKind) -> Result<Self, String> {
        let text = match (shown, kind) {
            (serde_json::Value::String(text), KeyKind::Bytes) => text.clone(),
            (serde_json::Value::Number(number), KeyKind::U64 | KeyKind::I64) => number.to_string(),
            (_, KeyKind::Bytes) => return Err("the key is no text".to_owned()),
            (_, kind) => return Err(format!("the key is no number, as {kind} keys are")),
        };
        Self::parse(OsStr::new(&text), kind).map_err(|failure| failure.message)
    }

    /// The key that a field of a record holds: text or an integer. In byte tables an integer
    /// becomes its decimal text, in integer tables a text must be a number. The error says what is
    /// wrong.
    pub fn of_field(field: &UArrRef<'_>, kind: KeyKind) -> Result<Self, String> {
        let text = match field.kind() {
            Kind::Str => field.as_str().unwrap_or_default().to_owned(),
            Kind::Int => match kind {
                KeyKind::U64 if let Some(number) = field.as_u64() => return Ok(Self::U64(number)),
                KeyKind::I64 if let Some(number) = field.as_i64() => return Ok(Self::I64(number)),
                _ => field.to_string(),
            },
            other => {
                let advice = if other == Kind::F64 { " (write 1000 for 1e3)" } else { "" };
                let what = noun(other);
                return Err(format!("keys are texts or integers, this is {what}{advice}"));
            }
        };
        let key = match kind {
            KeyKind::Bytes => Some(Self::Bytes(text.into_bytes())),
            KeyKind::U64 => text.parse().ok().map(Self::U64),
            KeyKind::I64 => text.parse().ok().map(Self::I64),
        };
        let key = key.ok_or_else(|| format!("it does not fit the table's {kind} keys"))?;
        key.check_length()?;
        Ok(key)
    }

    /// The key with `prefix` before it. The error says what is wrong.
    pub fn prefixed(self, prefix: &[u8]) -> Result<Self, String> {
        let key = match self {
            key if prefix.is_empty() => key,
            Self::Bytes(bytes) => Self::Bytes([prefix, &bytes].concat()),
            Self::U64(_) | Self::I64(_) => {
                return Err("--prefix is for keys of bytes, not for integers".to_owned());
            }
        };
        key.check_length()?;
        Ok(key)
    }

    fn check_length(&self) -> Result<(), String> {
        match self {
            Self::Bytes(bytes) if bytes.is_empty() => Err("a key has at least 1 byte".to_owned()),
            Self::Bytes(bytes) if bytes.len() > KEY_BYTES_MAX => Err(format!(
                "a key has at most {KEY_BYTES_MAX} bytes, this one has {}",
                bytes.len()
            )),
            _ => Ok(()),
        }
    }

    /// The key as the output shows one of a table of this kind.
    pub fn show(&self, kind: KeyKind) -> ShownKey {
        let key = match self {
            Self::Bytes(bytes) => KeyRef::Bytes(bytes),
            Self::U64(number) => KeyRef::U64(*number),
            Self::I64(number) => KeyRef::I64(*number),
        };
        ShownKey::of(key, kind)
    }
}

/// The integer that the argument marks as one.
fn parse_typed(given: &OsStr) -> Option<Result<Key, Failure>> {
    let text = given.to_str()?;
    let (kind, digits) = match (text.strip_prefix(U64_PREFIX), text.strip_prefix(I64_PREFIX)) {
        (Some(digits), _) => (KeyKind::U64, digits),
        (_, Some(digits)) => (KeyKind::I64, digits),
        (None, None) => return None,
    };
    Some(Key::parse(OsStr::new(digits), kind))
}

fn parse_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    let pairs = digits.chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// A key as the output shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownKey {
    /// Text, or the `hex:` form.
    Text(String),
    /// A number.
    Number(i128),
}

impl ShownKey {
    /// The key of a record in a table of this kind.
    pub fn of_record(record: &OwnedRecord, kind: KeyKind) -> Self {
        Self::of(record.key_ref(), kind)
    }

    /// The key with these stored bytes in a table of this kind.
    pub fn of_stored(bytes: &[u8], kind: KeyKind) -> Self {
        Self::of(kind.decode(bytes), kind)
    }

    fn of(key: KeyRef<'_>, kind: KeyKind) -> Self {
        match (key, kind) {
            (KeyRef::Bytes(bytes), _) => Self::of_bytes(bytes),
            (KeyRef::U64(number), KeyKind::Bytes) => Self::Text(format!("{U64_PREFIX}{number}")),
            (KeyRef::I64(number), KeyKind::Bytes) => Self::Text(format!("{I64_PREFIX}{number}")),
            (KeyRef::U64(number), _) => Self::Number(number.into()),
            (KeyRef::I64(number), _) => Self::Number(number.into()),
        }
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let is_marked = |text: &str| {
            [HEX_PREFIX, U64_PREFIX, I64_PREFIX].iter().any(|mark| text.starts_with(mark))
        };
        match std::str::from_utf8(bytes) {
            Ok(text) if !is_marked(text) => Self::Text(text.to_owned()),
            _ => Self::Text(hex(bytes)),
        }
    }

    /// As a JSON value.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            // Every key fits one of the two, and JSON has numbers of any size.
            Self::Number(number) => match u64::try_from(*number) {
                Ok(number) => number.into(),
                Err(_) => (*number as i64).into(),
            },
        }
    }

    /// Writes the key as JSON.
    pub fn write_json(&self, out: &mut impl io::Write) -> io::Result<()> {
        match self {
            Self::Text(text) => Ok(serde_json::to_writer(out, text)?),
            Self::Number(number) => write!(out, "{number}"),
        }
    }
}

impl fmt::Display for ShownKey {
    /// One line: text with control characters is shown in the `hex:` form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if text.chars().any(char::is_control) => {
                f.write_str(&hex(text.as_bytes()))
            }
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
    HEX_PREFIX.chars().chain(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uarr_layout::uarr::from_json;

    #[test]
    fn what_is_shown_reads_back() {
        let check = |bytes: &[u8], json: &str, line: &str| {
            let shown = Key::Bytes(bytes.to_vec()).show(KeyKind::Bytes);
            assert_eq!(shown.to_json(), json);
            assert_eq!(shown.to_string(), line);
            for text in [json, line] {
                let key = Key::parse(OsStr::new(text), KeyKind::Bytes).unwrap();
                assert_eq!(key, Key::Bytes(bytes.to_vec()));
            }
        };
        check(b"plain", "plain", "plain");
        check("\u{e9}".as_bytes(), "\u{e9}", "\u{e9}");
        check(b"two\nlines", "two\nlines", "hex:74776f0a6c696e6573");
        check(b"\xff\x00", "hex:ff00", "hex:ff00");
        check(b"hex:41", "hex:6865783a3431", "hex:6865783a3431");
        check(b"u64:1", "hex:7536343a31", "hex:7536343a31");
        check(b"i64:x", "hex:6936343a78", "hex:6936343a78");
        for key in [Key::U64(0), Key::U64(u64::MAX), Key::I64(i64::MIN), Key::I64(7)] {
            let shown = key.show(KeyKind::Bytes).to_string();
            assert_eq!(Key::parse(OsStr::new(&shown), KeyKind::Bytes).unwrap(), key);
        }
        for number in [0, u64::MAX] {
            let shown = Key::U64(number).show(KeyKind::U64);
            assert_eq!(shown.to_json(), number);
            let key = Key::parse(OsStr::new(&shown.to_string()), KeyKind::U64).unwrap();
            assert_eq!(key, Key::U64(number));
        }
        for number in [i64::MIN, -1, i64::MAX] {
            let shown = Key::I64(number).show(KeyKind::I64);
            assert_eq!(shown.to_json(), number);
            let key = Key::parse(OsStr::new(&shown.to_string()), KeyKind::I64).unwrap();
            assert_eq!(key, Key::I64(number));
        }
    }

    #[test]
    fn bad_arguments_are_refused() {
        let check = |text: &str, kind| {
            let failure = Key::parse(OsStr::new(text), kind).unwrap_err();
            assert_eq!(failure.kind, "usage", "{text}");
        };
        check("", KeyKind::Bytes);
        check("hex:", KeyKind::Bytes);
        check("hex:4", KeyKind::Bytes);
        check("hex:4g", KeyKind::Bytes);
        check("u64:-1", KeyKind::Bytes);
        check("i64:", KeyKind::Bytes);
        check(&"x".repeat(65_536), KeyKind::Bytes);
        check("-1", KeyKind::U64);
        check("1.0", KeyKind::U64);
        check("18446744073709551616", KeyKind::U64);
        check("9223372036854775808", KeyKind::I64);
        let odd = OsStr::from_bytes(b"\xff");
        assert!(Key::parse(odd, KeyKind::U64).is_err());
        assert_eq!(Key::parse(odd, KeyKind::Bytes).unwrap(), Key::Bytes(vec![0xff]));
    }

    #[test]
    fn fields_become_keys() {
        let key = |json: &str, kind| Key::of_field(&from_json(json).unwrap().as_ref(), kind);
        assert_eq!(key("\"a\"", KeyKind::Bytes), Ok(Key::Bytes(b"a".to_vec())));
        assert_eq!(key("-7", KeyKind::Bytes), Ok(Key::Bytes(b"-7".to_vec())));
        assert_eq!(key("18446744073709551615", KeyKind::U64), Ok(Key::U64(u64::MAX)));
        assert_eq!(key("\"12\"", KeyKind::U64), Ok(Key::U64(12)));
        assert_eq!(key("-12", KeyKind::I64), Ok(Key::I64(-12)));
        for (json, kind) in [
            ("-1", KeyKind::U64),
            ("\"a\"", KeyKind::U64),
            ("18446744073709551615", KeyKind::I64),
            ("1.5", KeyKind::U64),
            ("1.5", KeyKind::Bytes),
            ("null", KeyKind::Bytes),
            ("true", KeyKind::Bytes),
            ("[1]", KeyKind::Bytes),
            ("{}", KeyKind::Bytes),
            ("\"\"", KeyKind::Bytes),
        ] {
            assert!(key(json, kind).is_err(), "{json} {kind:?}");
        }
    }
}
