//! Values as JSON.

use std::io::{Read, Write};

use uarr::{AsValue, Expiry};
use uarr_layout::uarr::{Encoder, JsonError, UArrRef};

use crate::failure::{Failure, Result, output};

/// Longest JSON text of one record in bytes: 64 MiB. A mistyped input, such as a file without line
/// ends, must not fill the memory.
pub const JSON_BYTES_MAX: usize = 64 << 20;

/// A value, and when it expires; `None`: as its table says.
pub struct Timed<'v> {
    pub bytes: &'v [u8],
    pub expiry: Option<Expiry>,
}

impl AsValue for Timed<'_> {
    fn value_bytes(&self) -> &[u8] {
        self.bytes
    }

    fn value_expiry(&self) -> Option<Expiry> {
        self.expiry
    }
}

/// Writes a value as JSON: a record as it is, any other bytes as [`write_bytes`] does.
pub fn write_value(out: &mut impl Write, value: &[u8]) -> Result<()> {
    match UArrRef::validate(value) {
        Ok(record) => Ok(record.write_json(out)?),
        Err(_) => write_bytes(out, value),
    }
}

/// Writes bytes as `{"$bytes":"<base64>"}`.
pub fn write_bytes(out: &mut impl Write, value: &[u8]) -> Result<()> {
    // A record's own notation of bytes in JSON is base64.
    let mut encoder = Encoder::new();
    encoder.start();
    encoder.bytes(value);
    out.write_all(b"{\"$bytes\":").map_err(|error| output(&error))?;
    match encoder.finish() {
        Ok(bytes) => bytes.as_ref().write_json(out)?,
        Err(error) => return Err(Failure::input(format!("cannot show the value: {error}")).into()),
    }
    out.write_all(b"}").map_err(|error| output(&error))
}

/// The failure of a text that is no JSON.
pub fn no_json(error: &JsonError) -> Failure {
    Failure {
        offset: Some(error.offset as u64),
        line: Some(error.line as u64),
        ..Failure::input(format!("the record is no JSON: {error}"))
    }
}

/// Reads the JSON text `input`, called `name`, up to [`JSON_BYTES_MAX`].
pub fn read_json(input: impl Read, name: &str) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = input.take(JSON_BYTES_MAX as u64 + 1).read_to_end(&mut text);
    read.map_err(|error| Failure::io(&format!("cannot read {name}"), &error))?;
    if text.len() > JSON_BYTES_MAX {
        let message = format!("the record has more than {JSON_BYTES_MAX} bytes of JSON");
        return Err(Failure::input(message).into());
    }
    let mark_bytes = text.len() - strip_mark(&text).len();
    text.drain(..mark_bytes);
    Ok(text)
}

/// The text without a byte order mark, which some editors write in front of UTF-8.
pub fn strip_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uarr_layout::uarr::from_json;

    fn shown(value: &[u8]) -> String {
        let mut out = Vec::new();
        write_value(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn records_and_other_bytes_look_different() {
        let json = r#"{"a":[1,2],"b":"\u0001\"x"}"#;
        let record = from_json(json).unwrap();
        assert_eq!(shown(record.as_bytes()), json);
        assert_eq!(shown(b""), r#"{"$bytes":""}"#);
        assert_eq!(shown(b"\xff\xfe\xfd"), r#"{"$bytes":"//79"}"#);
        let cut = &record.as_bytes()[..record.as_bytes().len() - 8];
        assert!(shown(cut).starts_with(r#"{"$bytes":"#));
    }
}
