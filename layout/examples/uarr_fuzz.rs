//! The long fuzz run: damages valid records and checks what validation and reading make of them.
//!
//! ```sh
//! cargo run --release -p uarr-layout --example uarr_fuzz -- [mutants, default 1000000] [seed]
//! ```
//! Every mutant that is accepted must re-encode to itself; reading mutants that were only opened
//! must end, and must not panic. `RUSTFLAGS="-C overflow-checks=on"` turns silent overflow into a
//! panic too. A failure prints seed and mutant, and the same two numbers replay it.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Random, mutate, value};
use uarr_layout::uarr::{Builder, UArrRef, Value};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mutants: u64 = arguments.next().map_or(1_000_000, |text| text.parse().expect("a number"));
    let seed: u64 = arguments.next().map_or(1, |text| text.parse().expect("a number"));
    let (mut accepted, mut changed) = (0u64, 0u64);
    let mut bytes = Vec::new();
    let (mut original, mut round) = (Vec::new(), 0u64);
    for mutant in 0..mutants {
        let mut random = Random::new(seed ^ mutant.rotate_left(20) ^ 0xF422);
        if mutant % 64 == 0 {
            let mut source = Random::new(seed.wrapping_add(mutant));
            let tree = value(&mut source, 4);
            let plain = Builder::new();
            let mut builder = if source.one_in(4) { plain.checksummed() } else { plain };
            original = builder.value(&tree).expect("random values are small").to_vec();
            round += 1;
        }
        bytes.clear();
        bytes.extend_from_slice(&original);
        mutate(&mut random, &mut bytes);
        if bytes.len() > 10 && bytes[10] & 1 != 0 {
            let crc = crc32c::crc32c(&bytes[8..]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        }
        match UArrRef::validate(&bytes) {
            Ok(accepted_value) => {
                accepted += 1;
                changed += u64::from(bytes != original);
                let again = accepted_value.to_buf();
                let same = again.as_ref().is_ok_and(|again| again.as_bytes() == bytes);
                assert!(same, "seed {seed} mutant {mutant}: accepted but not canonical");
            }
            Err(error) => assert!(error.offset() <= bytes.len(), "seed {seed} mutant {mutant}"),
        }
        if let Ok(opened) = UArrRef::open(&bytes) {
            let _ = opened.to_json();
            let _ = Value::try_from(opened);
            let _ = opened.get("id").and_then(|id| id.as_i64());
            let _ = opened.get_path("pos.x").map(|x| x.as_f64());
        }
    }
    println!(
        "{mutants} mutants of {round} records: {accepted} accepted, {changed} of them changed"
    );
}
