//! Targets that no user would write: they are understood or refused with a reason, and never panic.
//!
//! `UARR_FUZZ` sets the number of mutants, `UARR_SEED` the first.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use uarr_bench::judge::targets::Targets;

const ORIGINAL: &str = include_str!("../targets/default.toml");
const MUTANT_COUNT: u64 = 20_000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((self.0 >> 33) as usize) % bound
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let (at, len) = (random.below(bytes.len()), 1 + random.below(40));
        let end = (at + len).min(bytes.len());
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(7),
            1 => bytes[at] = b"[]=\".#\n0-e'{}_ "[random.below(15)],
            2 => drop(bytes.drain(at..end)),
            _ => bytes.extend_from_within(at..end),
        }
    }
}

#[test]
fn mutated_targets_are_understood_or_refused() {
    let first = number("UARR_SEED", 1);
    let (count, mut refused) = (number("UARR_FUZZ", MUTANT_COUNT), 0);
    assert!(Targets::parse(ORIGINAL).is_ok());
    for seed in first..first + count {
        let mut bytes = ORIGINAL.as_bytes().to_vec();
        mutate(&mut bytes, &mut Random(seed));
        let text = String::from_utf8_lossy(&bytes);
        let parsed = std::panic::catch_unwind(|| Targets::parse(&text));
        let parsed = parsed.unwrap_or_else(|_| panic!("UARR_SEED={seed} UARR_FUZZ=1"));
        if let Err(reason) = parsed {
            assert!(!reason.is_empty(), "seed {seed}: refused without a reason");
            refused += 1;
        }
    }
    println!("{count} mutants, {refused} refused");
    assert!(count < 100 || (refused > count / 10 && refused < count), "{refused} of {count}");
}
