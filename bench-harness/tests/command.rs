//! The command as a script sees it: exit codes, messages, files.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Bounds and drift that any machine meets, with one thing in the middle to fill in.
fn targets(drift_max: &str, at_most: &str) -> String {
    format!(
        "schema = 1\n[noise]\nothers_cpu_max = 9\nfloor_drift_max = {drift_max}\n\n[[target]]\n\
         id = \"T\"\n\
         row = \"get\"\nmetric = \"mean_ns\"\nat_most = {at_most}\n"
    )
}

fn command(dir: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_uarr-bench");
    Command::new(program).current_dir(dir).args(arguments).output().unwrap()
}

/// The smallest run there is, judged by `targets`.
fn check(dir: &Path, targets: &str, more: &[&str]) -> Output {
    fs::write(dir.join("targets.toml"), targets).unwrap();
    let small = ["--seconds", "0.02", "--reps", "1", "--records", "1000"];
    let arguments = [&["check", "--dir", ".", "--targets", "targets.toml"], &small[..], more];
    command(dir, &arguments.concat())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// The command succeeded, and showed all of these.
fn assert_shows(output: &Output, all: &[&str]) {
    let shown = text(output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for one in all {
        assert!(shown.contains(one), "{one} is missing in\n{shown}");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_read_path_is_measured_in_parts_that_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--seconds", "0.02", "--reps", "1", "--records", "1000"];
    let output =
        command(dir.path(), &[&["read", "--dir", ".", "--json", "r.json"], &small[..]].concat());
    let parts = ["gets:", "misses:", "scans:", "full-scans:", "sizes:"];
    assert_shows(&output, &parts);
    assert_shows(
        &output,
        &["keys(KeyKind::U64)", "uarr, 2 threads", "floor: slot", "written twice"],
    );
    assert_eq!(names(dir.path()), ["r.json"]);

    let page = command(dir.path(), &["report", "--markdown", "r.json"]);
    assert_shows(&page, &["# Benchmarks", "parts gets, misses, scans, full-scans, sizes"]);
    assert_shows(&page, &["| get, uniform, a read transaction each, mean | ", "<= 64 MiB: "]);
    assert_eq!(names(dir.path()), ["r.json"]);

    let only = ["--parts", "sizes", "--records", "1000"];
    let output = command(dir.path(), &[&["read", "--dir", "."], &only[..]].concat());
    assert_shows(&output, &["sizes:"]);
    assert!(!text(&output).contains("gets:"));
    let refused = command(dir.path(), &["read", "--parts", "writes"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused).contains("no such part"));
}

#[test]
fn a_run_passes_leaves_only_its_reports_and_can_be_shown_again() {
    let dir = tempfile::tempdir().unwrap();
    let output = check(dir.path(), &targets("1e9", "1e12"), &[]);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for part in ["write-fdatasync", "durable-put16", "unsynced-put", "reopen", "VERDICT: PASS"] {
        assert!(shown.contains(part), "{part} is missing in\n{shown}");
    }
    let is_alone = cfg!(not(feature = "peers"));
    assert_eq!(shown.contains("rocksdb is NOT measured"), is_alone);
    assert_eq!(names(dir.path()), ["report.html", "report.json", "targets.toml"]);

    let again = command(dir.path(), &["report", "report.json", "--html", "again.html"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    assert!(text(&again).contains("VERDICT: PASS"));
    let page = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(page("again.html"), page("report.html"));

    fs::write(dir.path().join("report.json"), "{\"schema\": 99}").unwrap();
    let newer = command(dir.path(), &["report", "report.json"]);
    assert_eq!(newer.status.code(), Some(3));
    assert!(text(&newer).contains("schema 99"));
}

#[test]
fn missed_and_unjudged_targets_have_their_own_codes() {
    let dir = tempfile::tempdir().unwrap();
    let output = check(dir.path(), &targets("1e9", "0"), &["--json", "x.json", "--html", "x.html"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("VERDICT: MISS"));
    assert_eq!(names(dir.path()), ["targets.toml", "x.html", "x.json"]);

    // A store is opened once per round: that has no percentile.
    let unjudged =
        targets("1e9", "1e12").replace("mean_ns", "p999_ns").replace("\"get\"", "\"reopen\"");
    let output = check(dir.path(), &unjudged, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("not judged: reopen has no p999_ns"), "{}", text(&output));
}

#[test]
fn what_is_wrong_with_the_set_up_is_said_with_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 10] = [
        (&["check", "--dir", "missing"], "missing is not a directory: create it"),
        (&["commit", "--dir", "missing"], "missing is not a directory: create it"),
        (&["read", "--dir", "missing"], "missing is not a directory: create it"),
        (&["floor", "--dir", "missing"], "missing is not a directory: create it"),
        (&["check", "--dir", ".", "--targets", "none.toml"], "none.toml"),
        (&["check", "--dir", ".", "--seconds", "0"], "not in 0.01 to 60"),
        (&["report", "none.json"], "none.json"),
        (&["report", "--markdown", "none.json"], "none.json"),
        (&["report", "a.json", "b.json"], "several reports make one page: add --markdown"),
        (&["nonsense"], "nonsense"),
    ];
    for (arguments, message) in cases {
        let output = command(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(message), "{arguments:?}: {}", text(&output));
    }
    let output = check(dir.path(), "schema = 1\n[[target]]\nid = 3\n", &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).contains("line 3"), "{}", text(&output));
    assert_eq!(names(dir.path()), ["targets.toml"]);
}

#[test]
fn writes_at_fixed_rates_show_response_and_service_times() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--seconds", "0.02", "--reps", "1", "--parts", "paced,paced-memory"];
    let output = command(dir.path(), &[&["commit", "--dir", "."], &small[..]].concat());
    for rate in ["1000", "10000", "100000", "300000"] {
        for times in ["response", "service"] {
            assert_shows(&output, &[&format!("uarr, {rate} per second, {times} ")]);
        }
    }
    assert!(names(dir.path()).is_empty());
}

#[test]
fn the_floor_alone_is_measured_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path(), &["floor", "--dir", ".", "--seconds", "0.02", "--mib", "1"]);
    assert_shows(&output, &["write-fdatasync", "write-dsync", "read-direct", "read-mapped"]);
    assert!(names(dir.path()).is_empty());
}
