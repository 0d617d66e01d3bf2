//! JSON text to records.
//!
//! One pass, straight into the [`Encoder`]: no tree is built. Numbers stay exact: integers of any
//! size keep all digits, numbers with a point or an exponent are the nearest double, `-0` is the
//! double -0.0. Sequences of plain integers or of doubles become typed arrays, as the format says.
//!
//! Invariants: every text of RFC 8259 within the format's limits is accepted, except numbers
//! beyond the range of a double and lone surrogates; nothing else is. A repeated name is an error
//! at the position of its repetition. Nesting is limited before the stack could be.

use std::fmt;

use super::buf::UArrBuf;
use super::encode::Encoder;
use super::error::BuildError;
use super::number::BigInt;
use super::spec::DEPTH_MAX;

/// Longest integer in digits that is read.
const INTEGER_DIGITS_MAX: usize = 10_000;

/// What is wrong with a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// The text ends inside of a value.
    End,
    /// The text is not UTF-8.
    Utf8,
    /// A value was expected.
    Value,
    /// A name in quotes was expected.
    Name,
    /// A colon was expected.
    Colon,
    /// A comma or the end of the container was expected.
    Comma,
    /// A number is not written as JSON wants it.
    Number,
    /// A number is beyond the range of a double, or an integer beyond 10,000 digits.
    NumberRange,
    /// An unknown escape, or half of a surrogate pair.
    Escape,
    /// A control character inside of a string.
    Control,
    /// Text after the value.
    Trailing,
    /// A name that its object has already.
    DuplicateName,
    /// A limit of the format.
    Limit(BuildError),
}

/// Where and why a text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// Byte offset in the text, from 0.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            JsonErrorKind::End => f.write_str("the text ends inside of a value"),
            JsonErrorKind::Utf8 => f.write_str("the text is not UTF-8"),
            JsonErrorKind::Value => f.write_str("a value was expected"),
            JsonErrorKind::Name => f.write_str("a name in quotes was expected"),
            JsonErrorKind::Colon => f.write_str("a colon was expected"),
            JsonErrorKind::Comma => f.write_str("a comma or the end was expected"),
            JsonErrorKind::Number => f.write_str("the number is not written as JSON wants it"),
            JsonErrorKind::NumberRange => f.write_str("the number is out of range"),
            JsonErrorKind::Escape => f.write_str("the escape is unknown or half of a pair"),
            JsonErrorKind::Control => f.write_str("a control character must be escaped"),
            JsonErrorKind::Trailing => f.write_str("text follows the value"),
            JsonErrorKind::DuplicateName => f.write_str("the name is repeated in its object"),
            JsonErrorKind::Limit(error) => fmt::Display::fmt(&error, f),
        }?;
        write!(f, " at line {} column {}", self.line, self.column)
    }
}

impl std::error::Error for JsonError {}

/// The record of a JSON text.
///
/// # Errors
/// What is wrong and where.
pub fn from_json(text: impl AsRef<[u8]>) -> Result<UArrBuf, JsonError> {
    let mut encoder = Encoder::new();
    encode_json(&mut encoder, text.as_ref())?;
    Ok(encoder.take())
}

/// Writes the record of a JSON text with `encoder`, which may be used again and again.
///
/// # Errors
/// What is wrong and where.
pub fn encode_json<'e>(encoder: &'e mut Encoder, text: &[u8]) -> Result<&'e UArrBuf, JsonError> {
    encoder.start();
    let valid = match std::str::from_utf8(text) {
        Ok(valid) => valid,
        Err(error) => return Err(located(text, error.valid_up_to(), JsonErrorKind::Utf8)),
    };
    let mut reader = Reader { text: valid, bytes: text, at: 0, scratch: String::new() };
    let written = reader.document(encoder);
    if let Err(Fault { kind, at }) = written {
        return Err(located(text, at, kind));
    }
    let at = reader.at;
    encoder.finish().map_err(|error| located(text, at, JsonErrorKind::Limit(error)))
}

fn located(text: &[u8], offset: usize, kind: JsonErrorKind) -> JsonError {
    let before = &text[..offset.min(text.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    // Continuation bytes of UTF-8 belong to the character before them.
    let column = before[line_start..].iter().filter(|byte| **byte & 0xC0 != 0x80).count() + 1;
    JsonError { kind, offset, line, column }
}

struct Fault {
    kind: JsonErrorKind,
    at: usize,
}

struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    scratch: String,
}

impl<'t> Reader<'t> {
    fn fault<T>(&self, kind: JsonErrorKind) -> Result<T, Fault> {
        let kind = if self.at >= self.bytes.len() { JsonErrorKind::End } else { kind };
        Err(Fault { kind, at: self.at })
    }

    /// The next byte that is no white space, 0 at the end: a NUL is no part of any token.
    #[inline]
    fn peek(&mut self) -> u8 {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return *byte;
            }
            self.at += 1;
        }
        0
    }

    fn document(&mut self, encoder: &mut Encoder) -> Result<(), Fault> {
        self.value(encoder, 0)?;
        self.peek();
        if self.at < self.bytes.len() { self.fault(JsonErrorKind::Trailing) } else { Ok(()) }
    }

    #[inline]
    fn value(&mut self, encoder: &mut Encoder, depth: u32) -> Result<(), Fault> {
        match self.peek() {
            b'"' => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let text = self.string(&mut scratch);
                if let Ok(text) = &text {
                    encoder.str(text);
                }
                let read = text.map(|_| ());
                self.scratch = scratch;
                read
            }
            b'{' => self.object(encoder, depth),
            b'[' => self.list(encoder, depth),
            b'-' | b'0'..=b'9' => self.number(encoder),
            b't' => self.word("true").map(|()| encoder.bool(true)),
            b'f' => self.word("false").map(|()| encoder.bool(false)),
            b'n' => self.word("null").map(|()| encoder.null()),
            _ => self.fault(JsonErrorKind::Value),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        for expected in word.bytes() {
            if self.bytes.get(self.at) != Some(&expected) {
                return self.fault(JsonErrorKind::Value);
            }
            self.at += 1;
        }
        Ok(())
    }

    fn check_depth(&self, depth: u32) -> Result<(), Fault> {
        if depth < DEPTH_MAX {
            return Ok(());
        }
        Err(Fault { kind: JsonErrorKind::Limit(BuildError::TooDeep), at: self.at })
    }

    fn list(&mut self, encoder: &mut Encoder, depth: u32) -> Result<(), Fault> {
        self.check_depth(depth)?;
        self.at += 1;
        encoder.begin_list();
        if self.peek() == b']' {
            self.at += 1;
        } else {
            loop {
                self.value(encoder, depth + 1)?;
                match self.peek() {
                    b',' => self.at += 1,
                    b']' => break self.at += 1,
                    _ => return self.fault(JsonErrorKind::Comma),
                }
            }
        }
        encoder.end_sequence();
        self.check_limits(encoder)
    }

    fn check_limits(&self, encoder: &Encoder) -> Result<(), Fault> {
        match encoder.error() {
            None => Ok(()),
            Some(error) => Err(Fault { kind: JsonErrorKind::Limit(error), at: self.at }),
        }
    }

    fn object(&mut self, encoder: &mut Encoder, depth: u32) -> Result<(), Fault> {
        self.check_depth(depth)?;
        let start = self.at;
        self.at += 1;
        encoder.begin_object();
        if self.peek() == b'}' {
            self.at += 1;
        } else {
            loop {
                self.field(encoder, depth)?;
                match self.peek() {
                    b',' => self.at += 1,
                    b'}' => break self.at += 1,
                    _ => return self.fault(JsonErrorKind::Comma),
                }
            }
        }
        encoder.end_object();
        if let Some(BuildError::DuplicateName { field_index }) = encoder.error() {
            let at = self.name_at(start, field_index);
            return Err(Fault { kind: JsonErrorKind::DuplicateName, at });
        }
        self.check_limits(encoder)
    }

    #[inline]
    fn field(&mut self, encoder: &mut Encoder, depth: u32) -> Result<(), Fault> {
        if self.peek() != b'"' {
            return self.fault(JsonErrorKind::Name);
        }
        let name_at = self.at;
        let mut scratch = std::mem::take(&mut self.scratch);
        let name = self.string(&mut scratch);
        if let Ok(name) = &name {
            encoder.name(name);
        }
        let read = name.map(|_| ());
        self.scratch = scratch;
        read?;
        if let Some(error) = encoder.error() {
            return Err(Fault { kind: JsonErrorKind::Limit(error), at: name_at });
        }
        if self.peek() != b':' {
            return self.fault(JsonErrorKind::Colon);
        }
        self.at += 1;
        self.value(encoder, depth + 1)
    }

    /// Where name `index` of the object at `start` is; the text was read once, so it is well
    /// formed: only strings and brackets matter.
    fn name_at(&self, start: usize, index: u32) -> usize {
        let (mut at, mut depth, mut commas, mut is_quoted) = (start, 0, 0, false);
        while let Some(byte) = self.bytes.get(at) {
            match byte {
                b'\\' if is_quoted => at += 1,
                b'"' if !is_quoted && depth == 1 && commas == index => return at,
                b'"' => is_quoted = !is_quoted,
                _ if is_quoted => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                b',' if depth == 1 => commas += 1,
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// The string whose opening quote is next: a part of the text, or `scratch` if it has escapes.
    #[inline]
    fn string<'s>(&mut self, scratch: &'s mut String) -> Result<&'s str, Fault>
    where
        't: 's,
    {
        self.at += 1;
        let start = self.at;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at - 1]);
                }
                Some(b'\\') => break,
                Some(0..=0x1F) => return self.fault(JsonErrorKind::Control),
                Some(_) => self.at += 1,
                None => return self.fault(JsonErrorKind::End),
            }
        }
        scratch.clear();
        scratch.push_str(&self.text[start..self.at]);
        self.escaped(scratch)?;
        Ok(scratch)
    }

    /// The rest of a string, from its first escape on.
    fn escaped(&mut self, scratch: &mut String) -> Result<(), Fault> {
        let mut start = self.at;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    scratch.push_str(&self.text[start..self.at]);
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    scratch.push_str(&self.text[start..self.at]);
                    scratch.push(self.escape()?);
                    start = self.at;
                }
                Some(0..=0x1F) => return self.fault(JsonErrorKind::Control),
                Some(_) => self.at += 1,
                None => return self.fault(JsonErrorKind::End),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.at;
        let Some(byte) = self.bytes.get(self.at + 1) else {
            self.at += 1;
            return self.fault(JsonErrorKind::End);
        };
        self.at += 2;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{C}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(start),
            _ => return Err(Fault { kind: JsonErrorKind::Escape, at: start }),
        })
    }

    /// The character of `\uXXXX`, or of two of them that form a surrogate pair.
    fn unicode(&mut self, start: usize) -> Result<char, Fault> {
        let fault = Fault { kind: JsonErrorKind::Escape, at: start };
        let Some(first) = self.hex4() else { return Err(fault) };
        let mut code = first;
        if (0xD800..0xDC00).contains(&first) {
            if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                return Err(fault);
            }
            self.at += 2;
            match self.hex4() {
                Some(second @ 0xDC00..0xE000) => {
                    code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                }
                _ => return Err(fault),
            }
        }
        char::from_u32(code).ok_or(fault)
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        let mut code = 0;
        for digit in digits {
            code = code << 4 | char::from(*digit).to_digit(16)?;
        }
        self.at += 4;
        Some(code)
    }

    #[inline]
    fn number(&mut self, encoder: &mut Encoder) -> Result<(), Fault> {
        let start = self.at;
        let is_negative = self.bytes[self.at] == b'-';
        self.at += usize::from(is_negative);
        let digits_at = self.at;
        // Nineteen digits fit u64 always; more are read again below.
        let mut small = 0u64;
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            small = small.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - digits_at;
        if digits == 0 || (digits > 1 && self.bytes[digits_at] == b'0') {
            if digits > 0 {
                self.at = digits_at + 1;
            }
            return self.fault(JsonErrorKind::Number);
        }
        if matches!(self.bytes.get(self.at), Some(b'.' | b'e' | b'E')) {
            return self.double(start, encoder);
        }
        match (digits, is_negative) {
            (1, true) if small == 0 => encoder.f64(-0.0),
            (..19, false) => encoder.int(small as i64),
            (..19, true) => encoder.int(-(small as i64)),
            _ => return self.long_integer(start, encoder),
        }
        Ok(())
    }

    #[cold]
    fn long_integer(&mut self, start: usize, encoder: &mut Encoder) -> Result<(), Fault> {
        let text = &self.text[start..self.at];
        if let Ok(number) = text.parse::<i128>() {
            encoder.int128(number);
            return Ok(());
        }
        let digit_count = text.strip_prefix('-').unwrap_or(text).len();
        let big = if digit_count > INTEGER_DIGITS_MAX { None } else { BigInt::from_decimal(text) };
        match big {
            Some(big) => encoder.big_int(&big),
            None => return Err(Fault { kind: JsonErrorKind::NumberRange, at: start }),
        }
        Ok(())
    }

    fn double(&mut self, start: usize, encoder: &mut Encoder) -> Result<(), Fault> {
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        match self.text[start..self.at].parse::<f64>() {
            Ok(number) if number.is_finite() => {
                encoder.f64(number);
                Ok(())
            }
            _ => Err(Fault { kind: JsonErrorKind::NumberRange, at: start }),
        }
    }

    /// One or more digits.
    fn digits(&mut self) -> Result<(), Fault> {
        if !matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            return self.fault(JsonErrorKind::Number);
        }
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        Ok(())
    }
}
