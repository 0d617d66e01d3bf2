//! The command as a script sees it: exit codes, messages, files.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// One target with this bound.
fn targets(at_most: &str) -> String {
    format!(
        "schema = 2\n[[target]]\nid = \"T\"\nrow = \"get\"\nmetric = \"mean_ns\"\n\
         unit = \"absolute\"\nat_most = {at_most}\n"
    )
}

fn command(dir: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_uarr-bench");
    Command::new(program).current_dir(dir).args(arguments).output().unwrap()
}

/// A small run, judged by `targets`; a verdict takes 6 rounds.
fn check_in(rounds: &str, dir: &Path, targets: &str, more: &[&str]) -> Output {
    fs::write(dir.join("targets.toml"), targets).unwrap();
    let small = ["--seconds", "0.01", "--reps", rounds, "--records", "1000"];
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

/// Another program reads the same percentiles off the latencies, which go then, as the report has;
/// and it finds one that was changed.
fn assert_percentiles_are_equal(dir: &Path) {
    let read = || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/percentiles.py");
        let mut python = Command::new("python3");
        python.args([script, "report.json", "."]).current_dir(dir).output()
    };
    match read() {
        Ok(output) => {
            assert_shows(&output, &["equal"]);
            let table = dir.join("get.uarr.read.hgrm");
            let text = fs::read_to_string(&table).unwrap();
            let last = text.lines().rev().find(|line| !line.starts_with('#')).unwrap();
            let longer = format!("9{}", last.trim_start());
            fs::write(&table, text.replace(last, &longer)).unwrap();
            let output = read().unwrap();
            assert_eq!(output.status.code(), Some(1));
            assert!(self::text(&output).contains("get.uarr.read.hgrm: max_ns is 9"));
        }
        Err(error) => println!("not compared by another program: no python3 ({error})"),
    }
    let is_table = |name: &String| name.ends_with(".hgrm") || name.ends_with(".hlog");
    let tables: Vec<_> = names(dir).into_iter().filter(is_table).collect();
    assert!(tables.len() >= 16, "{tables:?}");
    tables.iter().for_each(|name| fs::remove_file(dir.join(name)).unwrap());
}

#[test]
fn a_run_passes_leaves_only_its_reports_and_can_be_shown_again() {
    let dir = tempfile::tempdir().unwrap();
    let output = check_in("6", dir.path(), &targets("1e12"), &["--histograms", "."]);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for part in ["write-fdatasync", "durable-put16", "unsynced-put", "reopen", "VERDICT: PASS"] {
        assert!(shown.contains(part), "{part} is missing in\n{shown}");
    }
    let is_alone = cfg!(not(feature = "peers"));
    assert_eq!(shown.contains("rocksdb is NOT measured"), is_alone);
    assert_percentiles_are_equal(dir.path());
    assert_eq!(names(dir.path()), ["report.html", "report.json", "targets.toml"]);

    let again = command(dir.path(), &["report", "report.json", "--html", "again.html"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    assert!(text(&again).contains("VERDICT: PASS"));
    let page = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(page("again.html"), page("report.html"));

    let same = command(dir.path(), &["compare", "report.json", "report.json"]);
    assert_shows(&same, &["durable-put16 (sync)", "new/old", "1.00x"]);

    fs::write(dir.path().join("targets.toml"), targets("0")).unwrap();
    let strict = command(dir.path(), &["report", "report.json", "--targets", "targets.toml"]);
    assert_eq!(strict.status.code(), Some(1), "{}", text(&strict));
    assert!(text(&strict).contains("VERDICT: MISS"));

    fs::write(dir.path().join("report.json"), "{\"schema\": 99}").unwrap();
    let newer = command(dir.path(), &["report", "report.json"]);
    assert_eq!(newer.status.code(), Some(3));
    assert!(text(&newer).contains("schema 99"));
}

#[test]
fn what_cannot_be_judged_has_its_own_code() {
    let dir = tempfile::tempdir().unwrap();
    // A store is opened once per round: that has no percentile.
    let unjudged = targets("1e12")
        .replace("metric = \"mean_ns\"", "percentile = 99.9")
        .replace("\"get\"", "\"reopen\"");
    let elsewhere = ["--json", "x.json", "--html", "x.html"];
    let output = check_in("1", dir.path(), &unjudged, &elsewhere);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(names(dir.path()), ["targets.toml", "x.html", "x.json"]);
    assert!(text(&output).contains("not judged: reopen has no p999_ns"), "{}", text(&output));

    // One round is no verdict, whatever it says.
    let output = check_in("1", dir.path(), &targets("1e12"), &[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let told = "95 % confidence needs 6 rounds, there are 1: add --reps 6";
    assert!(text(&output).contains(told), "{}", text(&output));
}

#[test]
fn a_store_that_lies_is_exposed() {
    let dir = tempfile::tempdir().unwrap();
    for (fault, told) in [
        ("wrong-data", "WRONG DATA: uarr returned other bytes than were written"),
        ("lost-write", "WRONG DATA: uarr lost a record that it had acknowledged"),
    ] {
        let output = check_in("1", dir.path(), &targets("1e12"), &["--fault", fault]);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        assert!(text(&output).contains(told), "{}", text(&output));
        assert_eq!(names(dir.path()), ["targets.toml"], "{fault}");
    }
    let durable = targets("1e12").replace("\"get\"", "\"durable-put1\"");
    let output = check_in("1", dir.path(), &durable, &["--fault", "skipped-flush"]);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(2), "{shown}");
    assert!(shown.contains("not judged: uarr skipped flushes"), "{shown}");
    assert!(shown.contains("they were NOT durable"), "{shown}");
    let honest = check_in("1", dir.path(), &durable, &[]);
    assert!(!text(&honest).contains("skipped"), "{}", text(&honest));
}

#[test]
fn what_is_wrong_with_the_set_up_is_said_with_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 15] = [
        (&["check", "--dir", "missing"], "missing is not a directory: create it"),
        (&["commit", "--dir", "missing"], "missing is not a directory: create it"),
        (&["read", "--dir", "missing"], "missing is not a directory: create it"),
        (&["floor", "--dir", "missing"], "missing is not a directory: create it"),
        (&["fio", "--dir", "missing"], "missing is not a directory: create it"),
        (&["fio", "--profiles", "x"], "none of wal-append-fdatasync, group-commit"),
        (&["check", "--dir", ".", "--targets", "none.toml"], "none.toml"),
        (&["check", "--dir", ".", "--profile", "x"], "only default, strict-nvme, cloud-disk"),
        (&["check", "--dir", ".", "--seconds", "0"], "not in 0.01 to 60"),
        (&["report", "none.json"], "none.json"),
        (&["report", "--markdown", "none.json"], "none.json"),
        (&["report", "a.json", "b.json"], "several reports make one page: add --markdown"),
        (&["compare", "none.json", "none.json"], "none.json"),
        (&["compare", "a", "b", "--margin", "2"], "not in 0 to 1"),
        (&["nonsense"], "nonsense"),
    ];
    for (arguments, message) in cases {
        let output = command(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(message), "{arguments:?}: {}", text(&output));
    }
    let output = check_in("1", dir.path(), "schema = 2\n[[target]]\nid = 3\n", &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).contains("line 3"), "{}", text(&output));
    assert_eq!(names(dir.path()), ["targets.toml"]);
}

#[test]
fn writes_at_fixed_rates_show_response_and_service_times() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--seconds", "0.02", "--reps", "1", "--parts", "paced,paced-memory"];
    let output = command(dir.path(), &[&["commit", "--dir", "."], &small[..]].concat());
    let shown = text(&output);
    for rate in ["1000", "10000", "100000", "300000"] {
        for times in ["response", "service"] {
            let line = format!("uarr, {rate} per second, {times} ");
            assert!(shown.contains(&line), "{line} is missing in\n{shown}");
        }
    }
    // On a busy machine the generator itself may be late, which must be said.
    let code = if shown.contains("INVALID: generator late") { 2 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{shown}");
    assert!(names(dir.path()).is_empty());
}

/// It waited for a segment that the engine prepares only when something was written.
#[test]
fn the_commit_path_is_measured_in_parts_that_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--seconds", "0.02", "--reps", "1", "--records", "1000"];
    let parts = ["commit", "--dir", ".", "--parts", "rotation,memory,load"];
    let output = command(dir.path(), &[&parts, &small[..]].concat());
    assert_shows(&output, &["rotation:", "memory:", "load:"]);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn workloads_are_run_from_files_and_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let own = "schema = 1\nrecords = 1000\nvalue_bytes = 4096\nkeys = \"latest\"\n\
               writes = \"durable\"\nthreads = 2\n[operations]\nget = 50\ninsert = 20\nscan = 10\n\
               get_update = 20\n[arrival]\nprocess = \"poisson\"\nper_second = [300, 600]\n\
               p99_ns_max = 1e12\n";
    fs::write(dir.path().join("own.toml"), own).unwrap();
    let small = ["--seconds", "0.05", "--reps", "2", "--records", "1000", "--stores", "uarr"];
    let workloads = ["run", "ycsb-a", "ycsb-e", "own.toml", "--dir", ".", "--json", "r.json"];
    let output = command(dir.path(), &[&workloads[..], &small].concat());
    let all = [
        "ycsb-a: 50 % get, 50 % update, keys Zipf, 1000 records, values of 1000 bytes",
        "ycsb-e: 5 % insert, 95 % scan",
        "own: 50 % get, 20 % get and update, 20 % insert, 10 % scan, keys latest first",
        "uarr, 600 per second, response",
        "uarr, 600 per second, service",
        "knee: uarr keeps p99 <= ",
    ];
    let shown = text(&output);
    let code = if shown.contains("INVALID: generator late") { 2 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{shown}");
    for one in all {
        assert!(shown.contains(one), "{one} is missing in\n{shown}");
    }
    assert_eq!(names(dir.path()), ["own.toml", "r.json"]);

    fs::write(dir.path().join("own.toml"), own.replace("get = 50", "get = 51")).unwrap();
    for (arguments, told) in [
        (&["run", "own.toml"][..], "bad workload own.toml: the operations make 101, not 100"),
        (&["run", "ycsb-z"], "ycsb-z is no file and none of ycsb-a"),
        (&["run", "ycsb-a", "--stores", "floor"], "no such store"),
        (&["run", "ycsb-a", "--dir", "missing"], "missing is not a directory: create it"),
    ] {
        let output = command(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        assert!(text(&output).contains(told), "{}", text(&output));
    }
}

#[test]
fn transactions_have_lines_of_their_own_and_a_lost_update_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--dir", ".", "--seconds", "0.1", "--reps", "2", "--records", "1000"];
    let run = [&["run", "ycsb-f-transactions", "--stores", "uarr"], &small[..]].concat();
    let all = [
        "50 % get, 50 % read-modify-write in a transaction, keys Zipf, 1000 records, values of \
         1000 bytes, threads: 16",
        "uarr, transactions",
        "retries",
    ];
    assert_shows(&command(dir.path(), &run), &all);
    let wrong = command(dir.path(), &[&run[..], &["--fault", "lost-update"]].concat());
    assert_eq!(wrong.status.code(), Some(3), "{}", text(&wrong));
    assert!(text(&wrong).contains("uarr acknowledged "), "{}", text(&wrong));
    assert!(text(&wrong).contains(" took effect"), "{}", text(&wrong));
    let unseen = command(dir.path(), &[&run[..], &["--fault", "skipped-flush"]].concat());
    assert!(text(&unseen).contains("none of wrong-data, lost-write, lost-update"));
    assert!(names(dir.path()).is_empty());
}

#[test]
fn text_keys_readers_and_a_cold_cache_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    let workloads = ["run", "clustered-text", "readers-beside-writer", "cold-gets"];
    let small = ["--dir", ".", "--seconds", "0.05", "--reps", "2", "--records", "2000"];
    let output = command(dir.path(), &[&workloads[..], &small, &["--stores", "uarr"]].concat());
    assert_shows(
        &output,
        &[
            "keys Zipf, 2000 records, values of 128 bytes, threads: 2, in clusters of 1024 \
             neighbours, as text of 20 bytes",
            "threads: 1, beside 2 threads that only get",
            "uarr, readers beside it",
            "threads: 1, cold",
            "its files leave the page cache (posix_fadvise)",
        ],
    );
    assert!(names(dir.path()).is_empty());
}

#[test]
fn memory_is_limited_or_it_is_said_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let own = "schema = 1\nrecords = 5000\nvalue_bytes = 65536\nkeys = \"uniform\"\n\
               threads = 1\nmemory_mib = 256\n[operations]\nget = 100\n";
    fs::write(dir.path().join("large.toml"), own).unwrap();
    let small = ["--dir", ".", "--seconds", "0.05", "--reps", "1", "--stores", "uarr"];
    let output = command(dir.path(), &[&["run", "large.toml"], &small[..]].concat());
    let shown = text(&output);
    if output.status.code() == Some(3) {
        // Neither root nor a cgroup of its own.
        assert!(shown.contains("cannot limit memory to 256 MiB ("), "{shown}");
        assert!(shown.contains("systemd-run --user --scope -p MemoryMax=256M"), "{shown}");
    } else {
        assert_shows(&output, &["threads: 1, in 256 MiB of memory"]);
        let told = "memory used, page cache included: at most ";
        let peak = shown.split_once(told).map(|(_, rest)| rest.split(' ').next().unwrap());
        // 328 MB were written and read.
        assert!(peak.is_none_or(|mib| mib.parse::<u32>().unwrap() <= 256), "{shown}");
    }
    assert_eq!(names(dir.path()), ["large.toml"]);
}

#[test]
fn settings_are_varied_and_kept_recipes_repeat_it() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--dir", ".", "--seconds", "0.02", "--reps", "1"];
    let kept = ["--keep-recipes", ".", "--json", "s.json", "--html", "s.html"];
    let output = command(dir.path(), &[&["sweep"], &small[..], &kept].concat());
    assert_shows(
        &output,
        &[
            "strategy: writes of the log alone, strategy varied",
            "strategy = linked-fdatasync",
            "group_bytes = 1048576",
            "block_bytes = 65536",
            "segment_bytes = 268435456",
            "extents = unwritten",
            "pages = huge",
            "pages = 4-kib: 0 MiB of memory had huge pages",
            "queue_depth = 16",
            "vary = \"queue_depth\"",
        ],
    );
    let page = fs::read_to_string(dir.path().join("s.html")).unwrap();
    assert_eq!(page.matches("The recipe that repeats it").count(), 7);
    assert_eq!(names(dir.path()).len(), 7 + 2, "{:?}", names(dir.path()));

    let again = command(dir.path(), &["sweep", "queue-depth.toml", "--dir", "."]);
    assert_shows(&again, &["1 rounds of 0.02 s", "queue_depth = 16"]);
    fs::write(dir.path().join("own.toml"), "schema = 1\ncolour = 3\n").unwrap();
    for (recipe, told) in
        [("own.toml", "bad recipe own.toml"), ("colours", "colours is no file and none of strat")]
    {
        let output = command(dir.path(), &["sweep", recipe, "--dir", "."]);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        assert!(text(&output).contains(told), "{}", text(&output));
    }
}

#[test]
fn fio_is_run_beside_the_floor_where_it_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--dir", ".", "--seconds", "1", "--reps", "1", "--profiles", "randread-4k-qd1"];
    let output = command(dir.path(), &[&["fio", "--json", "f.json"], &small[..]].concat());
    let shown = text(&output);
    if output.status.code() == Some(3) && shown.contains("fio") {
        println!("fio is not installed, or has no io_uring here: {shown}");
        return;
    }
    assert_shows(&output, &["fio, read-qd1", "floor: read-direct", "fio and our floor "]);
    assert_eq!(names(dir.path()), ["f.json"]);
}

#[test]
fn the_floor_alone_is_measured_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--seconds", "0.02", "--reps", "2", "--mib", "1", "--json", "f.json"];
    let output = command(dir.path(), &[&["floor", "--dir", "."], &small[..]].concat());
    assert_shows(&output, &["write-fdatasync", "write-dsync", "read-direct", "read-mapped"]);
    assert_eq!(names(dir.path()), ["f.json"]);
    let few = command(dir.path(), &["compare", "f.json", "f.json"]);
    assert_eq!(few.status.code(), Some(2), "{}", text(&few));
    assert!(text(&few).contains("unknown: too few rounds"), "{}", text(&few));
}
