//! Values as JSON text.
//!
//! What JSON lacks: bytes become base64 strings, times RFC 3339 strings, ids UUID strings, names of
//! nodes strings, numbers of nodes and spans of time numbers, big integers and decimals number
//! texts, NaN and infinities null. Undefined is left out of objects and null in lists.
//! Doubles are written in the shortest form that reads back to the same bits, always with a point
//! or an exponent, so integers and doubles stay apart.
//!
//! Invariant: the cost is bounded by the record even if it was not validated and is damaged.

use std::fmt::{self, Write};
use std::io;

use super::array_ref::ArrayRef;
use super::error::Error;
use super::number::BigInt;
use super::reference::UArrRef;
use super::text::{write_base64, write_time, write_uuid};
use super::view::{Budget, View};

/// Why a value could not be written as JSON.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The target refused.
    Io(io::Error),
    /// The record was not validated and is damaged.
    Damaged(Error),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the target refused: {error}"),
            Self::Damaged(error) => write!(f, "the record is damaged: {error}"),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Damaged(error) => Some(error),
        }
    }
}

/// Error of a walk: of the text target or of the record.
pub(crate) enum Stop {
    Target,
    Damaged(Error),
}

impl From<fmt::Error> for Stop {
    fn from(_: fmt::Error) -> Self {
        Self::Target
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Damaged(error)
    }
}

/// Text that is gathered before it goes to an [`io::Write`].
const GATHERED_BYTES_MAX: usize = 8 << 10;

/// An [`io::Write`] as a text target; keeps the error.
struct IoText<'w, W> {
    target: &'w mut W,
    gathered: String,
    error: Option<io::Error>,
}

impl<W: io::Write> IoText<'_, W> {
    fn pass_on(&mut self) -> fmt::Result {
        let written = self.target.write_all(self.gathered.as_bytes());
        self.gathered.clear();
        written.map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}

impl<W: io::Write> Write for IoText<'_, W> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.gathered.push_str(text);
        if self.gathered.len() >= GATHERED_BYTES_MAX { self.pass_on() } else { Ok(()) }
    }

    #[inline]
    fn write_char(&mut self, c: char) -> fmt::Result {
        self.gathered.push(c);
        Ok(())
    }
}

impl UArrRef<'_> {
    /// Writes the value as JSON text without spaces, in pieces of some KiB.
    ///
    /// # Errors
    /// `Io` from the target, `Damaged` for a record that was not validated.
    pub fn write_json<W: io::Write>(&self, target: &mut W) -> Result<(), WriteError> {
        let mut text = IoText { target, gathered: String::new(), error: None };
        let written = write_value(&mut text, self, &mut Budget::new(self));
        match written.and_then(|()| Ok(text.pass_on()?)) {
            Ok(()) => Ok(()),
            Err(Stop::Damaged(error)) => Err(WriteError::Damaged(error)),
            Err(Stop::Target) => Err(WriteError::Io(
                text.error.unwrap_or_else(|| io::Error::other("the target refused")),
            )),
        }
    }

    /// The value as JSON text without spaces.
    ///
    /// # Errors
    /// The broken rule of a record that was not validated.
    pub fn to_json(&self) -> Result<String, Error> {
        let mut text = String::new();
        match write_value(&mut text, self, &mut Budget::new(self)) {
            Err(Stop::Damaged(error)) => Err(error),
            _ => Ok(text),
        }
    }
}

impl fmt::Display for UArrRef<'_> {
    /// JSON text. Where a record that was not validated is damaged the text ends with
    /// `<damaged: why>`: only the formatter fails, never the bytes, since `to_string` and
    /// `println!` panic at a failure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match write_value(f, self, &mut Budget::new(self)) {
            Ok(()) => Ok(()),
            Err(Stop::Damaged(error)) => write!(f, "<damaged: {error}>"),
            Err(Stop::Target) => Err(fmt::Error),
        }
    }
}

fn write_value(out: &mut impl Write, value: &UArrRef<'_>, budget: &mut Budget) -> Result<(), Stop> {
    budget.pay(value)?;
    match value.view()? {
        View::Null | View::Undefined => out.write_str("null")?,
        View::Bool(flag) => out.write_str(if flag { "true" } else { "false" })?,
        View::Int(number) | View::Duration(number) => write!(out, "{number}")?,
        View::Uint(number) | View::Node(number) => write!(out, "{number}")?,
        View::F64(number) => write_f64(out, number)?,
        View::Time(nanoseconds) => {
            out.write_char('"')?;
            write_time(out, nanoseconds)?;
            out.write_char('"')?;
        }
        View::Str(text) | View::NodeName(text) => write_string(out, text)?,
        View::Bytes(bytes) => {
            out.write_char('"')?;
            write_base64(out, bytes)?;
            out.write_char('"')?;
        }
        View::BigInt(bytes) => write!(out, "{}", BigInt::from_le_bytes(bytes))?,
        View::Id128(bytes) => {
            out.write_char('"')?;
            write_uuid(out, bytes)?;
            out.write_char('"')?;
        }
        View::Decimal(number) => write!(out, "{number}")?,
        View::Array(array) => write_array(out, &array)?,
        View::List(_) => return write_list(out, value, budget),
        View::Object(_) => return write_object(out, value, budget),
    }
    Ok(())
}

fn write_list(out: &mut impl Write, value: &UArrRef<'_>, budget: &mut Budget) -> Result<(), Stop> {
    budget.enter(value)?;
    out.write_char('[')?;
    for (index, item) in value.iter().enumerate() {
        if index > 0 {
            out.write_char(',')?;
        }
        write_value(out, &item, budget)?;
    }
    out.write_char(']')?;
    budget.leave();
    Ok(())
}

fn write_object(
    out: &mut impl Write,
    value: &UArrRef<'_>,
    budget: &mut Budget,
) -> Result<(), Stop> {
    budget.enter(value)?;
    out.write_char('{')?;
    let mut entries = value.entries();
    let mut is_first = true;
    while let Some(entry) = entries.try_next() {
        let (name, field) = entry?;
        if field.is_undefined() {
            budget.pay(&field)?;
            continue;
        }
        if !is_first {
            out.write_char(',')?;
        }
        is_first = false;
        write_string(out, name)?;
        out.write_char(':')?;
        write_value(out, &field, budget)?;
    }
    out.write_char('}')?;
    budget.leave();
    Ok(())
}

fn write_array(out: &mut impl Write, array: &ArrayRef<'_>) -> fmt::Result {
    out.write_char('[')?;
    write_elements(out, array, ",", write_f64, write_f32)?;
    out.write_char(']')
}

/// Writes the elements of a typed array, divided by `gap`.
pub(crate) fn write_elements<W: Write>(
    out: &mut W,
    array: &ArrayRef<'_>,
    gap: &str,
    double: impl Fn(&mut W, f64) -> fmt::Result,
    single: impl Fn(&mut W, f32) -> fmt::Result,
) -> fmt::Result {
    let is_single = array.tag() == super::spec::tag::ARRAY_F32;
    for index in 0..array.len() {
        if index > 0 {
            out.write_str(gap)?;
        }
        let element = array.get(index).expect("an array has as many elements as its bytes hold");
        match element.view() {
            Ok(View::Int(number)) => write!(out, "{number}")?,
            Ok(View::Uint(number) | View::Node(number)) => write!(out, "{number}")?,
            Ok(View::F64(number)) if is_single => single(out, number as f32)?,
            Ok(View::F64(number)) => double(out, number)?,
            _ => unreachable!("elements of typed arrays are numbers"),
        }
    }
    Ok(())
}

fn write_f64(out: &mut impl Write, number: f64) -> fmt::Result {
    if number.is_finite() { write!(out, "{number:?}") } else { out.write_str("null") }
}

fn write_f32(out: &mut impl Write, number: f32) -> fmt::Result {
    if number.is_finite() { write!(out, "{number:?}") } else { out.write_str("null") }
}

/// Writes a JSON string: quotes, backslashes and control characters are escaped, nothing else.
pub(crate) fn write_string(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.write_str(&text[start..at])?;
        start = at + 1;
        match byte {
            b'"' => out.write_str("\\\"")?,
            b'\\' => out.write_str("\\\\")?,
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            0x08 => out.write_str("\\b")?,
            0x0C => out.write_str("\\f")?,
            _ => write!(out, "\\u{byte:04x}")?,
        }
    }
    out.write_str(&text[start..])?;
    out.write_char('"')
}
