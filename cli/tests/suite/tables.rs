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

#[test]
fn a_table_without_order_does_all_but_ranges() {
    let home = Home::new();
    let ints = ["--key-kind", "u64", "table", "create", "ints", "--unordered"];
    home.run(ints).failed(2, &["u64 keys", "costs nothing"]);
    home.run(["table", "create", "t", "--unordered"]).done();
    for key in ["b", "c", "a"] {
        home.run(["--table", "t", "put", key, "1"]).done();
    }
    assert_eq!(home.run(["tables"]).done(), "t  3 records, bytes keys, without order\n");
    assert_eq!(home.run(["--json", "tables"]).json()["ordered"], false);
    assert_eq!(home.run(["--table", "t", "get", "b"]).done(), "1\n");
    home.run(["--table", "t", "del", "c"]).done();
    assert_eq!(home.run(["--table", "t", "count"]).done(), "2\n");
    let scanned = home.run(["--table", "t", "scan", "--keys-only"]).done();
    let mut keys: Vec<_> = scanned.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["a", "b"]);
    for range in [["--prefix", "a"], ["--from", "a"], ["--to", "b"]] {
        let scan = ["--table", "t", "scan", range[0], range[1]];
        home.run(scan).failed(2, &["need keys in order", "unordered"]);
    }
    home.run(["checkpoint"]).done();
    assert!(home.run(["inspect", "index"]).done().contains("unordered table, 2 entries"));
    home.run(["verify"]).done();
    assert!(home.run(["log-dump"]).done().contains("table 16 "));
    let exported = home.run(["--table", "t", "export"]).done();
    home.run(["table", "clear", "t"]).done();
    let file = home.file("t.ndjson", exported);
    home.run(["--table", "t", "import", &file]).done();
    assert_eq!(home.run(["tables"]).done(), "t  2 records, bytes keys, without order\n");
}

#[test]
fn options_of_a_table_change() {
    let home = Home::new();
    home.run(["table", "alter", "t", "--durable"]).failed(3, &["no database"]);
    home.run(["table", "create", "t", "--ttl", "12h"]).done();
    for (args, part) in [
        (&["table", "alter", "t"][..], "--no-durable"),
        (&["table", "alter", "t", "--ttl", "1h", "--no-ttl"], "cannot be used with"),
        (&["table", "alter", "t", "--ttl", "0s"], "give at least 1ms"),
        (&["table", "alter", "t", "--durable", "--no-durable"], "cannot be used with"),
    ] {
        let refused = home.run(args);
        assert_eq!((refused.code, refused.stderr.contains(part)), (2, true), "{refused:?}");
    }
    home.run(["table", "alter", "u", "--durable"]).failed(1, &["no table 'u'"]);
    let listed = |expected: &str| assert_eq!(home.run(["tables"]).done(), expected);
    let altered = home.run(["--json", "table", "alter", "t", "--durable"]).json();
    assert_eq!((&altered["altered"], &altered["number"]), (&"t".into(), &16.into()));
    listed("t  0 records, bytes keys, they expire after 12h, each write is durable\n");
    home.run(["table", "alter", "t", "--no-ttl"]).done();
    listed("t  0 records, bytes keys, each write is durable\n");
    home.run(["--table", "t", "put", "k", "1"]).done();
    assert_eq!(home.run(["--table", "t", "expiry", "k"]).done(), "never\n");
    home.run(["table", "alter", "t", "--ttl", "30d", "--no-durable"]).done();
    listed("t  1 record, bytes keys, they expire after 30days\n");
    let kind = ["--key-kind", "u64", "table", "alter", "t", "--durable"];
    home.run(kind).failed(2, &["table 't' has bytes keys and keeps them"]);
}

#[test]
fn stats_tell_of_each_table() {
    let home = Home::new();
    home.run(["put", "k", "1"]).done();
    home.run(["--table", "users", "put", "k", "1"]).done();
    home.run(["--table", "jobs", "--key-kind", "u64", "put", "7", "1"]).done();
    let text = home.run(["stats"]).done();
    assert!(text.contains("table               jobs: 1 record\n"), "{text}");
    assert!(text.contains("table               users: 1 record\n"), "{text}");
    let of_files = home.run(["--json", "stats"]).json();
    let jobs = &of_files["tables"][0];
    assert_eq!((&jobs["name"], &jobs["keys"]), (&"jobs".into(), &1.into()));
    // The shell has the indexes in memory.
    let json = home.feed(["--json", "shell"], "stats\n").json();
    let table = |number: usize| json["tables"][number].clone();
    assert_eq!(table(0)["name"], "jobs");
    assert_eq!(table(0)["ordered_index"], serde_json::Value::Null);
    assert_eq!(table(1)["index"]["entries"], 1);
    assert_eq!(table(1)["ordered_index"]["entries"], 1);
    assert!(table(1)["index_bytes"].as_u64().unwrap() > 0);
}

/// A damaged record of the catalog made the whole list an error.
#[test]
fn damage_in_the_catalog_hides_no_other_table() {
    let home = Home::new();
    ["a", "b", "c"].iter().for_each(|name| _ = home.run(["table", "create", name]).done());
    let data = home.db().join("data/records.uarr");
    let mut bytes = std::fs::read(&data).unwrap();
    let key = b"\xff\x04\0\0\0\x01\0\0b";
    let at = bytes.windows(key.len()).rposition(|found| found == key).unwrap();
    let value = bytes[at..].windows(7).position(|found| found == b"durable").unwrap();
    bytes[at + value] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    let listed = home.run(["tables"]);
    assert_eq!(listed.stdout, "a  0 records, bytes keys\nc  0 records, bytes keys\n");
    assert_eq!((listed.code, listed.stderr.lines().count()), (4, 1), "{listed:?}");
    for part in ["record of table 'b'", "data/records.uarr", "uarr repair"] {
        assert!(listed.stderr.contains(part), "no '{part}' in {listed:?}");
    }
    home.run(["table", "drop", "b"]).failed(4, &["data/records.uarr"]);
    let stats = home.run(["stats"]);
    assert!(stats.stdout.contains("a: 0 records\n") && !stats.stdout.contains("b: 0"), "{stats:?}");
    assert!(stats.stderr.contains("record of table 'b'") && stats.code == 0, "{stats:?}");
    home.run(["--table", "c", "export", "-"]).done();
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
