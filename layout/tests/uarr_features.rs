//! The promises of the value format, one test per feature id.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

mod common;

use common::{DOUBLES, Random, SCALE, value};
use uarr_layout::uarr::{
    Array, BigInt, BuildError, Builder, Bytes, Decimal, Encode, Encoder, Error, Header, Id128, Key,
    Nanoseconds, Node, NodeName, Time, UArrBuf, UArrRef, Undefined, Value, name_hash, uarr,
    validate_with,
};

fn record(value: &impl Encode) -> UArrBuf {
    Builder::new().value(value).expect("within the limits").clone()
}

fn round_trip(value: &Value) {
    let bytes = record(value);
    let read = UArrRef::validate(&bytes).expect("what is written is valid");
    assert_eq!(&Value::try_from(read).expect("valid"), value);
    assert_eq!(read.to_buf(), Ok(bytes.clone()), "{value:?}");
}

/// F000-01
#[test]
fn f000_01_every_kind_of_number_and_word_round_trips_bit_equal() {
    for bits in DOUBLES {
        let double = record(&f64::from_bits(bits));
        assert_eq!(double.as_ref().as_f64().map(f64::to_bits), Some(bits));
        round_trip(&Value::F64(f64::from_bits(bits)));
    }
    for number in [0, 1, -1, (1 << 53) + 1, i64::MIN, i64::MAX] {
        assert_eq!(record(&number).as_ref().as_i64(), Some(number));
    }
    for number in [0, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        assert_eq!(record(&number).as_ref().as_u64(), Some(number));
        assert_eq!(record(&number).as_ref().as_i128(), Some(i128::from(number)));
    }
    for number in [i128::MIN, i128::from(i64::MIN) - 1, i128::from(u64::MAX) + 1, i128::MAX] {
        assert_eq!(record(&number).as_ref().as_i128(), Some(number));
    }
    assert_eq!(record(&true).as_ref().as_bool(), Some(true));
    assert!(record(&()).as_ref().is_null());
    assert!(record(&Undefined).as_ref().is_undefined());
    assert_eq!(record(&((1u64 << 53) + 1)).as_ref().as_f64(), None, "not exact");
    let mut random = Random::new(1);
    for _ in 0..20_000 / SCALE {
        round_trip(&value(&mut random, 4));
    }
}

/// F000-02
#[test]
fn f000_02_elements_of_arrays_are_found_at_once() {
    const COUNT: usize = 1_000_000 / SCALE;
    let numbers: Vec<i32> = (0..COUNT as i32).collect();
    let bytes = record(&numbers);
    let array = UArrRef::validate(&bytes).expect("valid");
    assert_eq!(array.len(), Some(COUNT));
    for index in (0..COUNT).step_by(1_001) {
        assert_eq!(array.index(index).and_then(|item| item.as_i64()), Some(index as i64));
    }
    assert!(array.index(COUNT).is_none());
    assert_eq!(array.as_slice::<i32>().expect("aligned"), numbers);
    let mixed = uarr!([1, "two", [3.0, [4, "5"]], { "six": 6 }]);
    let decoded = Value::try_from(mixed.as_ref()).expect("valid");
    for index in 0..4 {
        let item = mixed.as_ref().index(index).expect("four items");
        assert_eq!(Value::try_from(item).expect("valid"), decoded[index]);
    }
}

/// F000-03
//= test VAL-13
#[test]
fn f000_03_nesting_is_limited_by_an_error() {
    let nested = |depth: usize| {
        (0..depth).fold(Value::Int(1), |inner, level| match level % 2 {
            0 => Value::List(vec![inner]),
            _ => Value::Object(vec![("a".to_owned(), inner)]),
        })
    };
    for depth in [1, 2, 63, 64] {
        round_trip(&nested(depth));
    }
    assert_eq!(nested(65).to_buf(), Err(BuildError::TooDeep));
    assert_eq!(nested(5_000).to_buf(), Err(BuildError::TooDeep));
    for empty in [uarr!({}), uarr!([]), uarr!({ "a": {}, "b": [], "c": Bytes(&[]) })] {
        let value = UArrRef::validate(&empty).expect("valid");
        assert_eq!(value.to_buf(), Ok(empty.clone()));
    }
}

/// Names of `length` bytes with one fingerprint, the only part of the hash that decides below 129
/// names.
fn names_of_one_fingerprint(count: usize, length: usize) -> Vec<String> {
    let wanted = name_hash(b"name0000") >> 56;
    (0..)
        .map(|i| format!("n{i:0>width$}", width = length - 1))
        .filter(|name| name_hash(name.as_bytes()) >> 56 == wanted)
        .take(count)
        .collect()
}

/// Two names whose 64-bit hashes are equal: a bit flipped in the first word is cancelled by the
/// bit it is rotated to in the second.
#[test]
fn f000_04_names_of_equal_64_bit_hash_both_resolve() {
    let (one, two) = ("aaaaaaaaaaaaaaaazzzzzzzz", "`aaaaaaaaaaiaaaazzzzzzzz");
    assert_eq!(name_hash(one.as_bytes()), name_hash(two.as_bytes()));
    for more in [0, 6, 126, 127, 500] {
        let mut object = Value::Null;
        object.insert(one, 1);
        (0..more).for_each(|i| object.insert(&format!("other {i}"), i));
        object.insert(two, 2);
        let bytes = record(&object);
        let read = UArrRef::validate(&bytes).expect("valid");
        assert_eq!(read.get(one).and_then(|value| value.as_i64()), Some(1));
        assert_eq!(read.get(two).and_then(|value| value.as_i64()), Some(2));
        assert!(read.get("aaaaaaaaaaaaaaaazzzzzzzy").is_none());
        assert_eq!(read.to_buf(), Ok(bytes.clone()));
    }
}

/// F000-04
#[test]
fn f000_04_names_of_equal_hash_are_told_apart() {
    let names = names_of_one_fingerprint(100, 8);
    let object = Value::Object(
        names.iter().enumerate().map(|(i, name)| (name.clone(), Value::Int(i as i64))).collect(),
    );
    let bytes = record(&object);
    let read = UArrRef::validate(&bytes).expect("valid");
    for (i, name) in names.iter().enumerate() {
        assert_eq!(read.get(name).and_then(|value| value.as_i64()), Some(i as i64));
    }
    assert!(read.get("name0000").is_none());
    let mut twice = names;
    twice.push(twice[40].clone());
    let twice = Value::Object(twice.into_iter().map(|name| (name, Value::Null)).collect());
    assert_eq!(twice.to_buf(), Err(BuildError::DuplicateName { field_index: 100 }));
}

/// F000-04, large shapes
#[test]
fn f000_04_large_objects_find_every_name() {
    let counts = [1, 8, 9, 127, 128, 129, 1_000, 70_000];
    for count in counts.into_iter().take(if cfg!(miri) { 6 } else { 8 }) {
        let names: Vec<String> = (0..count).map(|i| format!("field {i}")).collect();
        let object = Value::Object(
            names.iter().enumerate().map(|(i, n)| (n.clone(), Value::Int(i as i64))).collect(),
        );
        let bytes = record(&object);
        let read = UArrRef::validate(&bytes).expect("valid");
        for (i, name) in names.iter().enumerate() {
            assert_eq!(read.get(name).and_then(|value| value.as_i64()), Some(i as i64), "{name}");
        }
        assert!(read.get("field").is_none() && read.get("field -1").is_none());
        assert_eq!(read.to_buf(), Ok(bytes.clone()));
    }
    // Few names, but of more than 64 KiB together.
    let names: Vec<String> = (0..5).map(|i| format!("{i}").repeat(20_000)).collect();
    let object = names.iter().enumerate().map(|(i, n)| (n.clone(), Value::Int(i as i64)));
    let bytes = record(&Value::Object(object.collect()));
    let read = UArrRef::validate(&bytes).expect("valid");
    for (i, name) in names.iter().enumerate() {
        assert_eq!(read.get(name).and_then(|value| value.as_i64()), Some(i as i64));
        assert!(read.get(&name[1..]).is_none());
    }
    let mut fields: Vec<_> = (0..300).map(|i| (format!("f{i}"), Value::Null)).collect();
    fields.push(("f17".to_owned(), Value::Null));
    let twice = Value::Object(fields);
    assert_eq!(twice.to_buf(), Err(BuildError::DuplicateName { field_index: 300 }));
}

/// F000-05
#[test]
fn f000_05_equal_values_are_equal_bytes_whatever_was_written_before() {
    let mut random = Random::new(5);
    let mut reused = Builder::new();
    for _ in 0..5_000 / SCALE {
        let tree = value(&mut random, 4);
        let fresh = record(&tree);
        assert_eq!(reused.value(&tree), Ok(&fresh));
        let read = UArrRef::validate(&fresh).expect("valid");
        assert_eq!(reused.value(read), Ok(&fresh));
    }
}

/// F000-06
#[test]
fn f000_06_header_fields_are_checked_by_name() {
    assert_eq!(size_of::<Header>(), 32);
    let valid = uarr!({ "a": 1 }).to_vec();
    let check = |at: usize, byte: u8, expected: Error| {
        let mut changed = valid.clone();
        changed[at] = byte;
        assert_eq!(UArrRef::open(&changed).err(), Some(expected), "byte {at}");
        assert_eq!(UArrRef::validate(&changed).err(), Some(expected), "byte {at}");
    };
    check(3, b'2', Error::Magic);
    check(8, 2, Error::Version { major: 2, minor: 0 });
    check(9, 1, Error::Version { major: 1, minor: 1 });
    check(10, 2, Error::Flags { flags: 2 });
    check(11, 1, Error::Flags { flags: 256 });
    check(12, 80, Error::Length { expected: 80 });
    check(16, 33, Error::Align);
    check(21, 1, Error::Reserved);
    let mut changed = valid.clone();
    changed[4] = 1;
    let unexpected_crc = Error::Crc { expected: 1, present: 0 };
    assert_eq!(UArrRef::validate(&changed).err(), Some(unexpected_crc));
}

/// F000-07
#[test]
fn f000_07_every_flipped_bit_of_a_checksummed_record_is_found() {
    let mut builder = Builder::new().checksummed();
    let bytes = builder.object(|o| {
        o.field("name", "Ada Lovelace");
        o.slice("vec", &[1.0f32, 2.0]);
    });
    let bytes = bytes.expect("within the limits").to_vec();
    assert!(UArrRef::validate(&bytes).is_ok());
    for bit in (0..bytes.len() * 8).step_by(if cfg!(miri) { 19 } else { 1 }) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let error = UArrRef::validate(&changed).err();
        assert!(error.is_some(), "bit {bit}");
        if let Ok(opened) = UArrRef::open(&changed) {
            let _ = format!("{opened:?}");
        }
    }
}

/// F000-08
#[test]
fn f000_08_arrays_and_tables_lie_aligned() {
    let bytes = uarr!({ "s": "some text of odd length", "v": f64[1.0], "i": Id128([7; 16]) });
    assert_eq!(bytes.as_ptr().align_offset(8), 0);
    let value = bytes.as_ref();
    let slice = value.at("v").as_slice::<f64>().expect("aligned");
    assert_eq!(slice.as_ptr().align_offset(8), 0);
    assert_eq!(value.at("i").as_id128().expect("sixteen").as_ptr().align_offset(8), 0);
    assert_eq!(bytes.len() % 8, 0);
}

/// F000-09
#[test]
fn f000_09_references_to_nodes() {
    let bytes = uarr!({ "a": Node(u64::MAX), "b": NodeName("user:1"), "c": ref[1, 2] });
    let value = UArrRef::validate(&bytes).expect("valid");
    assert_eq!(value.at("a").as_node(), Some(u64::MAX));
    assert_eq!(value.at("b").as_node_name(), Some("user:1"));
    assert_eq!(value.at("c").as_slice::<u64>(), Ok(&[1, 2][..]));
    assert_eq!(value.at("c").at(1).as_node(), Some(2));
    assert_eq!(Builder::new().value(NodeName("")).err(), Some(BuildError::EmptyNodeName));
}

/// F000-10
#[test]
fn f000_10_times_ids_bytes_decimals_and_their_order() {
    let decimal = Decimal::new(-1250, -2).expect("in range");
    let big = BigInt::from_decimal("123456789012345678901234567890").expect("digits");
    let bytes = uarr!({
        "t": Time(-1), "d": Nanoseconds(5), "u": Id128([1; 16]), "b": Bytes(b"ab"),
        "n": decimal, "big": big,
    });
    let value = UArrRef::validate(&bytes).expect("valid");
    assert_eq!(value.at("t").as_time(), Some(-1));
    assert_eq!(value.at("d").as_duration(), Some(5));
    assert_eq!(value.at("u").as_id128(), Some(&[1; 16]));
    assert_eq!(value.at("b").as_bytes(), Some(&b"ab"[..]));
    assert_eq!(value.at("n").as_decimal(), Some(decimal));
    assert_eq!(
        value.to_string(),
        "{\"t\":\"1969-12-31T23:59:59.999999999Z\",\"d\":5,\
         \"u\":\"01010101-0101-0101-0101-010101010101\",\"b\":\"YWI=\",\"n\":-12.5,\
         \"big\":123456789012345678901234567890}"
    );
    let mut random = Random::new(10);
    let mut values: Vec<Value> = (0..300).map(|_| value_of(&mut random)).collect();
    values.sort();
    for (i, a) in values.iter().enumerate() {
        for (k, b) in values.iter().enumerate() {
            assert!((a.cmp(b) == i.cmp(&k)) || a == b, "{a:?} {b:?}");
        }
    }
}

fn value_of(random: &mut Random) -> Value {
    value(random, 2)
}

/// F000-11
#[test]
fn f000_11_text_is_utf8_or_an_error() {
    for text in ["", "\u{e9}", "\u{1F600}\u{1F600}", "long \u{2603} text \u{10FFFF}"] {
        let bytes = record(&text);
        assert_eq!(UArrRef::validate(&bytes).expect("valid").as_str(), Some(text));
        let first = if text.len() > 8 { 32 } else { 24 };
        for at in first..first + text.len() {
            let mut changed = bytes.to_vec();
            changed[at] = 0xFF;
            let error = UArrRef::validate(&changed).err();
            assert_eq!(error, Some(Error::Utf8 { at: first as u32 }), "{text} {at}");
            assert_eq!(UArrRef::open(&changed).expect("header").as_str(), None);
        }
    }
    let bytes = uarr!({ "\u{e9}\u{1F600}": 1 });
    assert_eq!(bytes.as_ref().get("\u{e9}\u{1F600}").and_then(|v| v.as_i64()), Some(1));
}

/// F000-12
#[test]
fn f000_12_records_are_compact_beside_json() {
    let vector: Vec<f32> = (0..1536).map(|i| (i as f32 * 0.37).sin()).collect();
    let bytes = record(&vector);
    let json = bytes.to_string();
    assert!(bytes.len() * 100 <= json.len() * 37, "{} {}", bytes.len(), json.len());
    let rows = Value::List(
        (0..100)
            .map(|i| {
                let mut row = Value::Null;
                row.insert("identifier", Value::Int(i * 1_000_003));
                row.insert("temperature", Value::F64(i as f64 / 7.0));
                row.insert("is_active", Value::Bool(i % 2 == 0));
                row.insert("description", format!("row number {i}"));
                row
            })
            .collect(),
    );
    let bytes = record(&rows);
    let json = bytes.to_string();
    assert!(bytes.len() * 10 <= json.len() * 9, "{} {}", bytes.len(), json.len());
}

/// F000-13: what is not touched is not read. Everything else of the record is damaged, the field
/// is still found. (The test with the allocation counter shows that nothing is allocated.)
#[test]
fn f000_13_a_field_is_read_without_the_others() {
    let bytes = uarr!({ "a": "a text that is out of line", "b": [1, [2, "x"]], "c": 3 });
    let at = bytes.as_ref().at("a").as_str().expect("text").as_ptr() as usize;
    let start = at - bytes.as_ptr() as usize;
    let mut damaged = bytes.to_vec();
    damaged[start..start + 26].fill(0xFF);
    let value = UArrRef::open(&damaged).expect("the header is intact");
    assert_eq!(value.get_path("c").and_then(|c| c.as_i64()), Some(3));
    assert_eq!(value.get_path("b[1][0]").and_then(|c| c.as_i64()), Some(2));
    assert_eq!(value.get_path("a").and_then(|a| a.as_str()), None);
}

/// F000-14: pointers only lead back, so a cycle cannot be expressed; walks over damaged records
/// end.
//= test VAL-12
#[test]
fn f000_14_cycles_cannot_be_expressed() {
    let list = uarr!(["x", ["y", ["z"]]]);
    for at in (32..list.len()).step_by(8) {
        for rel in 0..40u64 {
            let mut changed = list.to_vec();
            changed[at..at + 8].copy_from_slice(&(rel | 2 << 32).to_le_bytes());
            if let Ok(opened) = UArrRef::open(&changed) {
                let _ = opened.to_json();
                let _ = Value::try_from(opened);
            }
        }
    }
    // Every level twice the same table: 2^40 paths in a few hundred bytes.
    let mut bytes = uarr!(null).to_vec();
    for level in 0..40u64 {
        let rel = if level == 0 { 0 } else { 24 };
        let slot: u64 = rel | 2 << 32;
        bytes.extend([slot, slot].iter().flat_map(|slot| slot.to_le_bytes()));
        bytes.extend([if level == 0 { 0 } else { 0x40 }, if level == 0 { 0 } else { 0x40 }]);
        bytes.extend([0; 6]);
    }
    let len = bytes.len() as u32;
    bytes[12..16].copy_from_slice(&len.to_le_bytes());
    bytes[16..20].copy_from_slice(&len.to_le_bytes());
    bytes[20] = 0x40;
    bytes[24..32].copy_from_slice(&(24u64 | 2 << 32).to_le_bytes());
    let bomb = UArrRef::open(&bytes).expect("the header is right");
    assert!(matches!(bomb.to_json(), Err(Error::Canonical { .. })));
    assert!(matches!(Value::try_from(bomb), Err(Error::Canonical { .. })));
    assert!(UArrRef::validate(&bytes).is_err());
}

//= test VAL-13
#[test]
fn limits_are_errors_of_the_writer() {
    let long_name = "n".repeat((1 << 16) + 1);
    let mut builder = Builder::new();
    let error = builder.object(|o| o.field(&long_name, 1)).err();
    assert_eq!(error, Some(BuildError::NameTooLong));
    assert!(builder.object(|o| o.field(&long_name[1..], 1)).is_ok());
    let error = builder.object(|o| {
        o.field("a", 1);
        o.object("b", |b| {
            b.field("c", 1);
            b.field("c", 2);
        });
    });
    assert_eq!(error.err(), Some(BuildError::DuplicateName { field_index: 1 }));
    static PAIR: uarr_layout::uarr::Shape = uarr_layout::uarr::shape!["a", "b"];
    let error = builder.shaped(&PAIR, |pair| pair.push(1)).err();
    assert_eq!(error, Some(BuildError::FieldCount { expected: 2, present: 1 }));
}

#[test]
fn sorted_records_promise_it() {
    let mut value = Value::try_from(uarr!({ "b": { "z": 1, "y": 2 }, "a": 3 }).as_ref());
    let value = value.as_mut().expect("valid");
    let mut builder = Builder::new().sorted();
    let error = builder.value(&*value).err();
    assert_eq!(error, Some(BuildError::NameOrder { field_index: 1 }));
    value.sort_names();
    let bytes = builder.value(&*value).expect("sorted").clone();
    assert_eq!(bytes.to_string(), r#"{"a":3,"b":{"y":2,"z":1}}"#);
    assert!(UArrRef::validate(&bytes).is_ok());
    let mut unsorted = uarr!({ "b": 1, "a": 2 }).to_vec();
    unsorted[10] = 4;
    let names_at = unsorted.len() as u32 - 4;
    let error = UArrRef::validate(&unsorted).err();
    assert_eq!(error.map(|error| error.rule()), Some("name"), "{names_at}");
}

#[test]
fn known_shapes_are_compared_instead_of_checked() {
    let first = uarr!({ "a": 1, "pos": { "x": 1, "y": 2 } });
    let known = UArrRef::validate(&first).expect("valid").shapes_area().to_vec();
    let second = uarr!({ "a": "two", "pos": { "x": 3, "y": 4 } });
    assert!(validate_with(&second, &known).is_ok());
    let other = uarr!({ "b": 1 });
    assert!(validate_with(&other, &known).is_ok());
    let mut damaged = second.to_vec();
    let last = damaged.len() - 8;
    damaged[last] ^= 1;
    assert!(validate_with(&damaged, &known).is_err());
}

#[test]
fn a_repeated_shape_is_not_canonical() {
    // Two objects with names of equal length, then the second shape is made equal to the first.
    let mut bytes = uarr!([{ "a": 1 }, { "b": 1 }]).to_vec();
    let shapes = bytes.len() - 48;
    bytes.copy_within(shapes..shapes + 24, shapes + 24);
    let error = UArrRef::validate(&bytes).err();
    assert_eq!(error, Some(Error::Shape { at: shapes as u32 + 24 }));
}

#[test]
fn misuse_of_the_encoder_panics_instead_of_writing_nonsense() {
    let misuses: [fn(&mut Encoder); 4] = [
        |e| {
            e.begin_object();
            e.int(1);
            e.end_object();
        },
        |e| {
            e.begin_object();
            e.name("a");
            e.end_object();
        },
        |e| {
            e.begin_list();
            e.end_object();
        },
        |e| e.begin_list(),
    ];
    for misuse in misuses {
        let outcome = std::panic::catch_unwind(|| {
            let mut encoder = Encoder::new();
            // The shape of an earlier record must not hide the misuse.
            encoder.start();
            encoder.begin_object();
            encoder.name("a");
            encoder.int(1);
            encoder.end_object();
            encoder.finish().map(|_| ()).expect("right so far");
            encoder.start();
            misuse(&mut encoder);
            encoder.finish().map(|_| ())
        });
        assert!(outcome.is_err());
    }
}

#[test]
fn keys_are_found_by_constant_and_by_text() {
    const LONG: Key = Key::new("a name with more than sixteen bytes");
    let bytes =
        uarr!({ "a name with more than sixteen bytes": 1, "a name with more than 16 bytes": 2 });
    assert_eq!(bytes.as_ref().get(LONG).and_then(|v| v.as_i64()), Some(1));
    assert_eq!(bytes.as_ref().get(LONG.name()).and_then(|v| v.as_i64()), Some(1));
    let array = Value::Array(Array::new(&[1u16, 2]));
    assert_eq!(format!("{array:?}"), "u16[1, 2]");
}

/// Values can be keys of a `HashMap`: integers of all types are equal, NaNs if their
/// bits are.
#[test]
fn equal_values_hash_alike() {
    let hash_of = |value: &Value| BuildHasherDefault::<DefaultHasher>::default().hash_one(value);
    let mut random = Random::new(55);
    let mut values: Vec<Value> = (0..600 / SCALE).map(|_| value(&mut random, 2)).collect();
    values.extend((-2..3).flat_map(|number: i64| {
        let big = Value::BigInt(BigInt::from(i128::from(number)));
        [Some(Value::Int(number)), Some(big), number.try_into().ok().map(Value::Uint)]
            .into_iter()
            .flatten()
    }));
    values.extend([0.0, -0.0, f64::NAN, -f64::NAN].map(Value::F64));
    let copies = values.clone();
    let mut equal_count = 0;
    for a in &values {
        for b in &copies {
            assert_eq!(a == b, a.cmp(b).is_eq());
            assert_eq!(a.cmp(b), b.cmp(a).reverse(), "{a:?} {b:?}");
            if a == b {
                equal_count += 1;
                assert_eq!(hash_of(a), hash_of(b), "{a:?} {b:?}");
            }
        }
    }
    assert!(equal_count > values.len(), "not only each value with itself");
}
