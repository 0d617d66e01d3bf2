//! Bounded fuzzing: the long run is the example `uarr_fuzz`.

mod common;

use common::{Random, SCALE, mutate, value};
use uarr_layout::uarr::{Builder, UArrRef, Value};

/// Every accepted mutant re-encodes to itself; reading unvalidated ones ends and does not panic.
//= test VAL-11, VAL-12
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

/// Every form of text that a value has: none may fail, since `format!` and `println!` panic where
/// one does.
fn texts(value: &(impl std::fmt::Display + std::fmt::Debug)) -> [String; 6] {
    [
        format!("{value}"),
        format!("{value:?}"),
        format!("{value:#?}"),
        format!("{value:#}"),
        format!("{value:>90.3}"),
        format!("{value:<+090?}"),
    ]
}

/// With any bytes behind a sound header, each form of text is one, as long as the record
/// allows; plain text is the JSON, or names the damage at its end.
#[test]
fn damaged_values_can_be_shown() {
    let mut damaged_count = 0;
    for seed in 0..2_000 / SCALE as u64 {
        let mut random = Random::new(!seed);
        let original = value(&mut random, 5).to_buf().expect("random values are small").to_vec();
        for _ in 0..20 {
            let mut bytes = original.clone();
            mutate(&mut random, &mut bytes);
            let Ok(value) = UArrRef::open(&bytes) else { continue };
            let shown = texts(&value);
            let text_bytes_max = 64 * bytes.len() + 1024;
            assert!(shown.iter().all(|text| text.len() <= text_bytes_max), "seed {seed}: too long");
            match value.to_json() {
                Ok(json) => assert_eq!(shown[0], json, "seed {seed}"),
                Err(error) => {
                    damaged_count += 1;
                    let marker = format!("<damaged: {error}>");
                    assert!(shown[0].ends_with(&marker), "seed {seed}: {}", shown[0]);
                }
            }
            let mut written = Vec::new();
            assert_eq!(value.write_json(&mut written).is_ok(), value.to_json().is_ok());
            if let Ok(owned) = Value::try_from(value) {
                texts(&owned);
            }
            for (name, field) in value.entries() {
                texts(&field);
                let _ = (name, field.as_str(), field.as_f64(), field.as_i128(), field.as_array());
            }
            value.iter().for_each(|item| drop(texts(&item)));
        }
    }
    assert!(damaged_count > 1_000 / SCALE, "only {damaged_count} were damaged inside");
}

/// A value that cannot be a record, since it is nested too deeply, says so instead of failing.
#[test]
fn a_value_that_is_no_record_can_be_shown() {
    let deep = (0..100).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    let reason = deep.to_buf().expect_err("too deep").to_string();
    assert!(texts(&deep).iter().all(|text| text.contains(&reason)));
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
