//! Rust types as values (feature `serde`).
//!
//! Promise proved: the crate `uarr` alone is enough to write types and to read them back.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uarr::{Db, Durability, ErrorKind, value};

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

#[test]
fn verbs_take_types_and_say_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::builder(dir.path()).durability(Durability::Manual).open().unwrap();
    let ada = User { name: "Ada".into(), born: 1815, tags: vec![] };
    assert!(db.durable().put_as("ada", &ada).unwrap().is_durable);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(db.put_as_async("bob", &ada)).unwrap();
    assert_eq!(db.get_as::<User>("bob").unwrap(), Some(ada));
    assert_eq!(db.get_as::<User>("eve").unwrap(), None);
    assert_eq!(db.get("ada").unwrap().unwrap().to_owned().read_as::<User>().unwrap().born, 1815);

    let error = db.get_as::<Vec<u64>>("ada").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongValue, "{error}");
    db.put("plain", "bytes").unwrap();
    assert_eq!(db.get_as::<User>("plain").unwrap_err().kind(), ErrorKind::WrongValue);

    let no_text = BTreeMap::from([(vec![1u8], 1)]);
    assert_eq!(db.put_as("map", &no_text).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut batch = db.batch();
    batch.put("a", "1").put_as("map", &no_text).put("b", "2");
    assert_eq!(batch.commit().unwrap_err().kind(), ErrorKind::InvalidArgument);
    batch.clear();
    batch.put_as("n", &7).commit().unwrap();
    assert_eq!(db.get_as("n").unwrap(), Some(7));
    assert!(!db.contains("a").unwrap());
}
