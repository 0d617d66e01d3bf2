//! The texts of an input, each of which is to become a record: lines, or documents over several.
//!
//! An input that begins with an array, or with the first line of a longer document, is read as
//! documents; any other line by line, where a bad line does not take others with it.

use std::io::{self, BufRead, Cursor, Read};

use uarr_layout::uarr::{JsonErrorKind, from_json};

use crate::documents::{Documents, Fault};
use crate::lines::{Lines, Place, Text};
use crate::value::{JSON_BYTES_MAX, strip_mark};

/// What texts are read from.
type Input = Box<dyn BufRead + Send>;

/// Reads texts one after the other.
pub enum Texts {
    /// Each line is one.
    Lines(Lines<Input>),
    /// They have any number of lines.
    Documents(Documents<Input>),
}

impl Texts {
    /// The texts of `input`. Reads the first line to see what they are.
    pub fn new(mut input: Input) -> io::Result<Self> {
        let mut place = Place::START;
        loop {
            // An array may be one line of any length.
            if input.fill_buf()?.first() == Some(&b'[') {
                return Ok(Self::Documents(Documents::new(input, JSON_BYTES_MAX, place)));
            }
            let mut line = Vec::new();
            (&mut input).take(JSON_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
            let text = strip_mark(&line);
            if !line.is_empty() && text.trim_ascii().is_empty() {
                place = place.behind(&line);
                continue;
            }
            if !is_start_of_document(text) {
                let all = Box::new(Cursor::new(line).chain(input));
                return Ok(Self::Lines(Lines::new(all, JSON_BYTES_MAX, place)));
            }
            place.offset += (line.len() - text.len()) as u64;
            let all = Box::new(Cursor::new(text.to_vec()).chain(input));
            return Ok(Self::Documents(Documents::new(all, JSON_BYTES_MAX, place)));
        }
    }

    /// The next text.
    pub fn next(&mut self) -> Result<Option<Text<'_>>, Fault> {
        match self {
            Self::Lines(lines) => Ok(lines.next()?),
            Self::Documents(documents) => documents.next(),
        }
    }

    /// Where the text last returned begins.
    pub fn place(&self) -> Place {
        match self {
            Self::Lines(lines) => lines.place(),
            Self::Documents(documents) => documents.place(),
        }
    }

    /// Where the text behind it begins.
    pub fn end(&self) -> Place {
        match self {
            Self::Lines(lines) => lines.end(),
            Self::Documents(documents) => documents.end(),
        }
    }

    /// Lines may have so many bytes from now on.
    pub fn set_line_bytes_max(&mut self, line_bytes_max: usize) {
        if let Self::Lines(lines) = self {
            lines.set_line_bytes_max(line_bytes_max);
        }
    }
}

/// Whether the first line is an array, or part of a document that goes on.
fn is_start_of_document(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"[")
        || line.ends_with(b"\n")
            && from_json(line).is_err_and(|error| error.kind == JsonErrorKind::End)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &[(u64, u64, &str)]) {
        let mut texts = Texts::new(Box::new(Cursor::new(input.as_bytes().to_vec()))).unwrap();
        for (line, offset, text) in expected {
            assert_eq!(texts.next().unwrap(), Some(Text::Whole(text.as_bytes())), "{input}");
            assert_eq!((texts.place().line, texts.place().offset), (*line, *offset), "{input}");
        }
        assert_eq!(texts.next().unwrap(), None, "{input}");
        assert_eq!(texts.end().offset, input.len() as u64, "{input}");
    }

    #[test]
    fn the_first_line_says_what_the_texts_are() {
        check("", &[]);
        check("{}\n{\n", &[(1, 0, "{}"), (2, 3, "{")]);
        check("\n \n{\"a\":}\n}\n", &[(3, 3, "{\"a\":}"), (4, 10, "}")]);
        check("\u{feff}{}\n[]", &[(1, 0, "{}"), (2, 6, "[]")]);
        check("{\n}\n{}\n", &[(1, 0, "{\n}"), (3, 4, "{}")]);
        check("\u{feff}{\n}{}\n", &[(1, 3, "{\n}"), (2, 6, "{}")]);
        check("\n[{},\n{}]", &[(2, 2, "{}"), (3, 6, "{}")]);
        check(" \u{feff} [{}]", &[(1, 0, " \u{feff} [{}]")]);
        check("\u{feff} [{}]", &[(1, 5, "{}")]);
    }
}
