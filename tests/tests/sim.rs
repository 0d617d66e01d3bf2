//! The simulator: thousands of seeded histories on a hostile disk, with deaths at any call.
//!
//! Promise proved: whatever disks, kernels and power lines may do, nothing acknowledged is lost, nothing is invented and
//! batches are whole; and a disk that lies is noticed. Every run is repeatable.
//!
//! Environment: `UARR_SEED` runs one seed, `UARR_SEED_FIRST` and `UARR_SEEDS` others than the default ones.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Instant;

use uarr_tests::from_environment;
use uarr_tests::sim::{Faults, Outcome, replay_command, run};

/// Long runs tell how far they are after so many seeds.
const PROGRESS_COUNT: usize = 10_000;

/// Runs the seeds that the environment names, or `count` of them, and prints what was done.
fn run_all(test: &str, faults: Faults, count: u64) -> Vec<Outcome> {
    let one = from_environment("UARR_SEED");
    let first = one.or(from_environment("UARR_SEED_FIRST")).unwrap_or(0);
    let count = if one.is_some() { 1 } else { from_environment("UARR_SEEDS").unwrap_or(count) };
    let begun = Instant::now();
    let mut outcomes = Vec::new();
    let mut failed = Vec::new();
    for seed in first..first + count {
        if outcomes.len() % PROGRESS_COUNT == PROGRESS_COUNT - 1 {
            println!("{test}: before seed {seed}, {:.0} s", begun.elapsed().as_secs_f64());
        }
        match run(seed, faults, &|_| {}) {
            Ok(outcome) => outcomes.push(outcome),
            Err(violation) => {
                println!(
                    "seed {seed}: {}\n  run again: {}",
                    violation.0,
                    replay_command(seed, test)
                );
                failed.push(seed);
            }
        }
    }
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    println!(
        "{test}: {count} seeds in {:.1} s: {} deaths ({} in operations, {} in openings), {} operations, {} calls, \
         {} lies noticed",
        begun.elapsed().as_secs_f64(),
        sum(|outcome| outcome.crash_count),
        sum(|outcome| outcome.crash_in_operation_count),
        sum(|outcome| outcome.crash_in_open_count),
        sum(|outcome| outcome.operation_count),
        sum(|outcome| outcome.step_count),
        sum(|outcome| outcome.detected.into()),
    );
    assert!(failed.is_empty(), "seeds {failed:?} broke a promise; the commands are above");
    outcomes
}

#[test]
fn legal_faults_lose_nothing() {
    run_all("legal_faults_lose_nothing", Faults::Legal, 2000);
}

#[test]
fn lies_are_noticed() {
    run_all("lies_are_noticed", Faults::Illegal, 400);
}

#[test]
fn a_seed_does_the_same_twice() {
    for seed in 0..60 {
        let faults = [Faults::Legal, Faults::Illegal][seed as usize % 2];
        let [first, second] = [(); 2].map(|()| run(seed, faults, &|_| {}).unwrap());
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first.trace_hash, 0);
    }
    let hashes = (0..60).map(|seed| run(seed, Faults::Legal, &|_| {}).unwrap().trace_hash);
    let different: std::collections::BTreeSet<_> = hashes.collect();
    assert_eq!(different.len(), 60, "seeds do different things");
}
