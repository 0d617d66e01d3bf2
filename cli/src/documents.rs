//! JSON documents of an input that are not one a line: pretty-printed ones, one behind the other,
//! and the elements of arrays.
//!
//! This finds where documents begin and end, and checks the arrays around them; what stands in a
//! document is the parser's.
//!
//! Invariant: memory holds no more than the limit and the reader's own buffer, and a document is
//! returned when its last byte has come.

use std::io::{self, BufRead};

use crate::lines::{Place, Text};

/// Reads documents one after the other.
pub struct Documents<R> {
    input: R,
    document_bytes_max: usize,
    text: Vec<u8>,
    place: Place,
    end: Place,
    array: Option<Array>,
}

/// The array that is being read.
#[derive(Clone, Copy)]
struct Array {
    place: Place,
    /// What may stand next in it.
    next: Next,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    ElementOrEnd,
    Element,
    CommaOrEnd,
}

/// Why there is no next document.
#[derive(Debug)]
pub enum Fault {
    /// The input cannot be read.
    Io(io::Error),
    /// What stands around the documents is not JSON: nothing says where the next one begins.
    Structure(Place, &'static str),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<R: BufRead> Documents<R> {
    /// Documents of `input`, which begins at `place`, of at most `document_bytes_max` bytes.
    pub fn new(input: R, document_bytes_max: usize, place: Place) -> Self {
        Self { input, document_bytes_max, text: Vec::new(), place, end: place, array: None }
    }

    /// Where the text behind the last document begins.
    pub fn end(&self) -> Place {
        self.end
    }

    /// Where the document last returned begins.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The next document.
    pub fn next(&mut self) -> Result<Option<Text<'_>>, Fault> {
        loop {
            let Some(byte) = self.next_byte()? else {
                return match self.array {
                    Some(array) => Err(Fault::Structure(array.place, "the array has no end")),
                    None => Ok(None),
                };
            };
            let expected = match (&mut self.array, byte) {
                (None, b'[') => {
                    self.array = Some(Array { place: self.end, next: Next::ElementOrEnd });
                    self.pass(1);
                    continue;
                }
                (Some(Array { next: Next::ElementOrEnd | Next::CommaOrEnd, .. }), b']') => {
                    self.array = None;
                    self.pass(1);
                    continue;
                }
                (Some(Array { next: next @ Next::CommaOrEnd, .. }), b',') => {
                    *next = Next::Element;
                    self.pass(1);
                    continue;
                }
                (Some(Array { next: Next::CommaOrEnd, .. }), _) => "a comma or ] was expected",
                (_, b',' | b']' | b'}') => "a JSON object was expected",
                (Some(array), _) => {
                    array.next = Next::CommaOrEnd;
                    return self.document().map(Some);
                }
                (None, _) => return self.document().map(Some),
            };
            return Err(Fault::Structure(self.end, expected));
        }
    }

    /// The next byte that is no white space, which it stays in front of.
    fn next_byte(&mut self) -> io::Result<Option<u8>> {
        loop {
            let chunk = fill(&mut self.input)?;
            let blank = chunk.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let found = chunk.get(blank).copied();
            let has_ended = chunk.is_empty();
            self.pass(blank);
            if found.is_some() || has_ended {
                return Ok(found);
            }
        }
    }

    /// Goes on behind `count` bytes of what the reader holds.
    fn pass(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let Ok(chunk) = self.input.fill_buf() else { return };
        self.end = self.end.behind(&chunk[..count]);
        self.input.consume(count);
    }

    /// The document that begins here.
    fn document(&mut self) -> Result<Text<'_>, Fault> {
        self.text.clear();
        self.place = self.end;
        let mut scanner = Scanner::default();
        let mut is_short = true;
        loop {
            let chunk = fill(&mut self.input)?;
            let end = scanner.scan(chunk);
            let part = &chunk[..end.unwrap_or(chunk.len())];
            is_short &= self.text.len() + part.len() <= self.document_bytes_max;
            if is_short {
                self.text.extend_from_slice(part);
            }
            let (count, has_ended) = (part.len(), end.is_some() || chunk.is_empty());
            self.pass(count);
            if has_ended {
                return Ok(if is_short { Text::Whole(&self.text) } else { Text::TooLong });
            }
        }
    }
}

/// What the reader holds next; empty at the end of the input.
fn fill(input: &mut impl BufRead) -> io::Result<&[u8]> {
    let is_empty = loop {
        match input.fill_buf() {
            Ok(chunk) => break chunk.is_empty(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    // What is there is given again; at the end of a terminal's input that would read on.
    if is_empty { Ok(&[]) } else { input.fill_buf() }
}

/// Finds the end of a document.
#[derive(Default)]
struct Scanner {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
}

impl Scanner {
    /// How many bytes of `chunk` belong to the document; `None`: all, and it goes on.
    fn scan(&mut self, chunk: &[u8]) -> Option<usize> {
        for (at, byte) in chunk.iter().enumerate() {
            if self.is_escaped {
                self.is_escaped = false;
                continue;
            }
            match byte {
                b'\\' if self.is_in_string => self.is_escaped = true,
                b'"' => {
                    self.is_in_string = !self.is_in_string;
                    if !self.is_in_string && self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ if self.is_in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 1 => self.depth -= 1,
                b'}' | b']' if self.depth == 1 => return Some(at + 1),
                // The end of a number or a word.
                b'}' | b']' | b',' if self.depth == 0 => return Some(at),
                _ if self.depth == 0 && byte.is_ascii_whitespace() => return Some(at),
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document as (line, column, text), `None` for one that is too long.
    type Found = (u64, u64, Option<String>);

    /// The documents, and the fault.
    fn read(input: &str, buffer_bytes: usize) -> (Vec<Found>, Option<String>) {
        let reader = io::BufReader::with_capacity(buffer_bytes, input.as_bytes());
        let mut documents = Documents::new(reader, 12, Place::START);
        let mut found = Vec::new();
        loop {
            let text = match documents.next() {
                Ok(None) => return (found, None),
                Ok(Some(Text::Whole(text))) => Some(String::from_utf8(text.to_vec()).unwrap()),
                Ok(Some(Text::TooLong)) => None,
                Err(Fault::Structure(place, why)) => {
                    let fault = format!("{}:{}: {why}", place.line, place.column);
                    return (found, Some(fault));
                }
                Err(Fault::Io(error)) => panic!("{error}"),
            };
            let place = documents.place();
            let start = &input[usize::try_from(place.offset).unwrap()..];
            assert!(text.as_ref().is_none_or(|text| start.starts_with(text)));
            found.push((place.line, place.column, text));
        }
    }

    fn check(input: &str, expected: &[(u64, u64, Option<&str>)], fault: Option<&str>) {
        let expected: Vec<_> =
            expected.iter().map(|(line, at, text)| (*line, *at, text.map(str::to_owned))).collect();
        for buffer_bytes in [1, 2, 3, 100] {
            let found = read(input, buffer_bytes);
            assert_eq!(found, (expected.clone(), fault.map(str::to_owned)), "{input}");
        }
    }

    #[test]
    fn documents_and_their_places() {
        check("", &[], None);
        check(" \n", &[], None);
        check("{\n \"a\": 1}\n{}", &[(1, 0, Some("{\n \"a\": 1}")), (3, 0, Some("{}"))], None);
        check("{}{\"}\":[]} ", &[(1, 0, Some("{}")), (1, 2, Some("{\"}\":[]}"))], None);
        check("\n {\"\\\"}\": 1}", &[(2, 1, Some("{\"\\\"}\": 1}"))], None);
        check(
            "1 tru \"a b\"",
            &[(1, 0, Some("1")), (1, 2, Some("tru")), (1, 6, Some("\"a b\""))],
            None,
        );
        check("{\"a\":", &[(1, 0, Some("{\"a\":"))], None);
    }

    #[test]
    fn elements_of_arrays() {
        check("[]", &[], None);
        check(
            "[\n {},\n {\"\u{e9}\":1}, {}]",
            &[(2, 1, Some("{}")), (3, 1, Some("{\"\u{e9}\":1}")), (3, 10, Some("{}"))],
            None,
        );
        check(
            "[1,[2]]\n[3]{}",
            &[(1, 1, Some("1")), (1, 3, Some("[2]")), (2, 1, Some("3")), (2, 3, Some("{}"))],
            None,
        );
        check("[{}", &[(1, 1, Some("{}"))], Some("1:0: the array has no end"));
        check("[{} {}]", &[(1, 1, Some("{}"))], Some("1:4: a comma or ] was expected"));
        check("[{},]", &[(1, 1, Some("{}"))], Some("1:4: a JSON object was expected"));
        check("[,{}]", &[], Some("1:1: a JSON object was expected"));
        check("{}}", &[(1, 0, Some("{}"))], Some("1:2: a JSON object was expected"));
    }

    #[test]
    fn the_limit() {
        check("{\"a\":\"12345\"} {}", &[(1, 0, None), (1, 14, Some("{}"))], None);
        check(
            "[{\"a\":\"123\"},{\"a\":\"1234567890\"}]",
            &[(1, 1, Some("{\"a\":\"123\"}")), (1, 13, None)],
            None,
        );
    }
}
