//! A process that obeys commands to use a database, one line each; see `uarr_tests::disk::Client`.
//!
//! - `open DIRECTORY STRATEGY`: `linked`, `dsync` or `syscall`; without threads in the background
//! - `put FIRST COUNT THREADS STRIDE`: records of consecutive numbers; `record NUMBER` for each
//!   that is acknowledged; after each STRIDEth the thread that wrote it takes a checkpoint
//! - `checkpoint`, `verify`, `close`
//! - `list`: `record NUMBER` for each that is there; a failure if it has another value than it must
//!
//! It answers each with `done`, or `failed` and why. It ends with its input.

#![forbid(unsafe_code)]

use std::io::{BufRead, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use uarr::{BackendChoice, CommitPath, CommitStrategy, Db, KeyKind};
use uarr_tests::disk::value;
use uarr_tests::small;

type Outcome = Result<(), String>;

fn main() {
    let mut db = None;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<_> = line.split(' ').collect();
        match run(&mut db, &words) {
            Ok(()) => say(format_args!("done")),
            Err(why) => say(format_args!("failed {line}: {}", why.replace('\n', " "))),
        }
    }
}

fn run(slot: &mut Option<Db>, words: &[&str]) -> Outcome {
    if let &["open", directory, strategy] = words {
        *slot = Some(open(directory, strategy)?);
        return Ok(());
    }
    let db = slot.as_ref().ok_or("no database is open")?;
    match words {
        ["put", numbers @ ..] => {
            let numbers: Result<Vec<_>, _> = numbers.iter().map(|word| number(word)).collect();
            let &[first, count, threads, stride] = &numbers?[..] else {
                return Err("four numbers are needed".into());
            };
            put(db, first..first + count, threads, stride)
        }
        ["checkpoint"] => db.checkpoint().map(drop).map_err(text),
        ["verify"] => {
            let report = db.verify(|_| {}).map_err(text)?;
            if report.is_clean() { Ok(()) } else { Err(format!("{:?}", report.damages)) }
        }
        ["list"] => list(db),
        ["close"] => match slot.take() {
            Some(db) => db.close().map_err(text),
            None => Ok(()),
        },
        _ => Err("no such command".into()),
    }
}

fn open(directory: &str, strategy: &str) -> Result<Db, String> {
    let (backend, strategy) = match strategy {
        "linked" => (BackendChoice::Auto, CommitStrategy::LinkedFdatasync),
        "dsync" => (BackendChoice::Auto, CommitStrategy::Dsync),
        "syscall" => (BackendChoice::Syscalls, CommitStrategy::Syscall),
        _ => return Err("no such strategy".into()),
    };
    let options = small(directory).keys(KeyKind::U64).background(false);
    options.backend(backend).commit_path(CommitPath::Fixed(strategy)).open().map_err(text)
}

fn put(db: &Db, numbers: Range<u64>, threads: u64, checkpoint_stride: u64) -> Outcome {
    let next = AtomicU64::new(numbers.start);
    let put_some = || -> Outcome {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return Ok(());
            }
            db.put(number, value(number)).map_err(text)?;
            say(format_args!("record {number}"));
            if (number - numbers.start) % checkpoint_stride == checkpoint_stride - 1 {
                db.checkpoint().map_err(text)?;
            }
        }
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..threads).map(|_| scope.spawn(put_some)).collect();
        let outcomes = writers
            .into_iter()
            .map(|writer| writer.join().unwrap_or_else(|_| Err("a writer panicked".into())));
        outcomes.fold(Ok(()), Result::and)
    })
}

fn list(db: &Db) -> Outcome {
    for record in db.iter() {
        let record = record.map_err(text)?;
        let number = record.key_u64().ok_or("a key is no number")?;
        if record.bytes() != value(number) {
            return Err(format!("record {number} has another value"));
        }
        say(format_args!("record {number}"));
    }
    Ok(())
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|error| format!("{word}: {error}"))
}

fn text(error: uarr::Error) -> String {
    error.to_string()
}

/// One line, in one write, so that a kill leaves whole lines.
fn say(line: std::fmt::Arguments<'_>) {
    let line = format!("{line}\n");
    let mut output = std::io::stdout().lock();
    if output.write_all(line.as_bytes()).and_then(|()| output.flush()).is_err() {
        // The test has ended.
        std::process::exit(3);
    }
}
