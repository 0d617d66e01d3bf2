//! Rust types to and from records.
#![cfg(feature = "serde")]

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use uarr_layout::uarr::{
    BuildError, Builder, Id128, Nanoseconds, Node, SerdeError, Time, UArrBuf, UArrRef, from_slice,
    from_value, to_buf, to_vec, uarr,
};

fn round_trip<T>(value: &T, notation: &str) -> UArrBuf
where
    T: Serialize + for<'de> Deserialize<'de> + PartialEq + Debug,
{
    let mut record = UArrBuf::new();
    to_buf(value, &mut record).expect("can be written");
    assert_eq!(to_vec(value).as_deref(), Ok(record.as_bytes()));
    assert_eq!(Builder::new().serialize(value), Ok(&record));
    let read = UArrRef::validate(&record).expect("what is written is valid");
    assert_eq!(format!("{read:?}"), notation);
    assert_eq!(&from_slice::<T>(&record).expect("can be read"), value);
    record
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    New(i32),
    Tuple(i8, String),
    Struct { x: f32, y: Option<bool> },
}

#[test]
fn scalars_and_strings() {
    round_trip(&true, "true");
    round_trip(&-5i8, "-5");
    round_trip(&u64::MAX, "18446744073709551615u");
    round_trip(&i128::MIN, "big(-170141183460469231731687303715884105728)");
    round_trip(&u128::MAX, "big(340282366920938463463374607431768211455)");
    round_trip(&7u128, "7");
    round_trip(&0.1f32, "0.10000000149011612");
    round_trip(&-0.0f64, "-0.0");
    round_trip(&'\u{e9}', "\"\u{e9}\"");
    round_trip(&"text".to_owned(), "\"text\"");
    round_trip(&(), "null");
    round_trip(&Some(3), "3");
    round_trip(&None::<i32>, "null");
}

#[test]
fn sequences_are_packed_where_the_format_says_so() {
    round_trip(&vec![1u8, 2], "i64[1, 2]");
    round_trip(&vec![1.5f32, f32::MIN_POSITIVE], "f32[1.5, 1.1754944e-38]");
    round_trip(&vec![1.5f64], "f64[1.5]");
    round_trip(&(1, 2.5f32, "x".to_owned()), "[1, 2.5, \"x\"]");
    round_trip(&[0.5f32; 3], "f32[0.5, 0.5, 0.5]");
    round_trip(&vec![u64::MAX, 1], "[18446744073709551615u, 1]");
    round_trip(&Vec::<i32>::new(), "[]");
    round_trip(&vec![vec![1], vec![]], "[i64[1], []]");
}

#[test]
fn structs_maps_and_variants() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Node2 {
        id: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        shapes: Vec<Shape>,
        counts: BTreeMap<i32, u8>,
        nested: BTreeMap<String, BTreeMap<char, bool>>,
    }
    let value = Node2 {
        id: 1,
        name: None,
        shapes: vec![
            Shape::Unit,
            Shape::New(-1),
            Shape::Tuple(2, "t".to_owned()),
            Shape::Struct { x: 0.5, y: None },
        ],
        counts: BTreeMap::from([(-1, 1), (2, 2)]),
        nested: BTreeMap::from([("n".to_owned(), BTreeMap::from([('c', true)]))]),
    };
    round_trip(
        &value,
        "{\"id\": 1, \"shapes\": [\"Unit\", {\"New\": -1}, {\"Tuple\": [2, \"t\"]}, \
         {\"Struct\": {\"x\": 0.5, \"y\": null}}], \"counts\": {\"-1\": 1, \"2\": 2}, \
         \"nested\": {\"n\": {\"c\": true}}}",
    );
    // More variants in a row than containers may be nested.
    let many: Vec<Shape> = (0..200).map(Shape::New).collect();
    let record = to_vec(&many).expect("fits");
    assert_eq!(from_slice::<Vec<Shape>>(&record).as_ref(), Ok(&many));
}

#[test]
fn own_kinds_keep_their_tags() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Kinds(Time, Nanoseconds, Node, Id128);
    let kinds = Kinds(Time(-1), Nanoseconds(2), Node(u64::MAX), Id128([9; 16]));
    round_trip(
        &kinds,
        "[time(1969-12-31T23:59:59.999999999Z), duration(2ns), @18446744073709551615, \
         id(09090909-0909-0909-0909-090909090909)]",
    );
}

#[test]
fn text_and_bytes_are_borrowed() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Borrowed<'a> {
        short: &'a str,
        long: &'a str,
        #[serde(with = "bytes")]
        raw: &'a [u8],
    }
    mod bytes {
        use serde::{Deserialize, Deserializer, Serializer};

        pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(bytes)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<&'de [u8], D::Error> {
            <&[u8]>::deserialize(from)
        }
    }
    let value = Borrowed { short: "abc", long: "a text out of line", raw: &[1, 2] };
    let record = to_vec(&value).expect("fits");
    let read: Borrowed<'_> = from_slice(&record).expect("can be read");
    assert_eq!(read, value);
    let inside = record.as_ptr_range();
    assert!(inside.contains(&read.short.as_ptr()) && inside.contains(&read.raw.as_ptr()));
    let typed = uarr!({ "short": "", "long": "", "raw": u8[7, 8] });
    assert_eq!(from_value::<Borrowed<'_>>(typed.as_ref()).map(|b| b.raw), Ok(&[7, 8][..]));
}

#[test]
fn what_cannot_be_written_or_read_is_an_error() {
    let key = BTreeMap::from([(vec![1], 1)]);
    assert_eq!(to_vec(&key), Err(SerdeError::Key));
    struct Deep(u32);
    impl Serialize for Deep {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 == 0 {
                serializer.serialize_unit()
            } else {
                [Deep(self.0 - 1)].serialize(serializer)
            }
        }
    }
    assert!(to_vec(&Deep(64)).is_ok());
    assert_eq!(to_vec(&Deep(65)), Err(SerdeError::Build(BuildError::TooDeep)));
    let record = to_vec(&("text", 300)).expect("fits");
    for error in [
        from_slice::<(i32, i32)>(&record).err(),
        from_slice::<(String, u8)>(&record).err(),
        from_slice::<(String,)>(&record).err(),
        from_slice::<Shape>(&record).err(),
    ] {
        assert!(matches!(error, Some(SerdeError::Type(_))), "{error:?}");
    }
    assert!(matches!(from_slice::<i32>(b"short"), Err(SerdeError::Damaged(_))));
    let mut buf = UArrBuf::new();
    assert!(to_buf(&key, &mut buf).is_err());
    assert!(buf.as_bytes().is_empty());
}

#[test]
fn keys_of_maps_are_what_names_can_be() {
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Color {
        Red,
        Blue,
    }
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Id(u64);
    round_trip(&BTreeMap::from([(Color::Red, 1), (Color::Blue, 2)]), "{\"Red\": 1, \"Blue\": 2}");
    round_trip(&BTreeMap::from([(Id(7), 1)]), "{\"7\": 1}");
    // What has no name is refused.
    for refused in [
        to_vec(&BTreeMap::from([(Some(1), 1)])),
        to_vec(&BTreeMap::from([((), 1)])),
        to_vec(&BTreeMap::from([(vec![1], 1)])),
        to_vec(&BTreeMap::from([((1, 2), 1)])),
    ] {
        assert_eq!(refused, Err(SerdeError::Key));
    }
}
