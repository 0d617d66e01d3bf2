//! Tables on the command line.

use crate::run::Home;

#[test]
fn records_go_to_the_table_that_is_named() {
    let home = Home::new();
    home.run(["put", "k", "1"]).done();
    home.run(["put", "--table", "users", "k", "2"]).done();
    home.run(["--table", "jobs", "--key-kind", "u64", "put", "7", "{\"a\":3}"]).done();
    assert_eq!(home.run(["get", "k"]).done(), "1\n");
    assert_eq!(home.run(["get", "--table", "users", "k"]).done(), "2\n");
    assert_eq!(home.run(["get", "--table", "jobs", "7", "--field", "a"]).done(), "3\n");
    assert_eq!(home.run(["incr", "--table", "users", "n"]).done(), "1\n");
    assert_eq!(home.run(["count", "--table", "users"]).done(), "2\n");
    assert_eq!(home.run(["count"]).done(), "1\n");
    let scanned = home.run(["scan", "--table", "jobs"]).done();
    assert_eq!(scanned, "{\"key\":7,\"value\":{\"a\":3}}\n");
    home.run(["del", "--table", "users", "k"]).done();
    home.run(["get", "--table", "users", "k"]).failed(1, &["no record with key 'k'"]);
    let tables = home.run(["tables"]).done();
    assert_eq!(tables, "jobs  1 record, u64 keys\nusers  1 record, bytes keys\n");
    home.run(["get", "--table", "nobody", "k"]).failed(1, &["no table 'nobody'", "uarr tables"]);
    home.run(["get", "--table", "jobs", "--key-kind", "i64", "7"]).failed(2, &["u64 keys"]);
    home.run(["stats", "--table", "users"]).failed(2, &["--table is for commands about records"]);
    home.run(["put", "--table", "", "k", "1"]).failed(2, &["empty"]);
    let log = home.run(["log-dump"]).done();
    assert!(log.contains("delete table 17 k") || log.contains("table 16 "), "{log}");
}

#[test]
fn tables_are_made_emptied_and_dropped() {
    let home = Home::new();
    let create = ["table", "create", "sessions", "--ttl", "12h", "--durable", "--key-kind", "i64"];
    home.run(create).done();
    home.run(create).failed(1, &["a table 'sessions' already"]);
    home.run(["--table", "sessions", "put", "--", "-5", "1"]).done();
    let listed = home.run(["--json", "tables"]).json();
    assert_eq!(listed["key_kind"], "i64");
    assert_eq!((&listed["ttl"], &listed["durable"]), (&"12h".into(), &true.into()));
    assert_ne!(home.run(["--table", "sessions", "expiry", "--", "-5"]).done(), "never\n");
    home.run(["table", "clear", "sessions"]).done();
    assert_eq!(home.run(["--table", "sessions", "count"]).done(), "0\n");
    home.run(["table", "drop", "sessions"]).done();
    home.run(["table", "drop", "sessions"]).failed(1, &["no table 'sessions'"]);
    home.run(["table", "clear", "sessions"]).failed(1, &["no table 'sessions'"]);
    assert_eq!(home.run(["tables"]).done(), "");
}

/// What is imported into a table is what is exported from it.
#[test]
fn a_table_is_exported_and_imported() {
    let home = Home::new();
    let lines = "{\"id\":1,\"v\":\"a\"}\n{\"id\":2,\"v\":\"b\"}\n";
    let input = home.file("in.ndjson", lines);
    home.run(["import", "--table", "t", "--key-kind", "u64", "--key", "id", &input]).done();
    home.run(["put", "other", "1"]).done();
    let exported = home.run(["export", "--table", "t", "-"]).done();
    let file = home.file("out.ndjson", exported.clone());
    home.run(["import", "--table", "copy", &file]).done();
    assert_eq!(home.run(["export", "--table", "copy", "-"]).done(), exported);
    assert_eq!(home.run(["count"]).done(), "1\n");
}
