//! Decoding the node to an owned struct, and checking it.

use std::hint::black_box;

use serde::de::IgnoredAny;
use uarr_layout::uarr::{UArrBuf, UArrRef, from_json, from_slice, to_buf, validate_with};

use crate::encode::{NODE, PROPS};
use crate::node::{ArchivedNode, Node, Props, node};
use crate::{Row, row};

/// Reads the fields in the order they were written in.
fn by_position(value: &UArrRef<'_>) -> Option<Node> {
    let mut fields = value.shaped(&NODE)?;
    let text = |value: UArrRef<'_>| value.as_str().map(String::from);
    Some(Node {
        id: fields.next()?.as_u64()?,
        kind: text(fields.next()?)?,
        name: text(fields.next()?)?,
        title: text(fields.next()?)?,
        body: text(fields.next()?)?,
        created: fields.next()?.as_i64()?,
        updated: fields.next()?.as_i64()?,
        score: fields.next()?.as_f64()?,
        visits: fields.next()?.as_u64()?.try_into().ok()?,
        is_public: fields.next()?.as_bool()?,
        tags: fields.next()?.iter().map(text).collect::<Option<_>>()?,
        vector: fields.next()?.to_vec().ok()?,
        props: {
            let mut props = fields.next()?.shaped(&PROPS)?;
            Props {
                size: props.next()?.as_i64()?,
                color: text(props.next()?)?,
                x: props.next()?.as_f64()?,
                y: props.next()?.as_f64()?,
            }
        },
    })
}

fn record() -> UArrBuf {
    let mut record = UArrBuf::new();
    to_buf(&node(), &mut record).expect("fits");
    record
}

pub(crate) fn add(rows: &mut Vec<Row>) {
    const GROUP: &str = "decode node";
    let expected = node();
    let bytes = record();
    assert_eq!(from_slice::<Node>(&bytes).as_ref(), Ok(&expected));
    assert_eq!(by_position(&bytes.as_ref()).as_ref(), Some(&expected));
    rows.push(row(GROUP, "uarr serde", move || {
        from_slice::<Node>(black_box(&bytes)).expect("valid")
    }));
    let bytes = record();
    rows.push(row(GROUP, "uarr position", move || {
        by_position(&UArrRef::open(black_box(&bytes)).expect("valid")).expect("a node")
    }));
    let bytes = rmp_serde::to_vec_named(&expected).expect("fits");
    assert_eq!(rmp_serde::from_slice::<Node>(&bytes).expect("valid"), expected);
    rows.push(row(GROUP, "msgpack", move || {
        rmp_serde::from_slice::<Node>(black_box(&bytes)).expect("valid")
    }));
    let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&expected).expect("fits");
    rows.push(row(GROUP, "rkyv checked", move || {
        rkyv::from_bytes::<Node, rkyv::rancor::Error>(black_box(&bytes)).expect("valid")
    }));
    let bytes = flexbuffers::to_vec(&expected).expect("fits");
    assert_eq!(flexbuffers::from_slice::<Node>(&bytes).expect("valid"), expected);
    rows.push(row(GROUP, "flexbuffers", move || {
        flexbuffers::from_slice::<Node>(black_box(&bytes)).expect("valid")
    }));
    let bytes = serde_json::to_vec(&expected).expect("fits");
    rows.push(row(GROUP, "serde_json", move || {
        serde_json::from_slice::<Node>(black_box(&bytes)).expect("valid")
    }));
    let bytes = postcard::to_stdvec(&expected).expect("fits");
    rows.push(row(GROUP, "postcard", move || {
        postcard::from_bytes::<Node>(black_box(&bytes)).expect("valid")
    }));
    let text = serde_json::to_string(&expected).expect("fits");
    rows.push(crate::sqlite::decode(GROUP, &text));
    add_checks(rows);
    add_json(rows);
}

fn add_checks(rows: &mut Vec<Row>) {
    const GROUP: &str = "validate node";
    let bytes = record();
    rows.push(row(GROUP, "uarr", move || UArrRef::validate(black_box(&bytes)).is_ok()));
    let bytes = record();
    let known = bytes.as_ref().shapes_area().to_vec();
    rows.push(row(GROUP, "uarr known shapes", move || {
        validate_with(black_box(&bytes), black_box(&known)).is_ok()
    }));
    let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&node()).expect("fits");
    rows.push(row(GROUP, "rkyv access", move || {
        rkyv::access::<ArchivedNode, rkyv::rancor::Error>(black_box(&bytes)).is_ok()
    }));
    let bytes = serde_json::to_vec(&node()).expect("fits");
    rows.push(row(GROUP, "serde_json skip", move || {
        serde_json::from_slice::<IgnoredAny>(black_box(&bytes)).is_ok()
    }));
    let text = serde_json::to_string(&node()).expect("fits");
    rows.push(crate::sqlite::check(GROUP, &text));
    for (name, count) in [("uarr 100 names", 100), ("uarr 1000 names", 1000)] {
        let record = crate::fields::uarr_record(count);
        rows.push(row(GROUP, name, move || UArrRef::validate(black_box(&record)).is_ok()));
    }
}

fn add_json(rows: &mut Vec<Row>) {
    const GROUP: &str = "json of node";
    let text = serde_json::to_string(&node()).expect("fits");
    assert_eq!(from_json(&text).map(|record| record.to_string()).as_deref(), Ok(&*text));
    let mut builder = uarr_layout::uarr::Builder::new();
    rows.push(row(GROUP, "uarr from_json", move || {
        builder.json(black_box(&text)).expect("valid").len()
    }));
    let text = serde_json::to_string(&node()).expect("fits");
    rows.push(row(GROUP, "serde_json::Value from", move || {
        serde_json::from_str::<serde_json::Value>(black_box(&text)).expect("valid")
    }));
    let bytes = record();
    let mut text = Vec::new();
    rows.push(row(GROUP, "uarr write_json", move || {
        text.clear();
        bytes.as_ref().write_json(&mut text).expect("a vector takes all");
        text.len()
    }));
    let value = serde_json::to_value(node()).expect("fits");
    let mut text = Vec::new();
    rows.push(row(GROUP, "serde_json::Value to", move || {
        text.clear();
        serde_json::to_writer(&mut text, &value).expect("a vector takes all");
        text.len()
    }));
}
