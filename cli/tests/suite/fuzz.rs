//! Arguments and input that no user would write: the command answers with one of its exit codes,
//! and never panics.
//!
//! `UARR_FUZZ` sets the number of runs of each kind, `UARR_SEED` the first.

use crate::run::{Home, Run};

/// A run takes some milliseconds; the long run is for `make fuzz`.
const RUN_COUNT: u64 = 40;
const EXIT_CODE_MAX: i32 = 6;

const WORDS: [&str; 36] = [
    "import",
    "get",
    "put",
    "del",
    "scan",
    "stats",
    "verify",
    "checkpoint",
    "log-dump",
    "inspect",
    "segment",
    "chunk",
    "index",
    "value",
    "dump",
    "--json",
    "--key",
    "--batch",
    "0",
    "-1",
    "18446744073709551616",
    "--prefix",
    "--limit",
    "--from",
    "--to",
    "--reverse",
    "--field",
    "--where",
    "v<b.x[1]",
    "--count",
    "--raw",
    "--value",
    "--skip-bad",
    "--key-kind",
    "u64",
    "{\"a\":[1,2]}",
];

const LINES: &str = r#"{"k":"a","v":1.50}
{"k":"b","v":[null,true,{"x":"\u00e9\ud83d\ude00"}]}
{"k":17,"v":1e400}
{"k":"c","v":"some longer text, so that there is more to break"}
"#;

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

/// Changes some bytes, takes some out, puts some in twice.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let (at, len) = (random.below(bytes.len()), 1 + random.below(12));
        let end = (at + len).min(bytes.len());
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = b"{}[]\",:\\\n0-e\0\xff"[random.below(14)],
            2 if bytes.len() > len + 1 => drop(bytes.drain(at..end)),
            _ => bytes.extend_from_within(at..end),
        }
    }
}

fn check(seed: u64, what: &str, run: &Run) {
    let sane = (0..=EXIT_CODE_MAX).contains(&run.code) && !run.stderr.contains("panicked");
    assert!(sane, "UARR_SEED={seed} UARR_FUZZ=1: {what}: {run:?}");
    assert!(run.code == 0 || !run.stderr.is_empty(), "UARR_SEED={seed}: {what}: no word of why");
}

#[test]
fn random_arguments_end_in_an_exit_code() {
    let first = number("UARR_SEED", 1);
    for seed in first..first + number("UARR_FUZZ", RUN_COUNT) {
        let mut random = Random(seed);
        let home = Home::new();
        let mut args: Vec<String> = Vec::new();
        for _ in 0..1 + random.below(6) {
            let mut word = WORDS[random.below(WORDS.len())].as_bytes().to_vec();
            if random.below(4) == 0 {
                mutate(&mut word, &mut random);
            }
            word.retain(|byte| *byte != 0);
            args.push(String::from_utf8_lossy(&word).into_owned());
        }
        let run = home.run(&args);
        // `verify` and others find nothing to do in silence; only failures must say why.
        check(seed, &format!("{args:?}"), &run);
    }
}

#[test]
fn random_lines_are_imported_or_named() {
    let first = number("UARR_SEED", 1);
    for seed in first..first + number("UARR_FUZZ", RUN_COUNT) {
        let mut random = Random(seed);
        let home = Home::new();
        let mut lines = LINES.as_bytes().to_vec();
        mutate(&mut lines, &mut random);
        let mut args = vec!["import", "-", "--key", "k", "--durability", "manual"];
        if random.below(2) == 0 {
            args.push("--skip-bad");
        }
        let run = home.feed(&args, &lines);
        check(seed, &String::from_utf8_lossy(&lines), &run);
        let verified = home.run(["verify"]);
        assert!(verified.code == 0 || !home.db().exists() || run.code != 0, "seed {seed}");
    }
}
