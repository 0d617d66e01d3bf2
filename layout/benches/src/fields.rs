//! One field by name of an object with 10, 100 or 1000 fields, opening included.

use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use uarr_layout::uarr::{Builder, Key, UArrBuf, UArrRef};

use crate::{Row, row};

static KEYS: [Key<'static>; 3] = [Key::new("field_7"), Key::new("field_73"), Key::new("field_733")];

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("field_{i}")).collect()
}

pub(crate) fn uarr_record(count: usize) -> UArrBuf {
    let mut builder = Builder::new();
    let record = builder.object(|o| {
        for (i, name) in names(count).iter().enumerate() {
            o.field(name, i as i64);
        }
    });
    record.expect("fits").clone()
}

/// The fields in the order of their numbers, for every peer that keeps an order.
struct Ordered(Vec<(String, i64)>);

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Picks one field of a map and skips the others, as a careful user of serde would.
struct Pick<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = i64;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<i64, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<i64, A::Error> {
        let mut found = -1;
        while let Some(name) = map.next_key::<&str>()? {
            if name == self.0 {
                found = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

pub(crate) fn add(rows: &mut Vec<Row>) {
    let groups = ["get of 10", "get of 100", "get of 1000"];
    for ((group, key), count) in groups.into_iter().zip(&KEYS).zip([10, 100, 1000]) {
        add_uarr(rows, group, key, count);
        add_peers(rows, group, key.name(), count);
    }
}

fn add_uarr(rows: &mut Vec<Row>, group: &'static str, key: &'static Key<'static>, count: usize) {
    let expected = key.name()[6..].parse::<i64>().ok();
    let record = uarr_record(count);
    assert_eq!(record.as_ref().get(key).and_then(|value| value.as_i64()), expected);
    rows.push(row(group, "uarr key", move || {
        UArrRef::open(black_box(&record)).ok()?.get(black_box(key))?.as_i64()
    }));
    let record = uarr_record(count);
    rows.push(row(group, "uarr name", move || {
        UArrRef::open(black_box(&record)).ok()?.get(black_box(key.name()))?.as_i64()
    }));
}

fn add_peers(rows: &mut Vec<Row>, group: &'static str, name: &'static str, count: usize) {
    let expected: i64 = name[6..].parse().expect("digits");
    let fields: Vec<(String, i64)> = names(count).into_iter().zip(0..).collect();
    let map: HashMap<String, i64> = fields.iter().cloned().collect();
    let ordered = Ordered(fields);

    let bytes = flexbuffers::to_vec(&ordered).expect("fits");
    let get = |bytes: &[u8], name: &str| {
        flexbuffers::Reader::get_root(bytes).ok()?.as_map().idx(name).get_i64().ok()
    };
    assert_eq!(get(&bytes, name), Some(expected));
    rows.push(row(group, "flexbuffers", move || get(black_box(&bytes), black_box(name))));

    let bytes = rmp_serde::to_vec(&ordered).expect("fits");
    let get = |bytes: &[u8], name: &str| {
        Pick(name).deserialize(&mut rmp_serde::Deserializer::from_read_ref(bytes)).expect("valid")
    };
    assert_eq!(get(&bytes, name), expected);
    rows.push(row(group, "msgpack scan", move || get(black_box(&bytes), black_box(name))));

    let text = serde_json::to_string(&ordered).expect("fits");
    let get = |text: &str, name: &str| {
        Pick(name).deserialize(&mut serde_json::Deserializer::from_str(text)).expect("valid")
    };
    assert_eq!(get(&text, name), expected);
    rows.push(crate::sqlite::get(group, name, &text, expected));
    rows.push(row(group, "serde_json scan", move || get(black_box(&text), black_box(name))));

    let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&map).expect("fits");
    let get = |bytes: &[u8], name: &str| {
        type Map = rkyv::Archived<HashMap<String, i64>>;
        let map = rkyv::access::<Map, rkyv::rancor::Error>(bytes).expect("valid");
        map.get(name).map(|value| value.to_native())
    };
    assert_eq!(get(&bytes, name), Some(expected));
    rows.push(row(group, "rkyv checked", move || get(black_box(&bytes), black_box(name))));
    rows.push(row(group, "HashMap", move || map.get(black_box(name)).copied()));
}
