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
    static VECTOR: Key<'static> = Key::new("vector");
    const GROUP: &str = "dot of 1536 f32";
    let (bytes, query) = (record(), vector());
    rows.push(row(GROUP, "uarr get + dot", move || {
        let value = UArrRef::open(black_box(&bytes)).ok()?.get(&VECTOR)?;
        Some(dot(value.as_slice().ok()?, black_box(&query)))
    }));
    let (a, b) = (vector(), vector());
    rows.push(row(GROUP, "bare dot", move || dot(black_box(&a), black_box(&b))));
    let (bytes, query) = (rmp_serde::to_vec(&vector()).expect("fits"), vector());
    rows.push(row(GROUP, "msgpack decode + dot", move || {
        dot(&rmp_serde::from_slice::<Vec<f32>>(black_box(&bytes)).expect("valid"), &query)
    }));

    const ENCODE: &str = "encode 1536 f32";
    let (mut builder, values) = (Builder::new(), vector());
    rows.push(row(ENCODE, "uarr slice", move || {
        builder.value(black_box(&values)).expect("fits").len()
    }));
    let (mut builder, values) = (Builder::new(), vector());
    rows.push(row(ENCODE, "uarr serde", move || {
        builder.serialize(black_box(&values)).expect("fits").len()
    }));
    let (mut target, values) = (vec![0.0f32; 1536], vector());
    rows.push(row(ENCODE, "memcpy", move || {
        black_box(&mut target).copy_from_slice(black_box(&values));
        target[0]
    }));
    let (mut buffer, values) = (Vec::new(), vector());
    rows.push(row(ENCODE, "msgpack", move || {
        buffer.clear();
        black_box(&values).serialize(&mut rmp_serde::Serializer::new(&mut buffer)).expect("fits");
        buffer.len()
    }));
}

pub(crate) fn sizes() -> Vec<(&'static str, &'static str, usize)> {
    let values = vector();
    vec![
        ("vector", "uarr", uarr_layout::uarr::to_vec(&values).expect("fits").len()),
        ("vector", "json", serde_json::to_vec(&values).expect("fits").len()),
        ("vector", "msgpack", rmp_serde::to_vec(&values).expect("fits").len()),
    ]
}
