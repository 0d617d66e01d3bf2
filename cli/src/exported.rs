//! The lines of an export: `uarr export` writes them, `uarr import` reads them back.
//!
//! ```text
//! {"uarr_export":1,"key_kind":"bytes"}                      the start
//! {"key":"code:1","expires_ms":1767225600000,"value":7}     a record that expires
//! {"key":"hex:ff00","bytes":"AP8="}                         a value that is not just JSON
//! {"key":"user:1","value":{"name":"Ada"}}
//! {"records":3}                                             the end
//! ```
//!
//! The start says, too, what a table is like that differs from a new one: `"ordered":false`,
//! `"ttl_ms":3600000`, `"durable":true`.
//!
//! Keys are written as everywhere in the command. A value is written as JSON if the record made of
//! that JSON has the very same bytes; any other value, such as one with times, NaN or a checksum,
//! is written as its bytes in base64. `docs/decisions/0047-what-an-export-is.md` says why.
//!
//! Invariant: a line gives back key, bytes and expiry exactly. An export that was cut off, between
//! lines too, lacks its end.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uarr::{Expiry, KeyKind, OwnedRecord, TableInfo, TableOptions};
use uarr_layout::uarr::{Encoder, UArrRef, encode_json};

use crate::key::{Key, ShownKey};
use crate::value::JSON_BYTES_MAX;

/// Version of the lines.
const VERSION: u32 = 1;
/// The name with which the first line of every export begins.
const START: &[u8] = b"\"uarr_export\"";
/// Longest line in bytes: room for the longest value in base64, and for the longest key.
pub const LINE_BYTES_MAX: usize = 3 << 29;

/// What an export, or an import, says of the table that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The kind of its keys.
    pub kind: KeyKind,
    /// What else a new table is to be like.
    pub options: TableOptions,
}

impl From<KeyKind> for Shape {
    fn from(kind: KeyKind) -> Self {
        Self { kind, options: TableOptions::new().keys(kind) }
    }
}

/// The line that starts an export of keys of this kind, of the default table or of `table`.
pub fn start(kind: KeyKind, table: Option<&TableInfo>) -> String {
    let mut more = String::new();
    if let Some(table) = table {
        if !table.ordered {
            more += ",\"ordered\":false";
        }
        if let Expiry::In(time) = table.expiry {
            more += &format!(",\"ttl_ms\":{}", time.as_millis());
        }
        if table.durable {
            more += ",\"durable\":true";
        }
    }
    format!("{{\"uarr_export\":{VERSION},\"key_kind\":\"{kind}\"{more}}}\n")
}

/// The line that ends an export of `records`.
pub fn end(records: u64) -> String {
    format!("{{\"records\":{records}}}\n")
}

/// Whether an export begins with this line; other tools may have put space into it.
pub fn is_start(line: &[u8]) -> bool {
    let name = line.trim_ascii_start().strip_prefix(b"{");
    name.is_some_and(|name| name.trim_ascii_start().starts_with(START))
}

/// Writes the lines of records.
#[derive(Default)]
pub struct Writer {
    line: Vec<u8>,
    json: Vec<u8>,
    encoder: Encoder,
}

impl Writer {
    /// The line of a record of a table with keys of this kind.
    pub fn line(&mut self, record: &OwnedRecord, kind: KeyKind) -> &[u8] {
        let expires = match record.expiry() {
            Expiry::At(time) => time.duration_since(SystemTime::UNIX_EPOCH).ok(),
            Expiry::In(_) | Expiry::Never => None,
        };
        let key = ShownKey::of_record(record, kind).to_json().to_string();
        let expires = expires.map(|time| format!(",\"expires_ms\":{}", time.as_millis()));
        self.line.clear();
        self.line.extend([b"{\"key\":", key.as_bytes()].concat());
        self.line.extend(expires.unwrap_or_default().as_bytes());
        if self.spell(record.bytes()) {
            self.line.extend(b",\"value\":");
            self.line.extend(&self.json);
        } else {
            let bytes = STANDARD.encode(record.bytes());
            self.line.extend([b",\"bytes\":\"", bytes.as_bytes(), b"\""].concat());
        }
        self.line.extend(b"}\n");
        &self.line
    }

    /// Writes `value` to `json`. `false`: no JSON has exactly these bytes as its record.
    fn spell(&mut self, value: &[u8]) -> bool {
        self.json.clear();
        UArrRef::validate(value).is_ok_and(|record| {
            record.write_json(&mut self.json).is_ok()
                && self.json.len() <= JSON_BYTES_MAX
                && encode_json(&mut self.encoder, &self.json)
                    .is_ok_and(|spelt| spelt.as_bytes() == value)
        })
    }
}

/// A line of an export.
#[derive(Debug)]
pub enum Line<'t> {
    /// The first.
    Start(Shape),
    /// A record.
    Record(Key, Value<'t>, Expiry),
    /// The last: how many records there are.
    End(u64),
}

/// A value of an export.
#[derive(Debug)]
pub enum Value<'t> {
    /// The record of this JSON.
    Json(&'t [u8]),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// All that the lines may have.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Members<'t> {
    uarr_export: Option<u32>,
    key_kind: Option<String>,
    ordered: Option<bool>,
    ttl_ms: Option<u64>,
    durable: Option<bool>,
    key: Option<serde_json::Value>,
    #[serde(borrow, deserialize_with = "raw")]
    value: Option<&'t RawValue>,
    #[serde(borrow)]
    bytes: Option<Cow<'t, str>>,
    expires_ms: Option<u64>,
    records: Option<u64>,
}

impl Members<'_> {
    /// What a first line says of a table with keys of `kind`.
    fn shape(&self, kind: KeyKind) -> Shape {
        let mut shape = Shape::from(kind);
        if self.ordered == Some(false) {
            shape.options = shape.options.unordered();
        }
        if let Some(ms) = self.ttl_ms {
            shape.options = shape.options.expires_in(Duration::from_millis(ms));
        }
        if self.durable == Some(true) {
            shape.options = shape.options.durable();
        }
        shape
    }
}

/// The text of a value, of `null` too.
fn raw<'t, D: Deserializer<'t>>(input: D) -> Result<Option<&'t RawValue>, D::Error> {
    <&RawValue>::deserialize(input).map(Some)
}

impl<'t> Line<'t> {
    /// What a line of an export with keys of this kind says; the error says what is wrong.
    pub fn parse(text: &'t [u8], kind: KeyKind) -> Result<Self, String> {
        let members: Members<'_> = serde_json::from_slice(text)
            .map_err(|error| format!("this is no line of an export: {error}"))?;
        match members {
            Members { uarr_export: Some(VERSION), key_kind: Some(ref kind), .. } => {
                let kind = kind.parse().map_err(|error: uarr::Error| error.to_string())?;
                Ok(Self::Start(members.shape(kind)))
            }
            Members { uarr_export: Some(version), .. } => Err(format!(
                "the export has version {version}; this command reads version {VERSION}, take \
                 the one that wrote it"
            )),
            Members { key: Some(key), value, bytes, expires_ms, records: None, .. } => {
                let key = Key::of_shown(&key, kind)?;
                let value = Value::of(value, bytes)?;
                Ok(Self::Record(key, value, expires_ms.map_or(Ok(Expiry::Never), expiry)?))
            }
            Members { records: Some(count), .. } => Ok(Self::End(count)),
            _ => Err("this is no line of an export: it has no key".to_owned()),
        }
    }
}

impl<'t> Value<'t> {
    fn of(json: Option<&'t RawValue>, bytes: Option<Cow<'_, str>>) -> Result<Self, String> {
        match (json, bytes) {
            (Some(json), None) => Ok(Self::Json(json.get().as_bytes())),
            (None, Some(text)) => STANDARD
                .decode(text.as_bytes())
                .map(Self::Bytes)
                .map_err(|error| format!("\"bytes\" is no base64: {error}")),
            _ => Err("a record has either \"value\" or \"bytes\"".to_owned()),
        }
    }
}

fn expiry(ms: u64) -> Result<Expiry, String> {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    time.map(Expiry::At).ok_or_else(|| format!("the system has no time for expires_ms {ms}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_none_are_refused() {
        let check = |line: &str, part: &str| {
            let error = Line::parse(line.as_bytes(), KeyKind::Bytes).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        };
        check("{}", "no key");
        check("[]", "no line of an export");
        check("{\"key\":\"a\"}", "either");
        check("{\"key\":\"a\",\"value\":1,\"bytes\":\"\"}", "either");
        check("{\"key\":\"a\",\"value\":1,\"value\":2}", "duplicate");
        check("{\"key\":\"a\",\"value\":1,\"ttl\":2}", "unknown field");
        check("{\"key\":\"a\",\"bytes\":\"A\"}", "base64");
        check("{\"key\":\"\",\"value\":1}", "at least 1 byte");
        check("{\"key\":7,\"value\":1}", "text");
        check("{\"uarr_export\":2,\"key_kind\":\"bytes\"}", "version 2");
        check("{\"uarr_export\":1,\"key_kind\":\"u8\"}", "'u8'");
        check("{\"key\":\"a\",\"value\":1,\"expires_ms\":-1}", "no line of an export");
    }

    #[test]
    fn values_may_be_null() {
        let line = Line::parse(b"{\"key\":\"a\",\"value\":null}", KeyKind::Bytes);
        assert!(matches!(line, Ok(Line::Record(_, Value::Json(b"null"), Expiry::Never))));
    }
}
