//! Single records outside of a database: `uarr value`.

use std::fs;
use std::process::Stdio;

use uarr_layout::uarr::from_json;

use crate::run::{Home, Run, command};

const JSON: &str = r#"{"id":7,"name":"Ada Lovelace","tags":["x",null]}"#;

/// A home with the file `record`, whose bytes are given back too.
fn with_record() -> (Home, String, Vec<u8>) {
    let (home, bytes) = (Home::new(), from_json(JSON).unwrap().to_vec());
    let path = home.file("record", &bytes);
    (home, path, bytes)
}

#[test]
fn json_becomes_a_record_and_json_again() {
    let (home, path, bytes) = with_record();
    let text = home.file("text", JSON);
    let made = command().args(["value", "from-json", &text]).output().unwrap();
    assert_eq!((made.status.code(), made.stdout), (Some(0), bytes));
    assert_eq!(home.run(["value", "to-json", &path]).done(), format!("{JSON}\n"));
    // Standard input is read if no file or - is given, in pipes as well.
    for args in [&["value", "to-json"][..], &["value", "to-json", "-"]] {
        let mut maker = home.command(["value", "from-json", &text]);
        let mut maker = maker.stdout(Stdio::piped()).spawn().unwrap();
        let piped = maker.stdout.take().unwrap();
        let run = Run::of(home.command(args).stdin(piped).output().unwrap());
        assert_eq!(run.done(), format!("{JSON}\n"));
        assert!(maker.wait().unwrap().success());
    }
    assert!(!home.db().exists(), "no database is made");
    let wrapped = home.feed(["--json", "value", "from-json"], "null").json();
    assert_eq!(wrapped["$bytes"], "VUFSMQAAAAABAAAAIAAAACAAAAAAAAAAAAAAAAAAAAA=");
}

#[test]
fn check_names_the_rule_and_its_place() {
    let (home, path, bytes) = with_record();
    assert_eq!(home.run(["value", "check", &path]).done(), "ok\n");
    let found = home.run(["--json", "value", "check", &path]).json();
    assert_eq!((&found["valid"], &found["rule"]), (&true.into(), &().into()));
    assert_eq!(found["bytes"], bytes.len());
    let mut damaged = bytes.clone();
    damaged[0x2C] = 1;
    for (damaged, rule, offset) in [
        (&b""[..], "short", 0),
        (b"no record, but long enough for a header", "magic", 0),
        (&bytes[..bytes.len() - 8], "length", 12),
        (&damaged, "pad", 0x2C),
    ] {
        let path = home.file("damaged", damaged);
        let run = home.run(["value", "check", &path]);
        let told = format!("rule `{rule}` broken at byte {offset}");
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{run:?}");
        assert!(run.stdout.starts_with(&told) && run.stdout.ends_with('\n'), "{run:?}");
        let run = home.run(["--json", "value", "check", &path]);
        assert_eq!(run.code, 1);
        let found: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((&found["valid"], &found["rule"]), (&false.into(), &rule.into()));
        assert_eq!(found["offset"], offset);
        let error = home.run(["--json", "value", "to-json", &path]).failed_json(4, "corruption");
        assert_eq!((&error["offset"], error["file"].as_str()), (&offset.into(), Some(&*path)));
        home.run(["value", "to-json", &path]).failed(4, &[&path, &told]);
    }
}

#[test]
fn dump_explains_the_bytes() {
    let (home, path, bytes) = with_record();
    let dumped = home.run(["value", "dump", &path]).done();
    assert_eq!(dumped, uarr_layout::uarr::dump(&bytes));
    assert!(dumped.starts_with("0000  55 41 52 31") && dumped.ends_with("\nvalid\n"), "{dumped}");
    let lines = home.run(["--json", "value", "dump", &path]).json();
    assert_eq!(lines["lines"].as_array().unwrap().len(), dumped.lines().count());
    // What is left of a damaged record is shown, and what is wrong with it.
    let damaged = home.file("damaged", &bytes[..40]);
    let dumped = home.run(["value", "dump", &damaged]).done();
    assert!(dumped.contains("55 41 52 31") && dumped.contains("rule `length`"), "{dumped}");
}

#[test]
fn input_that_cannot_be_used() {
    let home = Home::new();
    home.feed(["value", "from-json"], "{\"a\":1,\n\"a\":2}").failed(2, &["repeated", "line 2"]);
    let text = home.file("text", "[1,");
    let error = home.run(["--json", "value", "from-json", &text]).failed_json(2, "input");
    assert_eq!((&error["offset"], &error["line"]), (&3.into(), &1.into()));
    assert_eq!(error["file"], text);
    let none = home.dir.path().join("none");
    let none = none.to_str().unwrap();
    for verb in ["from-json", "to-json", "check", "dump"] {
        home.run(["value", verb, none]).failed(2, &["cannot read", "none", "give a file"]);
        home.run(["value", verb, "/"]).failed(6, &["cannot read /"]);
    }
    let too_long = home.file("long", "");
    fs::File::options().write(true).open(&too_long).unwrap().set_len((64 << 20) + 1).unwrap();
    home.run(["value", "from-json", &too_long]).failed(2, &["more than 67108864 bytes"]);
    assert_eq!(command().args(["value", "frob"]).output().unwrap().status.code(), Some(2));
    assert_eq!(command().args(["value"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn a_full_output_is_an_error() {
    let (home, path, _) = with_record();
    let text = home.file("text", JSON);
    for args in [["from-json", &text], ["to-json", &path], ["check", &path], ["dump", &path]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = home.command(["value"]);
        let run = Run::of(command.args(args).stdout(full).output().unwrap());
        run.failed(6, &["cannot write the output"]);
    }
}
