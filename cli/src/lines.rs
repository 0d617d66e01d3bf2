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
    end_offset: u64,
}

/// Where a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the line, from 1.
    pub line: u64,
    /// Byte offset of its start.
    pub offset: u64,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// What stands in it, without its end.
    Text(&'a [u8]),
    /// It is longer than the limit and was passed over.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input` with at most `line_bytes_max` bytes, ends not counted.
    pub fn new(input: R, line_bytes_max: usize) -> Self {
        let place = Place { line: 0, offset: 0 };
        Self { input, line_bytes_max, text: Vec::new(), place, end_offset: 0 }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.end_offset
    }

    /// Place of the line last returned.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The next line; the last one need not have an end.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.text.clear();
        let limit = self.line_bytes_max as u64 + 1;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.text)?;
        if read == 0 {
            return Ok(None);
        }
        self.place = Place { line: self.place.line + 1, offset: self.end_offset };
        self.end_offset += read as u64;
        let mut text = match self.text.strip_suffix(b"\n") {
            Some(text) => text,
            None if read > self.line_bytes_max => {
                self.end_offset += self.input.skip_until(b'\n')? as u64;
                return Ok(Some(Line::TooLong));
            }
            None => &self.text,
        };
        if self.place.line == 1 {
            text = strip_mark(text);
        }
        Ok(Some(Line::Text(text)))
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
            let mut lines = Lines::new(reader, 5);
            for (line, offset, text) in expected {
                let found = match lines.next().unwrap() {
                    Some(Line::Text(text)) => Some(String::from_utf8(text.to_vec()).unwrap()),
                    Some(Line::TooLong) => None,
                    None => panic!("line {line} is missing"),
                };
                assert_eq!(found.as_deref(), *text, "line {line} of {input:?}");
                assert_eq!(lines.place(), Place { line: *line, offset: *offset });
            }
            assert_eq!(lines.next().unwrap(), None);
            assert_eq!(lines.offset(), input.len() as u64);
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
