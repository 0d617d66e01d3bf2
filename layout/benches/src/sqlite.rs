//! SQLite's own binary JSON: prepared statements on a database in memory.

use std::hint::black_box;

use rusqlite::Connection;

use crate::{Row, row};

fn database() -> Connection {
    Connection::open_in_memory().expect("SQLite opens")
}

/// The JSONB of a JSON text.
pub(crate) fn jsonb(text: &str) -> Vec<u8> {
    let read = database().query_row("SELECT jsonb(?1)", [text], |row| row.get(0));
    read.expect("the text is JSON")
}

/// JSON text to JSONB.
pub(crate) fn encode(group: &'static str, text: String) -> Row {
    let database = database();
    row(group, "SQLite JSONB from text", move || -> usize {
        let mut statement = database.prepare_cached("SELECT jsonb(?1)").expect("is right");
        let length = |row: &rusqlite::Row<'_>| Ok(row.get_ref(0)?.as_blob()?.len());
        statement.query_row([black_box(&text)], length).expect("the text is JSON")
    })
}

/// JSONB to JSON text.
pub(crate) fn decode(group: &'static str, text: &str) -> Row {
    let (database, blob) = (database(), jsonb(text));
    row(group, "SQLite JSONB to text", move || -> usize {
        let mut statement = database.prepare_cached("SELECT json(?1)").expect("is right");
        let length = |row: &rusqlite::Row<'_>| Ok(row.get_ref(0)?.as_str()?.len());
        statement.query_row([black_box(&blob)], length).expect("the blob is JSONB")
    })
}

/// Whether a JSONB is well-formed, all of it.
pub(crate) fn check(group: &'static str, text: &str) -> Row {
    let (database, blob) = (database(), jsonb(text));
    row(group, "SQLite JSONB", move || -> bool {
        let mut statement = database.prepare_cached("SELECT json_valid(?1, 8)").expect("is right");
        let is_valid: bool =
            statement.query_row([black_box(&blob)], |row| row.get(0)).expect("a bool");
        assert!(is_valid, "SQLite accepts its own bytes");
        is_valid
    })
}

/// One field by name.
pub(crate) fn get(group: &'static str, name: &str, text: &str, expected: i64) -> Row {
    let (database, blob) = (database(), jsonb(text));
    let query = format!("SELECT json_extract(?1, '$.{name}')");
    let get = move |blob: &[u8]| -> i64 {
        let mut statement = database.prepare_cached(&query).expect("the query is right");
        statement.query_row([blob], |row| row.get(0)).expect("the field is there")
    };
    assert_eq!(get(&blob), expected);
    row(group, "SQLite JSONB", move || get(black_box(&blob)))
}
