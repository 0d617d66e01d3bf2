//! The node: 13 fields, about 640 bytes of JSON.

use serde::{Deserialize, Serialize};

/// A node of a graph, as an application stores it.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Serialize,
    Deserialize,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct Node {
    pub id: u64,
    pub kind: String,
    pub name: String,
    pub title: String,
    pub body: String,
    pub created: i64,
    pub updated: i64,
    pub score: f64,
    pub visits: u32,
    pub is_public: bool,
    pub tags: Vec<String>,
    pub vector: Vec<f32>,
    pub props: Props,
}

/// Properties of a node.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Serialize,
    Deserialize,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct Props {
    pub size: i64,
    pub color: String,
    pub x: f64,
    pub y: f64,
}

/// The node that is measured.
pub fn node() -> Node {
    Node {
        id: 7_340_033,
        kind: "article".into(),
        name: "on-the-analytical-engine".into(),
        title: "Sketch of the Analytical Engine".into(),
        body: "The Analytical Engine weaves algebraical patterns just as the Jacquard loom weaves \
               flowers and leaves. It has no pretensions whatever to originate anything; it can do \
               whatever we know how to order it to perform."
            .into(),
        created: 1_700_000_000_123_456_789,
        updated: 1_763_717_400_000_000_000,
        score: 0.8732,
        visits: 184_467,
        is_public: true,
        tags: ["history", "computing", "mathematics", "ada"].map(String::from).to_vec(),
        vector: vec![0.125, -0.5, 0.333, 0.75, 1.5, -2.25, 0.0625, 3.0],
        props: Props { size: 4096, color: "dark slate".into(), x: 12.75, y: -3.5 },
    }
}

pub(crate) fn sizes() -> Vec<(&'static str, &'static str, usize)> {
    let node = node();
    let of = |name, bytes: usize| ("node", name, bytes);
    vec![
        of("uarr", uarr_layout::uarr::to_vec(&node).expect("fits").len()),
        of("json", serde_json::to_vec(&node).expect("fits").len()),
        of("msgpack named", rmp_serde::to_vec_named(&node).expect("fits").len()),
        of("flexbuffers", flexbuffers::to_vec(&node).expect("fits").len()),
        of("postcard", postcard::to_stdvec(&node).expect("fits").len()),
        of("rkyv", rkyv::to_bytes::<rkyv::rancor::Error>(&node).expect("fits").len()),
    ]
}
