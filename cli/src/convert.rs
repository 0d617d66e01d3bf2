//! Texts of an import to keys and values.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use uarr::{Expiry, KeyKind};
use uarr_layout::uarr::{Encoder, JsonError, Kind, encode_json};

use crate::documents::Fault;
use crate::exported::{self, Line, Shape, Value};
use crate::failure::Failure;
use crate::field::{find_field, whereabouts};
use crate::input::Source;
use crate::key::Key;
use crate::lines::{Place, Text};
use crate::packs::Filling;
use crate::texts::Texts;
use crate::value::JSON_BYTES_MAX;

/// Bad texts that are reported one by one; the others are only counted.
const BAD_TEXTS_REPORTED_MAX: u64 = 10;

/// What happens at a text that cannot be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// The import ends.
    Stop,
    /// It goes on behind it.
    Skip,
}

/// What of an object becomes its record.
#[derive(Default)]
pub struct Wanted {
    /// Path of the field that holds the key; exports need none.
    pub key: Option<String>,
    /// Path of the field that is the value, if not the whole object is.
    pub value: Option<String>,
    /// What is put before each key.
    pub prefix: Vec<u8>,
}

/// Makes records of texts.
pub struct Converter {
    wanted: Wanted,
    /// What the table is like, once it is known.
    shape: Option<Shape>,
    bad: Bad,
    bad_count: u64,
    /// Bytes of the inputs before this one.
    before_bytes: u64,
    encoder: Encoder,
}

/// What an input turned out to be.
enum Form {
    /// JSON objects.
    Objects,
    /// An export, of which so many records have come.
    Export(u64),
    /// An export that has ended.
    EndedExport,
}

/// The record of a text.
struct Converted<'c> {
    key: Key,
    value: Cow<'c, [u8]>,
    expiry: Option<Expiry>,
    /// What the table is like.
    shape: Shape,
}

impl Converter {
    /// Makes records for a table with keys of this kind; `None`: inputs may say which.
    pub fn new(wanted: Wanted, key_kind: Option<KeyKind>, bad: Bad) -> Self {
        let encoder = Encoder::new();
        Self {
            wanted,
            shape: key_kind.map(Shape::from),
            bad,
            bad_count: 0,
            before_bytes: 0,
            encoder,
        }
    }

    /// Reads all inputs, and says what kind of table they are for. Ends early, without an error,
    /// if no more packs are taken.
    pub fn read_all(
        &mut self,
        sources: &[Source],
        read_bytes: &Arc<AtomicU64>,
        packs: &Filling,
    ) -> Result<Shape, Failure> {
        for source in sources {
            let texts = Texts::new(source.open(read_bytes)?);
            let mut texts = texts.map_err(|error| source.failed(&error))?;
            if !self.read(source, &mut texts, packs)? {
                break;
            }
            self.before_bytes += texts.end().offset;
        }
        Ok(self.shape.unwrap_or(KeyKind::Bytes.into()))
    }

    /// Reads an input. `false`: no more packs are taken.
    fn read(
        &mut self,
        source: &Source,
        texts: &mut Texts,
        packs: &Filling,
    ) -> Result<bool, Failure> {
        let mut form = None;
        let before_bytes = self.before_bytes;
        loop {
            let converted = match texts.next() {
                Ok(None) => break,
                Ok(Some(text)) => self.convert(&text, &mut form),
                Err(Fault::Io(error)) => {
                    let offset = Some(texts.end().offset);
                    return Err(Failure { offset, ..source.failed(&error) });
                }
                Err(Fault::Structure(place, why)) => {
                    return Err(failure(source, place, Problem::of_all(why)));
                }
            };
            if matches!(form, Some(Form::Export(_))) {
                texts.set_line_bytes_max(exported::LINE_BYTES_MAX);
            }
            let input_end = before_bytes + texts.end().offset;
            let is_wanted = match converted {
                Ok(record) => packs.add(|pack| {
                    if let Some(Converted { key, value, expiry, shape }) = record {
                        pack.push(key, &value, expiry);
                        pack.shape = Some(shape);
                    }
                    pack.input_end = input_end;
                }),
                Err(problem) => self.add_bad(problem, source, texts.place(), input_end, packs)?,
            };
            if !is_wanted {
                return Ok(false);
            }
        }
        if let Some(Form::Export(_)) = form {
            let why = "the export ends before its last line: the rest of it is missing";
            let input_end = before_bytes + texts.end().offset;
            return self.add_bad(why.to_owned().into(), source, texts.end(), input_end, packs);
        }
        Ok(true)
    }

    /// Reports a text that cannot be imported, or ends the import with it.
    fn add_bad(
        &mut self,
        problem: Problem,
        source: &Source,
        place: Place,
        input_end: u64,
        packs: &Filling,
    ) -> Result<bool, Failure> {
        let is_final = problem.is_final;
        let failure = failure(source, place, problem);
        if is_final {
            return Err(failure);
        }
        if self.bad == Bad::Stop {
            let message = failure.message + "; --skip-bad skips what is bad";
            return Err(Failure { message, ..failure });
        }
        self.bad_count += 1;
        let reported = (self.bad_count <= BAD_TEXTS_REPORTED_MAX).then_some(failure);
        Ok(packs.add(|pack| {
            pack.bad_lines += 1;
            pack.reported.extend(reported);
            pack.input_end = input_end;
        }))
    }

    /// The record of a text, until the next is converted. Empty lines have none, nor has what
    /// frames an export.
    fn convert(
        &mut self,
        text: &Text<'_>,
        form: &mut Option<Form>,
    ) -> Result<Option<Converted<'_>>, Problem> {
        let text = match text {
            Text::Whole(text) if text.trim_ascii().is_empty() => return Ok(None),
            Text::Whole(text) => *text,
            Text::TooLong => {
                let why = match form {
                    Some(Form::Export(_)) => "the line is longer than any of an export".to_owned(),
                    _ => format!("the record has more than {JSON_BYTES_MAX} bytes"),
                };
                return Err(why.into());
            }
        };
        let form = form.get_or_insert_with(|| match exported::is_start(text) {
            true => Form::EndedExport,
            false => Form::Objects,
        });
        match form {
            Form::Objects => self.convert_object(text).map(Some),
            Form::Export(_) | Form::EndedExport => self.convert_line(text, form),
        }
    }

    fn convert_object(&mut self, text: &[u8]) -> Result<Converted<'_>, Problem> {
        let shape = *self.shape.get_or_insert(KeyKind::Bytes.into());
        let Some(path) = &self.wanted.key else {
            let why = "which field holds the key? give --key FIELD; only exports need none";
            return Err(Problem::of_all(why));
        };
        let record = encode_json(&mut self.encoder, text)?;
        let root = record.as_ref();
        if root.kind() != Kind::Object {
            return Err("a JSON object was expected".to_owned().into());
        }
        let missing = |path: &str, what| {
            format!("there is no {what} field '{path}'{}", whereabouts(&root, path))
        };
        let field = find_field(&root, path).ok_or_else(|| missing(path, "key"))?;
        let key = Key::of_field(&field, shape.kind)
            .and_then(|key| key.prefixed(&self.wanted.prefix))
            .map_err(|why| format!("the key field '{path}' cannot be a key: {why}"))?;
        let value = match &self.wanted.value {
            None => Cow::Borrowed(record.as_bytes()),
            Some(path) => {
                let value = find_field(&root, path).ok_or_else(|| missing(path, "value"))?;
                let value = value.to_buf().map_err(|error| error.to_string())?;
                Cow::Owned(value.to_vec())
            }
        };
        Ok(Converted { key, value, expiry: None, shape })
    }

    fn convert_line(
        &mut self,
        text: &[u8],
        form: &mut Form,
    ) -> Result<Option<Converted<'_>>, Problem> {
        if self.wanted.key.is_some() || self.wanted.value.is_some() {
            let why = "this is an export, it has keys and values: leave out --key and --value";
            return Err(Problem::of_all(why));
        }
        let shape = self.shape.unwrap_or(KeyKind::Bytes.into());
        // Without its first line nothing of an export can be read.
        let is_final = exported::is_start(text);
        let line = match (Line::parse(text, shape.kind), &mut *form) {
            (Ok(line), _) => line,
            (Err(why), form) => {
                // A bad record is skipped, not missing.
                if let Form::Export(count) = form {
                    *count += 1;
                }
                return Err(Problem { is_final, ..Problem::from(why) });
            }
        };
        match (line, form) {
            (Line::Start(shape), form @ Form::EndedExport) => {
                self.check_kind(shape)?;
                *form = Form::Export(0);
                Ok(None)
            }
            (Line::Record(key, value, expiry), Form::Export(count)) => {
                *count += 1;
                let value = match value {
                    Value::Bytes(bytes) => Cow::Owned(bytes),
                    Value::Json(text) => {
                        Cow::Borrowed(encode_json(&mut self.encoder, text)?.as_bytes())
                    }
                };
                let key = key.prefixed(&self.wanted.prefix)?;
                Ok(Some(Converted { key, value, expiry: Some(expiry), shape }))
            }
            (Line::End(count), form @ Form::Export(_)) => {
                let Form::Export(found) = std::mem::replace(form, Form::EndedExport) else {
                    return Ok(None);
                };
                match found == count {
                    true => Ok(None),
                    false => Err(format!("the export had {count} records, {found} came").into()),
                }
            }
            _ => Err("this line of an export is out of place".to_owned().into()),
        }
    }

    /// Takes what an export says of its table, if nothing else has; the kind of keys is the same
    /// anyway.
    fn check_kind(&mut self, shape: Shape) -> Result<(), Problem> {
        let present = self.shape.get_or_insert(shape).kind;
        let kind = shape.kind;
        if present == kind {
            return Ok(());
        }
        let why = format!(
            "the export has {kind} keys, the database {present} keys: import it into a new one"
        );
        Err(Problem::of_all(why))
    }
}

/// The failure of a text that begins at `place`.
fn failure(source: &Source, place: Place, problem: Problem) -> Failure {
    let line = place.line + problem.line;
    // The problem's own column counts from the start of its text.
    let before = if problem.line == 0 { place.column } else { 0 };
    let column = match problem.column {
        Some(column) => Some(column + before),
        None => (before > 0).then_some(before + 1),
    };
    let column = column.map(|column| format!(", column {column}")).unwrap_or_default();
    Failure {
        file: Some(source.name.clone()),
        offset: Some(place.offset),
        line: Some(line),
        ..Failure::input(format!("{}, line {line}{column}: {}", source.name, problem.text))
    }
}

/// Why a text cannot be imported.
struct Problem {
    text: String,
    /// How many lines behind that in which the text begins.
    line: u64,
    column: Option<u64>,
    /// What follows cannot be imported either.
    is_final: bool,
}

impl Problem {
    /// A problem of all that follows too.
    fn of_all(why: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::from(why.into()) }
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self { text, line: 0, column: None, is_final: false }
    }
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        // The error counts from the start of the text it was given, not of the input.
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line, error.column);
        let text = text.strip_suffix(&place).unwrap_or(&text).to_owned();
        Self { line: error.line as u64 - 1, column: Some(error.column as u64), ..Self::from(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packs::{Pack, packs};
    use std::io::Cursor;
    use std::thread;

    fn read(input: &str, bad: Bad) -> (Vec<Pack>, Result<(), Failure>) {
        let wanted = Wanted { key: Some("k".to_owned()), ..Wanted::default() };
        let mut converter = Converter::new(wanted, None, bad);
        let source = Source { path: "-".into(), name: "in".to_owned(), bytes: None };
        let mut texts = Texts::new(Box::new(Cursor::new(input.to_owned()))).unwrap();
        let (filling, taking) = packs(2);
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let result = converter.read(&source, &mut texts, &filling).map(|_| ());
                drop(filling);
                result
            });
            let mut all = Vec::new();
            while let Some(pack) = taking.take() {
                all.push(pack);
            }
            (all, reader.join().unwrap())
        })
    }

    #[test]
    fn packs_keep_the_order_and_the_size() {
        let input = "{\"k\":1}\n\n{\"k\":2}\n  \r\n{\"k\":3}";
        let (packs, result) = read(input, Bad::Stop);
        assert!(result.is_ok());
        assert!(packs.iter().all(|pack| pack.rows.len() <= 2));
        let keys = packs.iter().flat_map(|pack| &pack.rows).map(|row| row.key.clone());
        let expected = ["1", "2", "3"].map(|key| Key::Bytes(key.into()));
        assert_eq!(keys.collect::<Vec<_>>(), expected);
        assert_eq!(packs.last().unwrap().input_end, input.len() as u64);
    }

    #[test]
    fn a_bad_line_stops_behind_the_good_ones() {
        for (line, column, what) in [
            ("{\"k\":}", Some(6), "value"),
            ("[1]", None, "object"),
            ("{\"j\":1}", None, "no key field"),
            ("{\"k\":null}", None, "cannot be a key"),
            ("{\"k\":\"\"}", None, "at least 1 byte"),
            ("{\"k\":1,\"k\":2}", Some(8), "repeated"),
        ] {
            let input = format!("{{\"k\":1}}\n{line}\n{{\"k\":3}}\n");
            let (packs, result) = read(&input, Bad::Stop);
            let failure = result.unwrap_err();
            assert_eq!((failure.line, failure.offset), (Some(2), Some(8)));
            let place = column.map_or("line 2:".to_owned(), |at| format!("line 2, column {at}:"));
            assert!(failure.message.contains(&place), "{}", failure.message);
            assert!(failure.message.contains(what), "{}", failure.message);
            assert_eq!(packs.iter().map(|pack| pack.rows.len()).sum::<usize>(), 1);
        }
    }

    #[test]
    fn bad_lines_are_skipped_and_counted() {
        let input = format!("z\n{{\"k\":1}}\nx\n{}{{\"k\":2}}\n", "y\n".repeat(20));
        let (packs, result) = read(&input, Bad::Skip);
        assert!(result.is_ok());
        assert_eq!(packs.iter().map(|pack| pack.rows.len()).sum::<usize>(), 2);
        assert_eq!(packs.iter().map(|pack| pack.bad_lines).sum::<u64>(), 22);
        let reported = packs.iter().map(|pack| pack.reported.len()).sum::<usize>();
        assert_eq!(reported as u64, BAD_TEXTS_REPORTED_MAX);
    }

    #[test]
    fn bad_places_in_documents() {
        for (input, line, column, offset) in [
            ("{\n\"k\": 1}\n{\n\"k\": }", 4, Some(6), 10),
            ("[{\"k\":1}, {\"k\":}]", 1, Some(16), 10),
            ("[{\"k\":1}, {\"j\":1}]", 1, Some(11), 10),
            ("[\n{\"k\":1}\n{}]", 3, None, 10),
            ("[{\"k\":1}", 1, None, 0),
        ] {
            let (packs, result) = read(input, Bad::Stop);
            let failure = result.unwrap_err();
            assert_eq!((failure.line, failure.offset), (Some(line), Some(offset)), "{input}");
            let place = match column {
                Some(column) => format!("in, line {line}, column {column}: "),
                None => format!("in, line {line}: "),
            };
            assert!(failure.message.contains(&place), "{}", failure.message);
            assert_eq!(packs.iter().map(|pack| pack.rows.len()).sum::<usize>(), 1);
        }
    }
}
