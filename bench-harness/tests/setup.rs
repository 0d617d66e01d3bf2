//! What `scripts/setup` finds missing, and what it does about it.
//!
//! The script runs with a `PATH` and a root of its own: the commands are stand-ins, `apt-get` notes
//! its arguments.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const LIB_DIR: &str = "usr/lib/llvm-14/lib";
const HEADER: &str = "usr/lib/llvm-14/lib/clang/14.0.6/include/stddef.h";

/// A machine that has these commands and files.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new(commands: &[&str], files: &[&str]) -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(machine.path("bin")).unwrap();
        machine.add_command("id", "echo 0");
        commands.iter().for_each(|name| machine.add_command(name, ""));
        files.iter().for_each(|file| machine.add_file(file));
        machine
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    fn add_file(&self, file: &str) {
        let path = self.path(&format!("root/{file}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    fn add_command(&self, name: &str, body: &str) {
        let path = self.path(&format!("bin/{name}"));
        fs::write(&path, format!("#!/bin/bash\n{body}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `apt-get` notes how it was called. With `works`, it brings all that is asked for.
    fn add_apt(&self, works: bool) {
        let (log, root, bin) = (self.path("log"), self.path("root"), self.path("bin"));
        let (log, root, bin) = (log.display(), root.display(), bin.display());
        let note = format!("echo \"$@\" >> '{log}'");
        let install = format!(
            "{note}\n[ \"$1\" = install ] || exit 0\n\
             /bin/mkdir -p '{root}/{LIB_DIR}/clang/14.0.6/include'\n\
             : > '{root}/{LIB_DIR}/libclang.so.1'\n: > '{root}/{HEADER}'\n\
             for name in cc c++; do /bin/cp '{bin}/id' '{bin}/'$name; done"
        );
        self.add_command("apt-get", if works { &install } else { &note });
    }

    fn setup(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/setup");
        Command::new("/bin/bash")
            .arg(script)
            .args(arguments)
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("ROOT_DIR", self.path("root"))
            .output()
            .unwrap()
    }

    /// The packages that were asked for.
    fn installed(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let mut installs = log.lines().filter_map(|line| line.strip_prefix("install -y -qq "));
        let packages = installs.next().unwrap_or_default();
        assert_eq!(installs.next(), None, "one installation is enough");
        packages.split_whitespace().map(str::to_owned).collect()
    }
}

/// Arguments, commands and files that are there, and packages that must be asked for.
type Case =
    (&'static [&'static str], &'static [&'static str], Vec<String>, &'static [&'static str]);

#[test]
fn only_what_is_missing_is_installed() {
    let lib = |name: &str| format!("{LIB_DIR}/{name}");
    let multiarch = "usr/lib/x86_64-linux-gnu/libclang-16.so.16.0.6".to_owned();
    let headers = "usr/lib/clang/16/include/stddef.h".to_owned();
    let cpp_alone = vec![lib("libclang-cpp.so"), lib("libclang-cpp.so.14"), HEADER.to_owned()];
    const ALL: &[&str] = &["cc", "c++"];
    let cases: [Case; 9] = [
        (&[], ALL, vec![], &[]),
        (&[], &["cc"], vec![], &["g++"]),
        (&[], &[], vec![], &["g++"]),
        (&["rocksdb"], ALL, vec![], &["libclang-dev"]),
        (&["rocksdb"], &[], vec![], &["g++", "libclang-dev"]),
        // What it is called alone does not make it the library that bindgen loads.
        (&["rocksdb"], ALL, cpp_alone, &["libclang-dev"]),
        (&["rocksdb"], ALL, vec![lib("libclang-14.so.1")], &["libclang-dev"]),
        (&["rocksdb"], ALL, vec![lib("libclang-14.so.1"), HEADER.to_owned()], &[]),
        (&["rocksdb"], ALL, vec![multiarch, headers], &[]),
    ];
    for (arguments, commands, files, expected) in cases {
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        let machine = Machine::new(commands, &files);
        machine.add_apt(true);
        let output = machine.setup(arguments);
        let what = format!("{arguments:?} with {commands:?} and {files:?}: {output:?}");
        assert!(output.status.success(), "{what}");
        assert_eq!(machine.installed(), expected, "{what}");
    }
}

#[test]
fn what_cannot_be_installed_is_named() {
    let machine = Machine::new(&["cc", "c++"], &[]);
    let without_apt = machine.setup(&["rocksdb"]);
    machine.add_apt(false);
    let in_vain = machine.setup(&["rocksdb"]);
    for (output, part) in [(without_apt, "please install"), (in_vain, "LIBCLANG_PATH")] {
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("libclang-dev") && text.contains(part), "{text}");
    }
}
