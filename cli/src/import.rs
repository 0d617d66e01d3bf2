//! `uarr import`: each line of a file of JSON objects becomes a record.
//!
//! One thread reads lines and makes records of them, the other commits: parsing runs while the
//! device works. Between them go packs of at most `--batch` records; each is one commit. Packs are
//! committed in the order of the input, so if a key comes twice the last record stays.
//!
//! At a line that cannot be imported everything before it is committed, then the import ends with
//! that line's place. With `--skip-bad` it goes on.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde_json::json;
use uarr::{Db, KeyKind};
use uarr_layout::uarr::{Encoder, JsonError, Kind, encode_json};

use crate::args::{Global, Import};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::key::Key;
use crate::lines::{Line, Lines, Place};
use crate::open::Absent;
use crate::output::{Form, Output, warn};
use crate::value::{JSON_BYTES_MAX, find_field};

const TEMPLATE: &str =
    "{bar:30} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {msg}  {eta} left";
const TEMPLATE_UNSIZED: &str = "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {msg}";
const READ_BUFFER_BYTES: usize = 1 << 20;
/// A pack is committed when its records have this many bytes, however few they are.
const PACK_BYTES_MAX: usize = 16 << 20;
/// Packs that wait for the committer.
const PACKS_WAITING_MAX: usize = 2;
/// Bad lines that are told one by one; the others are only counted.
const BAD_LINES_TOLD_MAX: u64 = 10;

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
        pack_records_max: args.batch as usize,
        bad: if args.skip_bad { Bad::Skip } else { Bad::Stop },
        encoder: Encoder::new(),
    };
    let begun = Instant::now();
    let (packs, reader) = start_reader(input, converter);
    let totals = commit_all(&db, packs, &bar, out.form)?;
    bar.finish_and_clear();
    let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let stats = db.stats();
    if let Some(error) = stats.background_error {
        warn(out.form, &format!("background work failed: {error}"));
    }
    db.close()?;
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
fn commit_all(db: &Db, packs: Receiver<Pack>, bar: &ProgressBar, form: Form) -> Result<Totals> {
    let mut totals = Totals::default();
    let begun = Instant::now();
    for pack in packs {
        let mut batch = db.batch();
        for row in &pack.rows {
            batch.add_put(&row.key, &pack.bytes[row.start..row.end]);
        }
        batch.commit()?;
        for failure in &pack.told {
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

/// Records on their way to a commit.
#[derive(Default)]
struct Pack {
    bytes: Vec<u8>,
    rows: Vec<Row>,
    bad_lines: u64,
    /// Bad lines to tell of.
    told: Vec<Failure>,
    /// Bytes of the input read when the pack was made.
    input_end: u64,
}

/// A record of a pack: its key, and where its bytes are.
struct Row {
    key: Key,
    start: usize,
    end: usize,
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
    pack_records_max: usize,
    bad: Bad,
    encoder: Encoder,
}

type Reader = JoinHandle<Result<(), Failure>>;

/// The reader has a thread of its own, which is not waited for if a commit fails: it may be waiting
/// for input that never comes.
fn start_reader(input: Input, mut converter: Converter) -> (Receiver<Pack>, Reader) {
    let (sender, packs) = sync_channel(PACKS_WAITING_MAX);
    let lines = Lines::new(input.reader, JSON_BYTES_MAX);
    (packs, thread::spawn(move || converter.read(lines, &sender)))
}

impl Converter {
    /// Reads all lines. Ends early, without an error, if nobody takes packs any more.
    fn read(
        &mut self,
        mut lines: Lines<impl BufRead>,
        packs: &SyncSender<Pack>,
    ) -> Result<(), Failure> {
        let mut pack = Pack::default();
        let mut told_count = 0;
        loop {
            let ended = match lines.next() {
                Ok(None) => Some(Ok(())),
                Ok(Some(line)) => match self.convert(&line, &mut pack) {
                    Ok(()) => None,
                    Err(problem) => {
                        let failure = self.bad_line(lines.place(), problem);
                        pack.bad_lines += 1;
                        if self.bad == Bad::Skip && told_count < BAD_LINES_TOLD_MAX {
                            told_count += 1;
                            pack.told.push(failure.clone());
                        }
                        (self.bad == Bad::Stop).then_some(Err(failure))
                    }
                },
                Err(error) => Some(Err(Failure {
                    file: Some(self.input.clone()),
                    offset: Some(lines.offset()),
                    ..Failure::io(&format!("cannot read {}", self.input), &error)
                })),
            };
            let is_full = pack.rows.len() >= self.pack_records_max
                || pack.bytes.len() >= PACK_BYTES_MAX
                || pack.bad_lines >= self.pack_records_max as u64;
            if is_full || ended.is_some() {
                pack.input_end = lines.offset();
                if packs.send(std::mem::take(&mut pack)).is_err() {
                    return Ok(());
                }
            }
            if let Some(result) = ended {
                return result;
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

    /// Adds the record of a line to `pack`. Empty lines have none.
    fn convert(&mut self, line: &Line<'_>, pack: &mut Pack) -> Result<(), Problem> {
        let text = match line {
            Line::Text(text) if text.trim_ascii().is_empty() => return Ok(()),
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
        let start = pack.bytes.len();
        pack.bytes.extend_from_slice(record.as_bytes());
        pack.rows.push(Row { key, start, end: pack.bytes.len() });
        Ok(())
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

    fn read(input: &str, bad: Bad) -> (Vec<Pack>, Result<(), Failure>) {
        let mut converter = Converter {
            input: "in".to_owned(),
            key: "k".to_owned(),
            key_kind: KeyKind::Bytes,
            pack_records_max: 2,
            bad,
            encoder: Encoder::new(),
        };
        let (sender, packs) = sync_channel(100);
        let result = converter.read(Lines::new(input.as_bytes(), 100), &sender);
        drop(sender);
        (packs.into_iter().collect(), result)
    }

    #[test]
    fn packs_keep_the_order_and_the_size() {
        let input = "{\"k\":1}\n\n{\"k\":2}\n  \r\n{\"k\":3}";
        let (packs, result) = read(input, Bad::Stop);
        assert!(result.is_ok());
        let sizes: Vec<_> = packs.iter().map(|pack| pack.rows.len()).collect();
        assert_eq!(sizes, [2, 1]);
        let keys = packs.iter().flat_map(|pack| &pack.rows).map(|row| row.key.show().to_string());
        assert_eq!(keys.collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!(packs[1].input_end, input.len() as u64);
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
        let told = packs.iter().map(|pack| pack.told.len()).sum::<usize>();
        assert_eq!(told as u64, BAD_LINES_TOLD_MAX);
    }
}
