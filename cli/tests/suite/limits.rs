//! Limits of the process: each is an error that names it, or is lived with; none ends the command
//! without a word.

use std::process::Command;

use crate::run::Home;

/// Runs the command with `limit`, an argument of the shell's `ulimit`.
fn limited(home: &Home, limit: &str, arguments: &str) -> (Option<i32>, String) {
    let line = format!("ulimit {limit}; exec \"$0\" --db \"$1\" {arguments}");
    let output = Command::new("sh")
        .args(["-c", &line, env!("CARGO_BIN_EXE_uarr")])
        .arg(home.db())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

const VERBS: [&str; 6] = ["put k 2", "get k", "verify", "checkpoint", "stats", "del k"];

#[test]
fn file_sizes() {
    // Units of 512 bytes: nothing at all, less than a superblock, less than a segment.
    for limit in ["-f 0", "-f 100", "-f 2000", "-f 20000"] {
        let home = Home::new();
        let (code, said) = limited(&home, limit, "put k 1");
        assert_eq!(code, Some(5), "{limit}: {said}");
        assert!(said.contains("ulimit -f"), "{limit}: {said}");
        assert!(!home.db().exists(), "{limit}: nothing is left of what was not to be made");
        // With a limit under which nothing is made, and afterwards without.
        assert_eq!(home.run(["put", "k", "1"]).code, 0);
        for verb in VERBS {
            let (code, said) = limited(&home, limit, verb);
            assert!(matches!(code, Some(0 | 5)), "{limit}: {verb}: {code:?} {said}");
            assert!(code == Some(0) || said.contains("ulimit -f"), "{limit}: {verb}: {said}");
        }
        assert_eq!(home.run(["put", "k", "3"]).code, 0);
        assert_eq!(home.run(["verify"]).code, 0);
    }
}

#[test]
fn standard_output() {
    let home = Home::new();
    let value = format!("\"{}\"", "x".repeat(80_000));
    for key in ["a", "b", "c", "d"] {
        assert_eq!(home.run(["put", key, &value]).code, 0);
    }
    let target = home.file("out", "");
    let (code, said) = limited(&home, "-f 400", &format!("scan > {target}"));
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("cannot write the output"), "{said}");
}

#[test]
fn address_space() {
    for limit in ["-v 8000000", "-v 1500000"] {
        let home = Home::new();
        assert_eq!(home.run(["put", "k", "1"]).code, 0);
        for verb in VERBS {
            let (code, said) = limited(&home, limit, verb);
            assert_eq!(code, Some(0), "{limit}: {verb}: {said}");
        }
    }
    // Too little for tables that have a fixed size: the process was aborted.
    for limit in ["-v 40000", "-v 70000", "-v 110000", "-v 155000", "-v 170000"] {
        let (code, said) = limited(&Home::new(), limit, "put k 1");
        assert!(code == Some(0) || said.contains("ulimit -v"), "{limit}: {code:?} {said}");
        assert!(matches!(code, Some(0 | 3)), "{limit}: {code:?} {said}");
    }
    let home = Home::new();
    assert_eq!(home.run(["put", "k", "1"]).code, 0);
    let (_, said) = limited(&home, "-v 4000000", "doctor");
    assert!(said.contains("address space"), "{said}");
}
