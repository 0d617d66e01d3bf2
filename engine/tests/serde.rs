//! Rust types as values (feature `serde`).
//!
//! Promise proved: the crate `uarr` alone is enough to write types and to read them back.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde::{Deserialize, Serialize};
use uarr::{Db, value};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    born: u16,
    tags: Vec<String>,
}

#[test]
fn types_are_written_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    let ada = User { name: "Ada".into(), born: 1815, tags: vec!["countess".into()] };
    db.put("ada", value::to_vec(&ada).unwrap()).unwrap();
    let record = db.get("ada").unwrap().unwrap();
    assert_eq!(record.uarr().unwrap().get("born").and_then(|born| born.as_u64()), Some(1815));
    assert_eq!(value::from_slice::<User>(record.bytes()).unwrap(), ada);
}
