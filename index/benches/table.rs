//! One line per structure and phase: ns per operation, and the ratio to `BTreeMap` of the same run.
//!
//! `cargo bench --manifest-path index/benches/Cargo.toml --bench table -- [keys] [set ...]`; by
//! default
//! 1,000,000 keys and all sets. Sets are those of `tests/suite/keys.rs`, `inodes`, `mtimes` and
//! `paths` of this machine (however many there are), and `user` (`user:%010d`). Structures take
//! turns within a phase; the medians of three passes count, of one pass above 2,000,000 keys
//! where a pass changes the structure.

use uarr_index_benches::{
    ByteWork, IntWork, Phase, SETS, Structure, Timed, byte_structures, int_structures,
};

const INT_PHASES: [Phase; 8] = [
    Phase::Bulk,
    Phase::Hit,
    Phase::HitMany,
    Phase::Miss,
    Phase::Scan,
    Phase::Insert,
    Phase::InsertAscending,
    Phase::Mixed,
];
const BYTE_PHASES: [Phase; 6] =
    [Phase::Bulk, Phase::Hit, Phase::Miss, Phase::Iterate, Phase::Insert, Phase::InsertAscending];
const PASSES: usize = 3;
const REPEATED_CHANGES_KEYS_MAX: usize = 2_000_000;
/// Under `cargo test`: only to see that the sums agree.
const SMALL_KEY_COUNT: usize = 2000;

fn main() {
    // Cargo itself adds `--bench`.
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let default = if measuring { 1_000_000 } else { SMALL_KEY_COUNT };
    let count = arguments.first().and_then(|count| count.parse().ok()).unwrap_or(default);
    let mut sets: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    if sets.is_empty() {
        sets = SETS.to_vec();
        sets.push("user");
        if measuring {
            sets.extend(["inodes", "mtimes", "paths"]);
        }
    }
    for set in sets {
        if matches!(set, "user" | "paths") {
            let work = ByteWork::new(set, count);
            let (keys, bytes) = (work.key_count(), work.key_bytes());
            println!("\n{set}: {keys} keys of {:.1} bytes", bytes as f64 / keys.max(1) as f64);
            table(&BYTE_PHASES, &mut byte_structures(), &work, keys);
        } else {
            let work = IntWork::new(set, count);
            println!("\n{set}: {} keys", work.key_count());
            table(&INT_PHASES, &mut int_structures(), &work, work.key_count());
        }
    }
}

fn table<W>(
    phases: &[Phase],
    structures: &mut [Box<dyn Structure<W>>],
    work: &W,
    key_count: usize,
) {
    println!("| phase | structure | ns | of BTreeMap |\n|---|---|---|---|");
    for &phase in phases {
        let repeated = phase.reads() || key_count <= REPEATED_CHANGES_KEYS_MAX;
        let passes = if repeated { PASSES } else { 1 };
        let mut times: Vec<Vec<Timed>> = structures.iter().map(|_| Vec::new()).collect();
        for _ in 0..passes {
            for (structure, times) in structures.iter_mut().zip(&mut times) {
                times.extend(structure.run(phase, work));
            }
        }
        let sums: Vec<u64> = times.iter().flatten().map(|pass| pass.sum).collect();
        assert!(
            sums.windows(2).all(|pair| pair[0] == pair[1]),
            "{}: different results",
            phase.name()
        );
        let medians: Vec<Option<f64>> = times.iter_mut().map(|times| median(times)).collect();
        for (structure, median) in structures.iter().zip(&medians) {
            let Some(median) = median else { continue };
            let ratio =
                medians[0].map_or_else(String::new, |first| format!("{:.2}", median / first));
            println!("| {} | {} | {median:.1} | {ratio} |", phase.name(), structure.name());
        }
    }
    for structure in structures {
        if let Some(bytes) = structure.node_bytes() {
            let each = bytes as f64 / key_count.max(1) as f64;
            println!("| bytes per key | {} | {each:.1} | |", structure.name());
        }
    }
}

fn median(times: &mut [Timed]) -> Option<f64> {
    times.sort_by(|a, b| a.each_ns().total_cmp(&b.each_ns()));
    times.get(times.len() / 2).map(Timed::each_ns)
}
