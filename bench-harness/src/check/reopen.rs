//! Opening a store whose process was killed.
//!
//! 1. A child of this program opens a new store in its durable class, writes all records in durable
//!    batches, reports that on its standard output, and waits.
//! 2. The parent kills it with SIGKILL: no destructor runs, the store is not closed.
//! 3. The parent opens the store and reads one record, which it times. Then it checks all
//!    acknowledged records.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::error::BenchError;
use crate::measure::drive::Driven;
use crate::measure::sample::Sample;
use crate::measure::store::{Contender, OpenSpec, Writes};
use crate::measure::usage::Usage;
use crate::stores;

/// Name of the hidden subcommand that is the child.
pub const VICTIM_COMMAND: &str = "kill-victim";

/// What the child prints when everything is durable.
const READY: &str = "ready";

/// How stores are opened here.
fn spec(record_count: u64) -> OpenSpec {
    OpenSpec::new(Writes::Durable, record_count)
}

/// The child's part: loads a new store and waits to be killed.
pub fn victim(contender: Contender, dir: &Path, record_count: u64) -> Result<(), BenchError> {
    let store = stores::open(contender, dir, spec(record_count))?;
    store.load(record_count)?;
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")
        .and_then(|()| out.flush())
        .map_err(|error| BenchError::Setup(format!("cannot report to the parent: {error}")))?;
    // The pipe closes when the parent dies; then this process must end too.
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    Ok(())
}

/// Loads a store in a child of `program`, kills it and opens the store. Returns the open store and
/// how long it took to get there.
pub fn measure(
    program: &Path,
    contender: Contender,
    dir: &Path,
    record_count: u64,
) -> Result<(Box<dyn Driven>, Sample), BenchError> {
    let mut child = Command::new(program)
        .arg(VICTIM_COMMAND)
        .args(["--store", contender.name(), "--records", &record_count.to_string(), "--dir"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| BenchError::at(program, "cannot start", &error))?;
    let ready = wait_until_ready(&mut child);
    let killed = child.kill().and_then(|()| child.wait());
    ready.map_err(|why| BenchError::Setup(format!("{contender}: the process to kill {why}")))?;
    killed.map_err(|error| BenchError::Setup(format!("cannot kill the child: {error}")))?;

    let before = Usage::now();
    let start = Instant::now();
    let store = stores::open(contender, dir, spec(record_count))?;
    store.verify(std::slice::from_ref(&(0..1)), 1)?;
    let elapsed = start.elapsed();
    let mut sample = Sample::since(before, 1, elapsed);
    sample.written.push(0..record_count);
    Ok((store, sample))
}

fn wait_until_ready(child: &mut Child) -> Result<(), String> {
    let Some(out) = child.stdout.take() else { return Err("has no standard output".to_owned()) };
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).map_err(|error| format!("cannot be read: {error}"))?;
    if line.trim_end() == READY {
        Ok(())
    } else {
        Err("ended before its data was durable".to_owned())
    }
}
