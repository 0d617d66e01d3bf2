//! `uarr import`.

use std::io::{Read, Write};
use std::process::{Child, Stdio};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::random::json;
use crate::run::{Home, first_message};

fn lines(count: u64) -> String {
    (0..count).map(|i| format!("{{\"id\":\"k{i:05}\",\"n\":{i}}}\n")).collect()
}

#[test]
fn every_line_becomes_a_record() {
    let home = Home::new();
    let file = home.file("in.ndjson", lines(2500));
    for (round, durability) in ["sync", "interval:5ms", "manual"].iter().enumerate() {
        let args = ["--json", "import", &file, "--key", "id", "--durability", durability];
        let told = home.run(args.iter().chain(&["--batch", "7"])).json();
        assert_eq!(told["records"], 2500, "{round}");
        assert_eq!(told["keys"], 2500);
        assert_eq!(told["bad_lines"], 0);
        assert_eq!(told["input_bytes"], lines(2500).len());
    }
    let scanned = home.run(["scan"]).done();
    let expected: String = lines(2500)
        .lines()
        .enumerate()
        .map(|(i, line)| format!("{{\"key\":\"k{i:05}\",\"value\":{line}}}\n"))
        .collect();
    assert_eq!(scanned, expected);
    let text = home.run(["import", &file, "--key", "id"]).done();
    assert!(text.starts_with("imported 2,500 records from "), "{text}");
}

#[test]
fn the_last_of_a_key_stays() {
    let home = Home::new();
    let input = "{\"id\":1,\"v\":1}\n{\"id\":2}\n{\"id\":1,\"v\":2}\n{\"id\":\"1\",\"v\":3}\n";
    for batch in ["1", "3", "100"] {
        let told = home.feed(["--json", "import", "-", "--key", "id", "--batch", batch], input);
        let told = told.json();
        assert_eq!((&told["records"], &told["keys"]), (&4.into(), &2.into()));
        assert_eq!(home.run(["get", "1", "--field", "v"]).done(), "3\n");
    }
}

#[test]
fn keys_by_path_and_odd_input() {
    let home = Home::new();
    let input =
        "\u{feff}{\"a\":{\"b\":[\"x\",\"k1\"]}}\r\n\n   \n{\"a\":{\"b\":[0,\"\\u00e9\\n\"]}}";
    home.feed(["import", "-", "--key", "a.b[1]"], input).done();
    let keys = home.run(["--json", "scan", "--keys-only"]).done();
    assert_eq!(keys, "{\"key\":\"k1\"}\n{\"key\":\"\u{e9}\\n\"}\n");
    let told = home.feed(["--json", "import", "-", "--key", "id"], "").json();
    assert_eq!((&told["records"], &told["keys"]), (&0.into(), &2.into()));
}

#[test]
fn a_bad_line_ends_it_and_is_named() {
    let home = Home::new();
    let file = home.file("in.ndjson", lines(1500) + "{\"id\":\"x\",\"v\":tru}\n" + &lines(3));
    let run = home.run(["import", &file, "--key", "id"]);
    let parts =
        ["in.ndjson, line 1501, column 18:", "(imported before it: 1,500 records)", "--skip-bad"];
    run.failed(2, &parts);
    assert_eq!(home.run(["--json", "stats"]).json()["keys"], 1500);
    let error = home.run(["--json", "import", &file, "--key", "id"]).failed_json(2, "input");
    assert_eq!(error["line"], 1501);
    assert_eq!(error["offset"], lines(1500).len());
    assert_eq!(error["file"], file.as_str());

    let missing = home.feed(["import", "-", "--key", "name"], "{\"id\":1}\n");
    missing.failed(2, &["standard input, line 1:", "no key field 'name'"]);
    let list = home.feed(["import", "-", "--key", "id"], "{\"id\":[1]}\n");
    list.failed(2, &["line 1:", "'id' cannot be a key", "a list"]);
    home.feed(["import", "-", "--key", "id"], "7\n").failed(2, &["a JSON object was expected"]);
    home.feed(["import", "-", "--key", "id"], b"{\"id\":\"\xff\"}\n").failed(2, &["UTF-8"]);
    let deep = format!("{{\"id\":1,\"v\":{}}}\n", "[".repeat(100_000));
    home.feed(["import", "-", "--key", "id"], deep).failed(2, &["line 1, column", "64 containers"]);
}

#[test]
fn bad_lines_can_be_skipped() {
    let home = Home::new();
    let input = format!("x\n{}{{}}\n[]\n{{\"id\":\"last\"}}\n", lines(10));
    let run = home.feed(["import", "-", "--key", "id", "--skip-bad"], &input);
    assert_eq!(run.code, 0);
    assert!(
        run.stdout.contains("imported 11 records") && run.stdout.contains("3 bad lines skipped")
    );
    let told: Vec<_> = run.stderr.lines().collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for (line, number) in told.iter().zip([1, 12, 13]) {
        let start = format!("uarr: warning: skipped standard input, line {number}");
        assert!(line.starts_with(&start), "{line}");
    }
    let run = home.feed(["--json", "import", "-", "--key", "id", "--skip-bad"], &input);
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&told["records"], &told["bad_lines"]), (&11.into(), &3.into()));
    for line in run.stderr.lines() {
        let warning: Value = serde_json::from_str(line).unwrap();
        assert!(warning["warning"].is_string());
    }
}

#[test]
fn unusable_input_creates_no_database() {
    let home = Home::new();
    let import = |file: &str| home.run(["import", file, "--key", "id"]);
    import("/nowhere/in.ndjson").failed(2, &["cannot read /nowhere/in.ndjson", "No such file"]);
    import(home.dir.path().to_str().unwrap()).failed(2, &["cannot read", "is a directory"]);
    home.run(["put", "k", "{"]).failed(2, &["no JSON", "line 1 column 2", "single quotes"]);
    home.run(["put", "", "1"]).failed(2, &["at least 1 byte"]);
    home.run(["--key-kind", "u64", "put", "x", "1"]).failed(2, &["'x' is no key"]);
    assert!(!home.db().exists());
    for args in [["--batch", "0"], ["--durability", "never"], ["--durability", "interval:5"]] {
        let run = home.run(["import", "-", "--key", "id"].iter().chain(&args));
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains(args[0]), "{run:?}");
    }
    let run = home.run(["import", "-", "--key", "id", "--durability", "interval:0ms"]);
    run.failed(2, &["1 ms to 1 h"]);
}

/// What was committed before the kill is there, and nothing else.
#[test]
fn killed_in_the_middle() {
    let home = Home::new();
    let mut command = home.command(["import", "-", "--key", "id", "--batch", "100", "--skip-bad"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (lines, all) = (lines(250), lines(250).lines().count());
    // The bad line belongs to the second pack: the command reports it when that is durable.
    let cut = lines.match_indices('\n').nth(149).unwrap().0 + 1;
    let (start, end) = lines.split_at(cut);
    stdin.write_all(format!("{start}bad\n{end}").as_bytes()).unwrap();
    let told = first_message(child.stderr.take().unwrap());
    assert!(told.contains("line 151"), "{told}");
    child.kill().unwrap();
    child.wait().unwrap();
    let scanned = home.run(["scan", "--keys-only"]).done();
    // What fills no pack is committed as one when no more comes for a while.
    let count = scanned.lines().count();
    assert!(count == 200 || count == all, "{count} of {all}");
    let expected: String = (0..count).map(|i| format!("k{i:05}\n")).collect();
    assert_eq!(scanned, expected);
    home.run(["verify"]).done();
}

/// Records in the first part of the log: their keys, each of them named once in its frame.
fn keys_in_log(home: &Home) -> usize {
    let mut keys = std::collections::BTreeSet::new();
    for segment in std::fs::read_dir(home.db().join("wal")).into_iter().flatten() {
        let mut content = Vec::new();
        // A segment that is being made gets its name when it is whole.
        let Ok(file) = std::fs::File::open(segment.unwrap().path()) else { continue };
        file.take(1 << 20).read_to_end(&mut content).unwrap();
        let found = content.windows(9).filter(|bytes| bytes.starts_with(b"row-"));
        keys.extend(found.map(<[u8]>::to_vec));
    }
    keys.len()
}

/// A log that is followed: lines come, and then nothing for a long time.
#[test]
fn lines_of_a_slow_input_are_stored_as_they_come() {
    for durability in ["sync", "interval:20ms"] {
        let home = Home::new();
        let args = ["import", "-", "--key", "id", "--durability", durability, "--batch", "4"];
        let mut command = home.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut expected = 0;
        // Fewer than a batch, and more; then half a line, which is no record yet.
        for count in [1, 3, 9] {
            for _ in 0..count {
                writeln!(input, "{{\"id\":\"row-{expected:05}\"}}").unwrap();
                expected += 1;
            }
            write!(input, "{{\"id\":").unwrap();
            let begun = std::time::Instant::now();
            while keys_in_log(&home) < expected && begun.elapsed().as_secs() < 20 {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            assert_eq!(keys_in_log(&home), expected, "{durability}");
            writeln!(input, "\"row-{expected:05}\"}}").unwrap();
            expected += 1;
        }
        drop(input);
        assert!(child.wait().unwrap().success());
        assert_eq!(home.run(["scan", "--keys-only"]).done().lines().count(), expected);
    }
}

/// Every way in takes the mark that some editors write in front of a text, or none does.
#[test]
fn a_byte_order_mark_is_no_part_of_a_record() {
    let home = Home::new();
    let marked = "\u{feff}{\"id\":\"a\"}";
    let file = home.file("marked", marked);
    home.run(["import", &file, "--key", "id"]).done();
    home.run(["put", "b", marked]).done();
    home.feed(["put", "c", "-"], marked).done();
    let values = home.run(["scan"]).done();
    assert_eq!(values.matches("\"value\":{\"id\":\"a\"}").count(), 3, "{values}");
    assert_eq!(home.run(["value", "from-json", &file]).code, 0);
}

#[test]
fn documents_and_arrays() {
    let pretty =
        "{\n  \"id\": \"a\",\n  \"v\": {\n    \"w\": [1, \"}\"]\n  }\n}\n{\n  \"id\": \"b\"\n}\n";
    let array = "[\n  {\"id\": \"a\", \"v\": {\"w\": [1, \"}\"]}},\n  {\"id\": \"b\"}\n]\n";
    let minified = "[{\"id\":\"a\",\"v\":{\"w\":[1,\"}\"]}},{\"id\":\"b\"}]";
    let expected = "{\"key\":\"a\",\"value\":{\"id\":\"a\",\"v\":{\"w\":[1,\"}\"]}}}\n\
                    {\"key\":\"b\",\"value\":{\"id\":\"b\"}}\n";
    for input in [pretty, array, minified] {
        let home = Home::new();
        let told = home.feed(["--json", "import", "-", "--key", "id"], input).json();
        assert_eq!(told["records"], 2);
        assert_eq!(home.run(["scan"]).done(), expected);
    }
    let home = Home::new();
    let import = |input: &str, more: &[&str]| {
        home.feed(["import", "-", "--key", "id"].iter().chain(more), input)
    };
    import("[\n{\"id\":1},\n{\"ID\":2},\n{\"id\":3}\n]", &[]).failed(
        2,
        &["line 3: there is no key field 'id'", "(imported before it: 1 record)", "--skip-bad"],
    );
    let run = import("[\n{\"id\":1},\n{\"ID\":2},\n{\"id\":tru},\n{\"id\":3}\n]", &["--skip-bad"]);
    assert!(run.stdout.contains("imported 2 records") && run.stdout.contains("2 bad"), "{run:?}");
    // Nothing says where the next element begins.
    let broken = "[\n{\"id\":1}\n{\"id\":3}\n]";
    import(broken, &["--skip-bad"]).failed(2, &["line 3", "a comma or ] was expected"]);
    import("[{\"id\":1}", &["--skip-bad"]).failed(2, &["line 1", "the array has no end"]);
    import("{\n\"id\":\n", &[]).failed(2, &["line 3, column 1: the text ends inside of a value"]);
}

/// However the same objects are written, the same records come of them.
#[test]
fn documents_are_found_in_any_layout() {
    let values = prop::collection::vec(json(), 0..12);
    let mut runner = TestRunner::new(Config { cases: 12, ..Config::default() });
    let ran = runner.run(&values, |values| {
        let objects = values.iter().enumerate().map(|(id, json)| {
            let value: Value = serde_json::from_str(json).unwrap();
            serde_json::json!({ "id": id, "value": value })
        });
        let objects: Vec<_> = objects.collect();
        let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
        let array = Value::from(objects.clone());
        let lines: String = objects.iter().map(|object| format!("{object}\n")).collect();
        let layouts = [
            lines,
            objects.iter().map(pretty).collect::<String>(),
            objects.iter().map(|object| pretty(object).replace('\n', "\r\n")).collect::<String>(),
            array.to_string(),
            pretty(&array),
        ];
        let exports = layouts.iter().map(|input| {
            let home = Home::new();
            home.feed(["import", "-", "--key", "id"], input).done();
            home.run(["export"]).done()
        });
        let exports: Vec<_> = exports.collect();
        prop_assert_eq!(exports[0].lines().count(), objects.len() + 2);
        for export in &exports {
            prop_assert_eq!(export, &exports[0]);
        }
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn several_files() {
    let home = Home::new();
    let lines = home.file("a.ndjson", lines(3));
    let array = home.file("b.json", "[{\"id\":\"x\"},\n{\"id\":\"y\"}]");
    let told = home.run(["--json", "import", &lines, &array, "--key", "id"]).json();
    assert_eq!((&told["records"], &told["keys"]), (&5.into(), &5.into()));
    let bad = home.file("c.json", "{\"id\":\"z\"}\n{\"id\":{}}\n");
    let run = home.run(["import", &array, &bad, &lines, "--key", "id"]);
    run.failed(2, &["c.json, line 2: ", "imported before it: 3 records"]);
    let missing = home.run(["import", &array, "/nowhere/x", "--key", "id"]);
    missing.failed(2, &["cannot read /nowhere/x"]);
    assert_eq!(home.run(["import", "--key", "id"]).code, 2);
}

#[test]
fn values_of_fields_and_prefixes_of_keys() {
    let home = Home::new();
    let input =
        "{\"a\":[{\"id\":7}],\"doc\":{\"name\":\"Ada\"}}\n{\"a\":[{\"id\":8}],\"doc\":5.50}\n";
    let args = ["import", "-", "--key", "a[0].id", "--value", "doc", "--prefix", "user:"];
    home.feed(args, input).done();
    let expected =
        "{\"key\":\"user:7\",\"value\":{\"name\":\"Ada\"}}\n{\"key\":\"user:8\",\"value\":5.5}\n";
    assert_eq!(home.run(["scan"]).done(), expected);
    let run = home.feed(args, "{\"a\":[{\"id\":7}]}");
    run.failed(2, &["line 1: there is no value field 'doc'"]);
    // The field is stored as the same JSON alone would be.
    home.run(["put", "7", "{\"name\":\"Ada\"}"]).done();
    let db = uarr::Db::open(home.db()).unwrap();
    assert_eq!(db.get("user:7").unwrap().unwrap().bytes(), db.get("7").unwrap().unwrap().bytes());
    db.close().unwrap();

    let numbers = Home::new();
    let args = ["import", "-", "--key", "id", "--prefix", "1", "--key-kind", "u64"];
    numbers.feed(args, "{\"id\":1}").failed(2, &["--prefix is for keys of bytes"]);
}

/// An import that failed left an empty database, in which the next one found keys of a kind that
/// was not asked for.
#[test]
fn an_import_that_fails_at_its_first_record_creates_no_database() {
    let home = Home::new();
    // An empty directory stays one.
    std::fs::create_dir(home.db()).unwrap();
    home.feed(["import", "-", "--key", "id"], "{\"id\":}\n").failed(2, &["line 1"]);
    std::fs::remove_dir(home.db()).unwrap();
    for (input, args) in
        [("{\"id\":}\n", &["--key", "id"][..]), ("{}", &["--key", "id"]), ("{}", &[])]
    {
        let run = home.feed(["import", "-"].iter().chain(args), input);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(!home.db().exists());
    }
    home.feed(["import", "-", "--key", "id", "--key-kind", "i64"], "").done();
    assert_eq!(home.run(["--json", "stats"]).json()["key_kind"], "i64");
    assert_eq!(home.run(["count"]).done(), "0\n");
}

/// An import of what the test goes on to write to it.
fn start_import(home: &Home) -> Child {
    let mut command = home.command(["import", "-", "--key", "id"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

/// Fails unless the log has `count` keys within 20 s, and no more.
fn wait_for_keys(home: &Home, count: usize) {
    let begun = std::time::Instant::now();
    while keys_in_log(home) < count && begun.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(keys_in_log(home), count);
}

/// What a compressor has passed on is stored, though its stream goes on.
#[test]
fn a_slow_compressed_input_is_stored_as_it_comes() {
    let home = Home::new();
    let mut child = start_import(&home);
    let input = child.stdin.take().unwrap();
    let mut packed = flate2::write::GzEncoder::new(input, flate2::Compression::fast());
    for count in 1..4 {
        writeln!(packed, "{{\"id\":\"row-{count:05}\"}}").unwrap();
        packed.flush().unwrap();
        wait_for_keys(&home, count);
    }
    drop(packed.finish().unwrap());
    assert!(child.wait().unwrap().success());
}

/// The end of a document is enough: no line end has to follow.
#[test]
fn documents_of_a_slow_input_are_stored_as_they_come() {
    let home = Home::new();
    let mut child = start_import(&home);
    let mut input = child.stdin.take().unwrap();
    for count in 1..4 {
        write!(input, "{{\n\"id\":\"row-{count:05}\"}}").unwrap();
        wait_for_keys(&home, count);
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}
