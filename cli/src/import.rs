//! `uarr import`: JSON objects, or an export, become records.
//!
//! One thread reads texts and makes records of them, the other commits: parsing runs while the
//! device works. Between them go packs of at most `--batch` records; each is one commit. The second
//! thread commits packs in the order of the input, so if a key comes twice the last record stays.
//! Records do not wait for a full pack when the input is slow.
//!
//! At a text that it cannot use, the import commits everything before it, then ends with that
//! text's place. With `--skip-bad` it goes on. A database is created with the first pack: an import
//! that fails before leaves nothing.

use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde_json::json;
use uarr::{Builder, Db, Durability, KeyKind};

use crate::args::{Global, Import};
use crate::convert::{Bad, Converter, Wanted};
use crate::exit::Exit;
use crate::exported::Shape;
use crate::failure::{Failure, Result};
use crate::input::Source;
use crate::open::Absent;
use crate::output::{Form, Output, counted, warn};
use crate::packs::{Filling, Pack, Taking, packs};
use crate::signals::BeforeEnd;
use crate::value::Timed;

/// Runs the command.
pub fn run(global: &Global, args: &Import, out: &mut Output) -> Result<Exit> {
    let sources: Result<Vec<_>, _> = args.files.iter().map(|file| Source::find(file)).collect();
    let sources = sources?;
    let durably = |builder: Builder| builder.durability(args.durability);
    let mut db = global.open_records_present(durably)?;
    let bytes = sources.iter().map(|source| source.bytes).sum::<Option<u64>>();
    let bar = out.progress(bytes);
    bar.set_message(counted(0, "record"));
    let key_kind = db.as_ref().map(Db::key_kind).or(global.key_kind.map(KeyKind::from));
    let bad = if args.skip_bad { Bad::Skip } else { Bad::Stop };
    let converter = Converter::new(wanted(args), key_kind, bad);
    let begun = Instant::now();
    let (filling, taking) = packs(args.batch as usize);
    let read_bytes = Arc::new(AtomicU64::new(0));
    let reader = start_reader(sources, converter, read_bytes.clone(), filling);
    let create = |shape| global.open_records_with(Absent::Create, Some(shape), durably);
    let committer = Committer { global, bar: &bar, read_bytes: &read_bytes, form: out.form };
    // A signal makes durable what was imported.
    let mut before_end = db.as_ref().map(|db| global.sync_before_end(db));
    let totals = committer.commit_all(&mut db, &mut before_end, taking, create)?;
    bar.finish_and_clear();
    let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let db = match (&read, db) {
        (Ok(shape), None) => Some(create(*shape)?),
        (_, db) => db,
    };
    let key_count = db.map(|db| close(db, args, &totals, out.form)).transpose()?;
    if let Err(mut failure) = read {
        failure.message += &totals.before();
        return Err(failure.into());
    }
    report(out, &totals, key_count.unwrap_or(0), begun.elapsed().as_secs_f64())?;
    Ok(Exit::Done)
}

fn wanted(args: &Import) -> Wanted {
    let prefix = args.prefix.clone().unwrap_or_default().into_vec();
    Wanted { key: args.key.clone(), value: args.value.clone(), prefix }
}

/// Closes the database after an import, and says how many keys it has.
fn close(db: Db, args: &Import, totals: &Totals, form: Form) -> Result<u64> {
    let (stats, key_count) = (db.stats(), db.len());
    if let Some(error) = stats.background_error {
        warn(form, &format!("background work failed: {error}"));
    }
    let is_durable = args.durability == Durability::Sync;
    db.close().map_err(|error| {
        let fate = if is_durable { "and durable" } else { "but maybe not durable" };
        let done = format!("imported, {fate}: {}", counted(totals.records, "record"));
        Failure::closing(&done, &error)
    })?;
    Ok(key_count)
}

/// What was imported so far.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    records: u64,
    bad_lines: u64,
    input_bytes: u64,
}

impl Totals {
    /// What the message of a failure ends with.
    fn before(&self) -> String {
        format!(" (imported before it: {})", counted(self.records, "record"))
    }
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
        count => format!(", {} skipped", counted(count, "bad line")),
    };
    let text = format!(
        "imported {} from {} in {seconds:.2} s ({} records/s){skipped}; the database has {}\n",
        counted(totals.records, "record"),
        HumanBytes(totals.input_bytes),
        HumanCount(rate as u64),
        counted(key_count, "key"),
    );
    out.result(&value, text)
}

/// Commits packs and shows how far it is.
struct Committer<'o> {
    global: &'o Global,
    bar: &'o ProgressBar,
    read_bytes: &'o AtomicU64,
    form: Form,
}

impl Committer<'_> {
    /// Commits packs until the reader ends. If there is no database, `create` makes one for the
    /// first record.
    fn commit_all(
        &self,
        db: &mut Option<Db>,
        before_end: &mut Option<BeforeEnd>,
        packs: Taking,
        create: impl Fn(Shape) -> Result<Db>,
    ) -> Result<Totals> {
        let mut totals = Totals::default();
        while let Some(pack) = packs.take() {
            if let Some(shape) = pack.shape {
                let db = match db {
                    Some(db) => db,
                    None => db.insert(create(shape)?),
                };
                before_end.get_or_insert_with(|| self.global.sync_before_end(db));
                self.global.or_take_back(db, || commit(db, &pack, &totals))?;
            }
            for failure in &pack.reported {
                self.bar.suspend(|| warn(self.form, &format!("skipped {}", failure.message)));
            }
            totals.records += pack.rows.len() as u64;
            totals.bad_lines += pack.bad_lines;
            totals.input_bytes = pack.input_end;
            self.bar.set_position(self.read_bytes.load(Ordering::Relaxed));
            self.bar.set_message(counted(totals.records, "record"));
        }
        Ok(totals)
    }
}

fn commit(db: &Db, pack: &Pack, before: &Totals) -> Result<()> {
    let mut batch = db.batch();
    for row in &pack.rows {
        let value = &pack.bytes[row.start..row.end];
        batch.put(&row.key, Timed { bytes: value, expiry: row.expiry });
    }
    batch.commit().map_err(|error| {
        let mut failure = Failure::engine(&error);
        failure.message += &before.before();
        failure
    })?;
    Ok(())
}

type Reader = JoinHandle<Result<Shape, Failure>>;

/// The reader has a thread of its own. If a commit fails, the command does not wait for it: it may
/// be waiting for input that never comes.
fn start_reader(
    sources: Vec<Source>,
    mut converter: Converter,
    read_bytes: Arc<AtomicU64>,
    packs: Filling,
) -> Reader {
    thread::spawn(move || converter.read_all(&sources, &read_bytes, &packs))
}
