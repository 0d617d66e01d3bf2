//! `doctor`: what it finds on machines whose files are known, that it changes nothing, and what it
//! says of a directory of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use uarr::Db;

use crate::machine::machine;
use crate::run::{Home, Run, command};

/// Runs the doctor on a directory of a machine.
fn doctor(machine: &Path, dir: &str, more: &[&str]) -> Run {
    let mut command = command();
    command.args(["doctor", dir, "--root"]).arg(machine).args(more);
    Run::of(command.output().unwrap())
}

/// The report of a run that may have found something critical.
#[track_caller]
fn json(run: Run) -> Value {
    assert!(matches!(run.code, 0 | 1), "{run:?}");
    assert_eq!(run.stderr, "", "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["schema"], 1);
    let criticals = findings(&report).filter(|finding| finding["severity"] == "critical").count();
    assert_eq!(run.code, i32::from(criticals > 0), "{report}");
    report
}

fn findings(report: &Value) -> impl Iterator<Item = &Value> {
    report["findings"].as_array().unwrap().iter()
}

fn finding<'r>(report: &'r Value, id: &str) -> &'r Value {
    let mut found = findings(report).filter(|finding| finding["id"] == id);
    found.next().unwrap_or_else(|| panic!("no {id} in {report:#}"))
}

fn fact<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut facts = report["facts"].as_array().unwrap().iter();
    facts.find(|fact| fact["name"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

/// Each finding as `severity id`, in the order of the report.
fn found(report: &Value) -> Vec<String> {
    let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    findings(report).map(|finding| word(finding, "severity") + " " + &word(finding, "id")).collect()
}

#[track_caller]
fn check(name: &str, dir: &str, expected: &[&str]) -> Value {
    let machine = machine(name);
    let report = json(doctor(machine.path(), dir, &["--json"]));
    assert_eq!(found(&report), expected, "{name}");
    for finding in findings(&report) {
        assert!(PAGE.contains(&format!("`{}`", finding["id"].as_str().unwrap())), "{finding}");
        let read = finding["read"].as_array().unwrap();
        assert!(!read.is_empty(), "rests on something: {finding}");
        for text in ["title", "why"] {
            assert!(finding[text].as_str().is_some_and(|text| !text.is_empty()), "{finding}");
        }
        let has = |name: &str| finding[name].is_string();
        assert!(has("command") || has("advice") || finding["id"] == "io-uring-filter", "{finding}");
        assert_eq!(has("command"), has("undo"), "{finding}");
        assert!(!has("command") || has("risk"), "{finding}");
    }
    fits_on_a_page(&doctor(machine.path(), dir, &[]));
    report
}

/// The page about the doctor.
const PAGE: &str = include_str!("../../../docs/DOCTOR.md");

#[test]
fn the_page_lists_every_finding_and_no_other() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/doctor");
    let mut code = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        code.push_str(text.split("#[cfg(test)]").next().unwrap());
    }
    let table = PAGE.split("## Findings").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let listed: Vec<&str> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
    for id in &listed {
        assert!(code.contains(&format!("\"{id}\"")), "{id} is found nowhere");
    }
    let dense: String = code.split_ascii_whitespace().collect();
    let named = dense.split("Finding::new(\"").skip(1);
    let named: Vec<_> = named.map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(named.len() > 30, "{named:?}");
    for id in named {
        assert!(listed.contains(&id), "{id} is not on the page");
    }
}

/// At most 80 columns, but for single words; no colours, no white space at ends of lines.
#[track_caller]
fn fits_on_a_page(run: &Run) {
    for line in run.stdout.lines() {
        let words = line.split_ascii_whitespace().count();
        assert!(line.chars().count() <= 80 || words <= 2, "{line}");
        assert!(!line.contains('\x1b') && !line.ends_with(' '), "{line:?}");
    }
}

#[test]
fn a_server_with_an_nvme_disk() {
    let expected = [
        "warning idle-states",
        "warning clock-slow",
        "warning governor",
        "warning huge-pages-stall",
        "warning memlock-low",
        "warning swap-on",
        "note numa-far",
        "note overcommit-strict",
        "note write-cache",
    ];
    let report = check("nvme", "/var/lib/db", &expected);
    assert_eq!(fact(&report, "stack")["value"], "nvme0n1");
    assert_eq!(fact(&report, "nvme0n1 NUMA node")["value"], "1");
    assert_eq!(fact(&report, "nvme0n1 scheduler")["value"], "none");
    assert_eq!(fact(&report, "journal")["value"], "yes");
    assert_eq!(fact(&report, "nvme0n1 power protection")["value"], Value::Null);
    assert_eq!(fact(&report, "io_uring usable")["unknown"], "another machine cannot be asked");
    let idle = finding(&report, "idle-states");
    assert_eq!(idle["cost"]["us"], 133.0);
    assert_eq!(idle["cost"]["kind"], "at_most");
    let governor = finding(&report, "governor");
    assert!(governor["title"].as_str().unwrap().contains("of 1 processors is powersave"));
    // The other processor stays as it is.
    let file = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    assert_eq!(governor["undo"], format!("echo powersave | tee {file}"));
    assert_eq!(finding(&report, "swap-on")["undo"], "swapon /dev/nvme0n1p3");
    let clock = finding(&report, "clock-slow")["command"].as_str().unwrap();
    assert!(clock.starts_with("echo tsc > /sys/devices/system/clocksource/"), "{clock}");
    let numa = finding(&report, "numa-far")["command"].as_str().unwrap();
    assert!(numa.contains("--cpunodebind=1"), "{numa}");
    assert!(finding(&report, "swap-on")["title"].as_str().unwrap().starts_with("261120 kB"));
    let lock = finding(&report, "memlock-low");
    assert_eq!(lock["command"], "prlimit --memlock=8388608: --pid $$");
    assert_eq!(lock["undo"], "prlimit --memlock=65536: --pid $$");

    // A processor that is left to itself, and prefers performance, is no finding.
    let machine = machine("nvme");
    let cpu = machine.path().join("sys/devices/system/cpu/cpu0/cpufreq");
    fs::write(cpu.join("energy_performance_preference"), "performance\n").unwrap();
    let report = json(doctor(machine.path(), "/var/lib/db", &["--json"]));
    assert!(!found(&report).contains(&"warning governor".to_owned()), "{report:#}");
}

#[test]
fn a_virtual_machine_of_a_cloud() {
    let expected = [
        "warning address-space-low",
        "warning cpu-quota",
        "warning scheduler",
        "warning steal",
        "note online-discard",
        "note requests-few",
        "note rotational-claim",
        "note virtual-disk",
    ];
    let report = check("cloud", "/srv/my data/db", &expected);
    // The capability of root lifts the limit of locked memory; compressed memory is no disk.
    assert_eq!(fact(&report, "locked memory")["value"], "65536");
    assert_eq!(fact(&report, "swap")["value"], "/dev/zram0");
    assert_eq!(fact(&report, "virtual machine")["value"], "yes, Amazon EC2 c6a.xlarge");
    assert_eq!(fact(&report, "stack")["value"], "vdb");
    assert_eq!(fact(&report, "io_uring_disabled")["unknown"], "no such file");
    let protection = fact(&report, "vdb power protection")["value"].as_str().unwrap();
    assert!(protection.starts_with("not needed"), "{protection}");
    let discard = finding(&report, "online-discard")["command"].as_str().unwrap();
    assert!(discard.starts_with("mount -o remount,nodiscard '/srv/my data' &&"), "{discard}");
    let scheduler = finding(&report, "scheduler");
    assert_eq!(scheduler["command"], "echo none > /sys/block/vdb/queue/scheduler");
    let turns = finding(&report, "rotational-claim")["undo"].as_str().unwrap();
    assert!(turns.ends_with("&& echo 0 > /sys/block/vdb/queue/wbt_lat_usec"), "{turns}");
    assert_eq!(scheduler["undo"], "echo bfq > /sys/block/vdb/queue/scheduler");

    // Somebody has told the kernel to leave flushes out, and the disk has a cache.
    let machine = machine("cloud");
    let disk = machine.path().join("sys/devices/pci0000:00/0000:00:05.0/virtio3/block/vdb");
    fs::write(disk.join("cache_type"), "write back\n").unwrap();
    let report = json(doctor(machine.path(), "/srv/my data", &["--json"]));
    assert_eq!(found(&report)[0], "critical flushes-off");
}

#[test]
fn other_file_systems_of_the_same_machine() {
    let machine = machine("cloud");
    // What the machine has for every directory.
    let everywhere =
        ["warning address-space-low", "warning cpu-quota", "warning steal", "note virtual-disk"];
    let expect = |dir: &str, stack: &str, expected: &[&str]| {
        let report = json(doctor(machine.path(), dir, &["--json"]));
        let mut found = found(&report);
        found.retain(|line| !everywhere.contains(&line.as_str()));
        assert_eq!(found, expected, "{dir}");
        let fact = fact(&report, "stack");
        let shown = fact["value"].as_str().or(fact["unknown"].as_str());
        assert_eq!(shown, Some(stack), "{dir}");
    };
    expect("/net/db", "nfs4 names no block device", &["warning remote"]);
    expect("/compressed/db", "zram0", &["critical device-in-memory"]);
    let below = ["note online-discard", "note requests-few", "note rotational-claim"];
    let image = ["warning loop-buffered", "warning scheduler", "note loop", below[1], below[2]];
    expect("/image/db", "loop3 on vdb", &image);
    let copying = ["warning copy-on-write", "note thin-pool"];
    expect("/copying/db", "dm-1 on dm-0 on vdc", &copying);
    // Two disks, and nothing is copied.
    expect("/copying/in-place/db", "vdc on vdd", &[]);
}

#[test]
fn a_stack_of_devices() {
    let expected = [
        "critical barriers-off",
        "critical errors-recorded",
        "critical flushes-off",
        "critical raid-degraded",
        "warning data-journal",
        "warning file-size-low",
        "warning no-journal",
        "warning raid-busy",
        "warning raid-parity",
        "warning rotational",
        "warning sync-mount",
        "note encrypted",
        "note open-files-low",
        "note scheduler",
        "note write-cache",
    ];
    let report = check("stack", "/data", &expected);
    assert_eq!(fact(&report, "stack")["value"], "dm-0 on md0 on sda on sdb");
    assert_eq!(fact(&report, "sda model")["value"], "WDC WD40EFRX-68N");
    let off = finding(&report, "flushes-off");
    assert_eq!(off["command"], "echo 'write back' > /sys/block/sda/queue/write_cache");
    assert_eq!(finding(&report, "barriers-off")["read"][0]["value"], "nobarrier");
    // The other disk neither turns nor keeps its scheduler to itself.
    assert!(finding(&report, "scheduler")["title"].as_str().unwrap().contains("sdb"));
    assert!(finding(&report, "rotational")["title"].as_str().unwrap().contains("sda"));
}

#[test]
fn a_container_without_io_uring() {
    let expected =
        ["warning huge-pages-denied", "warning io-uring-off", "warning overlay", "note cpu-quota"];
    let report = check("container", "/db", &expected);
    let off = finding(&report, "io-uring-off");
    assert_eq!(off["read"][0]["source"], "/proc/sys/kernel/io_uring_disabled");
    assert_eq!(off["read"][0]["value"], "2");
    assert_eq!(off["command"], "sysctl kernel.io_uring_disabled=0");
    assert_eq!(off["undo"], "sysctl kernel.io_uring_disabled=2");
    assert_eq!(fact(&report, "stack")["unknown"], "overlay names no block device");
    assert_eq!(fact(&report, "clock")["unknown"], "no such file");
}

#[test]
fn a_directory_in_memory() {
    let expected = ["critical in-memory", "critical read-only", "warning io-uring-group"];
    let report = check("memory", "/dev/shm/db", &expected);
    assert_eq!(finding(&report, "io-uring-group")["read"][1]["value"], "988");
    assert_eq!(fact(&report, "address space")["unknown"], "no such file");

    // A member of the group may, as far as the switch goes; what the filter says is not known.
    let machine = machine("memory");
    let status = machine.path().join("proc/self/status");
    let text = fs::read_to_string(&status).unwrap().replace("27 100", "27 988");
    fs::write(&status, text).unwrap();
    let report = json(doctor(machine.path(), "/dev/shm/db", &["--json"]));
    assert_eq!(found(&report)[2], "note io-uring-filter");
}

#[test]
fn an_empty_machine_is_all_unknown() {
    let machine = tempfile::tempdir().unwrap();
    fs::create_dir(machine.path().join("proc")).unwrap();
    let report = json(doctor(machine.path(), "/db", &["--json"]));
    assert_eq!(found(&report), [""; 0]);
    for fact in report["facts"].as_array().unwrap() {
        assert!(fact["value"].is_null() && fact["unknown"].is_string(), "{fact}");
    }
    let text = doctor(machine.path(), "/db", &[]).done();
    assert!(text.ends_with("nothing found that could be better; nothing was changed\n"), "{text}");
}

#[test]
fn files_full_of_nonsense_are_survived() {
    for name in ["nvme", "cloud", "stack", "container", "memory"] {
        for nonsense in ["", "[", "-1", "18446744073709551616", "\u{fffd} :: \\9 - -", "a\n\n: "] {
            let machine = machine(name);
            spoil(machine.path(), nonsense);
            json(doctor(machine.path(), "/data", &["--json"]));
            fits_on_a_page(&doctor(machine.path(), "/data", &[]));
        }
    }
}

fn spoil(dir: &Path, nonsense: &str) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap();
        match (kind.is_dir(), path.ends_with("mountinfo")) {
            (true, _) => spoil(&path, nonsense),
            // With it the rest is read at all.
            (false, true) => {}
            (false, false) if kind.is_file() => fs::write(&path, nonsense).unwrap(),
            _ => {}
        }
    }
}

/// In a chroot the list of mounts has none that holds the directory; "no such file", said the
/// doctor, which exists.
#[test]
fn a_mount_that_is_not_listed_is_not_called_a_missing_file() {
    let machine = machine("nvme");
    let mounts = "50 1 0:60 / /proc rw - proc proc rw\n";
    fs::write(machine.path().join("proc/self/mountinfo"), mounts).unwrap();
    let report = json(doctor(machine.path(), "/db", &["--json"]));
    let unknown = fact(&report, "mount")["unknown"].as_str().unwrap();
    assert!(unknown.contains("chroot"), "{unknown}");
}

/// A service may have other limits than the shell that runs the doctor, and a filter of its own.
#[test]
fn another_process_is_looked_at() {
    let machine = machine("nvme");
    let own = machine.path().join("proc/self");
    let service = machine.path().join("proc/4711");
    fs::create_dir(&service).unwrap();
    let status = fs::read_to_string(own.join("status")).unwrap();
    fs::write(service.join("status"), status.replace("Seccomp:\t0", "Seccomp:\t2")).unwrap();
    let limits = fs::read_to_string(own.join("limits")).unwrap();
    fs::write(service.join("limits"), limits.replace("65536  ", "unlimited")).unwrap();
    // It sees other mounts, too.
    let mounts = "50 1 0:60 / /db rw - nfs4 server:/db rw\n";
    fs::write(service.join("mountinfo"), mounts).unwrap();
    let report = json(doctor(machine.path(), "/db", &["--json", "--pid", "4711"]));
    assert_eq!(report["pid"], 4711);
    assert_eq!(finding(&report, "remote")["read"][0]["source"], "/proc/4711/mountinfo");
    let found = found(&report);
    assert!(!found.iter().any(|line| line.ends_with("memlock-low")), "{found:?}");
    assert!(found.iter().any(|line| line == "note io-uring-filter"), "{found:?}");
    assert_eq!(fact(&report, "locked memory")["source"], "/proc/4711/limits");
    let limits = fs::read_to_string(service.join("limits")).unwrap();
    fs::write(service.join("limits"), limits.replace("unlimited", "9        ")).unwrap();
    let report = json(doctor(machine.path(), "/db", &["--json", "--pid", "4711"]));
    let change = finding(&report, "memlock-low")["command"].as_str().unwrap();
    assert!(change.ends_with("--pid 4711"), "{change}");
    doctor(machine.path(), "/db", &["--pid", "4712"]).failed(2, &["no process 4712"]);
    let home = Home::new();
    let pid = std::process::id().to_string();
    let here = command()
        .args(["--json", "doctor", "--no-measure", "--pid", &pid])
        .arg(home.dir.path())
        .output();
    let source = format!("/proc/{pid}/limits");
    assert_eq!(fact(&json(Run::of(here.unwrap())), "open files")["source"], *source);
}

#[test]
fn what_cannot_be_looked_at_is_refused() {
    let home = Home::new();
    home.run(["doctor"]).failed(3, &["there is no ", "db: make it"]);
    home.run(["--json", "doctor", "/nonexistent"]).failed_json(3, "not_found");
    let file = home.file("file", "");
    home.run(["doctor", &file]).failed(3, &["is no directory"]);
    let machine = machine("nvme");
    doctor(machine.path(), "data", &[]).failed(2, &["from /"]);
    doctor(&machine.path().join("sys"), "/data", &[]).failed(2, &["no folder proc"]);
    Run::of(command().arg("doctor").output().unwrap()).failed(2, &["--db DIR"]);
}

/// Path, content, and when content and place last changed, of all below a directory and of itself.
fn state(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64, i64, i64)> {
    let mut all = BTreeMap::new();
    let mut note = |path: &Path| {
        let facts = fs::metadata(path).unwrap();
        let content = if facts.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        let times = (facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec());
        all.insert(path.to_owned(), (content, times.0, times.1, times.2, times.3));
        facts.is_dir()
    };
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        note(&folder);
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                note(&path);
            }
        }
    }
    all
}

#[test]
fn a_database_is_examined_open_or_not_and_stays_as_it_is() {
    let home = Home::new();
    let db = Db::open(home.db()).unwrap();
    db.put("k", b"v").unwrap();
    let report = json(home.run(["--json", "doctor", "--no-measure"]));
    assert_eq!(report["database"]["block_bytes"], db.stats().block_bytes);
    assert_eq!(report["database"]["strategy_ns"]["dsync"], db.stats().strategy_ns[1]);
    assert_eq!(report["measured"], Value::Null);
    db.close().unwrap();

    let before = state(home.dir.path());
    let report = json(home.run(["--json", "doctor"]));
    assert!(report["database"]["log"]["segments"].as_u64() > Some(0), "{report}");
    for op in ["write_fdatasync", "write_dsync", "wake"] {
        let times = &report["measured"][op];
        if times.is_null() {
            continue;
        }
        assert!(times["count"].as_u64() >= Some(5), "{report}");
        assert!(times["p50_ns"].as_u64() <= times["p99_ns"].as_u64(), "{report}");
    }
    assert!(report["measured"]["own_bytes"].as_u64() > Some(16 << 20));
    fits_on_a_page(&home.run(["doctor", "--no-measure"]));
    assert_eq!(state(home.dir.path()), before, "nothing has changed, the directories neither");
    let by_path = Run::of(
        command().args(["doctor", "--no-measure", "--json"]).arg(home.db()).output().unwrap(),
    );
    assert_eq!(json(by_path)["directory"], report["directory"]);
}

/// A copy has holes where the log was zeros. A closed database has some of its own.
#[test]
fn a_log_with_holes_is_found() {
    let home = Home::new();
    home.run(["put", "k", "1"]).done();
    let closed = json(home.run(["--json", "doctor", "--no-measure"]));
    assert!(!found(&closed).contains(&"warning log-unwritten".to_owned()));
    fs::remove_dir_all(home.db()).unwrap();
    let db = Db::open(home.db()).unwrap();
    db.put("k", b"1").unwrap();
    let whole = json(home.run(["--json", "doctor", "--no-measure"]));
    if whole["database"]["log"]["segments_unknown"].as_u64() > Some(0) {
        // The file system does not say.
        return;
    }
    assert_eq!(whole["database"]["log"]["missing_bytes"], 0);
    assert_eq!(whole["database"]["log"]["unwritten_bytes"], 0);
    assert!(!found(&whole).contains(&"warning log-unwritten".to_owned()));

    let wal = home.db().join("wal");
    let segment = fs::read_dir(&wal).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&segment).unwrap();
    fs::remove_file(&segment).unwrap();
    let copy = fs::File::create(&segment).unwrap();
    copy.set_len(bytes.len() as u64).unwrap();
    copy.write_all_at(&bytes[..64 << 10], 0).unwrap();
    copy.sync_all().unwrap();
    let holes = json(home.run(["--json", "doctor", "--no-measure"]));
    let missing = holes["database"]["log"]["missing_bytes"].as_u64().unwrap();
    assert!(missing > 0 && missing < bytes.len() as u64, "{holes}");
    let named = finding(&holes, "log-unwritten")["read"][0]["value"].as_str().unwrap();
    assert_eq!(named, segment.file_name().unwrap().to_str().unwrap());
    drop(db);

    // An unreadable superblock is critical.
    fs::write(home.db().join("superblock"), [0x5a; 8192]).unwrap();
    let damaged = json(home.run(["--json", "doctor", "--no-measure"]));
    assert_eq!(found(&damaged)[0], "critical superblock");
}

/// The kernel ends the doctor at the first call that could change something: opening a file for
/// writing that will have a name, and making, renaming, removing or changing one by its name.
#[test]
fn every_call_that_could_change_something_is_forbidden() {
    let home = Home::new();
    let mut unnamed = fs::OpenOptions::new();
    unnamed.read(true).write(true).custom_flags(libc::O_TMPFILE);
    if unnamed.open(home.dir.path()).is_err() {
        // Here a file has to have a name for a moment.
        return;
    }
    home.run(["put", "k", "1"]).done();
    let db = home.db();
    let run = std::thread::spawn(move || {
        crate::fence::forbid_changes_for_this_thread();
        let mut command = command();
        command.args(["--json", "doctor"]).arg(db);
        // To open /dev/null for writing is forbidden, too.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap()
    });
    let output = run.join().unwrap();
    assert!(output.status.code().is_some(), "a forbidden call ended it: {:?}", output.status);
    let report = json(Run::of(output));
    assert_ne!(report["measured"], Value::Null, "{report}");

    // The fence holds: a command that writes does not get past it.
    let db = home.db();
    let run = std::thread::spawn(move || {
        crate::fence::forbid_changes_for_this_thread();
        let mut command = command();
        command.arg("--db").arg(db).args(["put", "k", "2"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap()
    });
    assert_eq!(run.join().unwrap().status.code(), None);
}

#[test]
fn io_uring_that_is_refused_is_found() {
    let home = Home::new();
    let dir = home.dir.path().to_owned();
    let run = std::thread::spawn(move || {
        crate::fence::forbid_io_uring_for_this_thread();
        command().args(["--json", "doctor", "--no-measure"]).arg(dir).output().unwrap()
    });
    let report = json(Run::of(run.join().unwrap()));
    let refused = finding(&report, "io-uring-filtered");
    assert_eq!(refused["severity"], "warning");
    assert!(refused["advice"].as_str().unwrap().contains("io_uring_setup"), "{refused}");
    assert!(refused.to_string().contains("Seccomp: 2"), "{refused}");
    assert_eq!(report["database"], Value::Null);
}
