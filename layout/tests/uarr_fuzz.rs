//! Bounded fuzzing: the long run is the example `uarr_fuzz`.

mod common;

use common::{Random, SCALE, mutate, value};
use uarr_layout::uarr::{Builder, UArrRef, Value};

/// Every accepted mutant re-encodes to itself; reading unvalidated ones ends and does not panic.
#[test]
fn mutants_are_rejected_or_canonical() {
    let mut accepted = 0;
    for seed in 0..3_000 / SCALE as u64 {
        let mut random = Random::new(seed);
        let tree = value(&mut random, 4);
        let mut builder = Builder::new();
        let original = builder.value(&tree).expect("random values are small").to_vec();
        for _ in 0..30 {
            let mut bytes = original.clone();
            mutate(&mut random, &mut bytes);
            if let Ok(value) = UArrRef::validate(&bytes) {
                accepted += 1;
                let again = value.to_buf().expect("valid records are copied");
                assert_eq!(again.as_bytes(), bytes, "seed {seed}");
            }
            if let Ok(value) = UArrRef::open(&bytes) {
                let _ = value.to_json();
                let _ = format!("{value:?}");
                let _ = Value::try_from(value);
            }
        }
    }
    assert!(accepted > 1_000 / SCALE, "mutants reach valid values too: {accepted}");
}

/// Patches of damaged records and damaged patches end in errors or records.
#[test]
fn damaged_patches_are_errors() {
    for seed in 0..1_000 / SCALE as u64 {
        let mut random = Random::new(seed);
        let (old, new) = (value(&mut random, 3), value(&mut random, 3));
        let (Ok(old), Ok(new)) = (old.to_buf(), new.to_buf()) else { continue };
        let Ok(patch) = uarr_layout::uarr::diff(&old, &new) else { continue };
        for _ in 0..10 {
            let mut damaged = patch.as_bytes().to_vec();
            mutate(&mut random, &mut damaged);
            let _ = uarr_layout::uarr::apply(&old, &damaged);
            let mut damaged = old.to_vec();
            mutate(&mut random, &mut damaged);
            let _ = uarr_layout::uarr::apply(&damaged, patch.as_bytes());
        }
    }
}
