//! One field by name of an object with 10, 100 or 1000 fields, opening included.

use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
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
    let map: HashMap<String, i64> =
        names(count).into_iter().enumerate().map(|(i, name)| (name, i as i64)).collect();
    let ordered: Vec<(String, i64)> =
        names(count).into_iter().enumerate().map(|(i, name)| (name, i as i64)).collect();

    let mut builder = flexbuffers::Builder::default();
    let mut target = builder.start_map();
    ordered.iter().for_each(|(name, value)| target.push(name, *value));
    target.end_map();
    let bytes = builder.take_buffer();
    let get = |bytes: &[u8], name: &str| {
        flexbuffers::Reader::get_root(bytes).ok()?.as_map().idx(name).get_i64().ok()
    };
    assert_eq!(get(&bytes, name), Some(expected));
    rows.push(row(group, "flexbuffers", move || get(black_box(&bytes), black_box(name))));

    let bytes = rmp_serde::to_vec(&map).expect("fits");
    let get = |bytes: &[u8], name: &str| {
        Pick(name).deserialize(&mut rmp_serde::Deserializer::from_read_ref(bytes)).expect("valid")
    };
    assert_eq!(get(&bytes, name), expected);
    rows.push(row(group, "msgpack scan", move || get(black_box(&bytes), black_box(name))));

    let text = serde_json::to_string(&map).expect("fits");
    let get = |text: &str, name: &str| {
        Pick(name).deserialize(&mut serde_json::Deserializer::from_str(text)).expect("valid")
    };
    assert_eq!(get(&text, name), expected);
    rows.push(row(group, "serde_json scan", move || get(black_box(&text), black_box(name))));
    add_sqlite(rows, group, name, &serde_json::to_string(&map).expect("fits"));
    rows.push(row(group, "HashMap", move || map.get(black_box(name)).copied()));
}

/// SQLite's own JSONB, one prepared statement.
fn add_sqlite(rows: &mut Vec<Row>, group: &'static str, name: &str, text: &str) {
    let database = rusqlite::Connection::open_in_memory().expect("SQLite opens");
    let blob: Vec<u8> =
        database.query_row("SELECT jsonb(?1)", [text], |row| row.get(0)).expect("the text is JSON");
    let query = format!("SELECT json_extract(?1, '$.{name}')");
    let expected: i64 = name[6..].parse().expect("digits");
    let get = move |blob: &[u8]| -> i64 {
        let mut statement = database.prepare_cached(&query).expect("the query is right");
        statement.query_row([blob], |row| row.get(0)).expect("the field is there")
    };
    assert_eq!(get(&blob), expected);
    rows.push(row(group, "SQLite JSONB", move || get(black_box(&blob))));
}
