//! Turns: who is measured when, and that all others are still meanwhile.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::measure::usage::Usage;

/// How long the process must be still.
const STILL: Duration = Duration::from_millis(20);
/// Part of that time, as a divisor, for which it may use a processor and still count as still.
const STILL_CPU_DIVISOR: u32 = 10;
/// Longest wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// The order of `count` contestants in a round: each round begins with the next of them, so that
/// none always follows the same one.
pub fn order(count: usize, round: u32) -> impl Iterator<Item = usize> {
    (0..count).map(move |place| (place + round as usize) % count)
}

/// Waits until no thread of this process works or writes: what a store has put off must not run in
/// the turn of the next one, nor count as its CPU time. Returns false if that takes too long.
pub fn wait_until_still() -> bool {
    let deadline = Instant::now() + PATIENCE;
    let mut before = (Usage::now().cpu_ns, written_bytes());
    loop {
        let begin = Instant::now();
        std::thread::sleep(STILL);
        let now = (Usage::now().cpu_ns, written_bytes());
        let used = Duration::from_nanos(now.0.saturating_sub(before.0));
        if is_still(begin.elapsed(), used, now.1.saturating_sub(before.1)) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        before = now;
    }
}

/// Whether a process rests that has used the processor for so long meanwhile, and written so much.
fn is_still(elapsed: Duration, used: Duration, written_bytes: u64) -> bool {
    used <= elapsed / STILL_CPU_DIVISOR && written_bytes == 0
}

/// Bytes that this process has caused to be written; 0 where the kernel does not count them.
fn written_bytes() -> u64 {
    let counts = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let count = counts.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Makes all that was written below `dir`, and on its whole file system, durable.
pub fn sync_files(dir: &Path) -> Result<(), BenchError> {
    let failed = |error: std::io::Error| BenchError::at(dir, "cannot sync", &error);
    let file = File::open(dir).map_err(failed)?;
    rustix::fs::syncfs(&file).map_err(|error| failed(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_first_once_and_has_one_turn_in_each_round() {
        let rounds: Vec<Vec<usize>> = (0..4).map(|round| order(3, round).collect()).collect();
        assert_eq!(rounds, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
        assert_eq!(order(0, 5).count(), 0);
    }

    #[test]
    fn who_works_or_writes_does_not_rest() {
        let elapsed = Duration::from_millis(20);
        let little = elapsed / STILL_CPU_DIVISOR;
        assert!(is_still(elapsed, little, 0));
        assert!(!is_still(elapsed, little * 2, 0));
        assert!(!is_still(elapsed, Duration::ZERO, 1));
    }
}
