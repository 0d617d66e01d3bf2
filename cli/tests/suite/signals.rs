//! Signals: what was acknowledged is there, or durable, and the exit code says which signal it was.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::run::{Home, first_message, hearing};

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Ends the command by `signal`; the shell makes 128 and the number of it.
fn ended_by(child: &mut Child, signal: &str) -> Option<i32> {
    send(child, signal);
    child.wait().unwrap().signal()
}

/// An import that has stored two records and waits for more.
fn waiting_import(home: &Home, durability: &str) -> (Child, ChildStdin) {
    let args = ["import", "-", "--key", "id", "--skip-bad", "--durability", durability];
    let mut command = hearing(&home.command(args));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // The bad line is reported when its pack is committed.
    input.write_all(b"{\"id\":1}\n{\"id\":2}\nbad\n").unwrap();
    first_message(child.stderr.take().unwrap());
    (child, input)
}

/// With `manual` it lost all that it had reported: nothing was durable before the end.
#[test]
fn an_interrupted_import_keeps_what_it_has_committed() {
    for (signal, number) in [("-INT", 2), ("-TERM", 15), ("-HUP", 1)] {
        for durability in ["sync", "interval:1000s", "manual"] {
            let home = Home::new();
            let (mut child, input) = waiting_import(&home, durability);
            assert_eq!(ended_by(&mut child, signal), Some(number), "{durability}");
            drop(input);
            let keys = home.run(["scan", "--keys-only"]).done();
            assert_eq!(keys, "1\n2\n", "{signal} {durability}");
            home.run(["verify"]).done();
        }
    }
}

/// As `nohup` has it.
#[test]
fn an_ignored_signal_stays_ignored() {
    let home = Home::new();
    let program = env!("CARGO_BIN_EXE_uarr");
    let script = "trap '' HUP; exec \"$0\" --db \"$1\" import - --key id --skip-bad";
    let mut command = Command::new("sh");
    command.args(["-c", script, program]).arg(home.db());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"{\"id\":0}\nbad\n").unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    send(&child, "-HUP");
    input.write_all(b"{\"id\":1}\n").unwrap();
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(home.run(["count"]).done(), "2\n");
}

#[test]
fn an_interrupted_scan_is_no_harm() {
    let home = Home::filled();
    let mut command = hearing(&home.command(["scan"]));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // It waits for this pipe, which is full.
    let mut first = String::new();
    BufReader::with_capacity(10, child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(ended_by(&mut child, "-INT"), Some(2));
    assert_eq!(home.run(["count"]).done(), "5000\n");
}

/// The unfinished file stayed where it was.
#[test]
fn an_interrupted_export_leaves_no_unfinished_file() {
    let home = Home::filled();
    let target = home.dir.path().join("export.ndjson");
    let has_unfinished = || {
        let names = std::fs::read_dir(home.dir.path()).unwrap();
        names.flatten().any(|name| name.path().extension().is_some_and(|end| end == "partial"))
    };
    let command = home.command(["export".as_ref(), target.as_os_str()]);
    let mut child = hearing(&command).spawn().unwrap();
    while !has_unfinished() && !target.exists() {
        std::thread::yield_now();
    }
    let ended = ended_by(&mut child, "-TERM");
    // It may have been faster.
    assert!(ended == Some(15) || target.exists(), "{ended:?}");
    assert!(!has_unfinished());
}
