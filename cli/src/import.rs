//! `uarr import`: each line of a file of JSON objects becomes a record.
//!
//! One thread reads lines and makes records of them, the other commits: parsing runs while the
//! device works. Between them go packs of at most `--batch` records; each is one commit. The second
//! thread commits packs in the order of the input, so if a key comes twice the last record stays.
//! Records do not wait for a full pack when the input is slow.
//!
//! At a line that it cannot use, the import commits everything before it, then ends with that
//! line's place. With `--skip-bad` it goes on.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde_json::json;
use uarr::{Db, Durability, KeyKind};
use uarr_layout::uarr::{Encoder, JsonError, Kind, encode_json};

use crate::args::{Global, Import};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::key::Key;
use crate::lines::{Line, Lines, Place};
use crate::open::Absent;
use crate::output::{Form, Output, warn};
use crate::packs::{Filling, Taking, packs};
use crate::value::{JSON_BYTES_MAX, find_field};

const TEMPLATE: &str =
    "{bar:30} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {msg}  {eta} left";
const TEMPLATE_UNSIZED: &str = "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {msg}";
const READ_BUFFER_BYTES: usize = 1 << 20;
/// Bad lines that are reported one by one; the others are only counted.
const BAD_LINES_REPORTED_MAX: u64 = 10;

/// Runs the command.
pub fn run(global: &Global, args: &Import, out: &mut Output) -> Result<Exit> {
    let input = Input::open(&args.file)?;
    let db = global.open_with(Absent::Create, |builder| builder.durability(args.durability))?;
    let template = if input.bytes.is_some() { TEMPLATE } else { TEMPLATE_UNSIZED };
    let bar = out.progress(input.bytes, template);
    let converter = Converter {
        input: input.name.clone(),
        key: args.key.clone(),
        key_kind: db.key_kind(),
        bad: if args.skip_bad { Bad::Skip } else { Bad::Stop },
        encoder: Encoder::new(),
    };
    let begun = Instant::now();
    let (filling, taking) = packs(args.batch as usize);
    let reader = start_reader(input, converter, filling);
    let totals = commit_all(&db, taking, &bar, out.form)?;
    bar.finish_and_clear();
    let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let stats = db.stats();
    if let Some(error) = stats.background_error {
        warn(out.form, &format!("background work failed: {error}"));
    }
    let is_durable = args.durability == Durability::Sync;
    db.close().map_err(|error| {
        let count = HumanCount(totals.records);
        let fate =
            if is_durable { "imported and durable" } else { "imported, but may not be durable" };
        Failure::closing(&format!("{count} records are {fate}"), &error)
    })?;
    if let Err(mut failure) = read {
        let count = HumanCount(totals.records);
        let advice = if failure.line.is_some() { "; --skip-bad skips such lines" } else { "" };
        failure.message += &format!(" ({count} records before it are imported{advice})");
        return Err(failure.into());
    }
    report(out, &totals, stats.key_count, begun.elapsed().as_secs_f64())?;
    Ok(Exit::Done)
}

/// What was imported so far.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    records: u64,
    bad_lines: u64,
    input_bytes: u64,
}

fn report(out: &mut Output, totals: &Totals, key_count: u64, seconds: f64) -> Result<()> {
    let rate = totals.records as f64 / seconds.max(1e-9);
    let value = json!({
        "records": totals.records,
        "bad_lines": totals.bad_lines,
        "input_bytes": totals.input_bytes,
        "keys": key_count,
        "seconds": seconds,
        "records_per_second": rate,
    });
    let skipped = match totals.bad_lines {
        0 => String::new(),
        count => format!(", {} bad lines skipped", HumanCount(count)),
    };
    let text = format!(
        "imported {} records from {} in {seconds:.2} s ({} records/s){skipped}; \
         the database has {} keys\n",
        HumanCount(totals.records),
        HumanBytes(totals.input_bytes),
        HumanCount(rate as u64),
        HumanCount(key_count),
    );
    out.result(&value, text)
}

/// Commits packs until the reader ends.
fn commit_all(db: &Db, packs: Taking, bar: &ProgressBar, form: Form) -> Result<Totals> {
    let mut totals = Totals::default();
    let begun = Instant::now();
    while let Some(pack) = packs.take() {
        let mut batch = db.batch();
        for row in &pack.rows {
            batch.put(&row.key, &pack.bytes[row.start..row.end]);
        }
        batch.commit().map_err(|error| {
            let mut failure = Failure::engine(&error);
            let count = HumanCount(totals.records);
            failure.message += &format!(" ({count} records before it are imported)");
            failure
        })?;
        for failure in &pack.reported {
            bar.suspend(|| warn(form, &format!("skipped {}", failure.message)));
        }
        totals.records += pack.rows.len() as u64;
        totals.bad_lines += pack.bad_lines;
        totals.input_bytes = pack.input_end;
        bar.set_position(pack.input_end);
        let rate = totals.records as f64 / begun.elapsed().as_secs_f64().max(1e-9);
        bar.set_message(format!(
            "{} records, {}/s",
            HumanCount(totals.records),
            HumanCount(rate as u64)
        ));
    }
    Ok(totals)
}

/// An opened input.
struct Input {
    reader: Box<dyn BufRead + Send>,
    /// For messages.
    name: String,
    /// Its length, if it has one.
    bytes: Option<u64>,
}

impl Input {
    fn open(path: &Path) -> Result<Self, Failure> {
        let buffered = |input: Box<dyn Read + Send>| {
            Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, input))
        };
        if path == Path::new("-") {
            let name = "standard input".to_owned();
            return Ok(Self { reader: buffered(Box::new(io::stdin())), name, bytes: None });
        }
        let name = path.to_string_lossy().into_owned();
        let failed = |error: io::Error| {
            let message = format!("cannot read {name}: {error}; give a file of JSON lines or -");
            Failure { file: Some(name.clone()), ..Failure::input(message) }
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let bytes = metadata.is_file().then_some(metadata.len());
        Ok(Self { reader: buffered(Box::new(file)), name, bytes })
    }
}

/// What happens at a line that cannot be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    Stop,
    Skip,
}

/// Makes records of lines.
struct Converter {
    input: String,
    key: String,
    key_kind: KeyKind,
    bad: Bad,
    encoder: Encoder,
}

type Reader = JoinHandle<Result<(), Failure>>;

/// The reader has a thread of its own. If a commit fails, the command does not wait for it: it may
/// be waiting for input that never comes.
fn start_reader(input: Input, mut converter: Converter, packs: Filling) -> Reader {
    let lines = Lines::new(input.reader, JSON_BYTES_MAX);
    thread::spawn(move || converter.read(lines, &packs))
}

impl Converter {
    /// Reads all lines. Ends early, without an error, if no more packs are taken.
    fn read(&mut self, mut lines: Lines<impl BufRead>, packs: &Filling) -> Result<(), Failure> {
        let mut bad_count = 0;
        loop {
            let converted = match lines.next() {
                Ok(None) => return Ok(()),
                Ok(Some(line)) => self.convert(&line),
                Err(error) => {
                    return Err(Failure {
                        file: Some(self.input.clone()),
                        offset: Some(lines.offset()),
                        ..Failure::io(&format!("cannot read {}", self.input), &error)
                    });
                }
            };
            let input_end = lines.offset();
            let is_wanted = match converted {
                Ok(record) => packs.add(|pack| {
                    if let Some((key, value)) = record {
                        pack.push(key, value);
                    }
                    pack.input_end = input_end;
                }),
                Err(problem) => {
                    let failure = self.bad_line(lines.place(), problem);
                    if self.bad == Bad::Stop {
                        return Err(failure);
                    }
                    bad_count += 1;
                    packs.add(|pack| {
                        pack.bad_lines += 1;
                        pack.reported
                            .extend((bad_count <= BAD_LINES_REPORTED_MAX).then_some(failure));
                        pack.input_end = input_end;
                    })
                }
            };
            if !is_wanted {
                return Ok(());
            }
        }
    }

    fn bad_line(&self, place: Place, problem: Problem) -> Failure {
        let column = problem.column.map(|column| format!(", column {column}")).unwrap_or_default();
        let message = format!("{}, line {}{column}: {}", self.input, place.line, problem.text);
        Failure {
            file: Some(self.input.clone()),
            offset: Some(place.offset),
            line: Some(place.line),
            ..Failure::input(message)
        }
    }

    /// The record of a line, until the next is converted. Empty lines have none.
    fn convert(&mut self, line: &Line<'_>) -> Result<Option<(Key, &[u8])>, Problem> {
        let text = match line {
            Line::Text(text) if text.trim_ascii().is_empty() => return Ok(None),
            Line::Text(text) => *text,
            Line::TooLong => {
                return Err(format!("the line has more than {JSON_BYTES_MAX} bytes").into());
            }
        };
        let record = encode_json(&mut self.encoder, text)?;
        let root = record.as_ref();
        if root.kind() != Kind::Object {
            return Err("a JSON object was expected".to_owned().into());
        }
        let field = find_field(&root, &self.key)
            .ok_or_else(|| format!("there is no key field '{}'", self.key))?;
        let key = Key::of_field(&field, self.key_kind)
            .map_err(|why| format!("the key field '{}' cannot be a key: {why}", self.key))?;
        Ok(Some((key, record.as_bytes())))
    }
}

/// Why a line cannot be imported.
struct Problem {
    text: String,
    column: Option<usize>,
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self { text, column: None }
    }
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        // The error counts lines from the start of the text it was given, which is one line.
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line, error.column);
        let text = text.strip_suffix(&place).unwrap_or(&text).to_owned();
        Self { text, column: Some(error.column) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packs::Pack;

    fn read(input: &str, bad: Bad) -> (Vec<Pack>, Result<(), Failure>) {
        let mut converter = Converter {
            input: "in".to_owned(),
            key: "k".to_owned(),
            key_kind: KeyKind::Bytes,
            bad,
            encoder: Encoder::new(),
        };
        let (filling, taking) = packs(2);
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let result = converter.read(Lines::new(input.as_bytes(), 100), &filling);
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
        let keys = packs.iter().flat_map(|pack| &pack.rows).map(|row| row.key.show().to_string());
        assert_eq!(keys.collect::<Vec<_>>(), ["1", "2", "3"]);
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
        let long = format!("{{\"k\":\"{}\"}}\n", "x".repeat(200));
        let input = format!("{long}{{\"k\":1}}\nx\n{}{{\"k\":2}}\n", "y\n".repeat(20));
        let (packs, result) = read(&input, Bad::Skip);
        assert!(result.is_ok());
        assert_eq!(packs.iter().map(|pack| pack.rows.len()).sum::<usize>(), 2);
        assert_eq!(packs.iter().map(|pack| pack.bad_lines).sum::<u64>(), 22);
        let reported = packs.iter().map(|pack| pack.reported.len()).sum::<usize>();
        assert_eq!(reported as u64, BAD_LINES_REPORTED_MAX);
    }
}
