//! What each command does when all is well.

use uarr::Db;

use crate::run::{Home, Run, command};

#[test]
fn put_get_del() {
    let home = Home::new();
    home.run(["put", "a", r#"{"n":{"m":[1,{"x":"y"}]},"s":"t"}"#]).done();
    home.feed(["put", "b", "-"], "{\n \"v\": 2.50 }\n").done();
    assert_eq!(home.run(["get", "a"]).done(), "{\"n\":{\"m\":[1,{\"x\":\"y\"}]},\"s\":\"t\"}\n");
    assert_eq!(home.run(["get", "b"]).done(), "{\"v\":2.5}\n");
    assert_eq!(home.run(["get", "a", "--field", "n.m[1].x"]).done(), "\"y\"\n");
    assert_eq!(home.run(["get", "a", "--field", "n"]).done(), "{\"m\":[1,{\"x\":\"y\"}]}\n");
    home.run(["get", "a", "--field", "n.o"]).failed(1, &["no field 'n.o'"]);
    home.run(["put", "a", "17"]).done();
    assert_eq!(home.run(["get", "a"]).done(), "17\n");
    home.run(["del", "a"]).done();
    home.run(["get", "a"]).failed(1, &["no record with key 'a'"]);
    home.run(["del", "a"]).failed(1, &["no record with key 'a'"]);
    assert_eq!(home.run(["get", "b"]).done(), "{\"v\":2.5}\n");
}

#[test]
fn writes_with_conditions() {
    let home = Home::new();
    let first = home.run(["--json", "put", "a", "1", "--if-absent"]).json();
    home.run(["put", "a", "2", "--if-absent"])
        .failed(1, &["'a'", "there is a record with version"]);
    home.run(["--json", "put", "a", "2", "--if-absent"]).failed_json(1, "condition_failed");
    let version = first["lsn"].to_string();
    home.run(["put", "a", "3", "--if-version", &version]).done();
    home.run(["put", "a", "4", "--if-version", &version]).failed(1, &["nothing was stored"]);
    home.run(["put", "b", "4", "--if-version", "1"]).failed(1, &["there is no record"]);
    assert_eq!(home.run(["get", "a"]).done(), "3\n");
    home.run(["--json", "put", "a", "1", "--if-absent", "--if-version", "1"])
        .failed_json(2, "usage");
}

#[test]
fn counters_and_counts() {
    let home = Home::new();
    assert_eq!(home.run(["incr", "n"]).done(), "1\n");
    assert_eq!(home.run(["incr", "n", "--by", "-3"]).done(), "-2\n");
    assert_eq!(
        home.run(["incr", "m", "--initial", "10", "--max", "12", "--by", "2"]).done(),
        "12\n"
    );
    home.run(["incr", "m", "--max", "12"]).failed(1, &["stays 12", "bounds"]);
    let json = home.run(["--json", "incr", "m", "--min", "0", "--by", "-12"]).json();
    assert_eq!((json["key"].as_str(), json["value"].as_i64()), (Some("m"), Some(0)));
    assert_eq!(home.run(["get", "m"]).done(), "0\n");
    home.run(["put", "text", "\"a\""]).done();
    home.run(["incr", "text"]).failed(2, &[]);
    assert_eq!(home.run(["count"]).done(), "3\n");
    assert_eq!(home.run(["count", "--from", "n"]).done(), "2\n");
    assert_eq!(home.run(["--json", "count", "--prefix", "t"]).json()["count"], 1);
    Home::new().run(["count"]).failed(3, &[]);
}

#[test]
fn records_that_expire() {
    let home = Home::new();
    home.run(["put", "a", "1", "--ttl", "1h"]).done();
    let expires = home.run(["expiry", "a"]).done();
    assert!(expires.ends_with("Z\n") && expires.starts_with("20"), "{expires}");
    assert_eq!(home.run(["expiry", "a", "--never"]).done(), "never\n");
    assert!(home.run(["--json", "expiry", "a"]).json()["expires"].is_null());
    home.run(["expiry", "a", "--ttl", "0s"]).failed(1, &["no record with key 'a'"]);
    home.run(["get", "a"]).failed(1, &["no record"]);
    home.run(["put", "a", "2", "--if-absent", "--ttl", "0s"]).done();
    home.run(["--json", "put", "a", "2", "--ttl", "soon"]).failed_json(2, "usage");
    for value in ["1", "1"] {
        assert_eq!(home.run(["incr", "n", "--ttl", "0s"]).done().trim(), value);
    }
    home.run(["--json", "expiry", "a", "--never", "--ttl", "1s"]).failed_json(2, "usage");
}

#[test]
fn leases() {
    let home = Home::new();
    let acquire = |owner: &str, ttl: &str| {
        home.run(["--json", "lease", "acquire", "job", "--owner", owner, "--ttl", ttl])
    };
    let first = acquire("ada", "1h").json();
    let token = first["token"].to_string();
    acquire("bob", "1h").failed_json(1, "lease_held");
    assert_eq!(acquire("ada", "1h").json()["token"], first["token"]);
    home.run(["lease", "show", "job"]).done();
    home.run(["lease", "renew", "job", "--token", "1", "--ttl", "1h"]).failed(1, &["not held"]);
    home.run(["lease", "renew", "job", "--token", &token, "--ttl", "2h"]).done();
    home.run(["lease", "release", "job", "--token", &token]).done();
    home.run(["lease", "release", "job", "--token", &token]).failed(1, &["not held"]);
    home.run(["lease", "show", "job"]).failed(1, &["is free"]);
    assert!(acquire("bob", "1s").json()["token"].as_u64() > first["token"].as_u64());
}

#[test]
fn results_and_errors_as_json() {
    let home = Home::new();
    let put = home.run(["--json", "put", "a", "{}"]).json();
    assert_eq!(put["key"], "a");
    let del = home.run(["--json", "del", "a"]).json();
    assert!(del["lsn"].as_u64() > put["lsn"].as_u64(), "{del}");
    home.run(["--json", "get", "a"]).failed_json(1, "key_not_found");
    home.run(["--json", "del", "a"]).failed_json(1, "key_not_found");
    home.run(["--json", "put", "a", "1"]).done();
    assert_eq!(home.run(["--json", "get", "a"]).json(), 1);
    home.run(["--json", "get", "a", "--field", "x"]).failed_json(1, "field_not_found");
    let bad = home.run(["--json", "put", "a", "{\"x\":"]).failed_json(2, "input");
    assert_eq!(bad["offset"], 5);
    home.run(["--json", "get"]).failed_json(2, "usage");
    home.run(["--json", "frob"]).failed_json(2, "usage");
}

/// An integer among byte keys was shown without its mark: `get u64:1` said that there is no '1',
/// beside a record of that name, and what `put --json` printed was the key of another record.
#[test]
fn integers_among_byte_keys_keep_their_mark() {
    let home = Home::new();
    home.run(["put", "1", "{}"]).done();
    let missing = |args: &[&str]| home.run(args).failed(1, &["'u64:1'"]);
    missing(&["get", "u64:1"]);
    missing(&["get", "u64:1", "2"]);
    missing(&["del", "u64:1"]);
    missing(&["expiry", "u64:1"]);
    missing(&["expiry", "u64:1", "--ttl", "1h"]);
    missing(&["lease", "show", "u64:1"]);
    missing(&["lease", "release", "u64:1", "--token", "1"]);
    missing(&["put", "u64:1", "{}", "--if-version", "1"]);
    missing(&["incr", "u64:1", "--max", "0"]);
    let key = |args: &[&str]| home.run(["--json"].iter().chain(args)).json()["key"].clone();
    let acquire = ["lease", "acquire", "i64:-1", "--owner", "ada", "--ttl", "1h"];
    assert_eq!(key(&acquire), "i64:-1");
    assert_eq!(key(&["put", "u64:1", "{}"]), "u64:1");
    assert_eq!(key(&["incr", "i64:2"]), "i64:2");
    assert_eq!(key(&["expiry", "u64:1"]), "u64:1");
    assert_eq!(key(&["del", "u64:1"]), "u64:1");
    home.run(["--table", "ints", "--key-kind", "u64", "put", "1", "{}"]).done();
    assert_eq!(key(&["--table", "ints", "del", "1"]), 1);
}

#[test]
fn scans() {
    let home = Home::new();
    let input: String =
        ["b/2", "a", "b/1", "c", "b"].map(|k| format!("{{\"k\":\"{k}\"}}\n")).concat();
    home.feed(["import", "-", "--key", "k"], input).done();
    let keys = |args: &[&str]| {
        let stdout = home.run(["scan", "--keys-only"].iter().chain(args)).done();
        stdout.lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keys(&[]), "a b b/1 b/2 c");
    assert_eq!(keys(&["--reverse"]), "c b/2 b/1 b a");
    assert_eq!(keys(&["--prefix", "b/"]), "b/1 b/2");
    assert_eq!(keys(&["--prefix", "b", "--reverse", "--limit", "2"]), "b/2 b/1");
    assert_eq!(keys(&["--prefix", ""]), "a b b/1 b/2 c");
    assert_eq!(keys(&["--prefix", "x"]), "");
    assert_eq!(keys(&["--from", "b", "--to", "c"]), "b b/1 b/2");
    assert_eq!(keys(&["--from", "b/", "--reverse"]), "c b/2 b/1");
    assert_eq!(keys(&["--to", "hex:62"]), "a");
    assert_eq!(keys(&["--from", "c", "--to", "a"]), "");
    assert_eq!(keys(&["--limit", "0"]), "");
    let lines = home.run(["scan", "--limit", "2"]).done();
    assert_eq!(
        lines,
        "{\"key\":\"a\",\"value\":{\"k\":\"a\"}}\n{\"key\":\"b\",\"value\":{\"k\":\"b\"}}\n"
    );
    let lines = home.run(["scan", "--keys-only", "--json", "--limit", "1"]).done();
    assert_eq!(lines, "{\"key\":\"a\"}\n");
}

#[test]
fn integer_tables() {
    let home = Home::new();
    home.run(["--key-kind", "i64", "put", "-5", "-1.5"]).done();
    home.run(["put", "7", "[1]"]).done();
    home.run(["put", "-9223372036854775808", "null"]).done();
    assert_eq!(home.run(["get", "-5"]).done(), "-1.5\n");
    assert_eq!(
        home.run(["scan"]).done(),
        "{\"key\":-9223372036854775808,\"value\":null}\n{\"key\":-5,\"value\":-1.5}\n\
         {\"key\":7,\"value\":[1]}\n"
    );
    assert_eq!(home.run(["scan", "--keys-only", "--from", "-5", "--to", "7"]).done(), "-5\n");
    home.run(["get", "x"]).failed(2, &["'x' is no key of this table", "numbers from -"]);
    home.run(["scan", "--prefix", "7"]).failed(2, &["--prefix is for byte tables"]);
    home.run(["--key-kind", "bytes", "get", "7"]).failed(2, &["keys"]);
    assert_eq!(home.run(["--json", "stats"]).json()["key_kind"], "i64");

    let home = Home::new();
    let input = "{\"id\":18446744073709551615}\n{\"id\":0}\n{\"id\":\"256\"}\n";
    home.feed(["import", "-", "--key", "id", "--key-kind", "u64"], input).done();
    let keys = home.run(["scan", "--keys-only"]).done();
    assert_eq!(keys, "0\n256\n18446744073709551615\n");
    let bad = home.feed(["--json", "import", "-", "--key", "id"], "{\"id\":-1}\n");
    assert_eq!(bad.failed_json(2, "input")["line"], 1);
}

#[test]
fn keys_and_values_of_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let home = Home::new();
    let db = Db::open(home.db()).unwrap();
    db.put(b"\xff\x00", b"no record").unwrap();
    db.put("two\nlines", b"").unwrap();
    db.put("hex:41", b"\x00").unwrap();
    db.close().unwrap();
    assert_eq!(
        home.run(["scan"]).done(),
        "{\"key\":\"hex:6865783a3431\",\"value\":{\"$bytes\":\"AA==\"}}\n\
         {\"key\":\"two\\nlines\",\"value\":{\"$bytes\":\"\"}}\n\
         {\"key\":\"hex:ff00\",\"value\":{\"$bytes\":\"bm8gcmVjb3Jk\"}}\n"
    );
    let keys = home.run(["scan", "--keys-only"]).done();
    assert_eq!(keys, "hex:6865783a3431\nhex:74776f0a6c696e6573\nhex:ff00\n");
    for key in keys.lines() {
        home.run(["get", key]).done();
    }
    home.run(["get", "hex:ff00", "--field", "a"]).failed(1, &["plain bytes"]);
    home.run(["put", "two\nlines", "{}"]).done();
    let odd = OsStr::from_bytes(b"\xfe");
    home.run([OsStr::new("put"), odd, OsStr::new("1")]).done();
    assert_eq!(home.run([OsStr::new("get"), odd]).done(), "1\n");
    assert_eq!(home.run(["get", "hex:fe"]).done(), "1\n");
    home.run([OsStr::new("put"), OsStr::new("k"), odd]).failed(2, &["not UTF-8"]);
    home.run([OsStr::new("get"), OsStr::from_bytes(b"no\n\xff")]).failed(1, &["hex:6e6f0aff"]);
}

#[test]
fn stats_verify_and_checkpoint() {
    let home = Home::new();
    let input: String = (0..3000).map(|i| format!("{{\"id\":{i},\"v\":\"{i:0>50}\"}}\n")).collect();
    home.feed(["import", "-", "--key", "id", "--key-kind", "u64"], input).done();
    home.run(["del", "17"]).done();

    let stats = home.run(["stats", "--json"]).json();
    assert_eq!(stats["keys"], 2999);
    assert_eq!(stats["index"]["entries"], 2999);
    assert_eq!(stats["recovery"]["clean"], true);
    assert!(stats["data_file_bytes"].as_u64() >= stats["data_bytes"].as_u64());
    assert!(stats["durable_lsn"].is_null(), "only an open database knows it");
    assert!(stats["data_bytes"].as_u64() > Some(3000 * 50));
    let text = home.run(["stats"]).done();
    for part in
        ["keys                2,999\n", "kind of keys        u64\n", "commit strategy", "on disk"]
    {
        assert!(text.contains(part), "{text}");
    }

    let tuned = home.run(["tune", "--json"]).json();
    assert!(tuned["strategy_ns"]["syscall"].as_u64() > Some(0));
    // The verdict is stored.
    assert_eq!(home.run(["stats", "--json"]).json()["strategy_ns"], tuned["strategy_ns"]);
    assert!(home.run(["tune"]).done().starts_with("commits from now on by "));

    let verified = home.run(["--json", "verify"]).json();
    assert_eq!(verified["clean"], true);
    assert_eq!(verified["records"], 2999);
    assert_eq!(verified["damages"], serde_json::json!([]));
    assert!(home.run(["verify"]).done().starts_with("clean: 2,999 records"));

    assert!(home.run(["checkpoint"]).done().starts_with("checkpoint of 2,999 keys"));
    assert_eq!(home.run(["--json", "checkpoint"]).json()["keys"], 2999);
    home.run(["get", "16"]).done();
    home.run(["get", "17"]).failed(1, &["'17'"]);
}

#[test]
fn the_database_may_come_from_the_environment() {
    let home = Home::new();
    home.run(["put", "a", "1"]).done();
    let run = Run::of(command().env("UARR_DB", home.db()).args(["get", "a"]).output().unwrap());
    assert_eq!(run.done(), "1\n");
    let run = Run::of(command().args(["get", "a"]).output().unwrap());
    run.failed(2, &["--db DIR", "UARR_DB"]);
}

#[test]
fn pages_of_the_manual() {
    let home = Home::new();
    let folder = home.dir.path().join("share/man1");
    let run =
        |folder: &std::path::Path| Run::of(command().arg("man").arg(folder).output().unwrap());
    run(&folder).done();
    let page = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let main = page("uarr.1");
    for part in ["import", "export", "130", "done, or what read the output", "UARR_DB"] {
        assert!(main.contains(part), "{part}");
    }
    assert!(page("uarr-scan.1").contains("where"));
    assert!(page("uarr-lease-acquire.1").contains("owner"));
    assert!(!main.contains(home.dir.path().to_str().unwrap()));
    run(std::path::Path::new("/dev/null/man")).failed(2, &["cannot write /dev/null/man"]);
}

#[test]
fn help_and_completions() {
    let run = |args: &[&str]| Run::of(command().args(args).output().unwrap());
    let help = run(&["--help"]).done();
    for code in 0..=6 {
        assert!(help.contains(&format!("\n  {code}  ")), "{help}");
    }
    for name in
        ["import", "get", "put", "del", "scan", "stats", "tune", "verify", "checkpoint", "value"]
    {
        assert!(help.contains(&format!("\n  {name} ")), "{help}");
        assert!(run(&[name, "--help"]).done().contains("--json"));
    }
    assert!(run(&["--version"]).done().starts_with("uarr "));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).done();
        assert!(script.contains("checkpoint") && script.contains("key-kind"), "{shell}");
    }
    assert_eq!(run(&["completions", "none"]).code, 2);
    assert_eq!(run(&[]).code, 2);
}
