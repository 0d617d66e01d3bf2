//! Output whose reader has gone away, or that cannot be written.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::run::{Home, Run, command};

fn filled() -> Home {
    let home = Home::new();
    let input: String =
        (0..5000).map(|i| format!("{{\"id\":{i},\"v\":\"{i:0>100}\"}}\n")).collect();
    home.feed(["import", "-", "--key", "id"], input).done();
    home
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let home = filled();
    for args in [vec!["scan"], vec!["--json", "scan", "--keys-only", "--reverse"]] {
        let mut command = home.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // More is to come than pipe and buffers hold.
        let mut first = String::new();
        BufReader::with_capacity(10, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.starts_with("{\"key\":"), "{first}");
        let run = Run::of(child.wait_with_output().unwrap());
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    }
    home.run(["verify"]).done();
}

#[test]
fn a_full_output_is_an_error() {
    let home = filled();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    for args in [&["scan"][..], &["get", "1"], &["stats"], &["verify"]] {
        let run = Run::of(home.command(args).stdout(full()).output().unwrap());
        run.failed(6, &["cannot write the output"]);
    }
    let run = Run::of(command().args(["completions", "bash"]).stdout(full()).output().unwrap());
    run.failed(6, &["cannot write the output"]);
    for args in [&["--help"][..], &["put", "--help"], &["--version"]] {
        let run = Run::of(command().args(args).stdout(full()).output().unwrap());
        run.failed(6, &["cannot write the output"]);
    }
    // No stream can carry a message, but nothing panics, and the code is right.
    let code = home.command(["get", "x"]).stderr(full()).status().unwrap().code();
    assert_eq!(code, Some(1));
    let code = home.command(["get"]).stderr(full()).status().unwrap().code();
    assert_eq!(code, Some(2));
}
