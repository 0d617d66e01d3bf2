//! Commands that read change nothing: no file, no lock, beside a process that writes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use uarr::{Db, KeyKind, TableOptions};

use crate::fence::forbid_changes_for_this_thread;
use crate::run::{Home, Run, command};

/// The commands, and a part of what each says.
const READERS: [(&[&str], &str); 12] = [
    (&["get", "k:7"], "\"n\":7"),
    (&["get", "k:7", "k:8", "--field", "n"], "{\"key\":\"k:8\",\"value\":8}"),
    (&["get", "7", "--table", "numbers"], "\"n\":70"),
    (&["expiry", "k:7"], "never\n"),
    (&["lease", "show", "job", "--table", "leases"], "of ada, until"),
    (&["scan", "--limit", "2", "--reverse"], "k:99"),
    (&["scan", "--prefix", "k:1", "--count"], "11\n"),
    (&["count"], "100\n"),
    (&["tables"], "numbers  10 records, u64 keys"),
    (&["stats"], "keys                111\n"),
    (&["export", "-"], "{\"records\":100}\n"),
    (&["verify"], "clean: "),
];

/// A database, closed or not, and a handle of it.
fn filled(home: &Home) -> Db {
    let db = Db::open(home.db()).unwrap();
    let put = |n: u64| db.put(format!("k:{n}"), uarr::uarr!({ "n": n })).map(drop);
    (0..90).try_for_each(put).unwrap();
    let options = TableOptions::new().keys(KeyKind::U64);
    let numbers = db.table_with("numbers", options).unwrap();
    (0..10u64).for_each(|n| drop(numbers.put(n, uarr::uarr!({ "n": n * 10 }))));
    let leases = db.table("leases").unwrap();
    assert!(leases.acquire("job", "ada", Duration::from_hours(1)).unwrap().granted().is_some());
    db.checkpoint().unwrap();
    (90..100).try_for_each(put).unwrap();
    db
}

/// Content and time of change of all that there is.
fn state_of(path: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap().path();
        let changed = entry.metadata().unwrap().modified().unwrap();
        if entry.is_dir() {
            files.extend(state_of(&entry));
        }
        let bytes = if entry.is_file() { fs::read(&entry).unwrap() } else { Vec::new() };
        files.insert(entry.display().to_string(), (bytes, changed));
    }
    files
}

fn copy(source: &Path, target: &Path) {
    assert!(Command::new("cp").arg("-r").args([source, target]).status().unwrap().success());
}

#[test]
fn readers_change_nothing_even_if_the_kernel_ends_what_does() {
    let home = Home::new();
    let db = filled(&home);
    let unclosed = home.dir.path().join("unclosed");
    copy(&home.db(), &unclosed);
    db.close().unwrap();
    for path in [home.db(), unclosed] {
        let before = state_of(&path);
        let fenced = std::thread::spawn({
            let path = path.clone();
            move || {
                forbid_changes_for_this_thread();
                let run = |args: &[&str]| command().arg("--db").arg(&path).args(args).output();
                READERS.map(|(args, _)| run(args).unwrap())
            }
        });
        for ((args, said), output) in READERS.iter().zip(fenced.join().unwrap()) {
            let told = Run::of(output).done();
            assert!(told.contains(said), "{args:?}: {told}");
        }
        assert_eq!(state_of(&path), before);
    }
}

#[test]
fn readers_run_beside_a_process_that_writes() {
    let home = Home::new();
    let db = filled(&home);
    for (args, said) in READERS {
        let told = home.run(args).done();
        assert!(told.contains(said), "{args:?}: {told}");
    }
    db.put("k:7", uarr::uarr!({ "n": "new" })).unwrap();
    assert_eq!(home.run(["get", "k:7", "--field", "n"]).done(), "\"new\"\n");
    home.run(["del", "k:7"]).failed(3, &["open in process"]);
}

#[test]
fn a_directory_that_cannot_be_written_can_be_read() {
    let home = Home::new();
    filled(&home).close().unwrap();
    let paths = ["", "wal", "index", "data"].map(|folder| home.db().join(folder));
    let set = |mode| {
        for path in &paths {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    fs::remove_file(home.db().join("lock")).unwrap();
    set(0o555);
    for (args, said) in READERS {
        let told = home.run(args).done();
        assert!(told.contains(said), "{args:?}: {told}");
    }
    assert!(!home.db().join("lock").exists());
    set(0o755);
}

fn trace(home: &Home, args: &[&str]) -> Option<String> {
    let target = home.dir.path().join("trace");
    let traced =
        Command::new("strace").args(["-f", "-o"]).arg(&target).arg("--").args(args).output();
    let Ok(Output { stderr, status, .. }) = traced else {
        println!("skipped: there is no strace");
        return None;
    };
    let text = fs::read_to_string(&target).unwrap_or_default();
    if text.is_empty() {
        println!("skipped: strace may not trace here: {}", String::from_utf8_lossy(&stderr));
        return None;
    }
    assert!(status.success());
    Some(text)
}

/// What `strace` sees of a look-up: its answer is all that it writes.
#[test]
fn a_look_up_makes_no_call_that_writes() {
    let home = Home::new();
    filled(&home).close().unwrap();
    let (program, db) = (env!("CARGO_BIN_EXE_uarr"), home.db());
    let args = [program, "--db", db.to_str().unwrap(), "get", "k:7"];
    let Some(text) = trace(&home, &args) else { return };
    let calls = text.lines().filter_map(|line| Some(line.split_once(' ')?.1.trim_start()));
    let calls: Vec<_> = calls.collect();
    assert!(calls.iter().any(|call| call.starts_with("pread64(")), "nothing was traced");
    let writes = [
        "write",
        "pwrite",
        "fsync",
        "fdatasync",
        "sync",
        "msync",
        "ftruncate",
        "fallocate",
        "rename",
        "unlink",
        "mkdir",
        "link",
        "flock",
        "io_uring",
        "sendfile",
        "copy_file_range",
    ];
    for call in &calls {
        let name = call.split('(').next().unwrap_or_default();
        let is_answer = call.starts_with("write(1,");
        let writes = writes.iter().any(|start| name.starts_with(start));
        assert!(!writes || is_answer, "{call}");
        let opens = name.starts_with("open") || name == "creat";
        let to_write = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE"];
        assert!(!opens || !to_write.iter().any(|flag| call.contains(flag)), "{call}");
    }
}
