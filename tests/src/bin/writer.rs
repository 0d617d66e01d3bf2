//! The process that the kill tests kill.
//!
//! `writer DIRECTORY KEYS DURABILITY SEED MODE STEPS`
//! - KEYS: `bytes` or `u64`; DURABILITY: `sync`, or the interval in milliseconds; SEED of the
//!   history.
//! - MODE: `write`, `write+checkpoint` (one more thread takes checkpoints without end, and compacts
//!   after every other), or `open` (opens and does the same, writes nothing).
//! - STEPS: comma-separated, for each thread the step it starts with.
//!
//! Prints `open LSN` when the database is open, then for each acknowledged step
//! `THREAD STEP LSN WALL_NS`, with the wall clock after the acknowledgement. Runs until it is
//! killed or its output is closed.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use uarr::{Db, Durability, KeyKind};
use uarr_tests::history::Plan;

/// Pause between two memory-first writes, which would otherwise fill the disk while the parent
/// sleeps.
const MEMORY_FIRST_PAUSE: Duration = Duration::from_micros(300);

struct Arguments {
    directory: String,
    plan: Plan,
    durability: Durability,
    mode: String,
    steps: Vec<u64>,
}

impl Arguments {
    fn parse() -> Option<Self> {
        let mut arguments = std::env::args().skip(1);
        let directory = arguments.next()?;
        let kind = match arguments.next()?.as_str() {
            "bytes" => KeyKind::Bytes,
            "u64" => KeyKind::U64,
            _ => return None,
        };
        let durability = match arguments.next()?.as_str() {
            "sync" => Durability::Sync,
            interval => Durability::Interval(Duration::from_millis(interval.parse().ok()?)),
        };
        let seed = arguments.next()?.parse().ok()?;
        let mode = arguments.next()?;
        let steps = arguments.next()?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
        let lone_deletions = durability == Durability::Sync;
        let plan = Plan { seed, kind, lone_deletions };
        Some(Self { directory, plan, durability, mode, steps })
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse() else {
        eprintln!("usage: writer DIRECTORY KEYS DURABILITY SEED MODE STEPS");
        return ExitCode::from(2);
    };
    let opened = uarr_tests::small(&arguments.directory)
        .keys(arguments.plan.kind)
        .durability(arguments.durability)
        .open();
    let db = match opened {
        Ok(db) => db,
        Err(error) => {
            eprintln!("the writer cannot open: {error}");
            return ExitCode::FAILURE;
        }
    };
    say(format_args!("open {}", db.stats().visible_lsn));
    std::thread::scope(|scope| {
        if arguments.mode != "write" {
            scope.spawn(|| take_checkpoints(&db));
        }
        if arguments.mode != "open" {
            for (thread, first_step) in arguments.steps.iter().enumerate() {
                let (db, arguments) = (&db, &arguments);
                scope.spawn(move || write(db, arguments, thread as u64, *first_step));
            }
        }
    });
    ExitCode::SUCCESS
}

fn write(db: &Db, arguments: &Arguments, thread: u64, first_step: u64) {
    for step in first_step.. {
        let mut changes = arguments.plan.step(thread, step);
        let committed = match changes.pop() {
            Some((key, Some(value))) if changes.is_empty() => db.put(key, value).map(Some),
            Some((key, None)) if changes.is_empty() => db.delete(key).map(Some),
            last => {
                let mut batch = db.batch();
                for (key, value) in changes.into_iter().chain(last) {
                    match value {
                        Some(value) => batch.put(key, value),
                        None => batch.delete(key),
                    };
                }
                batch.commit()
            }
        };
        match committed {
            Ok(Some(commit)) => say(format_args!("{thread} {step} {} {}", commit.lsn, wall_ns())),
            Ok(None) => give_up("a step was empty"),
            Err(error) => give_up(&format!("a write failed: {error}")),
        }
        if arguments.durability != Durability::Sync {
            std::thread::sleep(MEMORY_FIRST_PAUSE);
        }
    }
}

fn take_checkpoints(db: &Db) {
    for number in 0u64.. {
        if let Err(error) = db.checkpoint() {
            give_up(&format!("a checkpoint failed: {error}"));
        }
        say(format_args!("checkpoint {}", db.stats().space.moved_bytes));
        if number % 2 == 0
            && let Err(error) = db.compact()
        {
            give_up(&format!("a compaction failed: {error}"));
        }
    }
}

/// One line, in one write, so that a kill leaves whole lines.
fn say(line: std::fmt::Arguments<'_>) {
    let line = format!("{line}\n");
    let mut output = std::io::stdout().lock();
    if output.write_all(line.as_bytes()).and_then(|()| output.flush()).is_err() {
        // The parent has ended.
        std::process::exit(3);
    }
}

fn wall_ns() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

fn give_up(why: &str) -> ! {
    eprintln!("the writer gives up: {why}");
    std::process::exit(1)
}
