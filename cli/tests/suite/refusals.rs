//! Databases that cannot be opened, and devices that are full: each has its exit code, says what to
//! do, and harms nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use uarr_layout::checksum::crc32c;

use crate::run::{Home, Run, first_message, without_backend_warning};

/// Commands that must not create a database.
const READERS: [&[&str]; 6] =
    [&["get", "k"], &["del", "k"], &["scan"], &["stats"], &["verify"], &["checkpoint"]];

#[test]
fn no_database() {
    let home = Home::new();
    for args in READERS {
        home.run(args).failed(3, &["does not exist", "'uarr put' or 'uarr import'"]);
        home.run(["--json"].iter().chain(args)).failed_json(3, "no_database");
    }
    assert!(!home.db().exists());
    fs::create_dir(home.db()).unwrap();
    for args in READERS {
        home.run(args).failed(3, &["no database in", "'uarr put' or 'uarr import'"]);
    }
    home.run(["put", "k", "1"]).done();
    home.run(["get", "k"]).done();
}

#[test]
fn a_file_instead_of_a_directory() {
    let home = Home::new();
    fs::write(home.db(), "mine").unwrap();
    home.run(["put", "k", "1"]).failed(3, &["is not a directory"]);
    for args in READERS {
        home.run(args).failed(3, &["is not a directory"]);
    }
    assert_eq!(fs::read_to_string(home.db()).unwrap(), "mine");
}

#[test]
fn a_path_that_cannot_be_a_database_says_what_it_is() {
    let home = Home::new();
    let run = |args: &[&str]| home.run(args);
    std::os::unix::fs::symlink("nowhere", home.db()).unwrap();
    for args in [&["put", "k", "1"][..], &["get", "k"], &["log-dump"]] {
        run(args).failed(3, &["symbolic link that leads nowhere"]);
    }
    fs::remove_file(home.db()).unwrap();
    let made = Command::new("mkfifo").arg(home.db()).status().unwrap();
    assert!(made.success());
    for args in [&["put", "k", "1"][..], &["get", "k"], &["log-dump"]] {
        let run = run(args);
        assert!(!run.stderr.contains("'uarr put'"), "what was just tried is no advice: {run:?}");
        run.failed(3, &["is not a directory"]);
    }
}

/// A limit that lets the change itself pass and the checkpoint of closing fail: the user must know
/// both.
#[test]
fn a_failed_close_does_not_hide_what_was_stored() {
    let mut tried_count = 0;
    for (open_files_max, change) in
        (8..14).flat_map(|max| [(max, "put"), (max, "del"), (max, "import")])
    {
        let home = Home::new();
        let input = home.file("in", "{\"id\":\"k\",\"new\":true}\n");
        home.run(["put", "k", "{\"new\":false}"]).done();
        let args = match change {
            "put" => "put k '{\"new\":true}'".to_owned(),
            "del" => "del k".to_owned(),
            _ => format!("import {input} --key id"),
        };
        let program = env!("CARGO_BIN_EXE_uarr");
        let script = format!(
            "ulimit -n {open_files_max}; exec {program} --db {} {args}",
            home.db().display()
        );
        let mut shell = Command::new("bash");
        let run = Run::of(shell.args(["-c", &script]).output().unwrap());
        let after = home.run(["get", "k"]);
        let is_changed = after.code == 1 || after.stdout.contains("true");
        if run.code == 0 || !is_changed {
            continue;
        }
        tried_count += 1;
        assert!(run.stderr.contains("durable"), "{change} took place: {run:?}");
    }
    assert!(tried_count > 0, "no limit lets only the close fail");
}

#[test]
fn a_key_with_an_exponent_is_refused_for_what_it_is() {
    let home = Home::new();
    home.feed(["import", "-", "--key", "id"], "{\"id\":1e3}\n")
        .failed(2, &["a floating-point number"]);
}

#[test]
fn a_directory_without_parent() {
    let home = Home::new();
    let run = Run::of(home.command(["put", "k", "1", "--db", "/nowhere/at/all"]).output().unwrap());
    run.failed(3, &["cannot create directory /nowhere/at/all"]);
}

#[test]
fn other_files_in_the_directory() {
    let home = Home::new();
    fs::create_dir(home.db()).unwrap();
    fs::write(home.db().join("thesis.txt"), "mine").unwrap();
    let run = home.run(["--json", "put", "k", "1"]);
    let error = run.failed_json(3, "not_a_database");
    assert!(error["message"].as_str().unwrap().contains("'thesis.txt'"), "{error}");
    for args in READERS {
        home.run(args).failed(3, &["no database in"]);
    }
    assert_eq!(fs::read_to_string(home.db().join("thesis.txt")).unwrap(), "mine");
    assert!(!home.db().join("superblock").exists());
}

#[test]
fn locked_by_another_process() {
    let home = Home::new();
    home.run(["put", "k", "1"]).done();
    let mut holder = home.command(["import", "-", "--key", "id", "--batch", "1", "--skip-bad"]);
    holder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let mut input = holder.stdin.take().unwrap();
    // The command reports the bad line once the database is open.
    std::io::Write::write_all(&mut input, b"bad\n").unwrap();
    let told = first_message(holder.stderr.take().unwrap());
    assert!(told.contains("line 1"), "{told}");

    let pid = holder.id().to_string();
    home.run(["del", "k"]).failed(3, &[&pid, "close it there first"]);
    assert_eq!(home.run(["get", "k"]).done(), "1\n", "reading takes no lock");
    home.run(["--json", "put", "k", "2"]).failed_json(3, "locked");
    std::io::Write::write_all(&mut input, b"{\"id\":\"later\"}\n").unwrap();
    drop(input);
    assert!(holder.wait().unwrap().success());
    assert_eq!(home.run(["scan", "--keys-only"]).done(), "k\nlater\n");
}

#[test]
fn another_format() {
    let home = Home::new();
    home.run(["put", "k", "1"]).done();
    let path = home.db().join("superblock");
    let original = fs::read(&path).unwrap();
    let cases = [(3, ["version 3.0 is newer", "newer program"]), (1, ["1.0 is older", "copy its"])];
    for (major, said) in cases {
        let mut other = original.clone();
        // Both slots say so, with checksums that fit.
        for start in [0, 65_536] {
            let slot = &mut other[start..start + 4096];
            slot[12..16].copy_from_slice(&[major, 0, 0, 0]);
            let crc = crc32c(&[&slot[12..]]);
            slot[8..12].copy_from_slice(&crc.to_le_bytes());
        }
        fs::write(&path, &other).unwrap();
        home.run(["get", "k"]).failed(3, &said);
        home.run(["--json", "put", "k", "2"]).failed_json(3, "other_format");
        assert_eq!(fs::read(&path).unwrap(), other, "a refused database is left alone");
    }
    fs::write(&path, original).unwrap();
    assert_eq!(home.run(["get", "k"]).done(), "1\n");
}

/// The user `nobody`: where the tests run as root, missing rights need another user.
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_that_may_not_be_written() {
    let home = Home::new();
    home.run(["put", "k", "1"]).done();
    set_mode(home.dir.path(), 0o755);
    // The command may lie where no other user may read. Another process copies it: a child that
    // another test starts meanwhile would inherit the open copy, and an open one is not executed.
    let program = home.dir.path().join("program");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_uarr")).arg(&program).status();
    assert!(copied.unwrap().success());
    set_mode(&program, 0o755);
    let files = [home.db(), home.db().join("superblock"), home.db().join("lock")];
    let modes = files.clone().map(|path| fs::metadata(path).unwrap().mode());
    set_mode(&files[2], 0o444);
    set_mode(&files[1], 0o444);
    set_mode(&files[0], 0o555);
    let run = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--db").arg(home.db()).args(args);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Run::of(command.output().unwrap())
    };
    assert_eq!(run(&["get", "k"]).done(), "1\n");
    run(&["del", "k"]).failed(3, &["Permission denied", "to write them"]);
    run(&["--json", "put", "k", "2"]).failed_json(3, "permission_denied");
    let fresh = home.db().join("fresh");
    let fresh = fresh.to_str().unwrap();
    run(&["put", "k", "2", "--db", fresh]).failed(3, &["cannot create directory"]);
    for (path, mode) in files.iter().zip(modes) {
        set_mode(path, mode);
    }
    assert_eq!(home.run(["get", "k"]).done(), "1\n");
}

/// Fills a small file system, in a mount namespace of its own; needs root.
#[test]
fn a_full_device() {
    let home = Home::new();
    let Some(mount) = mount_point(&home) else { return };
    let line = "x".repeat(50_000);
    let input: String =
        (0..8000).map(|i| format!("{{\"id\":\"{i:04}\",\"v\":\"{line}\"}}\n")).collect();
    let input = home.file("in.ndjson", input);
    // Everything that is asked of the file system happens while it is mounted.
    let script = "
        mount -t tmpfs -o size=400m none \"$1\" || exit 100
        export UARR_DB=\"$1/db\"
        \"$2\" import \"$3\" --key id >\"$4/imported\" 2>&1; echo \"import $?\"
        \"$2\" verify >\"$4/verified\" 2>&1; echo \"verify $?\"
        \"$2\" scan --keys-only >\"$4/keys\" 2>&1; echo \"scan $?\"
        dd if=/dev/zero of=\"$1/others\" bs=1M 2>/dev/null
        \"$2\" --db \"$1/other\" put k 1 2>\"$4/created\"; echo \"create $?\"
        test -e \"$1/other\"; echo \"left $?\"
        mkdir \"$1/empty\"
        \"$2\" --db \"$1/empty\" import \"$3\" --key id 2>\"$4/created\"; echo \"create $?\"
        ls \"$1/empty\"
    ";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(&mount)
        .arg(env!("CARGO_BIN_EXE_uarr"))
        .arg(input)
        .arg(home.dir.path())
        .output()
        .unwrap();
    let read = |name: &str| fs::read_to_string(home.dir.path().join(name)).unwrap();
    let context =
        format!("{output:?} {} {} {}", read("imported"), read("verified"), read("created"));
    let told = String::from_utf8(output.stdout).unwrap();
    let expected = "import 5\nverify 0\nscan 0\ncreate 5\nleft 1\ncreate 5\n";
    assert_eq!(told, expected, "{context}");
    assert_eq!(without_backend_warning(&read("imported")).lines().count(), 1, "{context}");
    assert!(read("imported").contains("make room"), "{context}");
    // Whole batches of 16 MiB, in order, up to some point.
    let keys = without_backend_warning(&read("keys"));
    let count = keys.lines().count();
    assert!(count > 300 && count < 8000, "{count}");
    assert!(keys.lines().enumerate().all(|(i, key)| key == format!("{i:04}")));
}

/// The database was created, the first commit found no room: an empty database was left.
#[test]
fn a_first_commit_without_room_leaves_nothing() {
    let home = Home::new();
    let Some(mount) = mount_point(&home) else { return };
    let line = format!("{{\"id\":\"k\",\"v\":\"{}\"}}\n", "x".repeat(60 << 20));
    let large = home.file("large.ndjson", line);
    // Room for a database and some records, not for this one.
    let script = "
        mount -t tmpfs -o size=100m none \"$1\" || exit 100
        \"$2\" --db \"$1/db\" import \"$3\" --key id >&2; echo \"import $?\"
        \"$2\" --db \"$1/db\" put k - <\"$3\"; echo \"put $?\"
        ls \"$1\"
        \"$2\" --db \"$1/db\" put k 1; echo \"put $?\"
        \"$2\" --db \"$1/db\" import \"$3\" --key id >&2; echo \"import $?\"
        \"$2\" --db \"$1/db\" get k
    ";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(&mount)
        .arg(env!("CARGO_BIN_EXE_uarr"))
        .arg(large)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout.clone()).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told, "import 5\nput 5\nput 0\nimport 5\n1\n", "{said}");
}

/// Whatever the reason is: what was created for a change that was not made goes again.
#[test]
fn a_first_change_that_is_refused_leaves_nothing() {
    let home = Home::new();
    home.run(["put", "k", "1", "--if-version", "5"]).failed(1, &["there is no record"]);
    assert!(!home.db().exists());
    home.run(["incr", "k", "--max", "-1"]).failed(1, &["out of its bounds"]);
    assert!(!home.db().exists());
    home.run(["put", "k", "{\"a\":1}", "--ttl", "1h"]).done();
    home.run(["put", "k", "1", "--if-version", "5"]).failed(1, &[]);
    home.run(["get", "k"]).done();
}

/// Where a small file system may be mounted; `None`, and why, if none can be.
fn mount_point(home: &Home) -> Option<PathBuf> {
    let mount = home.dir.path().join("small");
    fs::create_dir(&mount).unwrap();
    let works = is_root() && mount_works(&mount);
    if !works {
        eprintln!("not run: a mount needs root");
    }
    works.then_some(mount)
}

fn mount_works(at: &Path) -> bool {
    let script = "mount -t tmpfs -o size=1m none \"$1\"";
    let run = Command::new("unshare").args(["-m", "sh", "-c", script, "sh"]).arg(at).output();
    run.is_ok_and(|output| output.status.success())
}
