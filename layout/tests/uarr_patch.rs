//! Patches: `apply(a, diff(a, b))` is `b`, and each operation does what it says.

mod common;

use common::{Random, SCALE, object, value};
use uarr_layout::uarr::{
    Array, Patch, PatchBuilder, PatchError, UArrBuf, UArrMut, Value, apply, diff, uarr,
};

fn check(old: &UArrBuf, new: &UArrBuf) -> Patch {
    let patch = diff(old, new).expect("both are valid");
    let result = patch.apply(old).expect("the patch fits");
    assert_eq!(&result, new, "{old:?} {patch:?}");
    assert_eq!(apply(old, patch.as_bytes()).as_ref(), Ok(new));
    patch
}

//= test VAL-14
#[test]
fn random_pairs_are_patched_into_each_other() {
    let mut random = Random::new(6);
    for _ in 0..3_000 / SCALE {
        let (old, new) = (value(&mut random, 3), value(&mut random, 3));
        check(&old.to_buf().expect("small"), &new.to_buf().expect("small"));
    }
}

/// Small changes of large values: the patch is short.
#[test]
fn small_changes_make_short_patches() {
    let mut random = Random::new(7);
    let mut short = 0;
    for _ in 0..2_000 / SCALE {
        let old = object(&mut random, 4);
        let mut new = old.clone();
        edit(&mut random, &mut new);
        let (old, new) = (old.to_buf().expect("small"), new.to_buf().expect("small"));
        let patch = check(&old, &new);
        short += usize::from(patch.as_bytes().len() < new.len());
        assert_eq!(patch.is_empty(), old == new);
    }
    assert!(short > 1_000 / SCALE, "{short}");
}

fn edit(random: &mut Random, value: &mut Value) {
    match value {
        Value::Object(fields) if !fields.is_empty() && random.below(4) > 0 => {
            let at = random.below(fields.len());
            edit(random, &mut fields[at].1);
        }
        Value::Object(fields) if !fields.is_empty() && random.one_in(2) => {
            let at = random.below(fields.len());
            fields.remove(at);
        }
        Value::Object(_) => value.insert("new", 1),
        Value::List(items) if !items.is_empty() && random.one_in(2) => {
            let at = random.below(items.len());
            edit(random, &mut items[at]);
        }
        Value::List(items) => items.push(Value::from("more")),
        other => *other = common::value(random, 1),
    }
}

#[test]
fn operations_do_what_they_say() {
    let old = uarr!({ "a": 1, "v": f32[1.0, 2.0, 3.0], "l": ["x", "y"], "o": { "p": 1, "q": 2 } });
    let check = |patch: UArrBuf, expected: UArrBuf| {
        let patch = Patch::from_record(patch).expect("operations");
        assert_eq!(patch.apply(&old), Ok(expected));
    };
    check(uarr!([]), old.clone());
    check(
        uarr!([[0, ["a"], 2], [3, ["v", 1], 2.5]]),
        uarr!({ "a": 2, "v": f32[1.0, 2.5, 3.0], "l": ["x", "y"], "o": { "p": 1, "q": 2 } }),
    );
    check(
        uarr!([[0, ["new"], "n"], [1, ["o", "p"]], [1, ["l", 0]], [2, ["v"], f32[4.0]]]),
        uarr!({
            "a": 1, "v": f32[1.0, 2.0, 3.0, 4.0], "l": ["y"], "o": { "q": 2 }, "new": "n",
        }),
    );
    check(
        uarr!([[2, ["l"], [true, 1, 2.0]], [3, ["l", 0], { "z": 1 }], [1, ["v", 0]]]),
        uarr!({
            "a": 1, "v": f32[2.0, 3.0], "l": [{ "z": 1 }, "y", true, 1, 2.0],
            "o": { "p": 1, "q": 2 },
        }),
    );
    check(uarr!([[0, [], "whole"]]), uarr!("whole"));
}

//= test VAL-14
#[test]
fn operations_that_do_not_fit_are_errors() {
    let old = uarr!({ "a": 1, "v": f32[1.0], "l": ["x"] });
    let check = |patch: UArrBuf, expected: PatchError| {
        let outcome = Patch::from_record(patch).and_then(|patch| patch.apply(&old));
        assert_eq!(outcome, Err(expected));
    };
    let none = PatchError::Path { operation_index: 0 };
    let kind = PatchError::Type { operation_index: 0 };
    check(uarr!([[0, ["b", "c"], 1]]), none);
    check(uarr!([[1, ["b"]]]), none);
    check(uarr!([[1, ["l", 1]]]), none);
    check(uarr!([[3, ["v", 1], 1.0]]), none);
    check(uarr!([[3, ["v", 0], 0.1]]), kind);
    check(uarr!([[3, ["v", 0], "x"]]), kind);
    check(uarr!([[2, ["v"], f64[1.0]]]), kind);
    check(uarr!([[2, ["a"], [1]]]), kind);
    check(uarr!([[1, []]]), kind);
    // All or nothing, also where the first one changes a number in its place.
    for first in [uarr!([0, ["a"], 2]), uarr!([1, ["l"]])] {
        let mut both = Value::List(Vec::new());
        for operation in [first, uarr!([1, ["b"]])] {
            let Value::List(list) = &mut both else { unreachable!("a list was made") };
            list.push(Value::try_from(operation.as_ref()).expect("valid"));
        }
        check(both.to_buf().expect("small"), PatchError::Path { operation_index: 1 });
    }
    for patch in [uarr!(1), uarr!([1]), uarr!([[4, ["a"], 1]]), uarr!([[1, ["a"], 1]])] {
        let error = Patch::from_record(patch).err();
        assert_eq!(error, Some(PatchError::Operation { operation_index: 0 }));
    }
}

#[test]
fn flags_are_those_of_the_old_record() {
    let mut builder = uarr_layout::uarr::Builder::new().checksummed().sorted();
    let old = builder.object(|o| o.field("b", 1)).expect("fits").clone();
    let patch = Patch::from_record(uarr!([[0, ["a"], "new"]])).expect("operations");
    let new = patch.apply(&old).expect("fits");
    assert!(uarr_layout::uarr::UArrRef::validate(&new).is_ok());
    assert_eq!(new.to_string(), r#"{"a":"new","b":1}"#);
    let in_place = Patch::from_record(uarr!([[0, ["b"], 2]])).expect("operations");
    let new = in_place.apply(&old).expect("fits");
    assert_eq!(Ok(&new), builder.object(|o| o.field("b", 2)));
    assert_eq!(diff(&old, &uarr!({ "b": 1 })).err(), Some(PatchError::Flags));
}

#[test]
fn numbers_are_changed_in_place() {
    let mut record = uarr!({ "n": { "a": 1, "b": true }, "v": i16[1, 2], "f": 0.5, "s": "text" });
    let mut changes = UArrMut::new(&mut record);
    assert!(changes.set(["n", "a"], -5));
    assert!(changes.set(["n", "b"], false));
    assert!(changes.set_path("v[1]", -2));
    assert!(changes.set(["f"], f64::NAN));
    assert!(!changes.set(["s"], "other"));
    assert!(!changes.set(["n", "a"], 0.5));
    assert!(!changes.set_path("v[1]", 40_000));
    assert!(!changes.set_path("v[2]", 0));
    drop(changes);
    let expected =
        uarr!({ "n": { "a": -5, "b": false }, "v": i16[1, -2], "f": f64::NAN, "s": "text" });
    assert_eq!(record, expected);
}

/// An array with few changes and a longer end is patched element by element; a NaN with a payload
/// is replaced whole.
#[test]
fn few_changed_elements_are_patched_alone() {
    let mut numbers: Vec<u32> = (0..100).collect();
    let old = Value::Array(Array::new(&numbers)).to_buf().expect("small");
    numbers[3] = u32::MAX;
    numbers[70] = 0;
    numbers.extend([7, 8]);
    let new = Value::Array(Array::new(&numbers)).to_buf().expect("small");
    let patch = check(&old, &new);
    assert!(patch.as_bytes().len() < new.len() / 2, "{patch:?}");
    // Shorter, or much changed: the whole array.
    check(&new, &old);
    let other = Value::Array(Array::new(&vec![9u32; 100])).to_buf().expect("small");
    check(&old, &other);

    let mut floats = vec![1.5f32; 40];
    let old = Value::Array(Array::new(&floats)).to_buf().expect("small");
    for bits in [0x7fc0_0000, 0x7f80_0001, 0xffff_ffff, 0x8000_0000] {
        floats[9] = f32::from_bits(bits);
        check(&old, &Value::Array(Array::new(&floats)).to_buf().expect("small"));
    }
}

#[test]
fn patches_are_built_by_names() {
    let old = uarr!({ "a": [{ "b": 1 }, 2], "n": [1, 2], "f": f32[0.5], "m": ["x", 1] });
    let built = |patch: PatchBuilder| patch.build().and_then(|patch| patch.apply(&old));
    let check = |patch, expected: UArrBuf| assert_eq!(built(patch), Ok(expected));
    check(Patch::builder(), old.clone());
    check(Patch::builder().set("", 7), uarr!(7));
    check(
        Patch::builder().set("a[0].b", "one").delete("a[1]").delete("f").push("n", 3).push("m", 2),
        uarr!({ "a": [{ "b": "one" }], "n": [1, 2, 3], "m": ["x", 1, 2] }),
    );
    let map = std::collections::BTreeMap::from([("k", vec![Some("v"), None])]);
    check(
        Patch::builder().delete("a").delete("n").delete("f").set("m[0]", map),
        uarr!({ "m": [{ "k": ["v", null] }, 1] }),
    );
    let refused = |patch, expected| assert_eq!(built(patch), Err(expected));
    let operation_index = 1;
    refused(Patch::builder().delete("f").delete("f"), PatchError::Path { operation_index });
    refused(Patch::builder().delete("f").set("x.y", 1), PatchError::Path { operation_index });
    refused(Patch::builder().delete("f").push("n", "z"), PatchError::Type { operation_index });
    for path in ["a[", "a[0", "a[x]", "a[0]b"] {
        refused(Patch::builder().delete("f").set(path, 1), PatchError::Path { operation_index });
    }
}
