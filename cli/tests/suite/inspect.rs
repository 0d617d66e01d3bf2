//! Looking into databases that are not open, whole and damaged: nothing of them is changed.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use uarr::{Db, Expires, Expiry};

use crate::run::{Home, Run};

/// Closed in order: put, put, a batch of a put and a delete, each a group of its own.
fn filled() -> Home {
    let home = Home::new();
    let db = Db::open(home.db()).unwrap();
    db.put("a", b"first").unwrap();
    db.put("two\nlines", [7; 5000]).unwrap();
    db.batch().put("c", b"third").delete("a").commit().unwrap();
    db.close().unwrap();
    home
}

fn lines(run: &Run) -> Vec<Value> {
    run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

/// Every file of the database but the lock.
fn content(home: &Home) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![home.db()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false if path.ends_with("lock") => {}
                false => drop(files.insert(path.clone(), fs::read(&path).unwrap())),
            }
        }
    }
    files
}

fn flip(home: &Home, file: &str, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(home.db().join(file)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

fn break_both_slots(home: &Home) {
    flip(home, "superblock", 100);
    flip(home, "superblock", 65_636);
}

#[test]
fn the_log_is_shown_group_by_group() {
    let home = filled();
    let before = content(&home);
    let run = home.run(["--json", "log-dump"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    let told = lines(&run);
    let (groups, mut frames) = (of_type(&told, "group"), of_type(&told, "frame"));
    assert_eq!((groups.len(), frames.len(), told.len()), (3, 5, 9));
    let opening = frames.remove(0);
    assert_eq!((&opening["kind"], &opening["address"]), (&"chunk-open".into(), &0.into()));
    assert_eq!((&opening["place"], &opening["count"]), (&0.into(), &1.into()));
    assert_eq!(groups[0]["frames"], 2);
    let seen: Vec<_> = frames
        .iter()
        .map(|frame| format!("{} {} {}", frame["kind"], frame["key"], frame["value_bytes"]))
        .collect();
    assert_eq!(
        seen,
        [
            "\"put\" \"a\" 5",
            "\"put\" \"two\\nlines\" 5000",
            "\"put\" \"c\" 5",
            "\"delete\" \"a\" 0"
        ]
    );
    assert_eq!(frames[2]["batch_continues"], true);
    assert_eq!(frames[3]["batch_continues"], false);
    assert_eq!(groups[2]["first_lsn"], frames[2]["lsn"]);
    assert_eq!(groups[2]["last_lsn"], frames[3]["lsn"]);
    assert_eq!(groups[2]["durable_lsn"], groups[1]["last_lsn"]);
    let end = &told[8];
    assert_eq!((&end["type"], &end["torn"]), (&"end".into(), &Value::Null));
    assert_eq!((&end["lsn"], &end["missing"]), (&groups[2]["last_lsn"], &Value::Null));

    let text = home.run(["log-dump"]).done();
    assert_eq!(text.lines().count(), told.len());
    assert!(text.contains("LSN 1 chunk-open address 0 place 0 count 1"), "{text}");
    assert!(text.contains("put hex:74776f0a6c696e6573 value 5000 bytes"), "{text}");
    assert!(text.lines().last().unwrap().contains("no group stands there"), "{text}");

    let second = groups[1]["first_lsn"].to_string();
    let run = home.run(["--json", "log-dump", "--from", &second, "--limit", "1"]);
    assert_eq!(lines(&run).len(), 2, "{run:?}");
    assert_eq!(lines(&run)[0], *groups[1]);
    let run = home.run(["--json", "log-dump", "--from", "18446744073709551615"]);
    assert_eq!(of_type(&lines(&run), "end").len(), 1, "{run:?}");
    assert_eq!(lines(&run).len(), 1);
    assert_eq!(content(&home), before, "looking changes nothing");
}

/// 2033-05-18T03:33:20Z and a day later.
const EXPIRES_MS: [u64; 2] = [2_000_000_000_000, 2_000_086_400_000];

#[test]
fn it_is_shown_when_records_expire() {
    let home = Home::new();
    let db = Db::open(home.db()).unwrap();
    let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
    db.put("early", b"1".expires_at(at(EXPIRES_MS[0]))).unwrap();
    db.put("never", b"2").unwrap();
    db.batch().put("late", b"3").touch("late", Expiry::At(at(EXPIRES_MS[1]))).commit().unwrap();
    db.close().unwrap();
    let told = lines(&home.run(["--json", "log-dump"]));
    let frames = of_type(&told, "frame");
    let expiries: Vec<_> = frames.iter().map(|frame| frame["expires_ms"].as_u64()).collect();
    assert_eq!(expiries, [None, Some(EXPIRES_MS[0]), None, None, Some(EXPIRES_MS[1])]);
    let text = home.run(["log-dump"]).done();
    assert!(text.contains("put early value 1 bytes expires 2033-05-18T03:33:20.000Z"), "{text}");
    assert_eq!(text.matches(" expires ").count(), 2, "{text}");

    let chunk = home.run(["--json", "inspect", "chunk", "0"]).json();
    assert_eq!(chunk["expiring"], 2);
    assert_eq!(chunk["first_expires_ms"], EXPIRES_MS[0]);
    assert_eq!(chunk["last_expires_ms"], EXPIRES_MS[1]);
    let text = home.run(["inspect", "chunk", "0"]).done();
    assert!(text.contains("first expires       2033-05-18T03:33:20.000Z"), "{text}");
    assert!(text.contains("last expires        2033-05-19T03:33:20.000Z"), "{text}");
    let superblock = home.run(["--json", "inspect", "superblock"]).json();
    let slots = superblock["slots"].as_array().unwrap();
    let floors = slots.iter().filter_map(|slot| slot["expired_until_ms"].as_u64());
    assert!(floors.max().unwrap() > 1_600_000_000_000, "{superblock}");
    let index = home.run(["--json", "inspect", "index"]).json();
    let sweep_ms = index["chunks"][0]["sweep_ms"].as_u64().unwrap();
    assert!((EXPIRES_MS[0]..=EXPIRES_MS[1]).contains(&sweep_ms), "{index}");
    assert!(home.run(["inspect", "index"]).done().contains(", swept at 2033-05-1"), "a date");

    // Where nothing expires, nothing is said of it.
    let home = filled();
    let text = home.run(["log-dump"]).done() + &home.run(["inspect", "index"]).done();
    assert!(!text.contains("expires") && !text.contains("swept"), "{text}");
    let chunk = home.run(["--json", "inspect", "chunk", "0"]).json();
    assert_eq!((&chunk["expiring"], &chunk["first_expires_ms"]), (&0.into(), &Value::Null));
}

#[test]
fn the_end_of_a_damaged_log_is_reported() {
    let home = filled();
    let told = lines(&home.run(["--json", "log-dump"]));
    let groups = of_type(&told, "group");
    let offset = groups[1]["offset"].as_u64().unwrap();
    let segment = home.run(["--json", "inspect", "segment", "1"]).json();
    flip(&home, segment["file"].as_str().unwrap(), offset + 200);

    let run = home.run(["--json", "log-dump"]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{run:?}");
    let told = lines(&run);
    assert_eq!(of_type(&told, "group").len(), 1);
    let end = of_type(&told, "end")[0];
    assert_eq!((&end["offset"], &end["lsn"]), (&offset.into(), &groups[0]["last_lsn"]));
    assert!(end["torn"].as_str().unwrap().contains("checksum mismatch"), "{end}");
    assert!(end["missing"].as_str().unwrap().contains("acknowledged records are missing"), "{end}");
    let run = home.run(["log-dump"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains("a group stands there that is not whole"), "{run:?}");
}

#[test]
fn without_superblock_the_log_says_whose_it_is() {
    let home = filled();
    let before = lines(&home.run(["--json", "log-dump"]));
    break_both_slots(&home);
    let run = home.run(["--json", "log-dump"]);
    assert_eq!((run.code, lines(&run)), (0, before.clone()), "{run:?}");
    fs::remove_file(home.db().join("superblock")).unwrap();
    assert_eq!(lines(&home.run(["--json", "log-dump"])), before);
    let told = home.run(["--json", "inspect", "index"]).json();
    assert_eq!((&told["entries"], &told["damage"]), (&2.into(), &Value::Null));
    home.run(["inspect", "chunk", "0"]).failed(4, &["superblock", "the file is missing"]);
    let run = home.run(["inspect", "superblock"]);
    assert_eq!((run.code, run.stdout.matches("the file is missing").count()), (1, 2), "{run:?}");
    // With the first header of the log the last copy of the identity is gone.
    flip(&home, "wal/0000000000000001.wal", 20);
    home.run(["log-dump"]).failed(4, &["superblock", "the file is missing"]);
}

#[test]
fn superblock() {
    let home = filled();
    let run = home.run(["--json", "inspect", "superblock"]);
    let told = run.json();
    let slots = told["slots"].as_array().unwrap();
    assert_eq!(slots.len(), 2);
    let newest = slots.iter().find(|slot| slot["counts"] == true).unwrap();
    assert_eq!((&newest["key_kind"], &newest["closed"]), (&"bytes".into(), &true.into()));
    assert_eq!(newest["version"], "2.0");
    assert_eq!(newest["checkpoints"][0]["entries"], 2);
    assert_eq!(newest["checkpoints"][1]["segment"], 1);
    let text = home.run(["inspect", "superblock"]).done();
    assert_eq!(text.matches("this one counts").count(), 1, "{text}");

    let offset = newest["offset"].as_u64().unwrap();
    flip(&home, "superblock", offset + 100);
    let run = home.run(["--json", "inspect", "superblock"]);
    assert_eq!(run.code, 1, "{run:?}");
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    let slots = told["slots"].as_array().unwrap();
    let damaged = slots.iter().find(|slot| slot["offset"] == offset).unwrap();
    assert!(damaged["damage"].as_str().unwrap().contains("checksum mismatch"), "{damaged}");
    assert_eq!(slots.iter().filter(|slot| slot["counts"] == true).count(), 1);
}

#[test]
fn segments() {
    let home = filled();
    let told = home.run(["--json", "inspect", "segment", "1"]).json();
    assert_eq!((&told["begun"], &told["damage"]), (&true.into(), &Value::Null));
    assert_eq!(told["segment_bytes"], told["file_bytes"]);
    home.run(["inspect", "segment", "99"]).failed(2, &["there is no segment 99"]);
    flip(&home, told["file"].as_str().unwrap(), 50);
    let run = home.run(["inspect", "segment", "1"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains("offset 0: segment header: checksum mismatch"), "{run:?}");
}

#[test]
fn chunks() {
    let home = filled();
    let told = home.run(["--json", "inspect", "chunk", "0"]).json();
    assert_eq!((&told["offset"], &told["address"]), (&0.into(), &0.into()));
    assert_eq!((&told["has_header"], &told["records"]), (&true.into(), &4.into()));
    assert_eq!((&told["deletions"], &told["damages"]), (&1.into(), &Value::Array(vec![])));
    let bytes = (1 + 5) + (9 + 5000) + (1 + 5) + 1;
    assert_eq!(told["record_bytes"], bytes);
    home.run(["inspect", "chunk", "9999"]).failed(2, &["there is no chunk 9999"]);
    home.run(["inspect", "chunk", "18446744073709551615"]).failed(2, &["there is no chunk"]);

    let data = fs::read(home.db().join("data/records.uarr")).unwrap();
    let at = |needle: &[u8]| data.windows(needle.len()).position(|seen| seen == needle).unwrap();
    // The value of one record, and the header of another: its LSN.
    flip(&home, "data/records.uarr", at(b"first") as u64);
    flip(&home, "data/records.uarr", at(b"third") as u64 - 8 - 32 + 8);
    let run = home.run(["--json", "inspect", "chunk", "0"]);
    assert_eq!(run.code, 1, "{run:?}");
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(told["records"], 2);
    let damages = told["damages"].as_array().unwrap();
    assert_eq!(damages.len(), 2, "{damages:?}");
    assert!(damages[0].as_str().unwrap().contains("LSN 2: record: checksum"), "{damages:?}");
    assert!(damages[1].as_str().unwrap().contains("expected a record or zeros"), "{damages:?}");
    assert_eq!(home.run(["inspect", "chunk", "0"]).code, 1);
}

#[test]
fn index() {
    let home = Home::new();
    let db = Db::open(home.db()).unwrap();
    db.put("a", b"1").unwrap();
    db.put("b", b"2").unwrap();
    let run = home.run(["--json", "log-dump"]);
    run.failed_json(3, "locked");
    home.run(["inspect", "index"]).failed(3, &["is open in process"]);
    db.close().unwrap();
    let told = home.run(["--json", "inspect", "index"]).json();
    assert_eq!((&told["entries"], &told["pieces"][0]["kind"]), (&2.into(), &"bytes".into()));
    assert_eq!(told["pieces"][1]["kind"], "chunks");
    assert_eq!(told["pieces"][2]["kind"], "end");
    let chunk = &told["chunks"][0];
    assert_eq!((&chunk["number"], &chunk["place"]), (&0.into(), &0.into()));
    assert_eq!((&chunk["state"], &chunk["durable_bytes"]), (&"open".into(), &4096.into()));
    assert_eq!(chunk["live_bytes"], 128, "two records of a cache line each");
    assert!(home.run(["inspect", "index"]).done().contains("bytes, 2 entries"));

    let file = told["file"].as_str().unwrap();
    flip(&home, file, 70);
    let run = home.run(["inspect", "index"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains("offset 0: index image: checksum mismatch"), "{run:?}");
    fs::remove_file(home.db().join(file)).unwrap();
    assert!(home.run(["inspect", "index"]).stdout.contains("the file is missing"));
}

#[test]
fn no_database() {
    let home = Home::new();
    let words: [&[&str]; 3] = [&["log-dump"], &["inspect", "superblock"], &["inspect", "index"]];
    for args in words {
        home.run(args).failed(3, &["does not exist"]);
    }
    fs::create_dir(home.db()).unwrap();
    for args in words {
        home.run(args).failed(3, &["there is no database in"]);
    }
    assert_eq!(fs::read_dir(home.db()).unwrap().count(), 0);
}

#[test]
fn a_damaged_database_is_repaired_into_a_new_one() {
    let home = filled();
    let scanned = home.run(["scan"]).done();
    let target = home.dir.path().join("saved");
    let target = target.to_str().unwrap();
    let command = |mode: &'static str| ["--json", "repair", "--mode", mode, target];
    let at_target = |args: &[&str]| home.run([args, &["--db", target]].concat());
    // Nothing is damaged: all of it.
    let told = home.run(command("salvage")).json();
    assert_eq!((&told["kept"], &told["lost_versions"]), (&2.into(), &0.into()), "{told}");
    assert_eq!((&told["damaged_places"], &told["left_out_versions"]), (&0.into(), &0.into()));
    assert_eq!(told["may_revive_deleted"], false);
    assert_eq!(at_target(&["scan"]).done(), scanned);
    at_target(&["verify"]).done();
    home.run(command("salvage")).failed_json(2, "usage");
    fs::remove_dir_all(target).unwrap();
    let inside = home.db().join("saved");
    home.run(["repair", "--mode", "salvage", inside.to_str().unwrap()])
        .failed(2, &["lies inside the damaged database"]);
    assert_eq!(home.run(["repair", target]).code, 2, "the mode is to be chosen");

    // The second group is damaged in the log, its record in the data file, and the superblock.
    let told = lines(&home.run(["--json", "log-dump"]));
    let group = of_type(&told, "group")[1].clone();
    let frames = of_type(&told, "frame");
    let records: Vec<_> = frames.iter().filter(|frame| frame["kind"] != "chunk-open").collect();
    let (record, lsn) = (records[1]["address"].as_u64().unwrap(), &records[1]["lsn"]);
    flip(&home, "wal/0000000000000001.wal", group["offset"].as_u64().unwrap() + 200);
    flip(&home, "data/records.uarr", record + 100);
    break_both_slots(&home);
    let before = content(&home);
    home.run(["get", "c"]).failed(4, &["superblock", "uarr repair"]);
    home.run(command("salvage")).failed_json(2, "usage");
    let run = home.run(command("salvage").iter().chain(&["--key-kind", "bytes"]));
    let told = run.json();
    assert_eq!((&told["kept"], &told["lost_versions"]), (&1.into(), &1.into()), "{told}");
    // How and why the log ends, both slots, the frame, the record.
    let damages = told["damages"].as_array().unwrap();
    assert_eq!((damages.len(), &told["damaged_places"]), (6, &6.into()), "{told}");
    assert_eq!(
        (&damages[0]["offset"], &damages[1]["offset"]),
        (&group["offset"], &group["offset"])
    );
    assert_eq!(damages[4]["offset"], group["offset"].as_u64().unwrap() + 96, "{told}");
    assert_eq!((&damages[5]["offset"], &damages[5]["lsn"]), (&record.into(), lsn));
    assert_eq!(at_target(&["scan", "--keys-only"]).done(), "c\n");
    fs::remove_dir_all(target).unwrap();
    // In order the log can be read up to the first record only, which the last one deleted.
    let run = home.run(["repair", "--mode", "tolerate", target, "--key-kind", "bytes"]);
    let said = run.done();
    assert!(said.contains("kept 1 record") && said.contains("may have come back"), "{said}");
    assert_eq!(at_target(&["scan", "--keys-only"]).done(), "a\n");
    assert_eq!(content(&home), before, "the damaged database is only read");
}
