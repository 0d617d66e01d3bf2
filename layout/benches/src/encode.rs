//! Encoding the node.

use std::hint::black_box;

use serde::Serialize;
use uarr_layout::uarr::{Builder, Elements, Fields, Shape, shape};

use crate::node::{Node, node};
use crate::{Row, row};

pub(crate) static NODE: Shape = shape![
    "id",
    "kind",
    "name",
    "title",
    "body",
    "created",
    "updated",
    "score",
    "visits",
    "is_public",
    "tags",
    "vector",
    "props"
];
pub(crate) static PROPS: Shape = shape!["size", "color", "x", "y"];

fn by_shape(node: &Node, o: &mut Elements<'_>) {
    o.push(node.id);
    o.push(&node.kind);
    o.push(&node.name);
    o.push(&node.title);
    o.push(&node.body);
    o.push(node.created);
    o.push(node.updated);
    o.push(node.score);
    o.push(node.visits);
    o.push(node.is_public);
    o.list(|tags| node.tags.iter().for_each(|tag| tags.push(tag)));
    o.slice(&node.vector);
    o.shaped(&PROPS, |props| {
        props.push(node.props.size);
        props.push(&node.props.color);
        props.push(node.props.x);
        props.push(node.props.y);
    });
}

fn by_name(node: &Node, o: &mut Fields<'_>) {
    o.field("id", node.id);
    o.field("kind", &node.kind);
    o.field("name", &node.name);
    o.field("title", &node.title);
    o.field("body", &node.body);
    o.field("created", node.created);
    o.field("updated", node.updated);
    o.field("score", node.score);
    o.field("visits", node.visits);
    o.field("is_public", node.is_public);
    o.list("tags", |tags| node.tags.iter().for_each(|tag| tags.push(tag)));
    o.slice("vector", &node.vector);
    o.object("props", |props| {
        props.field("size", node.props.size);
        props.field("color", &node.props.color);
        props.field("x", node.props.x);
        props.field("y", node.props.y);
    });
}

pub(crate) fn add(rows: &mut Vec<Row>) {
    const GROUP: &str = "encode node";
    let value = node();
    let expected = uarr_layout::uarr::to_vec(&value).expect("fits");
    let mut builder = Builder::new();
    let built = builder.shaped(&NODE, |o| by_shape(&value, o)).expect("fits");
    assert_eq!(built.as_bytes(), expected, "every way of writing gives the same bytes");
    let built = builder.object(|o| by_name(&value, o)).expect("fits");
    assert_eq!(built.as_bytes(), expected, "every way of writing gives the same bytes");

    let (mut builder, value) = (Builder::new(), node());
    rows.push(row(GROUP, "uarr shape", move || {
        builder.shaped(&NODE, |o| by_shape(black_box(&value), o)).expect("fits").len()
    }));
    let (mut builder, value) = (Builder::new(), node());
    rows.push(row(GROUP, "uarr names", move || {
        builder.object(|o| by_name(black_box(&value), o)).expect("fits").len()
    }));
    let (mut builder, value) = (Builder::new(), node());
    rows.push(row(GROUP, "uarr serde", move || {
        builder.serialize(black_box(&value)).expect("fits").len()
    }));
    let (mut buffer, value) = (Vec::new(), node());
    rows.push(row(GROUP, "msgpack", move || {
        buffer.clear();
        let mut target = rmp_serde::Serializer::new(&mut buffer).with_struct_map();
        black_box(&value).serialize(&mut target).expect("fits");
        buffer.len()
    }));
    let (mut buffer, value) = (Vec::new(), node());
    rows.push(row(GROUP, "msgpack array", move || {
        buffer.clear();
        let mut target = rmp_serde::Serializer::new(&mut buffer);
        black_box(&value).serialize(&mut target).expect("fits");
        buffer.len()
    }));
    let value = node();
    let mut spare = rkyv::util::AlignedVec::<16>::new();
    rows.push(row(GROUP, "rkyv", move || {
        spare.clear();
        let buffer = std::mem::take(&mut spare);
        let written = rkyv::api::high::to_bytes_in::<_, rkyv::rancor::Error>(&value, buffer);
        spare = written.expect("fits");
        spare.len()
    }));
    let value = node();
    let mut target = flexbuffers::FlexbufferSerializer::new();
    rows.push(row(GROUP, "flexbuffers", move || {
        target.reset();
        black_box(&value).serialize(&mut target).expect("fits");
        target.view().len()
    }));
    let (mut buffer, value) = (Vec::new(), node());
    rows.push(row(GROUP, "serde_json", move || {
        buffer.clear();
        serde_json::to_writer(&mut buffer, black_box(&value)).expect("fits");
        buffer.len()
    }));
    let (mut buffer, value) = ([0u8; 4096], node());
    rows.push(row(GROUP, "postcard", move || {
        postcard::to_slice(black_box(&value), &mut buffer).expect("fits").len()
    }));
    let text = serde_json::to_string(&node()).expect("fits");
    rows.push(crate::sqlite::encode(GROUP, text));
}
