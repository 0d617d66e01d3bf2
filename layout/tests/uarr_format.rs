//! The worked example of the format, byte for byte, and the rules that follow from it.

use uarr_layout::uarr::{
    Builder, Bytes, Error, Key, Node, Shape, SliceError, UArrBuf, UArrRef, from_json, shape, uarr,
};

const EXAMPLE: &str = "
    55 41 52 31 00 00 00 00  01 00 00 00 d8 00 00 00
    98 00 00 00 41 00 00 00  30 00 00 00 18 00 00 00
    41 64 61 20 4c 6f 76 65  6c 61 63 65 00 00 00 00
    00 00 80 3f 00 00 00 40  78 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00  11 00 00 00 00 00 00 00
    00 00 00 00 00 00 e0 3f  ff ff ff ff ff ff ff ff
    05 03 00 00 00 00 00 00  07 00 00 00 00 00 00 00
    48 00 00 00 0c 00 00 00  38 00 00 00 02 00 00 00
    30 00 00 00 02 00 00 00  18 00 00 00 00 00 00 00
    03 20 38 40 41 00 00 00  02 00 00 00 02 00 00 00
    f0 60 00 00 00 00 00 00  01 02 78 79 00 00 00 00
    05 00 00 00 10 00 00 00  76 c8 30 82 c6 00 00 00
    02 06 09 0d 10 69 64 6e  61 6d 65 76 65 63 74 61
    67 73 70 6f 73 00 00 00";

fn example_bytes() -> Vec<u8> {
    EXAMPLE.split_whitespace().map(|hex| u8::from_str_radix(hex, 16).expect("hex")).collect()
}

fn example() -> UArrBuf {
    uarr!({
        "id": 7,
        "name": "Ada Lovelace",
        "vec": f32[1.0, 2.0],
        "tags": ["x", null],
        "pos": { "x": 0.5, "y": -1 },
    })
}

#[test]
fn the_worked_example_is_written_byte_for_byte() {
    assert_eq!(example().as_bytes(), example_bytes());
}

#[test]
fn the_worked_example_is_written_by_closures_and_by_shapes() {
    static ROOT: Shape = shape!["id", "name", "vec", "tags", "pos"];
    static POS: Shape = shape!["x", "y"];
    let mut builder = Builder::with_buffer(UArrBuf::new());
    for _ in 0..3 {
        let named = builder.object(|o| {
            o.field("id", 7);
            o.field("name", "Ada Lovelace");
            o.slice("vec", &[1.0f32, 2.0]);
            o.list("tags", |tags| {
                tags.push("x");
                tags.push(());
            });
            o.object("pos", |pos| {
                pos.field("x", 0.5);
                pos.field("y", -1);
            });
        });
        assert_eq!(named.map(UArrBuf::as_bytes), Ok(&example_bytes()[..]));
        let shaped = builder.shaped(&ROOT, |o| {
            o.push(7);
            o.push("Ada Lovelace");
            o.slice(&[1.0f32, 2.0]);
            o.list(|tags| {
                tags.push("x");
                tags.push(());
            });
            o.shaped(&POS, |pos| {
                pos.push(0.5);
                pos.push(-1);
            });
        });
        assert_eq!(shaped.map(UArrBuf::as_bytes), Ok(&example_bytes()[..]));
    }
}

#[test]
fn the_worked_example_is_read_in_place() {
    static NAME: Key = Key::new("name");
    let record = example();
    let value = UArrRef::validate(&record).expect("the example is valid");
    assert_eq!(value.get("id").and_then(|v| v.as_i64()), Some(7));
    assert_eq!(value.get(&NAME).and_then(|v| v.as_str()), Some("Ada Lovelace"));
    assert_eq!(value.at("vec").as_slice::<f32>(), Ok(&[1.0, 2.0][..]));
    assert_eq!(value.at("vec").as_slice::<f64>(), Err(SliceError::Type));
    assert_eq!(value.at("vec").index(1).and_then(|v| v.as_f64()), Some(2.0));
    assert_eq!(value.at("tags").at(0).as_str(), Some("x"));
    assert!(value.at("tags").at(1).is_null());
    assert!(value.at("tags").at(2).is_undefined());
    assert_eq!(value.path(["pos", "y"]).and_then(|v| v.as_i64()), Some(-1));
    assert_eq!(value.get_path("pos.x").and_then(|v| v.as_f64()), Some(0.5));
    assert_eq!(value.get_path("tags[0]").and_then(|v| v.as_str()), Some("x"));
    assert!(value.get("nam").is_none());
    let names: Vec<_> = value.entries().map(|(name, _)| name).collect();
    assert_eq!(names, ["id", "name", "vec", "tags", "pos"]);
    assert_eq!(
        value.to_string(),
        r#"{"id":7,"name":"Ada Lovelace","vec":[1.0,2.0],"tags":["x",null],"pos":{"x":0.5,"y":-1}}"#
    );
    assert_eq!(
        format!("{value:?}"),
        "{\"id\": 7, \"name\": \"Ada Lovelace\", \"vec\": f32[1.0, 2.0], \"tags\": [\"x\", null], \
         \"pos\": {\"x\": 0.5, \"y\": -1}}"
    );
    assert_eq!(value.to_buf(), Ok(record.clone()));
}

#[test]
fn a_misaligned_record_is_read_by_copying() {
    let record = example();
    let mut moved = vec![0; record.len() + 16];
    let start = moved.as_ptr().align_offset(8) + 1;
    moved[start..start + record.len()].copy_from_slice(&record);
    let value = UArrRef::validate(&moved[start..start + record.len()]).expect("valid anywhere");
    assert_eq!(value.at("vec").as_slice::<f32>(), Err(SliceError::Misaligned));
    assert_eq!(value.at("vec").to_vec::<f32>(), Ok(vec![1.0, 2.0]));
}

#[test]
fn empty_arrays_are_empty_slices() {
    let record = uarr!({ "v": f64[], "w": ref[], "b": Bytes(&[]) });
    let value = UArrRef::validate(&record).expect("valid");
    assert_eq!(value.at("v").as_slice::<f64>(), Ok(&[][..]));
    assert_eq!(value.at("v").to_vec::<f64>(), Ok(vec![]));
    assert_eq!(value.at("w").as_slice::<u64>(), Ok(&[][..]));
    assert_eq!(value.at("b").as_bytes(), Some(&[][..]));
}

#[test]
fn every_changed_byte_of_the_example_is_rejected_or_another_value() {
    let record = example_bytes();
    for at in 0..record.len() {
        // Under Miri one bit of each byte.
        for bit in if cfg!(miri) { at % 8..at % 8 + 1 } else { 0..8 } {
            let mut changed = record.clone();
            changed[at] ^= 1 << bit;
            if let Ok(value) = UArrRef::validate(&changed) {
                let again = value.to_buf().expect("valid records are copied");
                assert_eq!(again.as_bytes(), changed, "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn every_truncation_is_rejected() {
    let record = example_bytes();
    for len in 0..record.len() {
        let expected = if len < 32 { Error::Short } else { Error::Length { expected: 216 } };
        assert_eq!(UArrRef::validate(&record[..len]).err(), Some(expected));
        assert_eq!(UArrRef::open(&record[..len]).err(), Some(expected));
    }
}

#[test]
fn json_is_read_to_the_same_bytes() {
    let json = r#" {"id": 7, "big": [1, 2], "f": [1.5, 2e0], "mixed": [1, 1.0], "e": "\u00e9\n"} "#;
    let record = from_json(json).expect("valid");
    let expected = uarr!({
        "id": 7, "big": i64[1, 2], "f": f64[1.5, 2.0], "mixed": [1, 1.0], "e": "\u{e9}\n",
    });
    assert_eq!(record, expected);
    assert_eq!(
        record.to_string(),
        "{\"id\":7,\"big\":[1,2],\"f\":[1.5,2.0],\"mixed\":[1,1.0],\"e\":\"\u{e9}\\n\"}"
    );
}

#[test]
fn literals_take_every_form() {
    let (name, id) = (String::from("key"), 9u64);
    let record = uarr!({
        (name): [@id, @"node", {}, [], undefined, true],
        "bytes": Bytes(b"\x00\xff"),
        "nodes": ref[1, 2],
        "node": Node(3),
        "some": Some(1u8),
        "none": None::<u8>,
        "sum": 1 + 2,
        "wide": u64::MAX,
        "wider": u128::MAX,
    });
    let value = UArrRef::validate(&record).expect("valid");
    assert_eq!(
        format!("{value:?}"),
        "{\"key\": [@9, @\"node\", {}, [], undefined, true], \"bytes\": 0x00ff, \
         \"nodes\": ref[1, 2], \"node\": @3, \"some\": 1, \"none\": null, \"sum\": 3, \
         \"wide\": 18446744073709551615u, \"wider\": big(340282366920938463463374607431768211455)}"
    );
    assert_eq!(value.to_buf(), Ok(record.clone()));
    assert_eq!(uarr!(null).len(), 40 - 8);
    assert_eq!(uarr!("nine char").as_ref().as_str(), Some("nine char"));
}
