//! The rule by which places of the data file are used again, as a model (`uarr_tests::reuse`).
//!
//! Promise proved: whatever happens between any two steps, the rule gives no place away that any
//! kept checkpoint, frame of the log, pin or hold still needs, and leaks none; and each part of the
//! rule is needed. Nothing here shows that the engine obeys it.
//!
//! Environment: `UARR_SEED` runs one seed and prints what happens in it; `UARR_SEED_FIRST` and
//! `UARR_SEEDS` run others than the default ones, against the rule and each mutation alike;
//! `UARR_MUTATION` tries only the mutations with that in their names.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Instant;

use uarr_tests::from_environment;
use uarr_tests::reuse::{Event, Figures, MUTANTS, Mutant, run};
use uarr_tests::violation::{Checked, Violation};

/// How many seeds run by default.
const SEED_COUNT: u64 = 1000;

/// Long runs print how far they are after so many seeds.
const PROGRESS_COUNT: u64 = 5_000;

/// Runs `seed`. A panic of the model is a violation too.
fn checked(seed: u64, mutant: Option<&Mutant>) -> Checked<Figures> {
    let talks = from_environment("UARR_SEED").is_some();
    let trace = |step: u64, what: &str| {
        if talks {
            println!("step {step:3}  {what}");
        }
    };
    std::panic::catch_unwind(|| run(seed, mutant, &trace)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        Err(Violation(format!("panic: {}", text.unwrap_or_default())))
    })
}

/// The seeds that the environment names, or the first `count`.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let one = from_environment("UARR_SEED");
    let first = one.or(from_environment("UARR_SEED_FIRST")).unwrap_or(0);
    let count = if one.is_some() { 1 } else { from_environment("UARR_SEEDS").unwrap_or(count) };
    first..first + count
}

#[test]
fn the_rule_holds() {
    let begun = Instant::now();
    let (mut all, mut failed) = (Figures::default(), Vec::new());
    let seeds = seeds(SEED_COUNT);
    for seed in seeds.clone() {
        match checked(seed, None) {
            Ok(figures) => all += figures,
            Err(Violation(text)) => {
                println!(
                    "seed {seed}: {text}\n  run again: UARR_SEED={seed} cargo test -p uarr-tests \
                     --test reuse the_rule_holds -- --nocapture"
                );
                failed.push(seed);
            }
        }
        if seed % PROGRESS_COUNT == PROGRESS_COUNT - 1 {
            println!("{:.0} s, seed {seed}: {all}", begun.elapsed().as_secs_f64());
        }
    }
    let (count, seconds) = (seeds.end - seeds.start, begun.elapsed().as_secs_f64());
    println!("{count} seeds in {seconds:.1} s, {} violations: {all}", failed.len());
    assert!(failed.is_empty(), "seeds {failed:?} broke the rule; the commands are above");
    if count >= SEED_COUNT {
        assert!(all.count(Event::PlaceFreed) > count, "too few places were given back: {all}");
        let missed: Vec<_> = Event::ALL.iter().filter(|event| all.count(**event) == 0).collect();
        assert!(missed.is_empty(), "never happened: {missed:?}");
    }
}

#[test]
fn a_seed_does_the_same_twice() {
    for seed in 0..30 {
        let [first, second] = [(); 2].map(|()| run(seed, None, &|_, _| {}).unwrap());
        assert_eq!(first, second, "seed {seed}");
    }
}

/// What a mutation has shown.
struct Caught {
    mutant: &'static Mutant,
    /// How many seeds ran, and how many of them broke a promise.
    seed_count: u64,
    violation_count: u64,
    /// How many seeds were needed, and what the last one showed.
    first: Option<(u64, String)>,
}

/// Runs a mutation until a seed catches it; with `UARR_SEEDS`, as many seeds as that.
fn catch(mutant: &'static Mutant) -> Caught {
    let goes_on = from_environment("UARR_SEEDS").is_some();
    let mut caught = Caught { mutant, seed_count: 0, violation_count: 0, first: None };
    for seed in seeds(mutant.seed_count_max) {
        caught.seed_count += 1;
        if let Err(Violation(text)) = checked(seed, Some(mutant)) {
            caught.violation_count += 1;
            caught.first.get_or_insert((caught.seed_count, text));
            if !goes_on {
                break;
            }
        }
    }
    caught
}

/// Each part of the rule is needed: without it, some seed breaks a promise, and the model sees it.
#[test]
fn every_mutation_is_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("UARR_MUTATION").unwrap_or_default();
    let wanted = MUTANTS.iter().filter(|mutant| mutant.name.contains(&only));
    let all: Vec<Caught> = wanted.map(catch).collect();
    let _ = std::panic::take_hook();
    println!(
        "{:22} rule {:>6} {:>7} of {:>6}  what was seen",
        "mutation", "needed", "caught", "run"
    );
    for Caught { mutant, seed_count, violation_count, first } in &all {
        let (needed, seen) = match first {
            Some((needed, seen)) => (needed.to_string(), seen.as_str()),
            None => ("-".to_owned(), "nothing: NOT CAUGHT"),
        };
        let (name, rule) = (mutant.name, mutant.rule);
        let seen: String = seen.chars().take(90).collect();
        println!("{name:22} {rule:4} {needed:>6} {violation_count:>7} of {seed_count:>6}  {seen}");
    }
    let missed = all.iter().filter(|caught| caught.first.is_none());
    let missed: Vec<_> = missed.map(|caught| caught.mutant.name).collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
