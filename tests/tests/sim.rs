//! The simulator: thousands of seeded histories on a hostile disk, with deaths at any call.
//!
//! Promise proved: with everything that disks, kernels and power lines may do, nothing acknowledged
//! is lost, nothing is invented and batches are whole; and the engine notices a disk that lies.
//! Every run is repeatable.
//!
//! Environment: `UARR_SEED` runs one seed, `UARR_SEED_FIRST` and `UARR_SEEDS` others than the
//! default ones; `UARR_SWITCH` tries only the switches with that in their names.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Instant;

use uarr_tests::from_environment;
use uarr_tests::sim::switches::{
    NOTICED, SWITCHES, catch, catch_readers_without_log, pages_in_wrong_places, run_noticing,
};
use uarr_tests::sim::{
    Checked, Faults, Outcome, replay_command, run, run_expiring, run_giving_back, run_in_a_table,
    run_in_little_room,
};

/// Long runs print how far they are after so many seeds.
const PROGRESS_COUNT: usize = 5_000;

/// Runs the seeds that the environment names, or `count` of them, and prints what was done.
fn run_all(test: &str, count: u64, run: impl Fn(u64) -> Checked<Outcome>) -> Vec<Outcome> {
    let one = from_environment("UARR_SEED");
    let first = one.or(from_environment("UARR_SEED_FIRST")).unwrap_or(0);
    let count = if one.is_some() { 1 } else { from_environment("UARR_SEEDS").unwrap_or(count) };
    let begun = Instant::now();
    let mut outcomes = Vec::new();
    let mut failed = Vec::new();
    for seed in first..first + count {
        if outcomes.len() % PROGRESS_COUNT == PROGRESS_COUNT - 1 {
            let (seconds, seeds) = (begun.elapsed().as_secs_f64(), outcomes.len());
            let deaths: u64 = outcomes.iter().map(|outcome: &Outcome| outcome.crash_count).sum();
            println!("{test}: {seeds} seeds in {seconds:.0} s, {deaths} deaths, next is {seed}");
        }
        match run(seed) {
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
        "{test}: {count} seeds in {:.1} s: {} deaths ({} in operations, {} in openings), {} \
         operations ({} with old versions kept), {} calls, {} lies noticed, {} readers compared, \
         {} overtaken",
        begun.elapsed().as_secs_f64(),
        sum(|outcome| outcome.crash_count),
        sum(|outcome| outcome.crash_in_operation_count),
        sum(|outcome| outcome.crash_in_open_count),
        sum(|outcome| outcome.operation_count),
        sum(|outcome| outcome.retaining_count),
        sum(|outcome| outcome.step_count),
        sum(|outcome| outcome.detected.into()),
        sum(|outcome| outcome.read_count),
        sum(|outcome| outcome.overtaken_count),
    );
    assert!(failed.is_empty(), "seeds {failed:?} broke a promise; the commands are above");
    outcomes
}

#[test]
fn legal_faults_lose_nothing() {
    run_all("legal_faults_lose_nothing", 2000, |seed| run(seed, Faults::Legal, &|_| {}));
}

#[test]
fn lies_are_noticed() {
    run_all("lies_are_noticed", 400, |seed| run(seed, Faults::Illegal, &|_| {}));
}

/// Chunks are opened and filled all the time, checkpoints overtake them, and there is little room.
#[test]
fn legal_faults_in_little_room_lose_nothing() {
    let run = |seed| run_in_little_room(seed, Faults::Legal);
    run_all("legal_faults_in_little_room_lose_nothing", 40, run);
}

/// What is overwritten gives its space back, beneath readers that keep what they have seen.
#[test]
fn legal_faults_while_space_is_given_back_lose_nothing() {
    let run = |seed| run_giving_back(seed, Faults::Legal);
    let outcomes = run_all("legal_faults_while_space_is_given_back_lose_nothing", 60, run);
    let retaining_count: u64 = outcomes.iter().map(|outcome| outcome.retaining_count).sum();
    let one = from_environment("UARR_SEED").is_some();
    assert!(one || retaining_count > 0, "no iterator has needed old versions");
}

/// What has expired is never seen again, whatever becomes of clocks, processes and machines.
#[test]
fn legal_faults_while_records_expire_bring_none_back() {
    let run = |seed| run_expiring(seed, Faults::Legal);
    run_all("legal_faults_while_records_expire_bring_none_back", 100, run);
}

/// Tables that are dropped stay dropped, those that are not lose nothing, batches over two tables
/// are whole, and the space of what was dropped comes back.
#[test]
fn legal_faults_while_tables_are_dropped_lose_nothing() {
    let name = "legal_faults_while_tables_are_dropped_lose_nothing";
    run_all(name, 100, run_in_a_table);
}

#[test]
fn lies_while_space_is_given_back_are_noticed() {
    let run = |seed| run_giving_back(seed, Faults::Illegal);
    run_all("lies_while_space_is_given_back_are_noticed", 20, run);
}

#[test]
fn lies_in_little_room_are_noticed() {
    let run = |seed| run_in_little_room(seed, Faults::Illegal);
    run_all("lies_in_little_room_are_noticed", 20, run);
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

/// Each mechanism is needed: without it, some seed breaks a promise, and the simulator sees it.
#[test]
fn every_missing_mechanism_is_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("UARR_SWITCH").unwrap_or_default();
    let wanted = SWITCHES.iter().filter(|switch| switch.name.contains(&only));
    let caught: Vec<_> = wanted.map(|switch| (switch, catch(switch))).collect();
    let _ = std::panic::take_hook();
    println!("{:30} {:>6} {:>6}  what was seen", "switch", "seeds", "at most");
    for (switch, caught) in &caught {
        let (seeds, seen) = match caught {
            Some((seed, seen)) => ((seed + 1).to_string(), seen.as_str()),
            None => ("-".to_owned(), "nothing: NOT CAUGHT"),
        };
        let seen: String = seen.chars().take(110).collect();
        println!("{:30} {seeds:>6} {:>6}  {seen}", switch.name, switch.seed_count_max);
    }
    let missed: Vec<_> = caught.iter().filter(|(_, caught)| caught.is_none()).collect();
    let missed: Vec<_> = missed.iter().map(|(switch, _)| switch.name).collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// Readers need the log: without it they show what was there at the checkpoint, and the simulator
/// sees it.
#[test]
fn readers_that_skip_the_log_are_caught() {
    let (seed, seen) = catch_readers_without_log(300).expect("no seed has shown it");
    println!("seed {seed}: {seen}");
    assert!(seen.contains("a reader finds"), "{seen}");
}

/// What contradicts the rules of chunks is damage: no record is looked for in the place of another.
#[test]
fn impossible_chunks_are_noticed() {
    for (name, seed_count, prepare, focus) in NOTICED {
        let run = |seed| run_noticing(seed, *prepare, *focus);
        let outcomes = run_all("impossible_chunks_are_noticed", *seed_count, run);
        let noticed = outcomes.iter().filter(|outcome| outcome.detected || outcome.got_around);
        let (noticed, count) = (noticed.count(), outcomes.len());
        let bypassed = outcomes.iter().filter(|outcome| outcome.got_around).count();
        println!("{name}: {noticed} of {count} seeds noticed it, {bypassed} went around it");
        assert!(noticed >= 3 || count == 1, "{name}: too few seeds had damage to notice");
    }
}

/// The counterpart of the switch that takes the position out of the checksum.
#[test]
fn pages_in_wrong_places_are_noticed() {
    let noticed = (0..100).filter(|seed| {
        let ran = run(*seed, Faults::Illegal, &pages_in_wrong_places);
        ran.unwrap_or_else(|violation| panic!("seed {seed}: {}", violation.0)).detected
    });
    assert!(noticed.count() > 20, "too few seeds had damage to notice");
}
