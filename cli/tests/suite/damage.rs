//! Changed bytes are met with an error that names the place.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::run::Home;

const COUNT: u64 = 100;

fn filled() -> Home {
    let home = Home::new();
    let input: String =
        (0..COUNT).map(|i| format!("{{\"id\":\"k{i:03}\",\"v\":\"needle-{i:03}\"}}\n")).collect();
    home.feed(["import", "-", "--key", "id"], input).done();
    home
}

/// Changes every byte at which `needle` starts in the file.
fn damage(path: &Path, needle: &[u8]) -> u64 {
    let bytes = fs::read(path).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let mut count = 0;
    for (at, window) in bytes.windows(needle.len()).enumerate() {
        if window == needle {
            file.write_all_at(&[needle[0] ^ 1], at as u64).unwrap();
            count += 1;
        }
    }
    count
}

/// The only file of a directory of the database.
fn only_file(home: &Home, dir: &str) -> PathBuf {
    let mut files = fs::read_dir(home.db().join(dir)).unwrap();
    files.next().unwrap().unwrap().path()
}

#[test]
fn damaged_records_are_found_and_named() {
    let home = filled();
    let data = only_file(&home, "data");
    let name = data.strip_prefix(home.db()).unwrap().to_str().unwrap().to_owned();
    assert_eq!(damage(&data, b"needle-017") + damage(&data, b"needle-042"), 2);

    home.run(["get", "k017"]).failed(4, &["damage in", &name, "at address", "uarr verify"]);
    let error = home.run(["--json", "get", "k042"]).failed_json(4, "corruption");
    assert_eq!(error["file"], name.as_str());
    assert!(error["offset"].is_u64());
    home.run(["get", "k018"]).done();

    let run = home.run(["verify"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.stdout.matches("damage in").count(), 2, "{run:?}");
    assert!(run.stdout.contains("damaged in 2 places: 98 records"), "{run:?}");
    let run = home.run(["--json", "verify"]);
    assert_eq!(run.code, 1, "{run:?}");
    let told: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&told["clean"], &told["records"]), (&false.into(), &98.into()));
    assert_eq!(told["damages"].as_array().unwrap().len(), 2);
    assert_eq!(told["damages"][0]["file"], name.as_str());

    let run = home.run(["scan"]);
    assert_eq!((run.code, run.stdout.lines().count()), (4, 17), "{run:?}");
}

#[test]
fn a_lost_superblock_is_reported_and_a_second_one_stops() {
    let home = filled();
    let path = home.db().join("superblock");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let original = fs::read(&path).unwrap();
    let newer = match generation(&original, 0) > generation(&original, 65_536) {
        true => 0,
        false => 65_536,
    };
    file.write_all_at(&[0xff; 16], newer + 100).unwrap();
    let run = home.run(["get", "k001"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "{\"id\":\"k001\",\"v\":\"needle-001\"}\n"));
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    assert!(run.stderr.starts_with("uarr: warning: opening got around damage: "), "{run:?}");
    // Reading repairs nothing.
    let run = home.run(["verify"]);
    assert_eq!((run.code, run.stdout.contains("damage in superblock")), (1, true), "{run:?}");
    assert_eq!(home.run(["checkpoint"]).code, 0);
    home.run(["verify"]).done();

    for start in [0, 65_536] {
        file.write_all_at(&[0xff; 16], start + 100).unwrap();
    }
    home.run(["--recovery", "strict", "get", "k001"])
        .failed(4, &["superblock", "offset", "backup"]);
    let error = home.run(["--json", "get", "k001"]).failed_json(4, "corruption");
    assert_eq!(error["file"], "superblock");
}

fn generation(superblock: &[u8], slot: usize) -> u64 {
    u64::from_le_bytes(superblock[slot + 32..slot + 40].try_into().unwrap())
}
