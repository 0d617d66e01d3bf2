//! Lines of an input, with their places, and with a limit to their length.
//!
//! Invariant: memory holds no more than the limit and the reader's own buffer.

use std::io::{self, BufRead, Read};

use crate::value::strip_mark;

/// Reads lines one after the other.
pub struct Lines<R> {
    input: R,
    line_bytes_max: usize,
    text: Vec<u8>,
    place: Place,
    /// Where the next line starts.
    end: Place,
}

/// Where a text starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of its line, from 1.
    pub line: u64,
    /// How many characters stand before it in that line.
    pub column: u64,
    /// Byte offset.
    pub offset: u64,
}

impl Place {
    /// The start of an input.
    pub const START: Self = Self { line: 1, column: 0, offset: 0 };

    /// The place behind `text`, which begins here.
    pub fn behind(self, text: &[u8]) -> Self {
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        let last_line = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // Continuation bytes of UTF-8 belong to the character before them.
        let characters = text[last_line..].iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        Self {
            line: self.line + lines as u64,
            column: if lines == 0 { self.column } else { 0 } + characters as u64,
            offset: self.offset + text.len() as u64,
        }
    }
}

/// A text of an input: a line, or a document over several.
#[derive(Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// All of it, without an end of line.
    Whole(&'a [u8]),
    /// It is longer than the limit and was passed over.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input`, which begins at `place` with a line, of at most `line_bytes_max` bytes,
    /// ends not counted.
    pub fn new(input: R, line_bytes_max: usize, place: Place) -> Self {
        Self { input, line_bytes_max, text: Vec::new(), place, end: place }
    }

    /// Lines may have so many bytes from now on.
    pub fn set_line_bytes_max(&mut self, line_bytes_max: usize) {
        self.line_bytes_max = line_bytes_max;
    }

    /// Where the text behind the last line begins.
    pub fn end(&self) -> Place {
        self.end
    }

    /// Place of the line last returned.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The next line; the last one need not have an end.
    pub fn next(&mut self) -> io::Result<Option<Text<'_>>> {
        self.text.clear();
        let limit = self.line_bytes_max as u64 + 1;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.text)?;
        if read == 0 {
            return Ok(None);
        }
        self.place = self.end;
        self.end.line += 1;
        self.end.offset += read as u64;
        let mut text = match self.text.strip_suffix(b"\n") {
            Some(text) => text,
            None if read > self.line_bytes_max => {
                self.end.offset += self.input.skip_until(b'\n')? as u64;
                return Ok(Some(Text::TooLong));
            }
            None => &self.text,
        };
        if self.place.line == 1 {
            text = strip_mark(text);
        }
        Ok(Some(Text::Whole(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line as (number, offset, text), with `None` for one that is too long.
    fn check(input: &str, expected: &[(u64, u64, Option<&str>)]) {
        // The reader's buffer is smaller than the lines, and larger.
        for buffer_bytes in [1, 3, 100] {
            let reader = io::BufReader::with_capacity(buffer_bytes, input.as_bytes());
            let mut lines = Lines::new(reader, 5, Place::START);
            for (line, offset, text) in expected {
                let found = match lines.next().unwrap() {
                    Some(Text::Whole(text)) => Some(String::from_utf8(text.to_vec()).unwrap()),
                    Some(Text::TooLong) => None,
                    None => panic!("line {line} is missing"),
                };
                assert_eq!(found.as_deref(), *text, "line {line} of {input:?}");
                assert_eq!(lines.place(), Place { line: *line, column: 0, offset: *offset });
            }
            assert_eq!(lines.next().unwrap(), None);
            assert_eq!(lines.end().offset, input.len() as u64);
        }
    }

    #[test]
    fn lines_and_places() {
        check("", &[]);
        check("\n", &[(1, 0, Some(""))]);
        check("ab\n\ncd", &[(1, 0, Some("ab")), (2, 3, Some("")), (3, 4, Some("cd"))]);
        check("\u{feff}ab\n\u{feff}\n", &[(1, 0, Some("ab")), (2, 6, Some("\u{feff}"))]);
    }

    #[test]
    fn the_limit() {
        check("12345\nx", &[(1, 0, Some("12345")), (2, 6, Some("x"))]);
        check("12345", &[(1, 0, Some("12345"))]);
        check("123456", &[(1, 0, None)]);
        check("123456\nx\n", &[(1, 0, None), (2, 7, Some("x"))]);
        check("123456789012345\n12345\n", &[(1, 0, None), (2, 16, Some("12345"))]);
    }
}
