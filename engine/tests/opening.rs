//! What opening leaves behind when it is refused.
//!
//! Promise proved: options that are refused leave no trace, neither a directory nor a file in one.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::disallowed_methods, reason = "a test looks at the files from outside")]

use std::fs;
use std::time::Duration;

use uarr::{Builder, Db, Durability, ErrorKind};

#[test]
fn refused_options_leave_no_trace() {
    let base = tempfile::tempdir().unwrap();
    let refused: [fn(Builder) -> Builder; 5] = [
        |options| options.segment_bytes(3),
        |options| options.group_bytes(1),
        |options| options.chunk_bytes(1 << 30).address_space_bytes(1 << 26),
        |options| options.chunk_bytes(1 << 16).address_space_bytes(1 << 41),
        |options| options.durability(Durability::Interval(Duration::ZERO)),
    ];
    for (number, refuse) in refused.into_iter().enumerate() {
        let (missing, empty) = (base.path().join("missing"), base.path().join("empty"));
        fs::create_dir_all(&empty).unwrap();
        for path in [&missing, &empty] {
            let error = refuse(Db::builder(path)).open().expect_err(&format!("options {number}"));
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "options {number}: {error:?}");
        }
        assert!(!missing.exists(), "options {number}");
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "options {number}");
    }
}

/// They are for databases that are to be created, and mean nothing to one that is there.
#[test]
fn options_of_creation_do_not_refuse_a_database() {
    let dir = tempfile::tempdir().unwrap();
    Db::open(dir.path()).unwrap().close().unwrap();
    let db = Db::builder(dir.path()).chunk_bytes(1 << 30).address_space_bytes(1 << 26).open();
    assert!(db.is_ok());
}
