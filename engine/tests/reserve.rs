//! What a database takes of memory for address space that it only reserves. A test program of its
//! own: the memory is that of the process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use uarr::Db;

const MIB: u64 = 1 << 20;

fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Eight bytes for each chunk of the reserve were written at open.
#[test]
fn chunks_that_are_only_reserved_take_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = Db::builder(dir.path()).chunk_bytes(64 << 10).segment_bytes(MIB / 4);
    let before = anonymous_kib();
    let db = sizes.background(false).open().unwrap();
    db.put("k", b"v").unwrap();
    assert!(anonymous_kib() < before + (96 << 10));
}
