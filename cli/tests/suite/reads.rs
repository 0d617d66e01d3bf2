//! `uarr get` and `uarr scan`: several keys, bytes, fields and conditions.

use uarr::Db;

use crate::run::Home;

fn filled() -> Home {
    let home = Home::new();
    let input = [
        r#"{"id":"u:1","name":"Ada","born":1815,"addr":{"city":"London","zip":["a","b"]}}"#,
        r#"{"id":"u:2","name":"Bob","born":1990,"admin":true}"#,
        r#"{"id":"u:3","name":"Cem","born":2001.5,"addr":{"city":"Izmir"}}"#,
        r#"{"id":"v:1","name":null}"#,
    ];
    home.feed(["import", "-", "--key", "id"], input.join("\n")).done();
    home
}

#[test]
fn several_keys() {
    let home = filled();
    let told = home.run(["get", "v:1", "u:2"]).done();
    let expected = [
        r#"{"key":"v:1","value":{"id":"v:1","name":null}}"#,
        r#"{"key":"u:2","value":{"id":"u:2","name":"Bob","born":1990,"admin":true}}"#,
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    let told = home.run(["get", "u:1", "u:2", "--field", "name"]).done();
    assert_eq!(told, "{\"key\":\"u:1\",\"value\":\"Ada\"}\n{\"key\":\"u:2\",\"value\":\"Bob\"}\n");

    // What is there is printed whatever else is not.
    let run = home.run(["get", "x", "u:1", "y", "v:1", "--field", "born"]);
    assert_eq!(run.stdout, "{\"key\":\"u:1\",\"value\":1815}\n");
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("no record with key 'x'; 2 others of 4"), "{run:?}");
    let run = home.run(["get", "x", "u:2", "--field", "admin"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, "{\"key\":\"u:2\",\"value\":true}\n"));
    assert!(run.stderr.ends_with("no record with key 'x'\n"), "{run:?}");
    assert_eq!(home.run(["get"]).code, 2);
}

#[test]
fn the_bytes_of_a_value() {
    let home = filled();
    let db = Db::open(home.db()).unwrap();
    db.put("text", "two\nlines\n").unwrap();
    db.put("none", "").unwrap();
    db.close().unwrap();
    assert_eq!(home.run(["get", "--raw", "text"]).done(), "two\nlines\n");
    assert_eq!(home.run(["get", "--raw", "none"]).done(), "");
    let output = home.command(["get", "--raw", "u:1"]).output().unwrap();
    let json = uarr_layout::uarr::UArrRef::validate(&output.stdout).unwrap().to_string();
    assert_eq!(json + "\n", home.run(["get", "u:1"]).done());
    home.run(["get", "--raw", "x"]).failed(1, &["'x'"]);
    home.run(["get", "--raw", "text", "none"]).failed(2, &["--raw takes one key"]);
    home.run(["--json", "get", "--raw", "text"]).failed_json(2, "usage");
    assert_eq!(home.run(["get", "--raw", "u:1", "--field", "name"]).code, 2);
}

#[test]
fn fields_of_scanned_records() {
    let home = filled();
    let told = home.run(["scan", "--prefix", "u:", "--field", "addr.city", "--field", "name"]);
    let expected = [
        r#"{"key":"u:1","value":{"addr.city":"London","name":"Ada"}}"#,
        r#"{"key":"u:2","value":{"name":"Bob"}}"#,
        r#"{"key":"u:3","value":{"addr.city":"Izmir","name":"Cem"}}"#,
    ];
    assert_eq!(told.done().lines().collect::<Vec<_>>(), expected);
    let run = home.run(["scan", "--prefix", "v", "--field", "nmae"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "{\"key\":\"v:1\",\"value\":{}}\n"));
    assert!(run.stderr.contains("no record has the field 'nmae'; did you mean 'name'?"), "{run:?}");
    home.run(["scan", "--prefix", "w", "--field", "nmae"]).done();
}

#[test]
fn records_that_meet_conditions() {
    let home = filled();
    let keys = |args: &[&str]| {
        let told = home.run(["scan", "--keys-only"].iter().chain(args)).done();
        told.lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keys(&["--where", "name=Ada"]), "u:1");
    assert_eq!(keys(&["--where", "name!=Ada"]), "u:2 u:3 v:1");
    assert_eq!(keys(&["--where", "name=null"]), "v:1");
    assert_eq!(keys(&["--where", "born>=1990"]), "u:2 u:3");
    assert_eq!(keys(&["--where", "born>=1990", "--where", "born<2000"]), "u:2");
    assert_eq!(keys(&["--where", "addr.zip[1]=b"]), "u:1");
    assert_eq!(keys(&["--where", "admin=true"]), "u:2");
    assert_eq!(keys(&["--where", "born<3000", "--reverse", "--limit", "2"]), "u:3 u:2");
    assert_eq!(home.run(["scan", "--count"]).done(), "4\n");
    assert_eq!(home.run(["scan", "--count", "--where", "born<2000"]).done(), "2\n");
    assert_eq!(home.run(["--json", "scan", "--count", "--prefix", "v"]).json()["count"], 1);
    let run = home.run(["scan", "--where", "addr.citty=x", "--count"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "0\n"));
    assert!(run.stderr.contains("did you mean 'addr.city'?"), "{run:?}");
    let run = home.run(["scan", "--where", "born==1815"]);
    assert!(run.code == 2 && run.stderr.contains("one = is enough"), "{run:?}");
    for other in ["a<>5", "a => 3", "a =< 3"] {
        let run = home.run(["scan", "--where", other]);
        assert!(run.code == 2 && run.stderr.contains("give PATH=VALUE"), "{other}: {run:?}");
    }
}

#[test]
fn a_field_that_is_not_there_is_near_another() {
    let home = filled();
    let get = |field: &str| home.run(["get", "u:1", "--field", field]);
    get("Name").failed(1, &["no field 'Name'; did you mean 'name'?"]);
    get("addr.town").failed(1, &["'addr' has city, zip"]);
    get("addr.zip[2]").failed(1, &["'addr.zip' has 2 elements"]);
    get("born.year").failed(1, &["'born' is an integer, it has no fields"]);
    home.feed(["import", "-", "--key", "idd"], "{\"id\":1}").failed(2, &["did you mean 'id'?"]);
}
