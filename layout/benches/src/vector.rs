//! A vector of 1536 `f32`: the embedding of a text.

use std::hint::black_box;

use serde::Serialize;
use uarr_layout::uarr::{Builder, Key, UArrBuf, UArrRef};

use crate::{Row, row};

fn vector() -> Vec<f32> {
    (0..1536).map(|i| (i as f32 * 0.37).sin()).collect()
}

fn record() -> UArrBuf {
    let mut builder = Builder::new();
    let record = builder.object(|o| {
        o.field("id", 7);
        o.slice("vector", &vector());
    });
    record.expect("fits").clone()
}

/// Sixteen running sums, so that the compiler can use its widest registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

pub(crate) fn add(rows: &mut Vec<Row>) {
    add_dots(rows);
    add_encodes(rows);
}

fn add_dots(rows: &mut Vec<Row>) {
    static VECTOR: Key<'static> = Key::new("vector");
    const GROUP: &str = "dot of 1536 f32";
    let (bytes, query) = (record(), vector());
    rows.push(row(GROUP, "uarr get + dot", move || {
        let value = UArrRef::open(black_box(&bytes)).ok()?.get(&VECTOR)?;
        Some(dot(value.as_slice().ok()?, black_box(&query)))
    }));
    let (a, b) = (vector(), vector());
    rows.push(row(GROUP, "bare dot", move || dot(black_box(&a), black_box(&b))));
    let (bytes, query) =
        (rkyv::to_bytes::<rkyv::rancor::Error>(&vector()).expect("fits"), vector());
    rows.push(row(GROUP, "rkyv access + dot", move || {
        type Floats = rkyv::Archived<Vec<f32>>;
        let values = rkyv::access::<Floats, rkyv::rancor::Error>(black_box(&bytes)).expect("valid");
        let mut sums = [0.0f32; 16];
        for (a, b) in values.as_slice().as_chunks::<16>().0.iter().zip(query.as_chunks::<16>().0) {
            for i in 0..16 {
                sums[i] += a[i].to_native() * b[i];
            }
        }
        sums.iter().sum::<f32>()
    }));
    add_decoded(rows, "msgpack", rmp_serde::to_vec(&vector()).expect("fits"), |bytes| {
        rmp_serde::from_slice(bytes).expect("valid")
    });
    add_decoded(rows, "flexbuffers", flexbuffers::to_vec(vector()).expect("fits"), |bytes| {
        flexbuffers::from_slice(bytes).expect("valid")
    });
    add_decoded(rows, "postcard", postcard::to_stdvec(&vector()).expect("fits"), |bytes| {
        postcard::from_bytes(bytes).expect("valid")
    });
    add_decoded(rows, "serde_json", serde_json::to_vec(&vector()).expect("fits"), |bytes| {
        serde_json::from_slice(bytes).expect("valid")
    });
}

/// A peer that has no view of the numbers.
fn add_decoded(
    rows: &mut Vec<Row>,
    name: &'static str,
    bytes: Vec<u8>,
    decode: fn(&[u8]) -> Vec<f32>,
) {
    assert_eq!(decode(&bytes), vector());
    let query = vector();
    let decode_and_dot = move || dot(&decode(black_box(&bytes)), &query);
    rows.push(row("dot of 1536 f32", name, decode_and_dot));
}

fn add_encodes(rows: &mut Vec<Row>) {
    const GROUP: &str = "encode 1536 f32";
    let (mut builder, values) = (Builder::new(), vector());
    rows.push(row(GROUP, "uarr slice", move || {
        builder.value(black_box(&values)).expect("fits").len()
    }));
    let (mut builder, values) = (Builder::new(), vector());
    rows.push(row(GROUP, "uarr serde", move || {
        builder.serialize(black_box(&values)).expect("fits").len()
    }));
    let (mut target, values) = (vec![0.0f32; 1536], vector());
    rows.push(row(GROUP, "memcpy", move || {
        black_box(&mut target).copy_from_slice(black_box(&values));
        target[0]
    }));
    let (mut buffer, values) = (Vec::new(), vector());
    rows.push(row(GROUP, "msgpack", move || {
        buffer.clear();
        black_box(&values).serialize(&mut rmp_serde::Serializer::new(&mut buffer)).expect("fits");
        buffer.len()
    }));
    let (mut spare, values) = (rkyv::util::AlignedVec::<16>::new(), vector());
    rows.push(row(GROUP, "rkyv", move || {
        spare.clear();
        let buffer = std::mem::take(&mut spare);
        let written = rkyv::api::high::to_bytes_in::<_, rkyv::rancor::Error>(&values, buffer);
        spare = written.expect("fits");
        spare.len()
    }));
    let (mut target, values) = (flexbuffers::FlexbufferSerializer::new(), vector());
    rows.push(row(GROUP, "flexbuffers", move || {
        target.reset();
        black_box(&values).serialize(&mut target).expect("fits");
        target.view().len()
    }));
    let (mut buffer, values) = (vec![0u8; 16 << 10], vector());
    rows.push(row(GROUP, "postcard", move || {
        postcard::to_slice(black_box(&values), &mut buffer).expect("fits").len()
    }));
    let (mut buffer, values) = (Vec::new(), vector());
    rows.push(row(GROUP, "serde_json", move || {
        buffer.clear();
        serde_json::to_writer(&mut buffer, black_box(&values)).expect("fits");
        buffer.len()
    }));
    let text = serde_json::to_string(&vector()).expect("fits");
    rows.push(crate::sqlite::encode(GROUP, text));
}

pub(crate) fn sizes() -> Vec<(&'static str, &'static str, usize)> {
    let values = vector();
    vec![
        ("vector", "uarr", uarr_layout::uarr::to_vec(&values).expect("fits").len()),
        ("vector", "json", serde_json::to_vec(&values).expect("fits").len()),
        ("vector", "msgpack", rmp_serde::to_vec(&values).expect("fits").len()),
    ]
}
