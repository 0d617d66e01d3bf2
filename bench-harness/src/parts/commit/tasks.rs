//! Durable puts of many tasks on few threads.

use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::measure::job::nanos;
use crate::measure::latencies::{Latencies, latencies, merge};
use crate::measure::sample::Sample;
use crate::measure::store::Counters;
use crate::measure::usage::Usage;
use crate::measure::workload::{VALUE_BYTES, fill, is_right, key_of};

/// Threads that the tasks share.
const THREADS: usize = 2;
/// Each task writes record numbers from its own range of this size.
const TASK_NUMBERS: u64 = 1 << 32;

struct TaskDone {
    written: std::ops::Range<u64>,
    latencies: Latencies,
}

/// `task_count` tasks, each of which writes its next record when the last one is durable, for
/// `duration`. Record numbers from `first` on.
pub(super) fn measure(
    db: &uarr::Db,
    task_count: u64,
    duration: Duration,
    first: u64,
) -> Result<Sample, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .build()
        .map_err(|error| BenchError::Setup(format!("cannot start a runtime: {error}")))?;
    let counters = counters(db);
    let before = Usage::now();
    let start = Instant::now();
    let deadline = start + duration;
    let done = runtime.block_on(async {
        let spawn =
            |task| tokio::spawn(put_until(db.clone(), first + task * TASK_NUMBERS, deadline));
        let tasks: Vec<_> = (0..task_count).map(spawn).collect();
        let mut all = Vec::new();
        for task in tasks {
            let done = task.await;
            all.push(done.map_err(|_| BenchError::Setup("a task panicked".to_owned()))??);
        }
        Ok::<_, BenchError>(all)
    })?;
    let elapsed = start.elapsed();
    let after = Usage::now();
    let mut all = None;
    done.iter().for_each(|task| merge(&mut all, &task.latencies));
    let written: Vec<_> = done.into_iter().map(|task| task.written).collect();
    for range in &written {
        check_last(db, range)?;
    }
    let now = self::counters(db);
    Ok(Sample {
        op_count: all.as_ref().map_or(0, Latencies::len),
        elapsed_ns: nanos(elapsed),
        threads: THREADS as u32,
        cpu_ns: after.cpu_ns.saturating_sub(before.cpu_ns),
        major_faults: after.major_faults.saturating_sub(before.major_faults),
        latencies: all,
        counters: Some(Counters {
            commit_count: now.commit_count - counters.commit_count,
            flush_count: now.flush_count - counters.flush_count,
            write_count: now.write_count - counters.write_count,
        }),
        written,
        ..Sample::default()
    })
}

async fn put_until(db: uarr::Db, first: u64, deadline: Instant) -> Result<TaskDone, BenchError> {
    let mut latencies = latencies();
    let mut value = [0; VALUE_BYTES];
    let mut number = first;
    loop {
        let begin = Instant::now();
        if begin >= deadline {
            return Ok(TaskDone { written: first..number, latencies });
        }
        let key = key_of(number);
        fill(key, 0, &mut value);
        let put = db.put_async(key, value);
        put.await.map_err(|error| BenchError::Setup(format!("uarr: {error}")))?;
        latencies.saturating_record(nanos(begin.elapsed()));
        number += 1;
    }
}

/// Checks the last record of each task: a lost end of the log would lose it.
fn check_last(db: &uarr::Db, written: &std::ops::Range<u64>) -> Result<(), BenchError> {
    let Some(key) = written.clone().next_back().map(key_of) else { return Ok(()) };
    let found = db.get(key).map_err(|error| BenchError::Setup(format!("uarr: {error}")))?;
    match found.is_some_and(|record| is_right(key, record.bytes(), VALUE_BYTES)) {
        true => Ok(()),
        false => Err(BenchError::WrongData(format!("uarr lost a task's put (key {key:#018x})"))),
    }
}

fn counters(db: &uarr::Db) -> Counters {
    let stats = db.stats();
    Counters {
        commit_count: stats.commit_count,
        flush_count: stats.flush_count,
        write_count: stats.write_count,
    }
}
