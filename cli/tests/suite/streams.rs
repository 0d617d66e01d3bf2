//! Output whose reader has gone away, or that cannot be written.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::run::{Home, Run, command};

#[test]
fn a_closed_pipe_ends_quietly() {
    let home = Home::filled();
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
    let home = Home::filled();
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

/// Every command that prints a result says so if it cannot; what it did before is done.
#[test]
fn every_result_that_cannot_be_written_is_an_error() {
    let home = Home::filled();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let saved = home.dir.path().join("saved");
    for line in [
        "--json put a 1",
        "incr n",
        "--json del a",
        "count",
        "get 1 2",
        "get --raw 1",
        "get 1 --field v",
        "scan --count",
        "scan --field v --where id=1",
        "export",
        "import /dev/null --key k",
        "expiry 1",
        "lease acquire job --owner ada --ttl 1h",
        "lease show job",
        "checkpoint",
        "compact",
        "tune",
        "log-dump",
        "inspect superblock",
        "repair --mode salvage SAVED",
        "doctor --no-measure",
    ] {
        let words = line.split(' ').map(|word| match word {
            "SAVED" => saved.to_str().unwrap(),
            word => word,
        });
        let output = home.command(words).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(6), "{line}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("cannot write the output"), "{line}: {told}");
    }
    assert_eq!(home.run(["get", "n"]).done(), "1\n");
    home.run(["get", "a"]).failed(1, &[]);
}

/// An empty UARR_DB made every command fail, with --db too.
#[test]
fn empty_variables_are_not_set() {
    let home = Home::new();
    home.run(["put", "a", "1"]).done();
    for variable in ["UARR_DB", "TERM", "COLUMNS", "NO_COLOR", "LANG", "HOME", "TMPDIR"] {
        let run = Run::of(home.command(["get", "a"]).env(variable, "").output().unwrap());
        assert_eq!(run.done(), "1\n", "{variable}");
    }
    let run = |args: &[&str]| Run::of(command().env("UARR_DB", "").args(args).output().unwrap());
    run(&["get", "a"]).failed(2, &["which database?", "--db DIR", "UARR_DB"]);
    run(&["--db", "", "get", "a"]).failed(2, &["which database?"]);
    run(&["doctor", "--no-measure"]).failed(2, &[]);
    for args in [&["get", "a", "--field", ""][..], &["scan", "--field", ""], &["get", ""]] {
        let run = Run::of(home.command(args).output().unwrap());
        assert_eq!(run.code, 2, "{run:?}");
    }
}
